//! Makes a starter, and puts a task back to it or to the reference.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use similar::{ChangeTag, TextDiff};

use crate::ladder::{Cut, Ladder};
use crate::mine::{Mine, Own, Progress, Stage, shown};
use crate::starter;
use crate::terminal::{Colour, coloured, say};
use crate::{item, overview};

/// What a task's items are replaced by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Starter,
    Reference,
}

/// Makes the starter of a stage.
pub fn start(root: &Path, mine: &Mine, ladder: &Ladder) -> Result<()> {
    let progress = not_begun(mine, ladder)?;
    let package = mine.package(&ladder.package);
    if !package.exists() {
        mine.add_package(&ladder.package, &starter::cut(root, ladder, 0)?)?;
        println!("The starter is in {}.", shown(&package));
    } else if ladder.package == "phase1-expserver" {
        // Another stage of the same server is begun: only the items of this one are cut out.
        let all: Vec<usize> = (0..ladder.tasks.len()).collect();
        replace_items(root, mine, ladder, &all, Version::Starter)?;
        println!(
            "The tasks of stage {} are in {}.",
            ladder.name,
            shown(&package)
        );
    } else {
        bail!(
            "{} exists already, and `cargo learn` has not made it: move it away",
            shown(&package)
        );
    }
    mine.make_workspace(root, &ladder.package)?;
    begin(mine, progress, ladder, Stage::default())?;
    mine.commit(&format!("The starter of stage {}", ladder.name));
    println!("It is built once now, so that each save is answered soon. This can take a minute.\n");
    if !mine.build_once(&ladder.package)? {
        bail!("the starter does not build; the compiler says why above");
    }
    println!();
    show_first_task(mine, ladder);
    Ok(())
}

/// The progress so far, if this stage is not begun.
fn not_begun(mine: &Mine, ladder: &Ladder) -> Result<Progress> {
    let progress = mine.progress()?;
    ensure!(
        !progress.stage.contains_key(&ladder.name),
        "stage {} is begun already: go on with `cargo learn watch {0}`, or begin again with \
         `cargo learn reset {0}`",
        ladder.name
    );
    Ok(progress)
}

/// Begins a stage with a program in any language.
pub fn begin_own(mine: &Mine, ladder: &Ladder, run: &str, build: Option<&str>) -> Result<()> {
    let progress = not_begun(mine, ladder)?;
    let run = shell_words::split(run).with_context(|| format!("cannot split `{run}`"))?;
    ensure!(
        !run.is_empty(),
        "--run needs a command, for example './server {{port}}'"
    );
    let own = Own {
        run,
        build: build.map(str::to_owned),
        folder: std::env::current_dir().context("cannot tell the current folder")?,
    };
    let stage = Stage {
        own: Some(own),
        ..Stage::default()
    };
    begin(mine, progress, ladder, stage)?;
    show_first_task(mine, ladder);
    Ok(())
}

/// Notes that the stage is begun.
fn begin(mine: &Mine, mut progress: Progress, ladder: &Ladder, stage: Stage) -> Result<()> {
    progress.stage.insert(ladder.name.clone(), stage);
    progress.begun.push(ladder.name.clone());
    mine.save(&progress)
}

fn show_first_task(mine: &Mine, ladder: &Ladder) {
    overview::task(ladder, 0, mine);
    println!("\nNow run `cargo learn watch`, and save a file whenever you want to know more.");
}

/// Puts the items of these tasks to the starter's or the reference's text.
pub fn put(
    root: &Path,
    mine: &Mine,
    ladder: &Ladder,
    numbers: &[usize],
    version: Version,
    yes: bool,
) -> Result<()> {
    let mut progress = mine.progress()?;
    ensure!(
        progress.begun(&ladder.name)?.own.is_none(),
        "stage {} is not written from a starter",
        ladder.name
    );
    let what = match version {
        Version::Starter => "the starter",
        Version::Reference => "the reference",
    };
    if !yes
        && !is_wanted(&format!(
            "Replace your code by {what}? Yours is kept as a backup."
        ))?
    {
        println!("Nothing is changed.");
        return Ok(());
    }
    let backups = replace_items(root, mine, ladder, numbers, version)?;
    for (file, backup) in &backups {
        println!(
            "{} is replaced; yours is kept in {}",
            shown(file),
            shown(backup)
        );
    }
    if backups.is_empty() {
        println!("It is {what} already.");
    }
    if version == Version::Starter
        && let Some(stage) = progress.stage.get_mut(&ladder.name)
    {
        stage.done.retain(|done| !numbers.contains(&(done - 1)));
    }
    mine.save(&progress)
}

