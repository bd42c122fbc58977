//! Runs a check against a program, and explains why it failed.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::check::Check;
use crate::excerpt::excerpt;
use crate::failure::{Failure, Outcome};
use crate::hint;
use crate::limits;
use crate::patience::LOOK;
use crate::process::{Process, ended};
use crate::program::Program;
use crate::stage::Stage;
use crate::trial::Trial;

/// Set this variable to print the steps of checks that pass, with what they measured.
pub const SHOW_STEPS: &str = "EXPSERVER_SHOW_STEPS";

/// What a failed check reports: the failure, the steps up to it, what was printed, and what to
/// look at.
pub struct Report {
    pub failure: Failure,
    pub story: String,
    pub hints: Vec<String>,
}

/// For how long after a failure a crash still counts as its cause. The kernel closes the sockets
/// of a crashing program a moment before the program has ended.
const MOMENT: Duration = Duration::from_millis(300);

/// Runs `check` against `program`.
pub fn run(check: &Check, program: &Program) -> Result<(), Report> {
    let trial = Trial::new(check.stage, check.timeout, program).map_err(|failure| Report {
        failure,
        story: String::new(),
        hints: Vec::new(),
    })?;
    let room = trial.reserve_sockets(check.sockets(program.full_size));
    let verdict = room.and_then(|_room| (check.body)(&trial));
    let failure = match verdict {
        Err(failure) => with_its_cause(&trial, failure),
        Ok(()) => match crashes(&trial).find(|crash| !crash.by_a_write) {
            Some(crash) => crash.end,
            None => {
                if std::env::var_os(SHOW_STEPS).is_some() {
                    println!("{}:\n{}", check.id(), trial.trace());
                }
                return Ok(());
            }
        },
    };
    let (steps, limits) = (trial.trace(), limits::met(&trial.limits(), &failure));
    Err(Report {
        story: format!("steps:\n{steps}{limits}{}", printed(&trial)),
        hints: hints(check, &trial, &failure),
        failure,
    })
}

/// The end of a program, or of one of its threads, that a fault has caused.
struct Crash {
    end: Failure,
    /// When, if that is known.
    at: Option<Instant>,
    /// It wrote to a connection that was closed. When a check is over, all its connections are.
    by_a_write: bool,
}

fn crashes(trial: &Trial) -> impl Iterator<Item = Crash> {
    let processes = trial.processes().into_iter();
    processes.filter_map(|process| crash_of(&process).or_else(|| panic_of(&process)))
}

/// How a runtime begins its last words, when it ends a program with exit status 1: Python, Java,
/// node, and the sanitizers of C.
const LAST_WORDS: [&str; 4] = [
    "Traceback (most recent call last)",
    "Exception in thread \"main\"",
    "Node.js v",
    "SUMMARY: AddressSanitizer",
];

fn crash_of(process: &Process) -> Option<Crash> {
    let mut end = ended(&process.name, process.ended_by_itself()?);
    let crashed = match &end.outcome {
        Outcome::Exited(1) => {
            process.wait(Instant::now()); // for the last of its output
            let is_last_word = |line: &str| LAST_WORDS.iter().any(|word| line.starts_with(word));
            let excepted = process.log().lines().any(is_last_word);
            if excepted {
                end.what += ", by an exception that it does not handle";
            }
            excepted
        }
        Outcome::Exited(status) => *status == 101,
        outcome => outcome.is_crash(),
    };
    crashed.then(|| Crash {
        at: process.ended_at(),
        by_a_write: end.outcome == Outcome::Killed("SIGPIPE".to_owned()),
        end,
    })
}

/// A panic ends only its thread: the program goes on with one thread less.
fn panic_of(process: &Process) -> Option<Crash> {
    let log = process.log();
    let mut lines = log.lines();
    lines.find(|line| line.starts_with("thread '") && line.contains(" panicked at "))?;
    let message = lines.next().unwrap_or_default();
    let by_a_write = message.contains("BrokenPipe") || message.contains("Broken pipe");
    let what = format!("a thread of `{}` has panicked", process.name);
    Some(Crash {
        end: Failure::behaviour(what),
        // Nobody has noted when. What the check saw comes first if its end can be the reason.
        at: by_a_write.then(Instant::now),
        by_a_write,
    })
}

