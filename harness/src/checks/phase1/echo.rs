//! Role `echo`: one pipe whose two ends are the same connection.

use std::thread;
use std::time::Duration;

use super::base::{PHASE1, expect_echo};
use crate::check::{Check, Need, Tier};
use crate::data::Pattern;
use crate::failure::Verdict;
use crate::peer::{Peer, both};
use crate::trial::{Server, Trial};

pub const CHECKS: &[Check] = &[
    EVERY_BYTE,
    HALF_CLOSE,
    BULK,
    NEVER_READS,
    FAR_AHEAD,
    RESETS,
    ANY_THRESHOLD,
    URGENT_DATA,
    super::base::PHASE1,
];

const EVERY_BYTE: Check = Check {
    name: "echo",
    title: "Every byte comes back unchanged and immediately",
    why: "an echo server does not work with lines: it must not wait for a `\\n`, nor change any byte",
    hint: "connect the source of the connection to its own sink with one pipe",
    chapter: "docs/src/phase1/architecture.md",
    tier: Tier::Core,
    needs: &[],
    body: every_byte,
    ..PHASE1
};

fn every_byte(trial: &Trial) -> Verdict {
    let server = trial.launch().roles(&["echo"]).start()?;
    let client = server.connect("the client")?;
    client.ask(b"no line break", b"no line break")?;
    let bytes: Vec<u8> = (0..=255).collect();
    client.ask(&bytes, &bytes)?;
    for byte in [0u8, b'\n', b'\r', 0xff] {
        client.ask(&[byte], &[byte])?;
    }
    client.half_close()?;
    client.expect_end()
}

const HALF_CLOSE: Check = Check {
    name: "echo-half-close",
    title: "A client that half-closes and reads late gets back all of its 12 MB",
    why: "the client is still owed its bytes after the end of its input",
    hint: "when the source ends, drain the pipe first, and only then close the sink",
    body: half_close,
    ..EVERY_BYTE
};

fn half_close(trial: &Trial) -> Verdict {
    let server = trial.launch().roles(&["echo"]).start()?;
    let client = server.connect("the client")?;
    let pattern = Pattern::new(1);
    const LENGTH: u64 = 12_000_000; // 3 MB may fit into the kernel's buffers: too few for this test
    let receive = || {
        thread::sleep(Duration::from_millis(300)); // the delay is the test, not a way to wait
        client.expect_pattern(pattern, LENGTH)?;
        client.expect_end()
    };
    let send = || {
        client.send_pattern(pattern, LENGTH)?;
        client.half_close()
    };
    both(send, receive)
}

const BULK: Check = Check {
    name: "echo-bulk",
    title: "A long stream is echoed byte for byte in constant memory",
    why: "a server that keeps a copy of what it carries runs out of memory with its busiest client",
    hint: "use backpressure: stop reading when the pipe is at its threshold, and go on when it has been drained",
    tier: Tier::Robust,
    timeout: Duration::from_secs(120),
    body: bulk,
    ..EVERY_BYTE
};

fn bulk(trial: &Trial) -> Verdict {
    let server = trial.launch().roles(&["echo"]).start()?;
    expect_echo(&server, 0)?;
    let before = server.figures()?;
    let client = server.connect("the client")?;
    let (pattern, length) = (Pattern::new(2), trial.size(64 << 20, 1 << 30));
    both(
        || client.send_pattern(pattern, length),
        || client.expect_pattern(pattern, length),
    )?;
    server.expect_little_growth(&before)
}

const NEVER_READS: Check = Check {
    name: "echo-to-a-client-that-never-reads",
    title: "A client that sends a gigabyte and never reads costs little memory and does not delay the others",
    why: "its echo cannot be delivered: a server that keeps all of it runs out of memory, and a server that waits in `send` serves no other client",
    timeout: Duration::from_secs(60),
    body: never_reads,
    ..BULK
};

fn never_reads(trial: &Trial) -> Verdict {
    let server = trial.launch().roles(&["echo"]).start()?;
    expect_echo(&server, 0)?;
    let before = server.figures()?;
    send_a_gigabyte_and_never_read(&server, 0, || expect_echo(&server, 0))?;
    server.expect_no_leak(&before)
}

/// Sends as much as the server takes, and looks at the server's memory meanwhile. At the end other
/// clients must still be served.
pub fn send_a_gigabyte_and_never_read(
    server: &Server,
    listener: usize,
    others_are_served: impl Fn() -> Verdict,
) -> Verdict {
    let before = server.figures()?;
    let stuck = server.connect_to(listener, "the client that never reads")?;
    let piece = Pattern::new(3).bytes(1_000_000);
    let (part, gibibyte) = (64 << 20, 1 << 30);
    let mut sent = 0;
    while sent < gibibyte {
        let taken = stuck.send_until_stuck(&piece, part)?;
        server.expect_little_growth(&before)?;
        sent += taken;
        if taken < part {
            break;
        }
    }
    (0..3).try_for_each(|_| others_are_served())?;
    server.expect_little_growth(&before)
}

const FAR_AHEAD: Check = Check {
    name: "echo-far-ahead",
    title: "Clients that fill the server's receive buffer to the last byte, and then read, get everything",
    why: "a kernel whose receive buffer is full may refuse what comes, even acknowledgements: a server that waits for these before it reads waits for ever",
    hint: "when acknowledgements are missing (TCP_INFO: tcpi_retransmits, tcpi_probes), read a part of the receive buffer into memory",
    chapter: "docs/src/reliability.md",
    tier: Tier::Robust,
    timeout: Duration::from_secs(300), // the kernel waits before it repeats itself
    // The kernel is to blame, not a student's program.
    needs: &[
        Need::OwnNetwork,
        Need::NetworkSettings,
        Need::Option("--listen"),
    ],
    body: far_ahead,
    ..EVERY_BYTE
};

