//! What phase 1 must do. One test per check: see `harness/src/checks/phase1/`.

use std::process::ExitCode;

use harness::program::Program;
use harness::stage::Stage;

fn main() -> ExitCode {
    let server = Program::announced(env!("CARGO_BIN_EXE_phase1-expserver"));
    harness::suite::test_stage(Stage::Phase1, server)
}
