//! Write the servers of this course yourself: `cargo learn`.
//!
//! Each module imports only modules further down.
//!
//! | module        | what it is for                                                        |
//! |---------------|-----------------------------------------------------------------------|
//! | [`watch`]     | builds and checks at each save, and answers keys                      |
//! | [`check`]     | builds and checks once, and says what is red, lost or next            |
//! | [`start`]     | makes a starter; puts a task back to it, or to the reference          |
//! | [`export`]    | writes an assignment to hand out, without the solution                |
//! | [`page`]      | the tasks of a stage as a page: in the book, in an assignment         |
//! | [`overview`]  | where the student is: the stages, the tasks, a task, its hints        |
//! | [`judge`]     | builds the student's program, runs unit tests and checks              |
//! | [`mine`]      | the student's folder: its workspace, its progress, its backups        |
//! | [`starter`]   | cuts a starter out of the reference                                   |
//! | [`ladder`]    | the tasks of a stage, as their file tells them                        |
//! | [`item`]      | finds and replaces an item in a Rust source                           |
//! | [`terminal`]  | words, colours, and lines that fit                                    |
//! | [`arguments`] | the command line                                                      |
//!
//! A starter is never kept: it is cut out of the finished stage when it is asked for.

pub mod arguments;
pub mod check;
pub mod export;
pub mod item;
pub mod judge;
pub mod ladder;
pub mod mine;
pub mod overview;
pub mod page;
pub mod start;
pub mod starter;
pub mod terminal;
pub mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use harness::interrupt::Interrupted;

use arguments::{Arguments, Command};
use ladder::Ladder;
use mine::{Mine, Progress};

/// The stage is not green.
const RED: u8 = 1;
/// The command line is wrong, or something that it names does not exist.
const USAGE: u8 = 2;
/// What a shell reports for a program that SIGINT has ended.
const INTERRUPTED: u8 = 130;

/// The whole of `cargo learn`.
pub fn main() -> ExitCode {
    match carry_out(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(RED),
        Err(error) if error.is::<Interrupted>() => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("learn: {error:#}");
            ExitCode::from(USAGE)
        }
    }
}

/// Whether all that was asked about is green.
fn carry_out(arguments: &Arguments) -> Result<bool> {
    let root = root()?;
    let mine = Mine::find(&root, arguments.into.as_deref())?;
    let progress = mine.progress()?;
    let Some(command) = &arguments.command else {
        overview::stages(&Ladder::all(&root)?, &mine, &progress);
        return Ok(true);
    };
    let of = |place: &Option<String>| place_of(&root, place.as_deref(), &progress);
    match command {
        Command::Start { stage, run, build } => {
            let ladder = Ladder::read(&root, stage)?;
            match run {
                Some(run) => start::begin_own(&mine, &ladder, run, build.as_deref())?,
                None => start::start(&root, &mine, &ladder)?,
            }
        }
        Command::RunApart { stage, id } => {
            let ladder = Ladder::read(&root, stage)?;
            let stage = progress.stage.get(stage);
            let judge = judge::Judge {
                root: &root,
                mine: &mine,
                ladder: &ladder,
                own: stage.and_then(|stage| stage.own.as_ref()),
            };
            if let Err(said) = judge.run_one(id) {
                println!("{said}");
                return Ok(false);
            }
        }
        Command::Export { stage, to } => {
            export::export(&root, &Ladder::read(&root, stage)?, to)?;
        }
        Command::Watch { stage } => {
            let (ladder, _) = of(stage)?;
            watch::watch(&root, &mine, &ladder)?;
        }
        Command::Check { task } => {
            let (ladder, number) = of(task)?;
            let whole_stage = task.is_some() && number.is_none();
            return check::check(&root, &mine, &ladder, number, whole_stage);
        }
        Command::Hint { task } => {
            let (ladder, number) = of(task)?;
            let number = number.unwrap_or_else(|| overview::next(&ladder, &progress));
            overview::hint(&mine, &ladder, number)?;
        }
        Command::Diff { task, show } => {
            let (ladder, number) = of(task)?;
            start::diff(&root, &mine, &ladder, number, *show)?;
        }
        Command::Solution { task, yes } => {
            let (ladder, number) = of(&Some(task.clone()))?;
            let number = number.context("which task? for example 4.2")?;
            start::put(
                &root,
                &mine,
                &ladder,
                &[number],
                start::Version::Reference,
                *yes,
            )?;
        }
        Command::Reset { task, yes } => {
            let (ladder, number) = of(&Some(task.clone()))?;
            let all: Vec<usize> = (0..ladder.tasks.len()).collect();
            let numbers = number.map_or(all, |number| vec![number]);
            start::put(
                &root,
                &mine,
                &ladder,
                &numbers,
                start::Version::Starter,
                *yes,
            )?;
        }
    }
    Ok(true)
}

/// The stage and the task that `4.2`, `4` or nothing names.
fn place_of(
    root: &Path,
    place: Option<&str>,
    progress: &Progress,
) -> Result<(Ladder, Option<usize>)> {
    let Some(place) = place else {
        let current = progress
            .current()
            .context("nothing is begun yet: `cargo learn start 1`")?;
        return Ok((Ladder::read(root, current)?, None));
    };
    let (name, task) = match place.split_once('.') {
        Some((name, task)) => (name, Some(task)),
        None => (place, None),
    };
    let ladder = Ladder::read(root, name)?;
    let number = task.map(|task| {
        let number = task.parse::<usize>().ok();
        let index = number.and_then(|number| number.checked_sub(1));
        let known = index.filter(|&index| index < ladder.tasks.len());
        known.with_context(|| {
            format!(
                "stage {name} has tasks {name}.1 to {name}.{}",
                ladder.tasks.len()
            )
        })
    });
    let number = number.transpose()?;
    Ok((ladder, number))
}

/// The top of the repository.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")); // harness/learn
    let root = here.ancestors().nth(2).unwrap_or(here).to_owned();
    anyhow::ensure!(
        root.join("harness/learn/ladders").is_dir(),
        "the repository is not at {} any more: run `cargo learn` in its folder",
        root.display()
    );
    Ok(root)
}
