//! Tables for people.

use comfy_table::presets::NOTHING;
use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Table,
};
use harness::check::Tier;

use crate::result::{CheckResult, Graded, Score, Status};

/// The width when the output is not a terminal.
pub const WIDTH: u16 = 80;

/// A piece of what is printed.
pub enum Part {
    /// Lines that are not wrapped, such as those of a compiler, which point to columns.
    Raw(String),
    /// Prose, whose lines are wrapped.
    Text(String),
    /// The headline of what follows.
    Title(String, Color),
    Table(Box<Table>),
}

pub fn plain(text: impl Into<String>) -> Part {
    Part::Text(text.into())
}

/// Wraps a line to `width` columns. The lines after the first are indented a little more.
fn wrap(line: &str, width: u16) -> String {
    let text = line.trim_start();
    let indent = " ".repeat((line.len() - text.len()).min(usize::from(width / 2)));
    let options = textwrap::Options::new(width.into()).initial_indent(&indent);
    textwrap::fill(text, options.subsequent_indent(&format!("{indent}  "))) + "\n"
}

/// As wide as the terminal of stderr or stdout. One that does not know its width says 0.
pub fn width_of_terminal() -> u16 {
    let width = Table::new().width();
    width.filter(|&width| width > 0).unwrap_or(WIDTH)
}

impl Part {
    pub(super) fn table(table: Table) -> Self {
        Part::Table(Box::new(table))
    }

    pub fn render(&self, width: u16, colors: bool) -> String {
        let mut table = match self {
            Part::Raw(text) => return text.clone(),
            Part::Text(text) => return text.lines().map(|line| wrap(line, width)).collect(),
            Part::Title(text, color) => {
                let mut table = bare();
                table.add_row([Cell::new(text).fg(*color).add_attribute(Attribute::Bold)]);
                table
            }
            Part::Table(table) => Table::clone(table),
        };
        if colors {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_width(width);
        format!("{}\n", table.trim_fmt())
    }
}

pub(super) fn bare() -> Table {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table
}

pub(super) fn head(words: &[&str]) -> Row {
    let cell = |word: &&str| Cell::new(word).add_attribute(Attribute::Dim);
    Row::from(words.iter().map(cell).collect::<Vec<_>>())
}

pub(super) fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// All checks of one program, and an explanation for each that failed.
pub fn one(graded: &Graded) -> Vec<Part> {
    let mut parts = vec![Part::Title(
        format!("{}: {}", graded.stage, graded.name),
        Color::Reset,
    )];
    if let Some(words) = &graded.build_failure {
        parts.push(plain(format!("\n{}\n", words.trim_end())));
    } else if let Some(words) = &graded.left_out {
        parts.push(plain(format!("\n{words}\n")));
    }
    for tier in Tier::ALL {
        let name = tier.to_string();
        let shown = |result: &&CheckResult| result.tier == name && result.status != Status::Skipped;
        let rows: Vec<&CheckResult> = graded.checks.iter().filter(shown).collect();
        if !rows.is_empty() {
            parts.push(plain("\n"));
            parts.push(Part::table(results(tier, &rows)));
        }
    }
    parts.extend(explanations(graded));
    parts.push(plain("\n"));
    parts.push(Part::Title(totals(graded), verdict_color(graded)));
    parts.extend(skipped(graded).map(plain));
    parts
}

/// What failed, and why. A reason that repeats is printed once.
fn explanations(graded: &Graded) -> Vec<Part> {
    let mut parts = Vec::new();
    let failed = graded
        .failed()
        .filter(|result| !matches!(result.status, Status::BuildFailed | Status::Follows))
        .chain(graded.not_carried_out());
    let mut before: Option<&CheckResult> = None;
    for result in failed {
        let (mark, color) = mark(result.status);
        let points = match result.status {
            Status::NotCarriedOut => "does not count".to_owned(),
            _ => format!("{} points", Score::of([result])),
        };
        let title = format!("{mark} {} ({}, {points})", result.id, result.tier);
        parts.push(plain("\n"));
        parts.push(Part::Title(title, color));
        let text = match before {
            Some(before) if before.text == result.text => "the same as above",
            _ => result.text.as_deref().unwrap_or_default().trim_end(),
        };
        parts.push(plain(format!("{text}\n")));
        before = Some(result);
    }
    parts
}

fn results(tier: Tier, rows: &[&CheckResult]) -> Table {
    let mut table = bare();
    table.set_header(head(&["", title_of(tier), "points", "seconds", ""]));
    // The last column may wrap, the others may not.
    let whole = [ColumnConstraint::ContentWidth; 4];
    table.set_constraints(whole);
    for result in rows {
        let (mark, color) = mark(result.status);
        table.add_row([
            Cell::new(mark).fg(color),
            Cell::new(&result.id),
            right(Score::of([*result])),
            right(format!("{:.1}", result.seconds)),
            Cell::new(result.outcome.as_deref().unwrap_or_default()).fg(color),
        ]);
    }
    table
}

pub(super) fn title_of(tier: Tier) -> &'static str {
    match tier {
        Tier::Core => "core: what the course asks for",
        Tier::Solid => "solid: what any program that is left running must do",
        Tier::Robust => "robust: what a real program must withstand",
    }
}

fn mark(status: Status) -> (&'static str, Color) {
    match status {
        Status::Passed => ("✓", Color::Green),
        Status::Skipped => ("-", Color::Reset),
        Status::NotCarriedOut => ("?", Color::Yellow),
        Status::Failed | Status::Crashed | Status::BuildFailed | Status::Follows => {
            ("✗", Color::Red)
        }
    }
}

