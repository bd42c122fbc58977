//! What stage 5 must do, one test a check: see `harness/src/checks/stage05/`.

use std::process::ExitCode;

use harness::program::Program;
use harness::stage::Stage;

fn main() -> ExitCode {
    let proxy = Program::announced(env!("CARGO_BIN_EXE_stage05-proxy"))
        .companion("file-server", env!("CARGO_BIN_EXE_file-server"))
        .companion("file-client", env!("CARGO_BIN_EXE_file-client"));
    harness::suite::test_stage(Stage::Stage05, proxy)
}
