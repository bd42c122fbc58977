//! What stage 2 must do. Each check is one test: see `harness/src/checks/stage02/`.

use std::process::ExitCode;

use harness::program::Program;
use harness::stage::Stage;

fn main() -> ExitCode {
    let client = Program::announced(env!("CARGO_BIN_EXE_stage02-tcp-client"))
        .companion("multi-client", env!("CARGO_BIN_EXE_multi-client"));
    harness::suite::test_stage(Stage::Stage02, client)
}
