//! Grades any program with the checks of `harness`: `cargo grade`.
//!
//! Each module imports only modules further down.
//!
//! | module         | what it is for                                                      |
//! |----------------|---------------------------------------------------------------------|
//! | [`queue`]      | the work, side by side; what interrupts it                          |
//! | [`work`]       | a submission while it is graded: its copy, its build, its results   |
//! | [`workplace`]  | the temporary folder, and the processes that are started in it      |
//! | [`surroundings`] | what a program finds around it: environment, hidden places       |
//! | [`launcher`]   | such a process: its namespaces, its user, and how it is ended       |
//! | [`inside`]     | the work of such a process: builds a submission, or runs a check    |
//! | [`orphans`]    | the processes that a program leaves behind, without namespaces      |
//! | [`progress`]   | the progress bar                                                    |
//! | [`saved`]      | the file of results, from which `--resume` continues                |
//! | [`report`]     | results for readers: people, JUnit, Gradescope, CI classrooms       |
//! | [`result`]     | the results of the checks, and their points                         |
//! | [`selection`]  | which checks to run: by stage, by tier, by name                     |
//! | [`submission`] | what is graded: one program, or a folder with one for each student  |
//! | [`recipe`]     | what a submission says about itself: `grade.toml`, or file names    |
//! | [`files`]      | the files of a submission: fingerprint, copy, what is left out      |
//! | [`arguments`]  | the command line                                                    |
//! | [`order`]      | the task that a process is given, and its answer                    |
//! | [`view`]       | what a process sees of the machine's files                          |
//! | [`nobody`]     | the user that programs run as where root grades                     |
//!
//! The program under test is not trusted. Each check runs in a process of its own, with its
//! own network, its own process table and its own view of the files. Everything that was
//! started in there ends with that process. Only what it prints at its end counts.

pub mod arguments;
mod files;
mod inside;
pub mod launcher;
mod nobody;
mod order;
mod orphans;
mod progress;
mod queue;
mod recipe;
mod report;
mod result;
mod saved;
mod selection;
mod submission;
mod surroundings;
mod view;
mod work;
mod workplace;

use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use harness::interrupt;
use harness::stage::Stage;

use arguments::Arguments;
use order::Subject;
use progress::Progress;
use queue::Queue;
use report::{Reports, complain};
use result::Graded;
use saved::Saved;
use selection::Selection;
use submission::Submission;
use workplace::Workplace;

/// The command line is wrong, or something that it names does not exist.
const USAGE: u8 = 2;
/// The grader itself, or the machine, has failed.
const GRADER: u8 = 3;
/// What a shell reports for a program that SIGINT has ended.
const INTERRUPTED: u8 = 130;

/// The whole of `cargo grade`.
pub fn run(arguments: &Arguments) -> ExitCode {
    let (selection, submissions) = match read(arguments) {
        Ok(read) => read,
        Err(error) => return fail(USAGE, &error),
    };
    if arguments.list {
        return list(arguments, &selection).unwrap_or_else(|error| fail(GRADER, &error));
    }
    grade(arguments, &selection, submissions).unwrap_or_else(|error| fail(GRADER, &error))
}

/// The checks to run, and the programs to run them on. Every mistake in a command line
/// is found here.
fn read(arguments: &Arguments) -> Result<(Selection, Vec<Submission>)> {
    let selection = Selection::new(arguments)?;
    if arguments.list {
        ensure!(
            arguments.stage.is_some(),
            "--list needs a stage, for example --stage 4 (1 to 5, or phase1)"
        );
        return Ok((selection, Vec::new()));
    }
    ensure!(
        !arguments.resume || arguments.results_file().is_some(),
        "--resume needs saved results: use --all FOLDER or --results FILE"
    );
    for name in &arguments.env {
        ensure!(
            std::env::var_os(name).is_some(),
            "--env {name}: your environment has no such variable; set it first: export {name}=…"
        );
    }
    let submissions = match &arguments.all {
        Some(folder) => {
            let archives = submission::archives(folder).join(", ");
            if !archives.is_empty() {
                complain(format_args!(
                    "note: not unpacked, so not graded: {archives}"
                ));
            }
            submission::find_all(folder, arguments)?
        }
        None => vec![submission::of_command(one_stage(arguments)?, arguments)?],
    };
    Ok((selection, submissions))
}

fn one_stage(arguments: &Arguments) -> Result<Stage> {
    match arguments.stage {
        _ if arguments.program.is_empty() => {
            bail!("no program given; try `cargo grade --stage 4 -- ./tcp_server` or --help")
        }
        Some(stage) => Ok(stage),
        None => bail!("no stage given; choose one, for example --stage 4 (1 to 5, or phase1)"),
    }
}

fn fail(status: u8, error: &anyhow::Error) -> ExitCode {
    complain(format_args!("{error:#}"));
    ExitCode::from(status)
}

/// Lists the checks, with the points that this program can reach on this machine.
fn list(arguments: &Arguments, selection: &Selection) -> Result<ExitCode> {
    let workplace = Workplace::open(arguments)?;
    let subject = Subject {
        workspace_options: arguments.workspace_options,
        ..Subject::default()
    };
    let program = subject.program();
    let parts = report::list::checks(selection, |check| workplace.missing(check, &program));
    workplace.close();
    report::print(&mut std::io::stdout(), &parts)?;
    Ok(ExitCode::SUCCESS)
}

fn grade(
    arguments: &Arguments,
    selection: &Selection,
    submissions: Vec<Submission>,
) -> Result<ExitCode> {
    let reports = Reports::open(arguments)?;
    let saved = Saved::open(arguments.results_file().as_deref(), arguments.resume)?;
    // Ctrl-C lets the work end in order: what runs is ended, what was made is removed.
    interrupt::catch(|| {}).context("cannot wait for SIGINT")?;
    let workplace = Workplace::open(arguments)?;
    let queue = Queue {
        arguments,
        selection,
        workplace: &workplace,
        reports: &reports,
        saved: &saved,
        progress: Progress::hidden(),
    };
    let all = queue.work_through(submissions);
    workplace.close();
    let all = all?;
    reports.finish(&all)?;
    if interrupt::is_interrupted() {
        let kept = queue::what_is_kept(arguments);
        complain(format_args!("interrupted: {kept}"));
        return Ok(ExitCode::from(INTERRUPTED));
    }
    saved.expect_complete()?;
    Ok(status(&all, selection))
}

/// 0 when all checks that count have passed: those that `--only` selects, or else tier `core`.
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