/// Puts a cause before its effect: what a check saw may come of a crash, or of an orderly end.
/// What came later is told after it.
fn with_its_cause(trial: &Trial, failure: Failure) -> Failure {
    let broke_off = matches!(failure.outcome, Outcome::Reset | Outcome::ShortData);
    let moment = match failure.outcome {
        Outcome::Reset | Outcome::ShortData | Outcome::Behaviour => MOMENT,
        _ => Duration::ZERO,
    };
    let Some(crash) = crash_within(trial, moment) else {
        let end = broke_off.then(|| end_behind(trial, &failure)).flatten();
        return match end {
            Some(end) => behind(end, &failure),
            None => failure,
        };
    };
    let at_once = crash.by_a_write && !broke_off;
    let moment = if at_once { Duration::ZERO } else { moment };
    let came_later = crash.at.is_some_and(|at| at > failure.at + moment);
    if crash.end.outcome == failure.outcome {
        return failure;
    }
    match came_later {
        true => {
            let what = format!("{}; after that, {}", failure.what, crash.end.outcome);
            let hint = failure.hint.or(hint::by_outcome(&crash.end.outcome));
            Failure {
                what,
                hint,
                ..failure
            }
        }
        false => behind(crash.end, &failure),
    }
}

fn behind(cause: Failure, failure: &Failure) -> Failure {
    let what = format!("{}; the check saw: {failure}", cause.what);
    Failure { what, ..cause }
}

fn crash_within(trial: &Trial, moment: Duration) -> Option<Crash> {
    let deadline = Instant::now() + moment;
    loop {
        let crash = crashes(trial).next();
        if crash.is_some() || Instant::now() >= deadline {
            return crash;
        }
        thread::sleep(LOOK);
    }
}

/// The end of a program that did not crash, if it explains why a connection broke off.
fn end_behind(trial: &Trial, failure: &Failure) -> Option<Failure> {
    let is_the_cause = |process: &Process| {
        let status = process.ended_by_itself()?;
        // A server of stage 1 ends with this status when its client has gone.
        let is_usual = trial.stage() == Stage::Stage01 && status.code() == Some(1);
        let came_later = process
            .ended_at()
            .is_some_and(|at| at > failure.at + MOMENT);
        (!is_usual && !came_later).then(|| ended(&process.name, status))
    };
    trial.processes().iter().find_map(|it| is_the_cause(it))
}

/// What to look at, the most telling first.
fn hints(check: &Check, trial: &Trial, failure: &Failure) -> Vec<String> {
    if failure.outcome == Outcome::Grader {
        return Vec::new(); // it is not the program's fault
    }
    let processes = trial.processes();
    let of_it = failure.hint.or(hint::by_outcome(&failure.outcome));
    let mut hints: Vec<String> = of_it.into_iter().map(str::to_owned).collect();
    let by_log = |it: &Arc<Process>| hint::by_log(&it.log());
    hints.extend(processes.iter().find_map(by_log).map(str::to_owned));
    let zombies: usize = processes.iter().map(|it| it.zombies()).sum();
    if zombies > 0 {
        hints.push(format!(
            "{zombies} child processes have ended and were not waited for (zombies): call `waitpid`"
        ));
    }
    // The check's own hint is about what was asked of a program that was ready for it.
    let was_ready =
        failure.outcome != Outcome::NotStarted && failure.hint != Some(hint::ENDED_EARLY);
    if was_ready || hints.is_empty() {
        hints.push(check.hint.to_owned());
    }
    hints
}

/// What every program has printed, for a failure.
fn printed(trial: &Trial) -> String {
    let mut text = String::new();
    for process in trial.processes() {
        if process.status().is_some() {
            process.wait(Instant::now()); // for the last of its output
        }
        let mut shown = ("stderr", excerpt(&process.stderr()));
        if shown.1.is_empty() {
            shown = ("stdout", excerpt(&process.stdout()));
        }
        let state = match process.status() {
            Some(status) if process.ended_by_itself().is_some() => {
                ended(&process.name, status).outcome.to_string()
            }
            Some(_) => "ended by the check".to_owned(),
            None => "running".to_owned(),
        };
        let name = &process.name;
        match shown {
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
