//! Upstreams that are down, do not answer, or answer in an unusual order.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::base::{Ends, PROXY, expect_alive, join, launch, proxy, start};
use super::bytes::transfer;
use crate::check::{Check, Need, Tier};
use crate::checks::terminal::await_log;
use crate::data::time;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::peer::Peer;
use crate::stage::Stage;
use crate::trial::{Server, Trial};
use crate::upstream::Upstream;

pub const DOWN: Check = Check {
    name: "upstream-down",
    title: "The proxy closes each client while the upstream is down, and keeps running",
    why: "servers are restarted all the time, and a proxy in front of them must survive it",
    hint: "when epoll reports the socket, ask for the result of `connect` (SO_ERROR, connect(2)); if it failed, close the client too",
    tier: Tier::Solid,
    body: down,
    ..PROXY
};

fn down(trial: &Trial) -> Verdict {
    let nobody = trial.nobody()?;
    let server = proxy(trial, nobody.address())?;
    refuse_clients(&server, 5)?;
    let before = server.figures()?;
    refuse_clients(&server, 100)?;
    server.expect_no_leak(&before)?;
    let log = server.process.log_size();
    trial.step(format!("the proxy's log has {log} bytes"));
    ensure(log < 64 * 1024, Outcome::Resources, || {
        format!(
            "for 105 clients without an upstream the proxy has logged {log} bytes; at most 64 KiB are allowed"
        )
    })?;

    let upstream = trial.upstream_at(nobody, 128)?;
    expect_alive(&server, &upstream)
}

/// Connects clients, one after the other, whose upstream does not serve them: the proxy must close
/// each of them.
fn refuse_clients(server: &Server, count: usize) -> Verdict {
    for number in 1..=count {
        let client = server.connect(&format!("client {number}"))?;
        // This fails if the proxy has already closed the connection, which is fine.
        let _ = client.send(b"GET / HTTP/1.0\r\n\r\n");
        client.expect_gone()?;
        server.expect_running()?;
    }
    Ok(())
}

pub const DOWN_FOR_MANY_AT_ONCE: Check = Check {
    name: "upstream-down-for-many-at-once",
    title: "20 clients that connect at the same moment while the upstream is down are all closed",
    why: "an accept loop that returns after the first failed `connect` forgets the clients behind it",
    hint: "when one client cannot be served, close it and go on with the accept loop",
    tier: Tier::Robust,
    body: down_for_many_at_once,
    ..DOWN
};

fn down_for_many_at_once(trial: &Trial) -> Verdict {
    let nobody = trial.nobody()?;
    let server = proxy(trial, nobody.address())?;
    trial.stop(&server.process)?;
    let clients = server.connect_many(20)?;
    clients
        .iter()
        .try_for_each(|client| client.send(b"hello\n"))?;
    trial.go_on(&server.process)?;
    clients.iter().try_for_each(Peer::expect_gone)?;
    let upstream = trial.upstream_at(nobody, 128)?;
    expect_alive(&server, &upstream)
}

pub const COMES_BACK: Check = Check {
    name: "upstream-comes-back",
    title: "The proxy uses an upstream again that was down, without a restart",
    why: "the upstream may be restarted many times while the proxy keeps running",
    hint: "try to connect again for each client, and remember nothing about earlier failures",
    tier: Tier::Robust,
    body: comes_back,
    ..DOWN
};

fn comes_back(trial: &Trial) -> Verdict {
    let mut upstream = trial.upstream_at(trial.nobody()?, 128)?;
    let server = proxy(trial, upstream.address())?;
    for _ in 0..3 {
        let ends = join(&server, &upstream, "a client")?;
        ends.ping()?;
        let nobody = upstream.disappear()?;
        refuse_clients(&server, 3)?;
        ends.ping()?; // this connection was made before the upstream went down
        upstream = trial.upstream_at(nobody, 128)?;
        expect_alive(&server, &upstream)?;
        ends.ping()?;
    }
    Ok(())
}

