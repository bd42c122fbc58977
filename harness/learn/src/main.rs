//! `cargo learn`: see the library.

use std::process::ExitCode;

use clap::Parser;
use harness_learn::arguments::Arguments;

fn main() -> ExitCode {
    harness_learn::run(&Arguments::parse())
}
