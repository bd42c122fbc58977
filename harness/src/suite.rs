//! Checks as tests: each stage's `tests/checks.rs` runs its stage's checks against
//! its own binary, with one test for each check.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial as Test};
use nix::unistd::Uid;

use crate::check::{Check, Need};
use crate::checks;
use crate::foreign;
use crate::host::{
    can_trace, descriptor_limit, find_tool, raise_descriptor_limit, take_usual_umask,
};
use crate::own_network;
use crate::patience::set_patience;
use crate::program::{Ports, Program};
use crate::run::{Report, run};
use crate::stage::Stage;
use crate::trial::most_sockets;

/// What a check may need that does not reserve any: two for each of 200 sockets, and some more.
const DESCRIPTORS_PER_CHECK: usize = 500;

/// Runs the checks of `stage` against `program` as a test binary's `main`.
pub fn test_stage(stage: Stage, program: Program) -> ExitCode {
    raise_descriptor_limit();
    take_usual_umask();
    // These programs are known to work, but a virtual machine may stand still for many seconds.
    set_patience(Duration::from_secs(30));
    let program = Arc::new(program);
    let tests = checks::of(stage).map(|check| {
        let program = Arc::clone(&program);
        let missing = missing(check, &program);
        test_with(missing, check.id(), move || run_as_test(check, &program))
    });
    let mut arguments = Arguments::from_args();
    // A check mostly waits, so two of them can share a CPU.
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let most = (descriptor_limit() / DESCRIPTORS_PER_CHECK).max(1);
    arguments.test_threads.get_or_insert(most.min(2 * cpus));
    libtest_mimic::run(&arguments, tests.collect()).exit_code()
}

/// A test. If something is missing, it is ignored, and its name says why.
pub fn test_with(
    missing: Option<Need>,
    name: String,
    body: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Test {
    match missing {
        Some(need) => Test::test(format!("{name} (needs {need})"), body).with_ignored_flag(true),
        None => Test::test(name, body),
    }
}

fn run_as_test(check: &Check, program: &Program) -> Result<(), Failed> {
    if own_network::is_needed(check, program) {
        return own_network::run_again(&check.id());
    }
    run(check, program).map_err(|report| explain(check, &report).into())
}

/// A failed check, explained as a tutor would do it.
pub fn explain(check: &Check, report: &Report) -> String {
    let hints: Vec<String> = report
        .hints
        .iter()
        .map(|hint| format!("hint: {hint}\n"))
        .collect();
    foreign::text(format!(
        "{}\n{}\n\nwhy it matters: {}\n{}{}read: {}\n",
        check.title,
        report.failure,
        check.why,
        report.story,
        hints.concat(),
        check.chapter
    ))
}

/// The first need of the check that is missing here.
pub fn missing(check: &Check, program: &Program) -> Option<Need> {
    let here = |need: &Need| match need {
        Need::Tool(name) => find_tool(name).is_some(),
        Need::Companion(name) => program.find_companion(name).is_some(),
        Need::Option(_) => program.ports == Ports::Announced,
        Need::Strace => can_trace(),
        Need::Sockets { .. } => check.sockets(program.full_size) <= most_sockets(),
        Need::Ipv6 => std::net::TcpListener::bind("[::1]:0").is_ok(),
        Need::Root => Uid::effective().is_root(),
        // The grader makes sure that the ports of a program with fixed ports are free.
        Need::OwnNetwork => program.ports == Ports::Fixed || own_network::is_possible(),
        Need::NetworkSettings => own_network::can_be_set(),
    };
    check.needs.iter().copied().find(|need| !here(need))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn a_failure_cannot_steer_the_terminal() {
        let report = Report {
            failure: Failure::behaviour("it is called \u{1b}[2J"),
            story: "logged:\n\u{9b}2J\u{202e}\n::error::forged\n".to_owned(),
            hints: Vec::new(),
        };
        let check = checks::of(Stage::Stage04).next().unwrap();
        let text = explain(check, &report);
        assert!(text.contains("\\u{1b}[2J") && text.contains("\\u{9b}2J\\u{202e}\n:\\x3a"));
        assert!(
            !text.chars().any(|it| it.is_control() && it != '\n'),
            "{text}"
        );
    }
}
