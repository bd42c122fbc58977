//! How a server with an event loop ends, whatever it serves.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::clients::ping;
use super::proxying;
use crate::check::{Check, Need, Tier};
use crate::data::lines;
use crate::failure::{Failure, Outcome, Verdict};
use crate::stage::Stage;
use crate::trial::{Launch, Trial};
use crate::upstream::Service;

pub const SIGTERM: Check = Check {
    stage: Stage::Stage04,
    role: "",
    name: "sigterm",
    title: "SIGTERM and SIGINT (Ctrl-C) end the server with exit status 0",
    why: "that is how a service manager or a person asks a server to leave; it is no failure",
    hint: "block the signals, read them from a `signalfd` in the same epoll, leave the loop",
    chapter: "docs/src/phase0/stage04.md",
    tier: Tier::Robust,
    points: 3,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: sigterm,
};

/// What stands behind a proxy.
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
    title: "SIGTERM ends the server also when it is busy, and when it comes twice",
    why: "a server with much to do must still hear that it shall end",
    hint: "the signal is one more event of the loop; a second one must not find it half-way",
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
        // Both go on until the server is gone, and its end is theirs.
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
    title: "A server that has ended can be started again on its port at once",
    why: "closed connections keep a port busy for a minute (TIME_WAIT), unless the server says that it does not mind",
    hint: "set SO_REUSEADDR before `bind` (socket(7))",
    needs: &[Need::Option("--port")],
    body: port_is_free_at_once,
    ..SIGTERM
};

fn port_is_free_at_once(trial: &Trial) -> Verdict {
    let upstream = upstream(trial)?;
    let server = launch(trial, &upstream).start()?;
    let clients = server.connect_many(3)?;
    clients.iter().try_for_each(ping)?;
    // The server closes first: so the connections linger on its side.
    server.signal(Signal::SIGTERM);
    server.expect_exit(0)?;
    clients.iter().try_for_each(|client| client.expect_gone())?;
    drop(clients);

    let again = launch(trial, &upstream).port(server.address().port());
    let again = again.start().map_err(|failure| Failure {
        outcome: Outcome::Behaviour,
        what: format!("it cannot be started again: {}", failure.what),
        ..failure
    })?;
    ping(&again.connect("a new client")?)?;
    again.expect_running()
}
