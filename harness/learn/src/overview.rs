//! Where the student is: the stages, the tasks of a stage, one task, its hints.

use anyhow::{Result, bail};

use crate::ladder::{Ladder, Task};
use crate::mine::{Mine, Progress, Stage, shown};
use crate::terminal::{Colour, coloured, say};

/// All stages, with what is done and what is next.
pub fn stages(ladders: &[Ladder], mine: &Mine, progress: &Progress) {
    println!("Write the servers yourself: a starter, tasks, and checks that turn green.\n");
    for ladder in ladders {
        let stage = progress.stage.get(&ladder.name);
        let done = stage.map_or(0, |stage| stage.done.len());
        let state = match stage {
            None => coloured(Colour::Faint, "not begun"),
            Some(_) if done == ladder.tasks.len() => coloured(Colour::Green, "done"),
            Some(_) => coloured(
                Colour::Yellow,
                &format!("{done} of {} tasks", ladder.tasks.len()),
            ),
        };
        println!("  {:>3}  {:<44}  {state}", ladder.name, ladder.title);
    }
    println!();
    match progress
        .current()
        .and_then(|name| ladders.iter().find(|it| it.name == name))
    {
        None => {
            say(
                "",
                "Begin with `cargo learn start 1`. Each stage can be begun without the ones before it.",
            );
        }
        Some(ladder) => {
            let number = next(ladder, progress);
            say(
                "",
                &format!(
                    "Your files are in {}. Next is {} {}.",
                    shown(&mine.package(&ladder.package)),
                    ladder.number(number),
                    ladder.tasks[number].title,
                ),
            );
            say("", "Go on with `cargo learn watch`.");
        }
    }
}

/// The first task that is not done, or the last one.
pub fn next(ladder: &Ladder, progress: &Progress) -> usize {
    let done = |number: &usize| {
        let stage = progress.stage.get(&ladder.name);
        stage.is_some_and(|stage| stage.done.contains(&(number + 1)))
    };
    let open = (0..ladder.tasks.len()).find(|number| !done(number));
    open.unwrap_or(ladder.tasks.len().saturating_sub(1))
}

/// What to do in a task.
pub fn task(ladder: &Ladder, number: usize, mine: &Mine) {
    let task = &ladder.tasks[number];
    let head = format!("Task {}: {}", ladder.number(number), task.title);
    println!("{}", coloured(Colour::Bold, &head));
    let minutes = format!("about {} minutes", task.minutes);
    println!("task {} of {}, {minutes}\n", number + 1, ladder.tasks.len());
    say("  ", &task.text);
    println!();
    for file in files(task) {
        let path = mine.package(&ladder.package).join(file);
        let items = task.items.iter().filter(|cut| cut.file == file);
        let names: Vec<String> = items
            .map(|cut| crate::starter::short_name(&cut.item))
            .collect();
        say(
            "  ",
            &format!("write: {} in {}", names.join(", "), shown(&path)),
        );
    }
    let section = match task.section.as_str() {
        "" => String::new(),
        section => format!("#{section}"),
    };
    say("  ", &format!("read:  {}{section}", ladder.chapter));
}

fn files(task: &Task) -> Vec<&std::path::Path> {
    let mut files: Vec<_> = task.items.iter().map(|cut| cut.file.as_path()).collect();
    files.dedup();
    files
}

/// `task 5 of 9, 41 checks of 57`
pub fn score(ladder: &Ladder, stage: &Stage) -> String {
    let checks: Vec<String> = ladder
        .tasks
        .iter()
        .flat_map(|task| &task.checks)
        .map(|check| ladder.id(check))
        .collect();
    let green = checks.iter().filter(|id| stage.green.contains(*id)).count();
    let done = stage.done.len();
    format!(
        "{done} of {} tasks, {green} of {} checks",
        ladder.tasks.len(),
        checks.len()
    )
}

/// Shows the next hint, after those that were taken before.
pub fn hint(mine: &Mine, ladder: &Ladder, number: usize) -> Result<()> {
    let task = &ladder.tasks[number];
    if task.hints.is_empty() {
        bail!(
            "task {} has no hints of its own: each check has one",
            ladder.number(number)
        );
    }
    let mut progress = mine.progress()?;
    let stage = progress.stage.entry(ladder.name.clone()).or_default();
    let taken = stage.hints.entry((number + 1).to_string()).or_default();
    *taken = (*taken + 1).min(task.hints.len());
    for (at, hint) in task.hints.iter().take(*taken).enumerate() {
        let head = format!(
            "hint {} of {} to task {}",
            at + 1,
            task.hints.len(),
            ladder.number(number)
        );
        println!("{}", coloured(Colour::Yellow, &head));
        say("  ", hint);
    }
    mine.save(&progress)
}