/// Replaces items in the student's files. All files are read and changed in memory first, so
/// that an error leaves all of them as they are. Returns each changed file with its backup.
fn replace_items(
    root: &Path,
    mine: &Mine,
    ladder: &Ladder,
    numbers: &[usize],
    version: Version,
) -> Result<Vec<(PathBuf, PathBuf)>> {
    let package = mine.package(&ladder.package);
    let mut changed = BTreeMap::new();
    // Where two tasks are about the same item, the earlier one wins.
    for &number in numbers.iter().rev() {
        for cut in &ladder.tasks[number].items {
            let path = package.join(&cut.file);
            let source = match changed.remove(&path) {
                Some(source) => source,
                None => read(&path)?,
            };
            let text = text_of(root, ladder, number, cut, version)?;
            let source = item::replaced(&source, &cut.item, &text).with_context(|| {
                format!(
                    "cannot change {}: compare it with {}",
                    shown(&path),
                    root.join(&ladder.package).join(&cut.file).display()
                )
            })?;
            changed.insert(path, source);
        }
    }
    let mut backups = Vec::new();
    for (path, source) in changed {
        let backup = mine.overwrite(&path, source.as_bytes())?;
        backups.extend(backup.map(|backup| (path, backup)));
    }
    Ok(backups)
}

/// The item as it is before the task, or when the task is solved.
fn text_of(
    root: &Path,
    ladder: &Ladder,
    number: usize,
    cut: &Cut,
    version: Version,
) -> Result<String> {
    let reference = read(&root.join(&ladder.package).join(&cut.file))?;
    let solved = match version {
        Version::Starter => number,
        Version::Reference => number + 1,
    };
    let source = starter::source_at(&reference, ladder, &cut.file, solved)?;
    Ok(item::text(&source, &cut.item)?.to_owned())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Shows the student's items beside the reference's.
pub fn diff(
    root: &Path,
    mine: &Mine,
    ladder: &Ladder,
    number: Option<usize>,
    show: bool,
) -> Result<()> {
    let progress = mine.progress()?;
    let stage = progress.begun(&ladder.name)?;
    let last_done = || stage.done.iter().next_back().map(|number| number - 1);
    let Some(number) = number.or_else(last_done) else {
        bail!("no task of stage {} is green yet", ladder.name);
    };
    ensure!(
        show || stage.done.contains(&(number + 1)),
        "task {} is not green yet; to see the reference now: `cargo learn diff {0} --show`",
        ladder.number(number)
    );
    for cut in &ladder.tasks[number].items {
        let path = mine.package(&ladder.package).join(&cut.file);
        let reference = text_of(root, ladder, number, cut, Version::Reference)?;
        let source = read(&path)?;
        let mine = item::text(&source, &cut.item).with_context(|| shown(&path))?;
        let head = format!(
            "{} in {}",
            starter::short_name(&cut.item),
            cut.file.display()
        );
        println!("{}", coloured(Colour::Bold, &head));
        if mine == reference {
            println!("  the same as the reference\n");
            continue;
        }
        say("", "`-` is only in yours, `+` only in the reference.");
        for change in TextDiff::from_lines(mine, &reference).iter_all_changes() {
            let line = change.value().trim_end_matches('\n');
            match change.tag() {
                ChangeTag::Equal => println!("  {line}"),
                ChangeTag::Delete => println!("{}", coloured(Colour::Red, &format!("- {line}"))),
                ChangeTag::Insert => println!("{}", coloured(Colour::Green, &format!("+ {line}"))),
            }
        }
        println!();
    }
    Ok(())
}

/// Asks on the terminal. Without one, the answer is no.
fn is_wanted(question: &str) -> Result<bool> {
    ensure!(
        stdin().is_terminal(),
        "this asks a question first; without a terminal, add --yes"
    );
    print!("{question} [y/N] ");
    stdout().flush()?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
