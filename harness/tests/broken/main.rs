//! Every check must be able to fail. Here are small programs, each broken in one way, and for
//! every check a program that it has to catch.
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
use harness::host::{raise_descriptor_limit, take_usual_umask};
use harness::patience::set_patience;
use harness::program::Program;
use harness::run::run;
use harness::stage::Stage;
use harness::{checks, own_network, suite};
use libtest_mimic::{Arguments, Failed, Trial as Test};

/// Set this variable to see what each failed check prints for a student.
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
    take_usual_umask();
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
    tests.extend(cases().flat_map(followers));
    tests.extend(event_loop_checks().map(control));
    tests.extend(reliability::tests(cases().collect()));
    tests.push(Test::test(
        "every check catches a broken program",
        move || {
            let unproven = checks::all().filter(|check| !cases().any(|case| proves(case, check)));
            let unproven: Vec<String> = unproven.map(Check::id).collect();
            if unproven.is_empty() {
                Ok(())
            } else {
                Err(format!("these catch none: {unproven:?}").into())
            }
        },
    ));
    let mut arguments = Arguments::from_args();
    // Most of the time a check waits for something that a broken program never does.
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

/// Whether the case belongs to this check, or to a check with the same function, from which
/// this one was taken over.
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
    suite::test_with(missing, name, body)
}

/// A check that follows from another one must fail every program that the other one fails.
/// Otherwise a program would lose points for what it does right.
fn followers(case: &'static Case) -> Vec<Test> {
    let base = checks::find(case.check);
    let follows = |check: &&Check| base.is_some_and(|base| checks::follows(check, base));
    let test = |check: &'static Check| {
        let name = format!(
            "{} follows from {}: {}",
            check.id(),
            case.check,
            case.broken
        );
        let missing = program(case.broken).map(|program| suite::missing(check, &program));
        let ignored = missing.is_ok_and(|missing| missing.is_some());
        let body = move || catch(Some(check), case.broken);
        Test::test(name, body).with_ignored_flag(ignored)
    };
    checks::all().filter(follows).map(test).collect()
}

/// The checks of stage 4 that broken event loops fail, each once.
fn event_loop_checks() -> impl Iterator<Item = &'static Check> {
    let fails = |check: &&Check| {
        event_loop::CASES
            .iter()
            .any(|case| case.check == check.id())
    };
    checks::of(Stage::Stage04).filter(fails)
}

/// A broken event loop must fail only because of its fault: without it, the check passes.
fn control(check: &'static Check) -> Test {
    let sound = event_loop::NOT_BROKEN;
    let name = format!("{} passes {sound}", check.id());
    let missing = program(sound).map(|program| suite::missing(check, &program));
    let again = name.clone();
    let body = move || {
        let program = program(sound)?;
        if own_network::is_needed(check, &program) {
            return own_network::run_again(&again);
        }
        run(check, &program).map_err(|report| suite::explain(check, &report).into())
    };
    suite::test_with(missing.ok().flatten(), name, body)
}

fn program(broken: &str) -> Result<Program, Failed> {
    let this = std::env::current_exe()?;
    let mut program = Program::announced(&this).argument("serve").argument(broken);
    program.full_size = false; // the short form finds the faults too
    // The stage's other programs are this binary too. The name decides how each is broken.
    let command = program.command.clone();
    let companions = ["multi-client", "udp-client", "file-server", "file-client"];
    Ok(companions.iter().fold(program, |program, name| {
        program.companion_command(name, command.clone())
    }))
}

/// Some faults show only when one thread happens to run before another. One failure in a few
/// runs is enough to prove that the check can fail.
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
    let text = suite::explain(check, &report);
    if std::env::var_os(SHOW).is_some() {
        println!("=== {broken}\n{text}");
    }
    match text.split_whitespace().find(|word| is_for_machines(word)) {
        None => Ok(()),
        Some(word) => Err(format!("`{word}` is not for people:\n{text}").into()),
    }
}

/// A time as the compiler prints it (`768.362436ms`), or a number that stands for "no limit".
fn is_for_machines(word: &str) -> bool {
    let word = word.trim_matches(|it: char| !it.is_alphanumeric());
    let number = word.trim_end_matches(char::is_alphabetic);
    let unit = word.strip_prefix(number).unwrap_or_default();
    let is_number = number.parse::<f64>().is_ok();
    is_number && (matches!(unit, "s" | "ms" | "µs" | "ns") || number == u64::MAX.to_string())
}
