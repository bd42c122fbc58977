//! Connections that end with a reset, on either side and at any moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::base::{PROXY, expect_alive, expect_echo, join, start, start_echo};
use crate::check::{Check, Need, Tier};
use crate::checks::clients::echo_ping;
use crate::data::Pattern;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::peer::{Peer, both};
use crate::queues::queues;
use crate::trial::Trial;

/// How long the CPU time of an idle proxy is measured, and the share of it that is allowed.
const WINDOW: Duration = Duration::from_millis(400);
const IDLE: f64 = 0.1;

pub const RESETS: Check = Check {
    name: "resets-at-any-moment",
    title: "A client that resets its connection, at any moment, ends only this connection",
    why: "when a client crashes, `recv` or `send` on its connection fails",
    hint: "when a call on one socket fails, close both sockets of its pair and go on with the next event",
    tier: Tier::Solid,
    timeout: Duration::from_secs(60),
    body: resets,
    ..PROXY
};

fn resets(trial: &Trial) -> Verdict {
    let (server, _upstream) = start_echo(trial)?;
    let other = server.connect("another client")?;
    echo_ping(&other)?;
    let before = server.figures()?;
    for _ in 0..20 {
        server.connect("a client that says nothing")?.reset()?;

        let unanswered = server.connect("a client that does not wait for its answer")?;
        unanswered.send(b"request\n")?;
        unanswered.reset()?;

        let answered = server.connect("a client that has its answer")?;
        echo_ping(&answered)?;
        answered.reset()?;

        let half_closed = server.connect("a client that has half-closed")?;
        half_closed.send(b"request\n")?;
        half_closed.half_close()?;
        half_closed.reset()?;

        // Closing a socket with unread bytes also resets the connection (tcp(7)).
        let unread = server.connect("a client that leaves its answer unread")?;
        unread.send(b"request\n")?;
        unread.until_all_is_read()?;
        unread.close();
        echo_ping(&other)?;
    }
    server.expect_no_leak(&before)?;
    server.expect_idle(WINDOW, IDLE)?;
    expect_echo(&server)
}

pub const VANISHES: Check = Check {
    name: "client-that-vanishes",
    title: "A client whose machine has lost its power does not keep its pair for good",
    why: "such a client sends no FIN and no reset: a proxy that only waits keeps two descriptors until the end",
    hint: "set SO_KEEPALIVE (socket(7)): the kernel then asks a silent client whether it is still there",
    tier: Tier::Robust,
    needs: &[
        Need::OwnNetwork,
        Need::NetworkSettings,
        Need::Option("--port"),
    ],
    body: vanishes,
    ..RESETS
};

fn vanishes(trial: &Trial) -> Verdict {
    trial.hurry_keepalive()?;
    let (server, _upstream) = start_echo(trial)?;
    let other = server.connect("another client")?;
    echo_ping(&other)?;
    let before = server.figures()?;
    let client = server.connect("a client without power")?;
    echo_ping(&client)?;
    client.vanish()?;
    server.expect_descriptors_back(&before)?;
    echo_ping(&other)
}

pub const RESET_PASSES_THROUGH: Check = Check {
    name: "reset-passes-through",
    title: "The connection of one side ends when the other side resets its connection",
    why: "otherwise the other side waits forever for a peer that is gone",
    hint: "after an error on one side, close the other side too",
    tier: Tier::Robust,
    body: reset_passes_through,
    ..RESETS
};

fn reset_passes_through(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    expect_alive(&server, &upstream)?;
    let before = server.figures()?;
    for _ in 0..10 {
        let ends = join(&server, &upstream, "a client that resets")?;
        ends.client.send(b"half a requ")?;
        ends.upstream.expect(b"half a requ")?;
        ends.client.reset()?;
        ends.upstream.expect_gone()?;

        let ends = join(&server, &upstream, "a client whose upstream resets")?;
        ends.ping()?;
        ends.upstream.send(b"half an ans")?;
        ends.client.expect(b"half an ans")?;
        ends.upstream.reset()?;
        ends.client.expect_gone()?;

        let ends = join(
            &server,
            &upstream,
            "a half-closed client whose upstream resets",
        )?;
        ends.client.half_close()?;
        ends.upstream.expect_end()?;
        ends.upstream.reset()?;
        ends.client.expect_gone()?;

        let ends = join(
            &server,
            &upstream,
            "a client that resets after the upstream's end",
        )?;
        ends.upstream.half_close()?;
        ends.client.expect_end()?;
        ends.client.reset()?;
        ends.upstream.expect_gone()?;
    }
    server.expect_no_leak(&before)?;
    server.expect_idle(WINDOW, IDLE)?;
    expect_alive(&server, &upstream)
}

pub const BYTES_BEFORE_A_RESET: Check = Check {
    name: "bytes-before-a-reset",
    title: "Bytes that one side sends before its reset reach the other side",
    why: "a server that fails may have sent the reason before",
    hint: "`recv` returns the bytes first and the error after them: read even when epoll reports EPOLLERR",
    tier: Tier::Robust,
    body: bytes_before_a_reset,
    ..RESETS
};