pub const CONNECTED_TO_ITSELF: Check = Check {
    name: "connected-to-itself",
    title: "If the kernel gives the proxy the very port of its upstream, the client gets no byte of its own back",
    why: "on a port above 32767 without a server, a connect to this machine sometimes succeeds: the socket is connected to itself, and a client that gets its own bytes takes them for an answer",
    hint: "when `connect` has succeeded, compare `getsockname` with `getpeername`: if they are equal, the upstream is down",
    tier: Tier::Robust,
    needs: &[
        Need::OwnNetwork,
        Need::NetworkSettings,
        Need::Option("--upstream"),
    ],
    body: connected_to_itself,
    ..DOWN
};

fn connected_to_itself(trial: &Trial) -> Verdict {
    let nobody = trial.nobody()?.address();
    let server = proxy(trial, nobody)?;
    trial.leave_only_port(nobody.port())?;
    let client = server.connect("a client")?;
    // The proxy may have closed the connection already.
    let _ = client.send(b"hello\n").and_then(|()| client.half_close());
    let received = match client.receive_to_end(100) {
        Err(failure) if failure.outcome == Outcome::Reset => Vec::new(),
        received => received?,
    };
    ensure(received.is_empty(), Outcome::WrongData, || {
        "the client got its own bytes back, although there is no upstream".to_owned()
    })?;
    server.expect_running()
}

pub const NO_PORT: Check = Check {
    name: "no-port-for-the-upstream",
    title: "A proxy that has no port left for its upstream closes the client, says why, and serves the others",
    why: "a proxy has some 28,000 ports for one upstream; when they are in use, the system's words, `Cannot assign requested address`, sound as if the upstream's address were wrong",
    hint: "treat EADDRNOTAVAIL from `connect` like any other failure, and explain it",
    body: no_port,
    ..CONNECTED_TO_ITSELF
};

fn no_port(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let port = trial.nobody()?.address().port();
    // The two connect while every port is still there for them.
    trial.stop(&server.process)?;
    let client = server.connect("the first client")?;
    let other = server.connect("the client without a port")?;
    trial.leave_only_port(port)?;
    trial.go_on(&server.process)?;
    let ends = Ends {
        client,
        upstream: upstream.accept("the upstream")?,
    };
    other.expect_gone()?;
    ends.ping()?;
    await_log(&server, "no port of ours is free")
}

/// Fills the listen queue of an upstream that accepts no connection. The next `connect` then
/// waits, because the kernel neither completes nor refuses it.
pub fn fill_the_queue(trial: &Trial, upstream: &Upstream) -> Verdict<Vec<TcpStream>> {
    let mut queue = Vec::new();
    let moment = Duration::from_millis(200);
    while let Ok(stream) = TcpStream::connect_timeout(&upstream.address(), moment) {
        queue.push(stream);
        ensure(queue.len() < 100, Outcome::Grader, || {
            "the queue of a listener does not fill".to_owned()
        })?;
    }
    trial.step(format!(
        "{} connections fill the listen queue of the upstream",
        queue.len()
    ));
    Ok(queue)
}

pub const FULL_QUEUE: Check = Check {
    name: "upstream-with-a-full-queue",
    title: "The proxy serves other clients while it connects to the upstream for one of them",
    why: "`connect` may take minutes if the other end does not answer, and a proxy that waits for it serves no other client",
    hint: "a non-blocking `connect` fails with EINPROGRESS; epoll reports EPOLLOUT when there is a result",
    tier: Tier::Robust,
    body: full_queue,
    ..DOWN
};

fn full_queue(trial: &Trial) -> Verdict {
    let upstream = trial.upstream_at(trial.nobody()?, 0)?;
    let server = proxy(trial, upstream.address())?;
    let other = join(&server, &upstream, "another client")?;
    other.ping()?;
    let queue = fill_the_queue(trial, &upstream)?;

    let waiting = server.connect("the client that waits")?;
    waiting.send(b"request\n")?;
    let begun = Instant::now();
    other.ping()?;
    trial.step(format!(
        "another client waits {} for an answer",
        time(begun.elapsed())
    ));

    trial.step("the upstream begins to accept connections again");
    for _ in &queue {
        upstream.accept("the upstream of a connection that filled the queue")?;
    }
    // The proxy has kept what the client sent in the meantime.
    let late = upstream.accept("the upstream of the client that waits")?;
    late.expect(b"request\n")?;
    late.send(b"answer\n")?;
    waiting.expect(b"answer\n")?;
    other.ping()
}

