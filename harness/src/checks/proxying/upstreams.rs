//! Upstreams that are not there, not well, or not polite.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::base::{PROXY, expect_alive, join, launch, proxy, start};
use super::bytes::transfer;
use crate::check::{Check, Need, Tier};
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::peer::Peer;
use crate::stage::Stage;
use crate::trial::{Server, Trial};
use crate::upstream::Upstream;

pub const DOWN: Check = Check {
    name: "upstream-down",
    title: "While the upstream is down each client is closed, and the proxy lives",
    why: "servers are restarted all the time, and what stands before them must bear it",
    hint: "look at what the connect has come to (SO_ERROR, connect(2)); on failure close the client too",
    tier: Tier::Robust,
    points: 3,
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
    trial.step(format!("its log has {log} bytes"));
    ensure(log < 64 * 1024, Outcome::Resources, || {
        format!("for 105 clients that it could not connect it has logged {log} bytes")
    })?;

    let upstream = trial.upstream_at(nobody, 128)?;
    expect_alive(&server, &upstream)
}

/// Clients that send something; nobody is there to read it.
fn refuse_clients(server: &Server, count: usize) -> Verdict {
    for number in 1..=count {
        let client = server.connect(&format!("client {number}"))?;
        // The proxy may have closed already: then this fails, which is fine.
        let _ = client.send(b"GET / HTTP/1.0\r\n\r\n");
        client.expect_gone()?;
        server.expect_running()?;
    }
    Ok(())
}

pub const DOWN_FOR_MANY_AT_ONCE: Check = Check {
    name: "upstream-down-for-many-at-once",
    title: "20 clients that come at once while the upstream is down are all closed",
    why: "an accept loop that returns at the first failed connect forgets those behind it",
    hint: "one client that cannot be served is no reason to leave the loop",
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
    title: "An upstream that goes away and comes back is used again, without a restart",
    why: "the proxy is the part that stays",
    hint: "each client is a new try: remember nothing about the last one that failed",
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
        ends.ping()?; // its connection was made before
        upstream = trial.upstream_at(nobody, 128)?;
        expect_alive(&server, &upstream)?;
        ends.ping()?;
    }
    Ok(())
}

/// Connections that fill the queue of an upstream which accepts none: the next one
/// waits, neither refused nor there.
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
        "{} connections fill the upstream's queue",
        queue.len()
    ));
    Ok(queue)
}

pub const FULL_QUEUE: Check = Check {
    name: "upstream-with-a-full-queue",
    title: "While a connection to the upstream is being made, other clients are served",
    why: "a connect may take minutes when the other end does not answer: who waits for it serves nobody",
    hint: "a non-blocking `connect` returns EINPROGRESS; EPOLLOUT tells when there is a result",
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
    trial.step(format!("another client waited {:?}", begun.elapsed()));

    trial.step("now the upstream accepts again");
    for _ in &queue {
        upstream.accept("the upstream of nobody")?;
    }
    // What the client has sent in the meantime has waited.
    let late = upstream.accept("the upstream of the client that waits")?;
    late.expect(b"request\n")?;
    late.send(b"answer\n")?;
    waiting.expect(b"answer\n")?;
    other.ping()
}

pub const ANSWERS_AND_RESETS: Check = Check {
    name: "upstream-answers-and-resets",
    title: "An upstream that accepts, speaks and resets, all before the proxy has looked, is heard",
    why: "to take that for a refusal loses its words, and asks the next address a second time",
    hint: "SO_ERROR says ECONNRESET, not ECONNREFUSED: it was connected, and `recv` has the bytes",
    body: answers_and_resets,
    ..FULL_QUEUE
};

