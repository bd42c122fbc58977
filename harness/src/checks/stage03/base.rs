//! What the checks of UDP have in common.

use std::time::Duration;

use crate::check::{Check, Tier};
use crate::failure::Verdict;
use crate::stage::Stage;
use crate::trial::Trial;

/// How long an answer may take: over loopback far more than a working server needs.
pub const ANSWER: Duration = Duration::from_secs(5);

/// What the checks of this stage have in common.
pub const UDP: Check = Check {
    stage: Stage::Stage03,
    role: "",
    name: "reverses-a-datagram",
    title: "A datagram is answered with its text reversed",
    why: "this is what the server is for",
    hint: "take the sender's address from `recvfrom`, and pass it to `sendto`",
    chapter: "docs/src/phase0/stage03.md",
    tier: Tier::Robust,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: reverses_a_datagram,
};

fn reverses_a_datagram(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.datagram("the client")?;
    client.ask(b"abcd\n", b"dcba\n", ANSWER)?;
    client.ask(b"hello network\n", b"krowten olleh\n", ANSWER)
}
