//! Grades any program with the checks of `harness`: `cargo grade`.
//!
//! Each module imports only modules further down.
//!
//! | module         | what it is for                                                      |
//! |----------------|---------------------------------------------------------------------|
//! | [`queue`]      | the work, side by side, until somebody interrupts it                |
//! | [`work`]       | a submission in the works: its copy, its build, its results         |
//! | [`workplace`]  | the temporary folder, and the processes that are started in it      |
//! | [`launcher`]   | such a process: its namespaces, its user, the end of all it started |
//! | [`inside`]     | what it does there: builds a submission, runs a check               |
//! | [`orphans`]    | what a program leaves behind, where there are no namespaces         |
//! | [`progress`]   | results as they come: the bar, the file, the resumption             |
//! | [`report`]     | results for readers: people, JUnit, Gradescope, CI classrooms       |
//! | [`result`]     | what came out, and its points                                       |
//! | [`selection`]  | which checks: a stage's, a tier's, those asked for by name          |
//! | [`submission`] | what is graded: one program, or a folder with one for each student  |
//! | [`arguments`]  | the command line                                                    |
//! | [`ports`]      | the ports of a program                                              |
//! | [`order`]      | what a process of its own is asked to do, and what it answers       |
//! | [`nobody`]     | the user that programs run as where root grades                     |
//!
//! A program under test is not trusted. Each check runs in a process of its own, which
//! has a network, a process table and a view of the files for itself, and everything in
//! there ends with it. Only what that process prints at its end counts.

pub mod arguments;
mod inside;
pub mod launcher;
mod nobody;
mod order;
mod orphans;
mod ports;
mod progress;
mod queue;
mod report;
mod result;
mod selection;
mod submission;
mod work;
mod workplace;

use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use harness::interrupt;
use harness::stage::Stage;

use arguments::Arguments;
use queue::Queue;
use report::Reports;
use result::Graded;
use selection::Selection;
use submission::Submission;
use workplace::Workplace;

/// The command line is wrong, or what it names is not there.
const USAGE: u8 = 2;
/// The grader itself, or the machine, has failed.
const GRADER: u8 = 3;
/// As a shell says that a program was ended by SIGINT.
const INTERRUPTED: u8 = 130;

/// The whole of `cargo grade`.
pub fn run(arguments: &Arguments) -> ExitCode {
    let (selection, submissions) = match read(arguments) {
        Ok(read) => read,
        Err(error) => return fail(USAGE, &error),
    };
    if arguments.list {
        return list(&selection);
    }
    grade(arguments, &selection, submissions).unwrap_or_else(|error| fail(GRADER, &error))
}

/// What is to be run, and against what: everything that can be wrong with a command
/// line is found here.
fn read(arguments: &Arguments) -> Result<(Selection, Vec<Submission>)> {
    let selection = Selection::new(arguments)?;
    if arguments.list {
        ensure!(
            arguments.stage.is_some(),
            "--list needs a stage: --stage 4 (1 to 5, or phase1)"
        );
        return Ok((selection, Vec::new()));
    }
    ensure!(
        !arguments.resume || arguments.results_file().is_some(),
        "--resume goes on with a run of --all FOLDER, or of --results FILE"
    );
    let submissions = match &arguments.all {
        Some(folder) => submission::find_all(folder, arguments)?,
        None => vec![submission::of_command(one_stage(arguments)?, arguments)?],
    };
    Ok((selection, submissions))
}

fn one_stage(arguments: &Arguments) -> Result<Stage> {
    match arguments.stage {
        _ if arguments.program.is_empty() => {
            bail!("no program to grade: cargo grade --stage 4 -- ./tcp_server")
        }
        Some(stage) => Ok(stage),
        None => bail!("whose checks? Say the stage: --stage 4 (1 to 5, or phase1)"),
    }
}

fn fail(status: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("grade: {error:#}");
    ExitCode::from(status)
}

fn list(selection: &Selection) -> ExitCode {
    report::print(&mut std::io::stdout(), &report::list::checks(selection));
    ExitCode::SUCCESS
}

fn grade(
    arguments: &Arguments,
    selection: &Selection,
    submissions: Vec<Submission>,
) -> Result<ExitCode> {
    let reports = Reports::open(arguments)?;
    // Ctrl-C lets the work end in order: what runs is ended, what was made is removed.
    interrupt::catch(|| {}).context("cannot wait for SIGINT")?;
    let workplace = Workplace::open(arguments)?;
    let queue = Queue {
        arguments,
        selection,
        workplace: &workplace,
        reports: &reports,
    };
    let all = queue.work_through(submissions);
    workplace.close();
    let all = all?;
    reports.finish(&all)?;
    if interrupt::is_interrupted() {
        eprintln!("grade: interrupted: {}", queue::what_is_kept(arguments));
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(status(&all, selection))
}

/// 0: all that counts has passed. What was asked for by name counts, else tier `core`.
fn status(all: &[Graded], selection: &Selection) -> ExitCode {
    let by_name = selection.is_by_name();
    let results = || all.iter().flat_map(|graded| &graded.checks);
    if results().any(|result| result.status == result::Status::NotCarriedOut) {
        return ExitCode::from(GRADER);
    }
    let counts = |result: &&result::CheckResult| by_name || result.is_core();
    let failed = results().filter(counts).any(|result| result.has_failed());
    ExitCode::from(u8::from(failed))
}
