//! `cargo grade`: the checks of this workspace against any program.

use std::process::ExitCode;

use clap::Parser;
use harness_grade::arguments::Arguments;
use harness_grade::{launcher, run};

fn main() -> ExitCode {
    // This program starts itself again for each task.
    if std::env::args().nth(1).as_deref() == Some(launcher::WORKER) {
        return launcher::main();
    }
    run(&Arguments::parse())
}