fn totals(graded: &Graded) -> String {
    let tiers = Tier::ALL.map(|tier| (tier, graded.score_of(tier)));
    let there = tiers.into_iter().filter(|(_, score)| score.points > 0);
    let mut parts: Vec<String> = there
        .map(|(tier, score)| format!("{tier} {score}"))
        .collect();
    if parts.len() != 1 {
        parts.push(format!("total {}", graded.score()));
    }
    format!("{} points", parts.join(", "))
}

fn verdict_color(graded: &Graded) -> Color {
    let core_failed = graded.failed().any(CheckResult::is_core);
    match (core_failed, graded.failed().next()) {
        (true, _) => Color::Red,
        (false, Some(_)) => Color::Yellow,
        (false, None) if graded.not_done.len() + graded.not_carried_out().count() > 0 => {
            Color::Yellow
        }
        (false, None) => Color::Green,
    }
}

/// The checks that could not run here, and do not count.
fn skipped(graded: &Graded) -> Option<String> {
    let mut needs: Vec<&str> = graded
        .skipped()
        .filter_map(|result| result.what.as_deref())
        .collect();
    let count = needs.len();
    needs.sort_unstable();
    needs.dedup();
    let needs: Vec<&str> = needs
        .iter()
        .map(|need| need.trim_start_matches("needs "))
        .collect();
    (count > 0).then(|| {
        let option = match needs.iter().any(|need| need.starts_with("--")) {
            true => " (options: see --workspace-options)",
            false => "",
        };
        let needs = needs.join(", ") + option;
        match count {
            1 => format!("1 more check was not run and does not count: it needs {needs}\n"),
            _ => format!("{count} more checks were not run and do not count: they need {needs}\n"),
        }
    })
}

/// One line for each student.
pub fn all(all: &[Graded]) -> Vec<Part> {
    let mut table = bare();
    table.set_header(head(&[
        "",
        "submission",
        "stage",
        "core",
        "solid",
        "robust",
        "total",
        "what has failed",
    ]));
    for graded in all {
        let color = verdict_color(graded);
        let mark = match color {
            Color::Green => "✓",
            Color::Yellow if graded.not_carried_out().next().is_some() => "?",
            Color::Yellow if !graded.not_done.is_empty() => "…",
            _ => "✗",
        };
        table.add_row([
            Cell::new(mark).fg(color),
            Cell::new(&graded.name),
            Cell::new(graded.stage.number()),
            right(graded.score_of(Tier::Core)),
            right(graded.score_of(Tier::Solid)),
            right(graded.score_of(Tier::Robust)),
            right(graded.score()),
            Cell::new(what_has_failed(graded)).fg(color),
        ]);
    }
    let mut parts = vec![Part::table(table)];
    parts.extend(all.iter().flat_map(why_not_built));
    parts.extend(all.iter().flat_map(why_not_carried_out));
    parts
}

/// The grader's own failures, each reason once.
fn why_not_carried_out(graded: &Graded) -> Vec<Part> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for result in graded.not_carried_out() {
        let reason = result.text.as_deref().unwrap_or_default().trim_end();
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, ids)) => ids.push(&result.id),
            None => reasons.push((reason, vec![&result.id])),
        }
    }
    let explained = reasons.iter().flat_map(|(reason, ids)| {
        let title = format!(
            "? {}: the grader could not carry out {}",
            graded.name,
            ids.join(", ")
        );
        [
            plain("\n"),
            Part::Title(title, Color::Yellow),
            plain(format!("{reason}\n")),
        ]
    });
    explained.collect()
}

/// The first lines of what the build printed.
fn why_not_built(graded: &Graded) -> Vec<Part> {
    const LINES: usize = 8;
    let Some(words) = &graded.build_failure else {
        return Vec::new();
    };
    let title = format!("✗ {}: no program to check", graded.name);
    let words: Vec<&str> = words.lines().take(LINES).collect();
    vec![
        plain("\n"),
        Part::Title(title, Color::Red),
        Part::Raw(words.join("\n") + "\n"),
    ]
}

/// The names of the core checks that failed; if none did, of the solid ones; if none did, how
/// many of the others.
fn what_has_failed(graded: &Graded) -> String {
    if let Some(words) = &graded.build_failure {
        let nothing = words.starts_with("nothing to grade");
        return if nothing {
            "nothing to grade"
        } else {
            "build failed"
        }
        .to_owned();
    }
    let short = |result: &CheckResult| result.id.rsplit('/').next().unwrap_or_default().to_owned();
    let of_tier = |tier: Tier| -> Vec<String> {
        let name = tier.to_string();
        let failed = graded
            .failed()
            .filter(|result| result.tier == name && result.status != Status::Follows);
        failed.map(short).collect()
    };
    let named = [Tier::Core, Tier::Solid].map(of_tier);
    let named = named.into_iter().find(|names| !names.is_empty());
    let failed = match (named, graded.failed().count()) {
        (Some(names), _) => names.join(", "),
        (None, 0) => String::new(),
        (None, 1) => "1 robust check".to_owned(),
        (None, count) => format!("{count} robust checks"),
    };
    let open = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let parts = [
        Some(failed).filter(|failed| !failed.is_empty()),
        open(graded.not_carried_out().count(), "not carried out"),
        open(graded.not_done.len(), "not done"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
