//! Runs a check against a program, and explains why it failed.

use std::thread;
use std::time::{Duration, Instant};

use crate::check::Check;
use crate::excerpt::excerpt;
use crate::failure::{Failure, Outcome};
use crate::limits;
use crate::patience::LOOK;
use crate::process::{Process, ended};
use crate::program::Program;
use crate::trial::Trial;

/// Set this variable to print the steps of checks that pass, with what they measured.
pub const SHOW_STEPS: &str = "EXPSERVER_SHOW_STEPS";

/// What a failed check reports: the failure, the steps up to it, and what was printed.
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
    let room = trial.reserve_sockets(check.sockets(program.full_size));
    let verdict = room.and_then(|_room| (check.body)(&trial));
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
            let what = format!("{}; the check saw: {failure}", crash.what);
            Failure { what, ..crash }
        }
    };
    let (steps, limits) = (trial.trace(), limits::met(&trial.limits(), &failure));
    let story = format!("steps:\n{steps}{limits}{}", logs(&trial));
    Err(Report { failure, story })
}

/// If a program has crashed, the crash explains what the check saw.
fn crash(trial: &Trial) -> Option<Failure> {
    trial
        .processes()
        .iter()
        .find_map(|process| crash_of(process).or_else(|| panic_of(process)))
}

/// The kernel closes the sockets of a crashing program a moment before the program has ended.
/// So a failure that a crash may have caused waits a moment for it.
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

/// The end of a program that did not crash, if it explains why a connection broke off.
fn end_behind(trial: &Trial, failure: &Failure) -> Option<Failure> {
    if !matches!(failure.outcome, Outcome::Reset | Outcome::ShortData) {
        return None;
    }
    trial
        .processes()
        .iter()
        .find_map(|process| Some(ended(&process.name, process.status()?)))
}

/// What every program has printed, for a failure.
fn logs(trial: &Trial) -> String {
    let mut text = String::new();
    for process in trial.processes() {
        if process.status().is_some() {
            process.wait(Instant::now()); // for the last of its output
        }
        let mut printed = ("stderr", excerpt(&process.stderr()));
        if printed.1.is_empty() {
            printed = ("stdout", excerpt(&process.stdout()));
        }
        let state = match process.status() {
            Some(status) => ended(&process.name, status).outcome.to_string(),
            None => "running".to_owned(),
        };
        let name = &process.name;
        match printed {
            (_, lines) if lines.is_empty() => {
                text += &format!("`{name}` ({state}) has printed nothing to stderr\n");
            }
            (stream, lines) => {
                text += &format!("`{name}` ({state}) has printed to {stream}:\n");
                lines
                    .iter()
                    .for_each(|line| text += &format!("    {line}\n"));
            }
        }
    }
    text
}

/// How a runtime begins its last words, when it ends a program with exit status 1: Python, Java,
/// node, and the sanitizers of C.
const LAST_WORDS: [&str; 4] = [
    "Traceback (most recent call last)",
    "Exception in thread \"main\"",
    "Node.js v",
    "SUMMARY: AddressSanitizer",
];

fn crash_of(process: &Process) -> Option<Failure> {
    let failure = ended(&process.name, process.status()?);
    let crashed = match &failure.outcome {
        Outcome::Exited(101) => true,
        Outcome::Exited(1) => {
            process.wait(Instant::now()); // for the last of its output
            let is_last_word = |line: &str| LAST_WORDS.iter().any(|word| line.starts_with(word));
            if process.log().lines().any(is_last_word) {
                let what = format!("{}, by an exception that it does not handle", failure.what);
                return Some(Failure { what, ..failure });
            }
            false
        }
        Outcome::Killed(signal) => !matches!(signal.as_str(), "SIGTERM" | "SIGINT" | "SIGKILL"),
        _ => false,
    };
    crashed.then_some(failure)
}

/// A panic ends only its thread: the program goes on with one thread less.
fn panic_of(process: &Process) -> Option<Failure> {
    let is_panic = |line: &str| line.starts_with("thread '") && line.contains(" panicked at ");
    let panicked = process.log().lines().any(is_panic);
    let what = || format!("a thread of `{}` has panicked", process.name);
    panicked.then(|| Failure::behaviour(what()))
}
