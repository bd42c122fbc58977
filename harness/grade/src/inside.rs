//! The work of a process that was started for one task: a build, or a check.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use harness::data::show;
use harness::failure::{Failure, Outcome, Verdict};
use harness::foreign;
use harness::host::{raise_descriptor_limit, take_usual_umask, tasks_of_this_user};
use harness::patience::set_patience;
use harness::process::{Process, Setup};
use harness::run::run;
use harness::{checks, suite};
use nix::sys::resource::Resource;

use crate::order::{Allowed, Answer, Failed, Order, Subject, Task};

pub fn carry_out(order: &Order) -> Answer {
    raise_descriptor_limit();
    take_usual_umask();
    set_patience(Duration::from_secs(order.allowed.patience));
    match &order.task {
        Task::Probe => Answer::Done,
        Task::Build {
            folder,
            command,
            seconds,
        } => build(folder, command, *seconds, &order.allowed)
            .unwrap_or_else(|failure| Answer::Trouble(failure.to_string())),
        Task::Check { id, subject } => check(id, subject, order),
    }
}

fn build(folder: &Path, command: &str, seconds: u64, allowed: &Allowed) -> Verdict<Answer> {
    let setup = Setup {
        directory: folder.to_owned(),
        limits: limits(allowed),
        ..Setup::default()
    };
    let shell = Process::start(&["sh", "-c", command], setup, |_| true)?;
    let end = watch(&shell, folder, Duration::from_secs(seconds));
    let why = match end {
        BuildEnd::Status(status) if status.success() => return Ok(Answer::Done),
        BuildEnd::Status(status) => status.to_string(),
        BuildEnd::TooLate => format!("still running after {seconds} s"),
        BuildEnd::TooLarge => "the submission has grown beyond 1 GiB".to_owned(),
    };
    let said = foreign::text([shell.stdout(), shell.stderr()].concat());
    Ok(Answer::BuildFailed(format!("`{command}`:\n{said}({why})")))
}

/// How large a submission may become: a check runs it in a folder in memory of this size.
const ROOM: u64 = 1 << 30;

enum BuildEnd {
    Status(ExitStatus),
    TooLate,
    TooLarge,
}

/// Waits for the end of a build, and looks now and then at how much it has written.
fn watch(shell: &Process, folder: &Path, time: Duration) -> BuildEnd {
    let deadline = Instant::now() + time;
    let mut pause = Duration::from_millis(200);
    loop {
        let status = shell.wait((Instant::now() + pause).min(deadline));
        let begun = Instant::now();
        if size_of(folder) > ROOM {
            return BuildEnd::TooLarge;
        }
        match status {
            Some(status) => return BuildEnd::Status(status),
            None if Instant::now() >= deadline => return BuildEnd::TooLate,
            // A folder with many files is looked at less often.
            None => pause = pause.max(10 * begun.elapsed()),
        }
    }
}

/// How much room all files of a folder take. What cannot be read does not count.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(it) if it.is_dir() => size_of(&entry.path()),
        Ok(it) => it.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

fn check(id: &str, subject: &Subject, order: &Order) -> Answer {
    let Some(check) = checks::find(id) else {
        return Answer::Trouble(format!("there is no check {id}"));
    };
    let mut program = subject.program();
    program.limits = limits(&order.allowed);
    program.guarded = order.isolated.then(|| order.place_of_checks());
    if let Some(need) = suite::missing(check, &program) {
        return Answer::Skipped(need.to_string());
    }
    let Err(report) = run(check, &program) else {
        return Answer::Passed;
    };
    let text = suite::explain(check, &report);
    let silent = is_silence(&report.failure);
    match report.failure.outcome {
        Outcome::Grader => Answer::Trouble(text),
        outcome => Answer::Failed(Failed {
            outcome: outcome.to_string(),
            crashed: outcome.is_crash(),
            silent,
            what: report.failure.what,
            text,
        }),
    }
}

fn is_silence(failure: &Failure) -> bool {
    let nothing = failure.received.as_ref();
    let nothing = nothing.is_none_or(|received| *received == show(&[]));
    failure.outcome == Outcome::NotStarted || failure.outcome == Outcome::Timeout && nothing
}

fn limits(allowed: &Allowed) -> Vec<(Resource, u64, u64)> {
    // At the soft limit the kernel sends SIGXCPU, so the exit status names the reason.
    let cpu = (Resource::RLIMIT_CPU, allowed.cpu_time, allowed.cpu_time + 1);
    let processes = tasks_of_this_user() + allowed.processes;
    let both = |resource, limit| (resource, limit, limit);
    let mut limits = vec![
        cpu,
        both(Resource::RLIMIT_NPROC, processes),
        both(Resource::RLIMIT_FSIZE, allowed.file_size),
        both(Resource::RLIMIT_CORE, 0),
    ];
    limits.extend(
        allowed
            .memory
            .map(|memory| both(Resource::RLIMIT_AS, memory)),
    );
    limits
}
