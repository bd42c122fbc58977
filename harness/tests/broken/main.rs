//! Every check must be able to fail. Here stand small programs, each broken in one
//! way, and for every check the one that it has to catch.
//!
//! This test binary is also the broken program: `broken serve NAME --port 0`.
#![allow(clippy::unwrap_used)] // a broken program may panic: it is caught too

mod client;
mod event_loop;
mod files;
mod lines;
mod modular;
mod program;
mod proxy;
mod proxy_loop;
mod reliability;
mod udp;

use std::process::ExitCode;
use std::ptr::fn_addr_eq;
use std::time::Duration;

use harness::check::Check;
use harness::failure::Outcome;
use harness::host::raise_descriptor_limit;
use harness::patience::set_patience;
use harness::program::Program;
use harness::run::run;
use harness::stage::Stage;
use harness::{checks, own_network, suite};
use libtest_mimic::{Arguments, Failed, Trial as Test};

/// Set this to read what each failed check tells a student.
const SHOW: &str = "EXPSERVER_SHOW_FAILURES";

/// A check, and a program that it must fail.
struct Case {
    check: &'static str,
    broken: &'static str,
}

const fn case(check: &'static str, broken: &'static str) -> Case {
    Case { check, broken }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, name, options @ ..] = arguments.as_slice()
        && command == "serve"
    {
        return serve(name, options);
    }
    raise_descriptor_limit();
    set_patience(Duration::from_secs(5));
    let cases = || {
        [
            lines::CASES,
            event_loop::CASES,
            program::CASES,
            client::CASES,
            udp::CASES,
            proxy::CASES,
            modular::CASES,
            files::CASES,
        ]
        .into_iter()
        .flatten()
    };
    let mut tests: Vec<Test> = cases().map(test).collect();
    tests.extend(event_loop_checks().map(control));
    tests.extend(reliability::tests(cases().collect()));
    tests.push(Test::test(
        "every check fails some broken program",
        move || {
            let unproven = checks::all().filter(|check| !cases().any(|case| proves(case, check)));
            let unproven: Vec<String> = unproven.map(Check::id).collect();
            if unproven.is_empty() {
                Ok(())
            } else {
                Err(format!("none fails {unproven:?}").into())
            }
        },
    ));
    let mut arguments = Arguments::from_args();
    // Most of the time a check waits for what a broken program does not do.
    arguments.test_threads.get_or_insert(8);
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Becomes the broken program `name`.
fn serve(name: &str, options: &[String]) -> ExitCode {
    let found = lines::serve(name, options)
        || event_loop::serve(name, options)
        || program::serve(name, options)
        || client::run(name, options)
        || udp::serve(name, options)
        || proxy::serve(name, options)
        || modular::serve(name, options)
        || files::run(name, options);
    if !found {
        eprintln!("there is no broken program `{name}`");
    }
    ExitCode::FAILURE
}

/// Whether the case is one of this check, or of the one that it was taken over from:
/// that is the same function.
fn proves(case: &Case, check: &Check) -> bool {
    let its_own = checks::find(case.check);
    its_own.is_some_and(|other| fn_addr_eq(other.body, check.body))
}

fn test(case: &'static Case) -> Test {
    let check = checks::find(case.check);
    let name = format!("{} catches {}", case.check, case.broken);
    let missing = check.and_then(|check| suite::missing(check, &program(case.broken).ok()?));
    let again = name.clone();
    let body = move || match (check, program(case.broken)?) {
        (Some(check), program) if own_network::is_needed(check, &program) => {
            own_network::run_again(&again)
        }
        (check, _) => catch(check, case.broken),
    };
    Test::test(name, body).with_ignored_flag(missing.is_some())
}

/// The checks of stage 4 that the broken event loops fail, each once.
fn event_loop_checks() -> impl Iterator<Item = &'static Check> {
    let fails = |check: &&Check| {
        event_loop::CASES
            .iter()
            .any(|case| case.check == check.id())
    };
    checks::of(Stage::Stage04).filter(fails)
}

/// A broken event loop fails for its fault alone: without it, it passes.
fn control(check: &'static Check) -> Test {
    let sound = event_loop::NOT_BROKEN;
    Test::test(format!("{} passes {sound}", check.id()), move || {
        run(check, &program(sound)?).map_err(|report| suite::explain(check, &report).into())
    })
}

fn program(broken: &str) -> Result<Program, Failed> {
    let this = std::env::current_exe()?;
    let mut program = Program::announced(&this).argument("serve").argument(broken);
    program.full_size = false; // what is broken shows in the short form too
    // A stage's other binaries are broken in their own ways, by name.
    let command = program.command.clone();
    let companions = ["multi-client", "udp-client", "file-server", "file-client"];
    Ok(companions.iter().fold(program, |program, name| {
        program.companion_command(name, command.clone())
    }))
}

/// Some faults show only when one thread comes before another: a check that catches
/// them in one of a few runs can fail, and that is the question here.
const RUNS: usize = 3;

fn catch(check: Option<&Check>, broken: &str) -> Result<(), Failed> {
    let check = check.ok_or("there is no such check")?;
    let program = program(broken)?;
    let mut seen = String::from("the check passed");
    let caught = (0..RUNS).find_map(|_| {
        let report = run(check, &program).err()?;
        if matches!(
            report.failure.outcome,
            Outcome::Grader | Outcome::NotStarted
        ) {
            seen = format!("the check could not be carried out: {}", report.failure);
            return None;
        }
        Some(report)
    });
    let Some(report) = caught else {
        return Err(format!("{seen} ({RUNS} runs)").into());
    };
    if std::env::var_os(SHOW).is_some() {
        println!("=== {broken}\n{}", suite::explain(check, &report));
    }
    Ok(())
}
