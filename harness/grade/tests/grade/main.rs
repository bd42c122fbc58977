//! `cargo grade` from outside, with all its reports and errors. It grades small C programs
//! in the classic style: sound, broken and hostile ones.
#![allow(clippy::unwrap_used)] // a test

mod class;
mod classic;
mod classroom;
mod foreign;
mod hostile;
mod ranking;
mod refused;
mod reports;
mod results;
mod room;
mod silent;
mod submissions;
mod surroundings;
mod texts;
mod trouble;
mod usage;

use std::process::ExitCode;

use harness::host::find_tool;
use libtest_mimic::{Arguments, Trial};

/// A test that runs programs with fixed ports, and the tools that it needs.
pub fn test(name: &str, tools: &[&str], body: impl FnOnce() + Send + 'static) -> Trial {
    let tool = tools.iter().find(|tool| find_tool(tool).is_none());
    let missing = tool
        .copied()
        .or_else(|| (!room::isolates()).then_some("namespaces"));
    let name = match missing {
        Some(missing) => format!("{name} (needs {missing})"),
        None => name.to_owned(),
    };
    plain(&name, body).with_ignored_flag(missing.is_some())
}

/// A test that runs no program.
pub fn plain(name: &str, body: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        body();
        Ok(())
    })
}

fn main() -> ExitCode {
    let rooms = [
        classic::tests(),
        classroom::tests(),
        class::tests(),
        foreign::tests(),
        hostile::tests(),
        ranking::tests(),
        refused::tests(),
        reports::tests(),
        results::tests(),
        silent::tests(),
        submissions::tests(),
        trouble::tests(),
        surroundings::tests(),
        texts::tests(),
        usage::tests(),
    ];
    harness::host::take_usual_umask();
    let mut arguments = Arguments::from_args();
    // Most of the time a check waits for something that a broken program never does.
    arguments.test_threads.get_or_insert(4);
    let tests = rooms.into_iter().flatten().collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}
