//! What the checks of the modular server have in common.

use std::time::Duration;

use crate::check::{Check, Need, Tier};
use crate::checks::terminal::await_log;
use crate::failure::Verdict;
use crate::peer::Peer;
use crate::stage::Stage;
use crate::trial::{Server, Trial};

/// What most of these checks have in common.
pub const PHASE1: Check = Check {
    stage: Stage::Phase1,
    role: "",
    name: "roles-side-by-side",
    title: "Each listener serves its own role",
    why: "one server offers many services, and its configuration decides what each port does",
    hint: "keep the role with the listener, and give each accepted client the role of its listener",
    chapter: "docs/src/phase1/architecture.md",
    tier: Tier::Robust,
    timeout: Duration::from_secs(30),
    needs: &[Need::Option("--listen")],
    body: roles_side_by_side,
};

fn roles_side_by_side(trial: &Trial) -> Verdict {
    let server = trial.launch().roles(&["echo", "reverse", "echo"]).start()?;
    let clients: Vec<Peer> = (0..3)
        .map(|listener| server.connect_to(listener, &format!("client {listener}")))
        .collect::<Verdict<_>>()?;
    clients[1].ask(b"abc\n", b"cba\n")?;
    clients[2].ask(b"abc\n", b"abc\n")?;
    clients[0].ask(b"abc\n", b"abc\n")
}

/// Expects that a new client of the echo at this listener is answered and that the process still
/// runs.
pub fn expect_echo(server: &Server, listener: usize) -> Verdict {
    server.expect_running()?;
    let client = server.connect_to(listener, "another client")?;
    client.ask(b"ping\n", b"ping\n")?;
    server.expect_running()
}

/// Waits until the log contains the text.
pub fn expect_log(server: &Server, wanted: &str) -> Verdict {
    await_log(server, wanted)
}
