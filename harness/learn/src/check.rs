//! Builds and checks once, and says what is red, lost or next.

use std::path::Path;

use anyhow::Result;
use harness::interrupt;

use crate::judge::{Judge, Judged, Red};
use crate::ladder::Ladder;
use crate::mine::{Mine, Stage, shown};
use crate::overview;
use crate::terminal::{Colour, clipped, coloured, say};

/// How many lines of a failure are shown at once.
const SHORT: usize = 15;

/// What a look at the program has shown.
pub enum Seen {
    /// All that was looked at is green.
    Green,
    /// The first thing to look at, and the rest of its text.
    Red(String),
}

/// `cargo learn check`. Whether all that was asked about is green.
pub fn check(
    root: &Path,
    mine: &Mine,
    ladder: &Ladder,
    number: Option<usize>,
    whole_stage: bool,
) -> Result<bool> {
    let progress = mine.progress()?;
    progress.begun(&ladder.name)?;
    let first = if whole_stage {
        0
    } else {
        number.unwrap_or_else(|| overview::next(ladder, &progress))
    };
    let tasks = if whole_stage {
        0..ladder.tasks.len()
    } else {
        first..first + 1
    };
    for number in tasks {
        if !matches!(look(root, mine, ladder, number)?, Seen::Green) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Builds the program, judges a task and what was green before, notes and prints what came out.
pub fn look(root: &Path, mine: &Mine, ladder: &Ladder, number: usize) -> Result<Seen> {
    let mut progress = mine.progress()?;
    let stage = progress.stage.entry(ladder.name.clone()).or_default();
    let own = stage.own.clone();
    let judge = Judge {
        root,
        mine,
        ladder,
        own: own.as_ref(),
    };
    let seen = match judge.not_written(number)? {
        Some(red) => red_seen(ladder, number, &red),
        None if !judge.build()? => red_seen(ladder, number, &Red::DoesNotBuild),
        None => {
            let judged = judge.judge(&ladder.tasks[number])?;
            interrupt::check()?;
            note(stage, &judged);
            match &judged.red {
                Some(red) => {
                    stage.done.remove(&(number + 1));
                    red_seen(ladder, number, red)
                }
                None => {
                    green_seen(ladder, number, stage, &judged, &judge)?;
                    Seen::Green
                }
            }
        }
    };
    mine.save(&progress)?;
    Ok(seen)
}

fn note(stage: &mut Stage, judged: &Judged) {
    stage.green.extend(judged.green.iter().cloned());
    stage.green.retain(|id| !judged.failed.contains(id));
}

/// A task is green. What was green before must still be, so the earlier checks run once more.
fn green_seen(
    ladder: &Ladder,
    number: usize,
    stage: &mut Stage,
    judged: &Judged,
    judge: &Judge,
) -> Result<()> {
    let is_new = stage.done.insert(number + 1);
    let name = format!("{} {}", ladder.number(number), ladder.tasks[number].title);
    println!("{}  {name}", coloured(Colour::Green, "green"));
    for (id, need) in &judged.not_run {
        say("       ", &format!("not run: {id} (needs {need})"));
    }
    if is_new {
        let earlier = ladder.tasks[..number].iter();
        let checks = earlier
            .map(|task| ladder.checks(task))
            .collect::<Result<Vec<_>>>()?
            .concat();
        let before: Vec<_> = checks
            .into_iter()
            .filter(|check| stage.green.contains(&check.id()))
            .collect();
        let mut again = Judged::default();
        judge.checks(&before, false, &mut again)?;
        note(stage, &again);
        for id in &again.failed {
            let line = format!("{} {id}", coloured(Colour::Red, "lost: "));
            println!("{line}");
        }
    }
    println!("       {}", overview::score(ladder, stage));
    Ok(())
}

fn red_seen(ladder: &Ladder, number: usize, red: &Red) -> Seen {
    let (head, text) = match red {
        Red::NotWritten { number, name, file } => {
            let what = format!("{number}, `{name}` in {}", shown(file));
            println!("{} {what}", coloured(Colour::Yellow, "not written yet:"));
            return Seen::Red(what);
        }
        Red::DoesNotBuild => {
            println!(
                "{}    it does not build; the compiler says why above",
                coloured(Colour::Red, "red")
            );
            return Seen::Red(String::new());
        }
        Red::Unit { name, text } => (format!("the unit test {name}"), text.clone()),
        Red::Check { check, report } => {
            if let Some(what) = not_written_in(&report.story) {
                println!("{} {what}", coloured(Colour::Yellow, "not written yet:"));
                return Seen::Red(what);
            }
            let text = format!("{}\n\nwhy it matters: {}", report.failure, check.why);
            (format!("{}: {}", check.id(), check.title), text)
        }
    };
    println!("{}    {head}", coloured(Colour::Red, "red"));
    let lines = clipped("       ", &text);
    lines
        .iter()
        .take(SHORT - 3)
        .for_each(|line| println!("{line}"));
    if lines.len() > SHORT - 3 {
        println!("       … {} lines more", lines.len() - (SHORT - 3));
    }
    let task = ladder.number(number);
    say(
        "       ",
        &format!("`cargo learn hint {task}` shows a hint"),
    );
    let whole = match red {
        Red::Check { check, report } => harness::suite::explain(check, report),
        _ => text,
    };
    Seen::Red(whole)
}

/// What the program has met that is not written: the words of its `todo!`.
fn not_written_in(story: &str) -> Option<String> {
    let (_, after) = story.split_once("not yet implemented: ")?;
    after.lines().next().map(str::to_owned)
}