fn bytes_before_a_reset(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let (pattern, length) = (Pattern::new(6), 50_000); // one socket can hold this
    for who in ["the upstream", "the client"] {
        let ends = join(&server, &upstream, "the client")?;
        ends.ping()?;
        trial.step(format!("this time {who} resets its connection"));
        let (resets, stays) = match who {
            "the client" => (ends.client, ends.upstream),
            _ => (ends.upstream, ends.client),
        };
        // The proxy is stopped meanwhile, so that it finds the bytes and the reset together.
        trial.stop(&server.process)?;
        resets.send_pattern(pattern, length)?;
        resets.reset()?;
        trial.go_on(&server.process)?;
        stays.expect_pattern(pattern, length)?;
        stays.expect_gone()?;
    }
    expect_alive(&server, &upstream)
}

pub const ANSWER_BEFORE_A_RESET: Check = Check {
    name: "answer-before-a-reset",
    title: "When the upstream resets after a long answer, a client that reads slowly and still sends gets all that the proxy has received",
    why: "a socket that is closed with unread input resets the connection, and the reset destroys the answer on its way",
    hint: "deliver what was received, half-close, and read and drop what the client sends until it ends its side",
    tier: Tier::Robust,
    body: answer_before_a_reset,
    ..RESETS
};

fn answer_before_a_reset(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    expect_alive(&server, &upstream)?;
    let before = server.figures()?;
    let ends = join(&server, &upstream, "the client")?;
    ends.ping()?;
    let answer = Pattern::new(14);
    // Now all buffers are full. What is still in the upstream's own kernel is lost by the reset.
    let sent = ends.upstream.send_until_stuck(answer.period(), 64 << 20)?;
    let received = sent - unacknowledged(&ends.upstream)?;
    trial.step(format!("{received} bytes have left the upstream's machine"));
    ends.upstream.reset()?;

    let client = ends.client;
    let done = AtomicBool::new(false);
    let sends = || {
        while !done.load(Ordering::Relaxed) && client.send(b"and more\n").is_ok() {
            thread::sleep(Duration::from_millis(50)); // the load itself
        }
        Ok(())
    };
    both(sends, || {
        let read = read_slowly(&client, answer, received);
        done.store(true, Ordering::Relaxed);
        read
    })?;
    client.expect_gone()?;
    client.close();
    server.expect_no_leak(&before)?;
    expect_alive(&server, &upstream)
}

/// Bytes that this end has sent, and the other kernel has not confirmed.
fn unacknowledged(peer: &Peer) -> Verdict<u64> {
    let stream = peer.stream();
    let ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
    let found = ends.and_then(|(ours, theirs)| queues(ours, theirs));
    let found = found.ok_or_else(|| Failure::grader("the queues of a connection", "not there"))?;
    Ok(found.sending)
}

/// Receives the first `length` bytes of `pattern`, about two megabytes a second.
fn read_slowly(client: &Peer, pattern: Pattern, length: u64) -> Verdict {
    let (mut chunk, mut count) = (vec![0; 128 * 1024], 0);
    while count < length {
        let expected = pattern.at(count);
        let most = expected.len().min(chunk.len());
        let more = client.receive(&mut chunk[..most])?;
        ensure(more > 0, Outcome::ShortData, || {
            format!("the client got {count} of {length} bytes, then the end")
        })?;
        ensure(
            expected[..more] == chunk[..more],
            Outcome::WrongData,
            || format!("the client got other bytes after {count}"),
        )?;
        count += more as u64;
        thread::sleep(Duration::from_millis(60)); // the delay is the test
    }
    Ok(())
}

pub const RESET_DURING_A_TRANSFER: Check = Check {
    name: "reset-during-a-transfer",
    title: "A reset in the middle of 50 MB ends only this transfer, on both sides",
    why: "people close the browser during a download, and `send` on a connection that is gone raises SIGPIPE",
    hint: "call `send` with MSG_NOSIGNAL, and do not add its error value, −1, to a count of bytes",
    body: reset_during_a_transfer,
    ..RESETS
};

fn reset_during_a_transfer(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    expect_alive(&server, &upstream)?;
    let before = server.figures()?;
    for _ in 0..3 {
        let download = join(&server, &upstream, "the client that downloads")?;
        cut_off(trial, &download.upstream, download.client)?;
        let upload = join(&server, &upstream, "the client that uploads")?;
        cut_off(trial, &upload.client, upload.upstream)?;
        // If the client has half-closed, the very first `send` after its reset raises SIGPIPE.
        let half_closed = join(&server, &upstream, "the half-closed client")?;
        half_closed.client.half_close()?;
        half_closed.upstream.expect_end()?;
        cut_off(trial, &half_closed.upstream, half_closed.client)?;
    }
    server.expect_no_leak(&before)?;
    server.expect_idle(WINDOW, IDLE)?;
    expect_alive(&server, &upstream)
}

/// One end sends 50 MB. The other end reads 64 KiB, waits until the proxy takes no more, and resets
/// its connection. This must end the sender's connection too.
fn cut_off(trial: &Trial, sender: &Peer, reader: Peer) -> Verdict {
    let pattern = Pattern::new(5);
    let sent = || match sender.send_pattern(pattern, 50_000_000) {
        Err(failure) if failure.outcome == Outcome::Reset => Ok(()),
        Err(failure) => Err(failure),
        Ok(()) => Err(Failure::behaviour(
            "the proxy took all of the 50 MB although the other side had reset its connection",
        )),
    };
    both(sent, || {
        reader.expect_pattern(pattern, 64 * 1024)?;
        trial.wait_until("the proxy is full and takes no more bytes", || {
            sender
                .on_the_way()
                .is_some_and(|it| it.to_the_program > 500_000)
        })?;
        reader.reset()
    })
}
