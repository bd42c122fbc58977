//! Streams that end normally, each direction by itself.

use std::thread;
use std::time::Duration;

use super::base::{Ends, PROXY, expect_alive, join, start, start_echo};
use super::bytes::transfer;
use crate::check::{Check, Tier};
use crate::data::{Pattern, time};
use crate::failure::Verdict;
use crate::peer::{Peer, both};
use crate::trial::Trial;

pub const UPSTREAM_ENDS: Check = Check {
    name: "end-of-the-upstream",
    title: "The client gets the last bytes and then the end of the stream when its upstream closes",
    why: "an HTTP/1.0 answer ends with the connection: without this end a browser waits forever",
    hint: "when `recv` from the upstream returns 0, pass the end on to its client",
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
    title: "The upstream gets the end of the stream when its client closes, and both sockets are closed",
    why: "otherwise the upstream keeps a connection open for each client that has left",
    hint: "when `recv` from the client returns 0, pass the end on; when both sides have ended, close both sockets",
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
    why: "such a client sends no more but still reads, and some servers answer only at the end of the request",
    hint: "pass the end on with `shutdown(SHUT_WR)`, not with `close`, because the other direction goes on",
    tier: Tier::Solid,
    body: client_half_closes,
    ..PROXY
};

fn client_half_closes(trial: &Trial) -> Verdict {
    trial.step("case 1: the upstream answers 300 ms after the request");
    let (server, upstream) = start(trial)?;
    let ends = join(&server, &upstream, "the first client")?;
    half_closed(&ends)?;
    thread::sleep(Duration::from_millis(300)); // the delay is the test, not a way to wait
    ends.upstream.send(b"answer\n")?;
    ends.client.expect(b"answer\n")?;

    trial.step("case 2: the upstream answers when it has got the end of the request");
    let ends = join(&server, &upstream, "the second client")?;
    half_closed(&ends)?;
    ends.upstream.expect_end()?;
    ends.upstream.send(b"answer\n")?;
    ends.upstream.close();
    ends.client.expect(b"answer\n")?;
    ends.client.expect_end()?;

    trial.step("case 3: the same as case 2, with an answer of 1 MB");
    let ends = join(&server, &upstream, "the third client")?;
    half_closed(&ends)?;
    ends.upstream.expect_end()?;
    send_and_close(ends.upstream, &ends.client, 1_000_000, Duration::ZERO)
}

pub const ECHO_AND_HALF_CLOSE: Check = Check {
    name: "three-megabytes-and-half-close",
    title: "A client gets back all of its 3 MB from an upstream that echoes, then the end of the stream",
    why: "when the request ends, parts of the answer are still on their way, in every buffer",
    tier: Tier::Robust,
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

/// One end sends and closes; the other begins to read after the time `late`.
fn send_and_close(from: Peer, to: &Peer, length: u64, late: Duration) -> Verdict {
    let pattern = Pattern::new(length);
    both(
        || {
            from.send_pattern(pattern, length)?;
            from.close();
            Ok(())
        },
        || {
            thread::sleep(late); // the delay is the test, not a way to wait
            to.expect_pattern(pattern, length)?;
            to.expect_end()
        },
    )
}

pub const UPSTREAM_HALF_CLOSES: Check = Check {
    name: "upstream-half-closes",
    title: "An upstream that half-closes still gets everything that the client sends",
    why: "a server may finish its answer and still read, for instance an upload",
    hint: "when one direction ends, leave the other one open",
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
    title: "A side that reads late gets all of the 6 MB that the other side sent before it closed",
    why: "the end of the stream comes after the bytes, and many of them may still be on their way",
    hint: "when one side has ended, empty your buffer first, and then call `shutdown(SHUT_WR)` on the other side",
    tier: Tier::Robust,
    body: late_reader,
    ..CLIENT_HALF_CLOSES
};

fn late_reader(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let late = Duration::from_millis(1200);
    let download = join(&server, &upstream, "the client that downloads")?;
    let upload = join(&server, &upstream, "the client that uploads")?;
    trial.step(format!(
        "both receivers begin to read only after {}",
        time(late)
    ));
    both(
        || send_and_close(download.upstream, &download.client, 6_000_000, late),
        || send_and_close(upload.client, &upload.upstream, 6_000_000, late),
    )
}

pub const END_WITH_BYTES_IN_ONE_EVENT: Check = Check {
    name: "bytes-and-end-in-one-event",
    title: "Bytes that arrive together with the end of the stream are passed on",
    why: "`epoll_wait` reports EPOLLHUP as soon as both directions have ended, even if there are still bytes to read",
    hint: "do not close on EPOLLHUP or EPOLLRDHUP: read until `recv` returns 0",
    tier: Tier::Robust,
    body: end_with_bytes_in_one_event,
    ..CLIENT_HALF_CLOSES
};

fn end_with_bytes_in_one_event(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let (pattern, length) = (Pattern::new(4), 50_000); // one socket can hold this
    for client_ended_before in [false, true] {
        let ends = join(&server, &upstream, "the client")?;
        ends.ping()?;
        if client_ended_before {
            ends.client.half_close()?;
            ends.upstream.expect_end()?;
        }
        // The proxy is stopped meanwhile, so that it finds the bytes and the end together.
        trial.stop(&server.process)?;
        ends.upstream.send_pattern(pattern, length)?;
        ends.upstream.close();
        trial.go_on(&server.process)?;
        ends.client.expect_pattern(pattern, length)?;
        ends.client.expect_end()?;
    }
    Ok(())
}