pub const ANSWERS_AND_RESETS: Check = Check {
    name: "upstream-answers-and-resets",
    title: "The answer of an upstream arrives even if it resets before the proxy notices the connection",
    why: "a proxy that takes this for a refused connection loses the answer and connects to the next address",
    hint: "SO_ERROR is ECONNRESET, not ECONNREFUSED: the connection was made, so get the bytes with `recv`",
    body: answers_and_resets,
    ..FULL_QUEUE
};

fn answers_and_resets(trial: &Trial) -> Verdict {
    let upstream = trial.upstream_at(trial.nobody()?, 0)?;
    let server = proxy(trial, upstream.address())?;
    let other = join(&server, &upstream, "another client")?;
    other.ping()?;
    // The full queue delays the proxy's connect, so that the proxy can be stopped meanwhile.
    let queue = fill_the_queue(trial, &upstream)?;
    let client = server.connect("the client")?;
    other.ping()?;
    trial.stop(&server.process)?;
    for _ in &queue {
        upstream.accept("the upstream of a connection that filled the queue")?;
    }
    let short = upstream.accept("the upstream that answers and resets")?;
    short.send(b"answer\n")?;
    short.reset()?;
    trial.go_on(&server.process)?;
    client.expect(b"answer\n")?;
    client.expect_gone()?;
    other.ping()
}

pub const CONNECT_TIMEOUT: Check = Check {
    name: "connect-timeout",
    title: "The proxy with `--connect-timeout 1` closes a client whose upstream does not answer in time",
    why: "without a timeout the kernel tries for more than two minutes (tcp(7), tcp_syn_retries)",
    hint: "keep a deadline for each connect, and let `epoll_wait` wait only until the earliest deadline",
    tier: Tier::Robust,
    needs: &[Need::Option("--connect-timeout")],
    body: connect_timeout,
    ..DOWN
};

fn connect_timeout(trial: &Trial) -> Verdict {
    let upstream = trial.upstream_at(trial.nobody()?, 0)?;
    let options = ["--connect-timeout", "1"];
    let server = launch(trial, upstream.address()).options(options).start()?;
    let other = join(&server, &upstream, "another client")?;
    other.ping()?;
    let queue = fill_the_queue(trial, &upstream)?;
    let before = server.figures()?;
    let waiting = server.connect_many(3)?;
    let begun = Instant::now();
    waiting
        .iter()
        .try_for_each(|client| client.send(b"hello\n"))?;
    waiting.iter().try_for_each(Peer::expect_gone)?;
    let waited = begun.elapsed();
    trial.step(format!(
        "the three clients are closed after {}",
        time(waited)
    ));
    ensure(
        waited > Duration::from_millis(500),
        Outcome::Behaviour,
        || {
            format!(
                "the proxy gave up after {}; its timeout is one second",
                time(waited)
            )
        },
    )?;
    drop(waiting);
    server.expect_no_leak(&before)?;
    // The timeout does not end a connection that was made before.
    other.ping()?;
    for _ in &queue {
        upstream.accept("the upstream of a connection that filled the queue")?;
    }
    expect_alive(&server, &upstream)
}

pub const NAME_UNKNOWN: Check = Check {
    name: "upstream-without-an-address",
    title: "An upstream whose name cannot be resolved ends the program immediately, with exit status 1",
    why: "a typing error in a name should show at the start, not when the first client connects",
    hint: "resolve the name before you call `listen`, and name it in the error message",
    tier: Tier::Robust,
    needs: &[Need::Option("--upstream")],
    body: name_unknown,
    ..DOWN
};

