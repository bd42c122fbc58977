//! `--summary`: Markdown for the summary of a step in CI.

use std::fmt::Write;

use harness::check::Tier;

use crate::result::{Graded, Status};

pub fn markdown(all: &[Graded], several: bool) -> String {
    match all {
        [graded] if !several => one(graded),
        all => class(all),
    }
}

fn one(graded: &Graded) -> String {
    let stage = capital(&graded.stage.to_string());
    let mut text = format!("## {stage}: {}\n\n", literal(&graded.name));
    if let Some(words) = &graded.build_failure {
        text += &format!("The program could not be built:\n\n{}\n", fenced(words));
    }
    for tier in Tier::ALL {
        let name = tier.to_string();
        let checks = || {
            graded
                .checks
                .iter()
                .filter(|result| result.tier == name && result.status != Status::Skipped)
        };
        if checks().next().is_none() {
            continue;
        }
        text += &format!(
            "**{}: {} points**\n\n",
            capital(&name),
            graded.score_of(tier)
        );
        text += "| | check | points |\n|---|---|---:|\n";
        for result in checks() {
            let mark = mark(result.status);
            let _ = writeln!(
                text,
                "| {mark} | {} | {}/{} |",
                cell(&result.title),
                result.score,
                result.points
            );
        }
        text += "\n";
    }
    let failed = graded
        .failed()
        .filter(|result| !matches!(result.status, Status::BuildFailed | Status::Follows));
    for result in failed.chain(graded.not_carried_out()) {
        let mark = mark(result.status);
        let explanation = fenced(result.text.as_deref().unwrap_or_default());
        let title = &result.title;
        text +=
            &format!("<details><summary>{mark} {title}</summary>\n\n{explanation}\n</details>\n\n");
    }
    text
}

fn class(all: &[Graded]) -> String {
    let mut text =
        "## Submissions\n\n| | stage | core | solid | robust | first failure |\n|---|---|---:|---:|---:|---|\n"
            .to_owned();
    for graded in all {
        let [core, solid, robust] = Tier::ALL.map(|tier| graded.score_of(tier));
        let first = graded
            .failed()
            .next()
            .or_else(|| graded.not_carried_out().next());
        let first = match (&graded.build_failure, first) {
            (Some(_), _) => "build failed".to_owned(),
            (None, Some(result)) if result.has_failed() => cell(&result.title),
            (None, Some(result)) => format!("❔ not carried out: {}", cell(&result.title)),
            (None, None) => String::new(),
        };
        let (name, stage) = (literal(&graded.name), graded.stage.number());
        let _ = writeln!(
            text,
            "| {name} | {stage} | {core} | {solid} | {robust} | {first} |"
        );
    }
    text + "\n"
}

fn mark(status: Status) -> &'static str {
    match status {
        Status::Passed | Status::Skipped => "✅",
        Status::NotCarriedOut => "❔",
        Status::Failed | Status::Crashed | Status::BuildFailed | Status::Follows => "❌",
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}

/// A title of a check in a table.
fn cell(title: &str) -> String {
    title.replace('|', "\\|")
}

/// A name that a student chose, as a word of code. No character of it is markup, ends a cell or
/// becomes a link: all that could be are written as character references.
fn literal(name: &str) -> String {
    let reference = |character: char| match character {
        '-' | ' ' => character.to_string(),
        _ if character.is_ascii_punctuation() => format!("&#{};", u32::from(character)),
        _ => character.to_string(),
    };
    let name: String = name.chars().map(reference).collect();
    format!("<code>{name}</code>")
}

/// A code block whose fence is longer than any in the text.
fn fenced(text: &str) -> String {
    let longest = text.split(|character| character != '`').map(str::len).max();
    let fence = "`".repeat(longest.unwrap_or_default().max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n", text.trim_end())
}
