//! `cargo learn`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness_learn::main()
}
