//! Streams that end in order: each direction for itself.

use std::thread;
use std::time::Duration;

use super::base::{Ends, PROXY, expect_alive, join, start, start_echo};
use super::bytes::transfer;
use crate::check::{Check, Tier};
use crate::data::Pattern;
use crate::failure::Verdict;
use crate::peer::{Peer, both};
use crate::trial::Trial;

pub const UPSTREAM_ENDS: Check = Check {
    name: "end-of-the-upstream",
    title: "When the upstream closes, the client gets the last bytes, then the end of the stream",
    why: "an HTTP/1.0 answer ends with the connection: without the end the browser waits for ever",
    hint: "a `recv` of 0 bytes from the upstream must be passed on to its client",
    body: upstream_ends,
    ..PROXY
};

fn upstream_ends(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    for _ in 0..3 {
        let ends = join(&server, &upstream, "the client")?;
        ends.ping()?;
        ends.upstream.send(b"ten bytes\n")?;
        ends.upstream.close();
        ends.client.expect(b"ten bytes\n")?;
        ends.client.expect_end()?;
    }
    Ok(())
}

pub const CLIENT_ENDS: Check = Check {
    name: "end-of-the-client",
    title: "When the client closes, the upstream sees it, and both descriptors are given back",
    why: "an upstream that never hears of it keeps a connection for each client that ever came",
    hint: "a `recv` of 0 bytes from the client must be passed on; when both sides have ended, close both sockets",
    body: client_ends,
    ..PROXY
};

fn client_ends(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    expect_alive(&server, &upstream)?;
    let before = server.figures()?;
    for _ in 0..5 {
        let ends = join(&server, &upstream, "the client")?;
        ends.client.send(b"ten bytes\n")?;
        ends.client.close();
        ends.upstream.expect(b"ten bytes\n")?;
        ends.upstream.expect_end()?;
        ends.upstream.close();
    }
    server.expect_no_leak(&before)
}

pub const CLIENT_HALF_CLOSES: Check = Check {
    name: "client-half-closes",
    title: "A client that half-closes after its request still gets the whole answer",
    why: "it has nothing more to say, but it listens; and some servers answer only at the end of the request",
    hint: "pass the end on with `shutdown(SHUT_WR)`, not with `close`: the other direction goes on",
    tier: Tier::Robust,
    points: 4,
    body: client_half_closes,
    ..PROXY
};

fn client_half_closes(trial: &Trial) -> Verdict {
    trial.step("the upstream answers 300 ms after the request");
    let (server, upstream) = start(trial)?;
    let ends = join(&server, &upstream, "the first client")?;
    half_closed(&ends)?;
    thread::sleep(Duration::from_millis(300)); // the recipe of the fault
    ends.upstream.send(b"answer\n")?;
    ends.client.expect(b"answer\n")?;

    trial.step("the upstream answers when it has seen the end of the request");
    let ends = join(&server, &upstream, "the second client")?;
    half_closed(&ends)?;
    ends.upstream.expect_end()?;
    ends.upstream.send(b"answer\n")?;
    ends.upstream.close();
    ends.client.expect(b"answer\n")?;
    ends.client.expect_end()?;

    trial.step("the same with an answer of 1 MB");
    let ends = join(&server, &upstream, "the third client")?;
    half_closed(&ends)?;
    ends.upstream.expect_end()?;
    send_and_close(ends.upstream, &ends.client, 1_000_000, Duration::ZERO)
}

pub const ECHO_AND_HALF_CLOSE: Check = Check {
    name: "three-megabytes-and-half-close",
    title: "3 MB that an upstream sends back while they come arrive in full, then the end",
    why: "the end of the request finds answers on their way, in every buffer that there is",
    body: echo_and_half_close,
    ..CLIENT_HALF_CLOSES
};