fn name_unknown(trial: &Trial) -> Verdict {
    // The name is not valid, so no name server is asked.
    let name = "no..such.host:80";
    let program = match trial.stage() {
        Stage::Phase1 => launch(trial, name),
        _ => launch(trial, name).options(["--port", "0"]),
    };
    let program = program.run()?;
    program.expect_exit(1)?;
    let log = program.process.log();
    ensure(log.contains("no..such.host"), Outcome::Behaviour, || {
        "stderr does not contain the name `no..such.host`".to_owned()
    })
    .map_err(|failure| failure.received(log.trim_end()))
}

pub const NAME_WITH_SEVERAL_ADDRESSES: Check = Check {
    name: "upstream-by-name",
    title: "An upstream may be given by name, and the proxy tries all of its addresses",
    why: "`localhost` is ::1 and 127.0.0.1 on most machines, and many servers listen on only one of them",
    hint: "when `connect` to one address fails, try the next address of the list",
    tier: Tier::Robust,
    needs: &[Need::Option("--upstream")],
    body: name_with_several_addresses,
    ..DOWN
};

fn name_with_several_addresses(trial: &Trial) -> Verdict {
    let upstream = trial.upstream()?; // IPv4 only
    let name = format!("localhost:{}", upstream.address().port());
    let server = proxy(trial, &name).map_err(|failure| Failure {
        outcome: Outcome::Behaviour,
        what: format!(
            "with the upstream `{name}` the proxy does not start: {}",
            failure.what
        ),
        ..failure
    })?;
    expect_alive(&server, &upstream)?;
    expect_alive(&server, &upstream)
}

pub const CLOSES_AT_ONCE: Check = Check {
    name: "upstream-accepts-and-closes",
    title: "An upstream that accepts and immediately closes or resets disturbs no other client",
    why: "an overloaded server does this to every client",
    hint: "when the upstream is gone, close both sides of the pair and free its descriptors, buffers and table entry",
    tier: Tier::Robust,
    body: closes_at_once,
    ..DOWN
};

fn closes_at_once(trial: &Trial) -> Verdict {
    let upstream = trial.upstream()?.serve(|number, peer| match number % 3 {
        0 => Ok(()),
        1 => peer.reset_when_dropped(),
        _ => peer.send(b"busy\n"),
    });
    let server = proxy(trial, upstream.address())?;
    refuse_clients(&server, 6)?;
    let before = server.figures()?;
    refuse_clients(&server, trial.size(100, 2_000))?;
    // Now 50 clients at the same time.
    let clients = server.connect_many(50)?;
    for client in &clients {
        let _ = client.send(b"GET / HTTP/1.0\r\n\r\n"); // the connection may have ended already
    }
    clients.iter().try_for_each(Peer::expect_gone)?;
    drop(clients);
    server.expect_no_leak(&before)?;
    server.expect_idle(Duration::from_millis(300), 0.1)
}

pub const ANSWERS_EARLY: Check = Check {
    name: "upstream-answers-early",
    title: "An early answer is passed on to the client, and so is the rest of the request to the upstream",
    why: "a server may answer \"too large\" or \"continue\" while the upload still runs",
    hint: "read from both sides whenever they have bytes; do not make the two sides take turns",
    tier: Tier::Robust,
    body: answers_early,
    ..DOWN
};

fn answers_early(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let ends = join(&server, &upstream, "the client")?;
    ends.upstream.send(b"welcome\n")?; // before any request
    ends.client.expect(b"welcome\n")?;
    ends.client
        .send(b"POST / HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n")?;
    ends.upstream
        .expect(b"POST / HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n")?;
    ends.upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    ends.client.expect(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    transfer(&ends.client, &ends.upstream, 2_000_000)?;
    // The upstream sends its whole answer and half-closes before half of the request has come.
    ends.upstream
        .send(b"HTTP/1.1 413 Content Too Large\r\n\r\n")?;
    ends.upstream.half_close()?;
    ends.client
        .expect(b"HTTP/1.1 413 Content Too Large\r\n\r\n")?;
    ends.client.expect_end()?;
    transfer(&ends.client, &ends.upstream, 2_000_000)?;
    ends.client.close();
    ends.upstream.expect_end()
}
