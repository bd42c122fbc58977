//! Runs a check against a program, and tells why it failed.

use std::thread;
use std::time::{Duration, Instant};

use crate::check::Check;
use crate::failure::{Failure, Outcome};
use crate::patience::LOOK;
use crate::process::{Process, ended};
use crate::program::Program;
use crate::trial::Trial;

/// Set this to read the steps of checks that pass, with what they have measured.
pub const SHOW_STEPS: &str = "EXPSERVER_SHOW_STEPS";

/// What a failed check has to say: the failure, and the story up to it.
pub struct Report {
    pub failure: Failure,
    pub story: String,
}

/// Runs `check` against `program`.
pub fn run(check: &Check, program: &Program) -> Result<(), Report> {
    let trial = Trial::new(check.stage, check.timeout, program).map_err(|failure| Report {
        failure,
        story: String::new(),
    })?;
    let verdict = (check.body)(&trial);
    let crash = match &verdict {
        Ok(()) => crash(&trial),
        Err(failure) => crash_behind(&trial, failure),
    };
    let failure = match (verdict, crash) {
        (Ok(()), None) => {
            if std::env::var_os(SHOW_STEPS).is_some() {
                println!("{}:\n{}", check.id(), trial.trace());
            }
            return Ok(());
        }
        (Ok(()), Some(crash)) => crash,
        (Err(failure), None) => failure,
        (Err(failure), Some(crash)) if failure.outcome == crash.outcome => failure,
        (Err(failure), Some(crash)) => {
            let what = format!("{}; seen from outside: {failure}", crash.what);
            Failure { what, ..crash }
        }
    };
    let story = format!("steps:\n{}{}", trial.trace(), logs(&trial));
    Err(Report { failure, story })
}

/// A program that crashed is the reason for whatever was seen after it.
fn crash(trial: &Trial) -> Option<Failure> {
    trial
        .processes()
        .iter()
        .find_map(|process| crash_of(process).or_else(|| panic_of(process)))
}

/// The sockets of a program that crashes are closed a moment before it has ended:
/// then what was seen of them waits for its reason.
fn crash_behind(trial: &Trial, failure: &Failure) -> Option<Failure> {
    let may_be_a_crash = matches!(
        failure.outcome,
        Outcome::Reset | Outcome::ShortData | Outcome::Behaviour
    );
    let moment = if may_be_a_crash { 300 } else { 0 };
    let deadline = Instant::now() + Duration::from_millis(moment);
    loop {
        let crash = crash(trial);
        if crash.is_some() || Instant::now() >= deadline {
            return crash.or_else(|| end_behind(trial, failure));
        }
        thread::sleep(LOOK);
    }
}

/// A connection that broke off because the program has ended in its own way.
fn end_behind(trial: &Trial, failure: &Failure) -> Option<Failure> {
    if !matches!(failure.outcome, Outcome::Reset | Outcome::ShortData) {
        return None;
    }
    trial
        .processes()
        .iter()
        .find_map(|process| Some(ended(&process.name, process.status()?)))
}

/// The last lines of every program's log, for a failure.
fn logs(trial: &Trial) -> String {
    let mut text = String::new();
    for process in trial.processes() {
        if process.status().is_some() {
            process.wait(Instant::now()); // for its last words
        }
        let log = process.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(8)..];
        let state = match process.status() {
            Some(status) => ended(&process.name, status).outcome.to_string(),
            None => "running".to_owned(),
        };
        if last.is_empty() {
            text += &format!("`{}` ({state}) has logged nothing\n", process.name);
            continue;
        }
        text += &format!("last log lines of `{}` ({state}):\n", process.name);
        last.iter()
            .for_each(|line| text += &format!("    {line}\n"));
    }
    text
}

fn crash_of(process: &Process) -> Option<Failure> {
    let failure = ended(&process.name, process.status()?);
    let crashed = match &failure.outcome {
        Outcome::Exited(101) => true,
        Outcome::Killed(signal) => !matches!(signal.as_str(), "SIGTERM" | "SIGINT" | "SIGKILL"),
        _ => false,
    };
    crashed.then_some(failure)
}

/// A thread that panics ends alone: the program lives on, with one thread less.
fn panic_of(process: &Process) -> Option<Failure> {
    let is_panic = |line: &str| line.starts_with("thread '") && line.contains(" panicked at ");
    let panicked = process.log().lines().any(is_panic);
    let what = || format!("a thread of `{}` has panicked", process.name);
    panicked.then(|| Failure::behaviour(what()))
}