fn echo_and_half_close(trial: &Trial) -> Verdict {
    let (server, _upstream) = start_echo(trial)?;
    let client = server.connect("the client")?;
    let (pattern, length) = (Pattern::new(9), 3_000_000);
    let send = || {
        client.send_pattern(pattern, length)?;
        client.half_close()
    };
    both(send, || client.expect_pattern(pattern, length))?;
    client.expect_end()
}

fn half_closed(ends: &Ends) -> Verdict {
    ends.client.send(b"request\n")?;
    ends.client.half_close()?;
    ends.upstream.expect(b"request\n")
}

/// One end sends and closes, the other begins to read so much later.
fn send_and_close(from: Peer, to: &Peer, length: u64, late: Duration) -> Verdict {
    let pattern = Pattern::new(length);
    both(
        || {
            from.send_pattern(pattern, length)?;
            from.close();
            Ok(())
        },
        || {
            thread::sleep(late); // the recipe of the fault, not a wait for an event
            to.expect_pattern(pattern, length)?;
            to.expect_end()
        },
    )
}

pub const UPSTREAM_HALF_CLOSES: Check = Check {
    name: "upstream-half-closes",
    title: "An upstream that half-closes still gets everything that the client sends",
    why: "a server may say all it has to say and go on listening, for instance to an upload",
    hint: "the end of one direction says nothing about the other",
    body: upstream_half_closes,
    ..CLIENT_HALF_CLOSES
};

fn upstream_half_closes(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let ends = join(&server, &upstream, "the client")?;
    ends.upstream.send(b"all I have to say\n")?;
    ends.upstream.half_close()?;
    ends.client.expect(b"all I have to say\n")?;
    ends.client.expect_end()?;
    ends.client.send(b"but I have more\n")?;
    ends.upstream.expect(b"but I have more\n")?;
    transfer(&ends.client, &ends.upstream, 1_000_000)?;
    ends.client.close();
    ends.upstream.expect_end()
}

pub const LATE_READER: Check = Check {
    name: "ends-before-all-is-read",
    title: "A side that sends 6 MB and closes: the other gets all of it, also when it reads late",
    why: "the end of the stream comes after the bytes, and there may be many of them on their way",
    hint: "a side that has ended is shut down on the other when your buffer is empty, not before",
    body: late_reader,
    ..CLIENT_HALF_CLOSES
};

fn late_reader(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let late = Duration::from_millis(1200);
    let download = join(&server, &upstream, "the client that downloads")?;
    let upload = join(&server, &upstream, "the client that uploads")?;
    trial.step(format!("nobody reads for {late:?}"));
    both(
        || send_and_close(download.upstream, &download.client, 6_000_000, late),
        || send_and_close(upload.client, &upload.upstream, 6_000_000, late),
    )
}

pub const END_WITH_BYTES_IN_ONE_EVENT: Check = Check {
    name: "bytes-and-end-in-one-event",
    title: "Bytes that come together with the end of the stream are passed on",
    why: "`epoll_wait` reports EPOLLHUP as soon as both directions have ended, also while bytes are still to be read",
    hint: "EPOLLHUP and EPOLLRDHUP are no reason to close: read until `recv` returns 0",
    body: end_with_bytes_in_one_event,
    ..CLIENT_HALF_CLOSES
};

fn end_with_bytes_in_one_event(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let (pattern, length) = (Pattern::new(4), 50_000); // as much as a socket takes at once
    for client_ended_before in [false, true] {
        let ends = join(&server, &upstream, "the client")?;
        ends.ping()?;
        if client_ended_before {
            ends.client.half_close()?;
            ends.upstream.expect_end()?;
        }
        // A proxy that is stopped finds all of it at once when it goes on.
        trial.stop(&server.process)?;
        ends.upstream.send_pattern(pattern, length)?;
        ends.upstream.close();
        trial.go_on(&server.process)?;
        ends.client.expect_pattern(pattern, length)?;
        ends.client.expect_end()?;
    }
    Ok(())
}