fn answers_and_resets(trial: &Trial) -> Verdict {
    let upstream = trial.upstream_at(trial.nobody()?, 0)?;
    let server = proxy(trial, upstream.address())?;
    let other = join(&server, &upstream, "another client")?;
    other.ping()?;
    // So that the proxy's connect takes its time, in which the proxy is stopped.
    let queue = fill_the_queue(trial, &upstream)?;
    let client = server.connect("the client")?;
    other.ping()?;
    trial.stop(&server.process)?;
    for _ in &queue {
        upstream.accept("the upstream of nobody")?;
    }
    let short = upstream.accept("the upstream that says one word")?;
    short.send(b"answer\n")?;
    short.reset()?;
    trial.go_on(&server.process)?;
    client.expect(b"answer\n")?;
    client.expect_gone()?;
    other.ping()
}

pub const CONNECT_TIMEOUT: Check = Check {
    name: "connect-timeout",
    title: "With `--connect-timeout 1`, a client whose upstream does not answer is closed after a second",
    why: "the kernel alone tries for more than two minutes (tcp(7), tcp_syn_retries)",
    hint: "keep the time at which each connect must be done, and wait no longer than until the next one",
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
    trial.step(format!("they were closed after {waited:?}"));
    ensure(
        waited > Duration::from_millis(500),
        Outcome::Behaviour,
        || format!("it gave up after {waited:?}; it was told to wait a second"),
    )?;
    drop(waiting);
    server.expect_no_leak(&before)?;
    // The connection that was there before has all the time it wants.
    other.ping()?;
    for _ in &queue {
        upstream.accept("the upstream of nobody")?;
    }
    expect_alive(&server, &upstream)
}

pub const NAME_UNKNOWN: Check = Check {
    name: "upstream-without-an-address",
    title: "An upstream whose name does not resolve ends the program at once, with exit status 1",
    why: "a typing error in a name should show at the start, not with the first client",
    hint: "resolve the name before you listen; name it in the error",
    points: 1,
    needs: &[Need::Option("--upstream")],
    body: name_unknown,
    ..DOWN
};

fn name_unknown(trial: &Trial) -> Verdict {
    // No valid name, so nobody is asked about it.
    let name = "no..such.host:80";
    let program = match trial.stage() {
        Stage::Phase1 => launch(trial, name),
        _ => launch(trial, name).options(["--port", "0"]),
    };
    let program = program.run()?;
    program.expect_exit(1)?;
    let log = program.process.log();
    ensure(log.contains("no..such.host"), Outcome::Behaviour, || {
        "what it prints to stderr does not say which name".to_owned()
    })
    .map_err(|failure| failure.received(log.trim_end()))
}

pub const NAME_WITH_SEVERAL_ADDRESSES: Check = Check {
    name: "upstream-by-name",
    title: "An upstream may be given by name; all of its addresses are tried",
    why: "`localhost` is ::1 and 127.0.0.1 on most machines, and many servers listen on one of them only",
    hint: "when the connect to one address fails, go on with the next one of the list",
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
            "with the upstream `{name}` it does not start: {}",
            failure.what
        ),
        ..failure
    })?;
    expect_alive(&server, &upstream)?;
    expect_alive(&server, &upstream)
}

pub const CLOSES_AT_ONCE: Check = Check {
    name: "upstream-accepts-and-closes",
    title: "An upstream that accepts and closes at once, or resets, ends that client and nothing else",
    why: "an overloaded server does that, and it does it to every client",
    hint: "a pair whose upstream is gone is closed on both sides: descriptors, buffers, entry",
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
    // And all at once.
    let clients = server.connect_many(50)?;
    for client in &clients {
        let _ = client.send(b"GET / HTTP/1.0\r\n\r\n"); // it may be over already
    }
    clients.iter().try_for_each(Peer::expect_gone)?;
    drop(clients);
    server.expect_no_leak(&before)?;
    server.expect_idle(Duration::from_millis(300), 0.1)
}

pub const ANSWERS_EARLY: Check = Check {
    name: "upstream-answers-early",
    title: "An answer that comes before the request is complete goes through, and so does the rest of the request",
    why: "a server may say \"too large\", or \"go on\", while the upload is still under way",
    hint: "whoever has something to say is listened to: no taking of turns",
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
    // The whole answer, and its end, while half of the request is still to come.
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