/// Once through an echo, and once through a proxy to an echo. A kernel that knows large segments
/// announces more room than it has for tiny ones.
fn far_ahead(trial: &Trial) -> Verdict {
    trial.limit_buffers()?;
    let upstream = super::proxy::echo_service(trial)?;
    let roles = ["echo".to_owned(), format!("proxy:{}", upstream.address())];
    let server = trial.launch().roles(&roles).start()?;
    // The proxy and its upstream have buffers, too.
    for (listener, fills) in [(0, 2_200_000), (1, 4_400_000)] {
        for _ in 0..trial.size(1, 3) {
            let clients = (0..5).map(|n| run_ahead(&server, listener, fills - n * 100_000));
            let clients: Vec<_> = clients.collect::<Verdict<_>>()?;
            for (client, sent) in clients {
                client.expect(&vec![b'.'; sent as usize])?;
                client.ask(b"!", b"!")?;
            }
        }
    }
    Ok(())
}

/// A client that does not read what it gets back. First it sends large pieces, then tiny ones.
fn run_ahead(server: &Server, listener: usize, fills: u64) -> Verdict<(Peer, u64)> {
    let client = server.connect_to(listener, "a client that runs ahead")?;
    let large = vec![b'.'; 60_000];
    let warm_up = vec![b'.'; 5_000_000];
    client.exchange(&warm_up, &warm_up)?; // the buffers grow
    client.send_one_by_one()?;
    let sent = client.send_until_stuck(&large, fills)?;
    let more = client.send_until_stuck(&large[..100], 2_000_000)?;
    Ok((client, sent + more))
}

const RESETS: Check = Check {
    name: "echo-resets",
    title: "A client of an echo that resets its connection, at any moment, ends only this connection",
    why: "the source and the sink of an echo fail at the same time, but its session must end only once",
    hint: "report a failed end to its pipe once, and end the session when nothing is left to move",
    tier: Tier::Solid,
    body: resets,
    ..EVERY_BYTE
};

fn resets(trial: &Trial) -> Verdict {
    let server = trial.launch().roles(&["echo"]).start()?;
    expect_echo(&server, 0)?;
    let before = server.figures()?;
    for _ in 0..20 {
        server.connect("a client that says nothing")?.reset()?;
        let waiting = server.connect("a client that does not wait for its echo")?;
        waiting.send(b"hello")?;
        waiting.reset()?;
        let half_closed = server.connect("a client that half-closes")?;
        half_closed.send(b"hello")?;
        half_closed.half_close()?;
        half_closed.reset()?;
    }
    let stuck = server.connect("the client that never reads")?;
    stuck.send_until_stuck(&Pattern::new(4).bytes(1_000_000), 64 << 20)?;
    stuck.reset()?;
    server.expect_no_leak(&before)?;
    expect_echo(&server, 0)
}

const ANY_THRESHOLD: Check = Check {
    name: "any-pipe-threshold",
    title: "The same bytes come out of a pipe, whatever its threshold is",
    why: "the threshold limits memory, but it is not the size of a message",
    hint: "stop the source of a pipe that is at its threshold, and start it again when the pipe has been drained",
    tier: Tier::Robust,
    needs: &[Need::Option("--pipe-threshold")],
    body: any_threshold,
    ..EVERY_BYTE
};

fn any_threshold(trial: &Trial) -> Verdict {
    for threshold in ["1", "4096", "10000000"] {
        let launch = trial.launch().options(["--pipe-threshold", threshold]);
        let server = launch.roles(&["echo", "reverse"]).start()?;
        let echo = server.connect_to(0, "the client of the echo")?;
        let bytes = Pattern::new(5).bytes(300_000);
        echo.exchange(&bytes, &bytes)?;
        let lines = crate::data::lines(6, 300_000);
        let reverse = server.connect_to(1, "the client of the reverser")?;
        reverse.exchange(&lines, &crate::data::reversed(&lines))?;
    }
    Ok(())
}

const URGENT_DATA: Check = Check {
    name: "urgent-data",
    title: "Urgent data (MSG_OOB) in a long stream costs none of the other bytes, and no CPU time",
    why: "`recv` stops at the urgent byte although more bytes follow, and an edge-triggered loop may take the socket for empty",
    hint: "when epoll reports EPOLLPRI, a short read does not mean that the socket is empty: read until EAGAIN",
    tier: Tier::Robust,
    body: urgent_data,
    ..EVERY_BYTE
};

fn urgent_data(trial: &Trial) -> Verdict {
    let upstream = super::proxy::echo_service(trial)?;
    let roles = ["echo".to_owned(), format!("proxy:{}", upstream.address())];
    let server = trial.launch().roles(&roles).start()?;
    for listener in 0..roles.len() {
        let client = server.connect_to(listener, "the client")?;
        let bytes = Pattern::new(6).bytes(400_000);
        // One at a time, because a second one would make the first an ordinary byte.
        for round in 0..20 {
            let (first, second) = bytes.split_at(20_000 * round);
            let send = || {
                client.send(first)?;
                client.send_urgent(b'!')?;
                client.send(second)
            };
            both(send, || client.expect(&bytes))?;
        }
        server.expect_idle(Duration::from_millis(300), 0.1)?;
        client.half_close()?;
        client.expect_end()?;
    }
    Ok(())
}
