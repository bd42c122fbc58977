//! What stage 3 must do. Each check is one test: see `harness/src/checks/stage03/`.

use std::process::ExitCode;

use harness::program::Program;
use harness::stage::Stage;

fn main() -> ExitCode {
    let server = Program::announced(env!("CARGO_BIN_EXE_stage03-udp-threads"))
        .companion("udp-client", env!("CARGO_BIN_EXE_udp-client"));
    harness::suite::test_stage(Stage::Stage03, server)
}
