//! Programs that do not handle signals: the kernel's default action must end them.

use nix::sys::signal::Signal;

use crate::check::{Check, Need, Tier};
use crate::failure::{Failure, Outcome, Verdict};
use crate::stage::Stage;
use crate::trial::{Server, Trial};

pub const ENDS_ON_A_SIGNAL: Check = Check {
    stage: Stage::Stage01,
    role: "",
    name: "ends-on-a-signal",
    title: "SIGTERM and SIGINT (Ctrl-C) end the server immediately, and its port is free again",
    why: "the default action of these signals ends a process, even while it waits in a blocking call",
    hint: "neither block nor handle these signals; set SO_REUSEADDR before `bind`",
    chapter: "docs/src/phase0/stage01.md",
    tier: Tier::Robust,
    timeout: std::time::Duration::from_secs(30),
    needs: &[Need::Option("--port")],
    body: ends_on_a_signal,
};

fn ends_on_a_signal(trial: &Trial) -> Verdict {
    let mut port = 0;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        for busy in [false, true] {
            let server = trial.launch().port(port).start()?;
            port = server.address().port();
            let client = if busy { speak(trial, &server)? } else { None };
            server.signal(signal);
            expect_end(trial, &server)?;
            client.map_or(Ok(()), |client| client.expect_gone())?;
        }
    }
    Ok(())
}

/// A client that has received an answer. Over UDP there is no connection to keep.
fn speak(trial: &Trial, server: &Server) -> Verdict<Option<crate::peer::Peer>> {
    if trial.stage() == Stage::Stage03 {
        let client = server.datagram("the client")?;
        client.ask(b"abc\n", b"cba\n", crate::patience::patience())?;
        return Ok(None);
    }
    let client = server.connect("the client")?;
    client.ask(b"abc\n", b"cba\n")?;
    Ok(Some(client))
}

fn expect_end(trial: &Trial, server: &Server) -> Verdict {
    let deadline = trial
        .deadline()
        .min(std::time::Instant::now() + crate::patience::patience());
    match server.process.wait(deadline) {
        Some(_) => Ok(()),
        None => Err(Failure::new(
            Outcome::Timeout,
            "the server still runs after the signal",
        )),
    }
}
