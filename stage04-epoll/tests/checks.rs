//! What stage 4 must do, one test a check: see `harness/src/checks/stage04/`.

use std::process::ExitCode;

use harness::program::Program;
use harness::stage::Stage;

fn main() -> ExitCode {
    let server = Program::announced(env!("CARGO_BIN_EXE_stage04-epoll"));
    harness::suite::test_stage(Stage::Stage04, server)
}
