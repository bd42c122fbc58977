//! How a server with an event loop ends, whatever it serves.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::clients::ping;
use super::proxying;
use crate::check::{Check, Tier};
use crate::data::lines;
use crate::failure::{Failure, Outcome, Verdict};
use crate::peer::Peer;
use crate::stage::Stage;
use crate::trial::{Launch, Trial};
use crate::upstream::Service;

pub const SIGTERM: Check = Check {
    stage: Stage::Stage04,
    role: "",
    name: "sigterm",
    title: "SIGTERM and SIGINT (Ctrl-C) end the server with exit status 0",
    why: "a service manager or a person stops a server this way, and that is not a failure",
    hint: "block the signals, let epoll watch a `signalfd` for them, and leave the loop",
    chapter: "docs/src/phase0/stage04.md",
    tier: Tier::Robust,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: sigterm,
};

/// The server behind the proxy, for a stage that is a proxy.
fn upstream(trial: &Trial) -> Verdict<Option<Service>> {
    match trial.stage() {
        Stage::Stage05 => Ok(Some(trial.upstream()?.serve(proxying::echo))),
        _ => Ok(None),
    }
}

fn launch<'t>(trial: &'t Trial<'_>, upstream: &Option<Service>) -> Launch<'t> {
    match upstream {
        Some(upstream) => proxying::launch(trial, upstream.address()),
        None => trial.launch(),
    }
}

fn sigterm(trial: &Trial) -> Verdict {
    let upstream = upstream(trial)?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = launch(trial, &upstream).start()?;
        server.signal(signal);
        server.expect_exit(0)?;

        let server = launch(trial, &upstream).start()?;
        let clients = server.connect_many(3)?;
        clients.iter().try_for_each(ping)?;
        server.signal(signal);
        server.expect_exit(0)?;
        clients.iter().try_for_each(|client| client.expect_gone())?;
    }
    Ok(())
}

pub const SIGTERM_UNDER_LOAD: Check = Check {
    name: "sigterm-under-load",
    title: "SIGTERM ends the server even when it is busy, and even when the signal comes twice",
    why: "a server that does not notice the signal under load can only be killed",
    hint: "handle the `signalfd` as one more event of the loop, and let a second signal do nothing",
    body: sigterm_under_load,
    ..SIGTERM
};

fn sigterm_under_load(trial: &Trial) -> Verdict {
    let upstream = upstream(trial)?;
    let server = launch(trial, &upstream).start()?;
    let stuck = server.connect("the client that never reads")?;
    stuck.send_until_stuck(&lines(1, 100_000), 64 << 20)?;
    let busy = server.connect("the client that streams")?;
    ping(&busy)?;
    let text = lines(5, 1_000_000);
    std::thread::scope(|scope| {
        // Both go on until the server has ended, which ends their connection too.
        let sends = scope.spawn(|| while busy.send(&text).is_ok() {});
        let reads = scope.spawn(|| busy.expect_gone());
        server.signal(Signal::SIGTERM);
        server.signal(Signal::SIGTERM);
        let ended = server.expect_exit(0);
        if ended.is_err() {
            server.signal(Signal::SIGKILL); // so that the threads end
        }
        let _ = (sends.join(), reads.join());
        ended
    })
}

pub const PORT_IS_FREE_AT_ONCE: Check = Check {
    name: "port-is-free-at-once",
    title: "A server that was killed can be restarted on its port immediately",
    why: "connections in TIME_WAIT keep a port busy for a minute, unless SO_REUSEADDR is set",
    hint: "set SO_REUSEADDR before `bind` (socket(7))",
    body: port_is_free_at_once,
    ..SIGTERM
};

fn port_is_free_at_once(trial: &Trial) -> Verdict {
    let upstream = upstream(trial)?;
    let server = launch(trial, &upstream).start()?;
    let clients = server.connect_many(3)?;
    clients.iter().try_for_each(ping)?;
    // The server ends first, so its side of the connections stays: in FIN_WAIT2 as long as the
    // clients do not close, in TIME_WAIT afterwards.
    server.process.end();
    trial.step("the check kills the server");

    let again = launch(trial, &upstream).port(server.address().port());
    let again = again.start().map_err(|failure| Failure {
        outcome: Outcome::Behaviour,
        what: format!("the server cannot be restarted: {}", failure.what),
        ..failure
    })?;
    ping(&again.connect("a new client")?)?;
    again.expect_running()?;
    // A reset removes what is left of them, so that the port is free for the next check.
    clients.into_iter().try_for_each(Peer::reset)
}
