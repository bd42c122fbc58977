//! How the proxy ends.

use std::thread;

use nix::sys::signal::Signal;

use crate::check::{Check, Failure, Need, Outcome, Tier, Verdict};
use crate::checks::proxying::{PASSES_REQUESTS_AND_ANSWERS, connect_many, echo, echo_ping, launch};
use crate::checks::proxying::{expect_echo, start_echo};
use crate::data::Pattern;
use crate::trial::Trial;

pub const SIGTERM: Check = Check {
    id: "stage05/sigterm",
    title: "SIGTERM and SIGINT (Ctrl-C) end the proxy with exit status 0, and its connections with it",
    why: "that is how a service manager or a person asks a server to leave; it is no failure",
    hint: "block the signals, read them from a `signalfd` in the same epoll, leave the loop",
    tier: Tier::Robust,
    body: sigterm,
    ..PASSES_REQUESTS_AND_ANSWERS
};

fn sigterm(trial: &Trial) -> Verdict {
    let upstream = trial.upstream()?.serve(echo);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = launch(trial, upstream.address()).start()?;
        server.signal(signal);
        server.expect_exit(0)?;

        let server = launch(trial, upstream.address()).start()?;
        let clients = connect_many(&server, 3)?;
        clients.iter().try_for_each(echo_ping)?;
        server.signal(signal);
        server.expect_exit(0)?;
        clients.iter().try_for_each(|client| client.expect_gone())?;
    }
    Ok(())
}

pub const SIGTERM_UNDER_LOAD: Check = Check {
    id: "stage05/sigterm-under-load",
    title: "SIGTERM ends the proxy also when it is busy, and when it comes twice",
    why: "a server with much to do must still hear that it shall end",
    hint: "the signal is one more event of the loop; a second one must not find it half-way",
    body: sigterm_under_load,
    ..SIGTERM
};

fn sigterm_under_load(trial: &Trial) -> Verdict {
    let (server, _upstream) = start_echo(trial)?;
    let bytes = Pattern::new(5).period();
    let stuck = server.connect("the client that never reads")?;
    stuck.send_until_stuck(bytes, 64 << 20)?;
    let busy = server.connect("the client that streams")?;
    echo_ping(&busy)?;
    thread::scope(|scope| {
        // Both go on until the proxy is gone, and its end is theirs.
        let sends = scope.spawn(|| while busy.send(bytes).is_ok() {});
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
    id: "stage05/port-is-free-at-once",
    title: "A proxy that has ended can be started again on its port at once",
    why: "closed connections keep a port busy for a minute (TIME_WAIT), unless the server says that it does not mind",
    hint: "set SO_REUSEADDR before `bind` (socket(7))",
    needs: &[Need::Option("--port")],
    body: port_is_free_at_once,
    ..SIGTERM
};

fn port_is_free_at_once(trial: &Trial) -> Verdict {
    let (server, upstream) = start_echo(trial)?;
    let clients = connect_many(&server, 3)?;
    clients.iter().try_for_each(echo_ping)?;
    // The proxy closes first: so the connections linger on its side.
    server.signal(Signal::SIGTERM);
    server.expect_exit(0)?;
    clients.iter().try_for_each(|client| client.expect_gone())?;
    drop(clients);

    let again = launch(trial, upstream.address()).port(server.address().port());
    let again = again.start().map_err(|failure| Failure {
        outcome: Outcome::Behaviour,
        what: format!("it cannot be started again: {}", failure.what),
        ..failure
    })?;
    expect_echo(&again)
}
