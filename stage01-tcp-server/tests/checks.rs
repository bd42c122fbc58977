//! What stage 1 must do. Each check is one test: see `harness/src/checks/stage01.rs`.

use std::process::ExitCode;

use harness::program::Program;
use harness::stage::Stage;

fn main() -> ExitCode {
    let server = Program::announced(env!("CARGO_BIN_EXE_stage01-tcp-server"));
    harness::suite::test_stage(Stage::Stage01, server)
}
