//! Clients that leave, in every way and at every moment.

use std::time::Duration;

use super::base::{CLIENTS_AT_THE_SAME_TIME, expect_alive};
use crate::check::{Check, Need, Tier};
use crate::checks::clients::reverse_ping;
use crate::checks::reversing::half_close_while_answers_wait;
use crate::data::lines;
use crate::failure::Verdict;
use crate::trial::{Server, Trial};

/// The share of CPU time that a server with nothing to do may use.
const IDLE: f64 = 0.1;

pub const RESETS: Check = Check {
    name: "resets-at-any-moment",
    title: "A client that resets its connection, at any moment, ends only this connection",
    why: "when a client crashes, `recv` or `send` on its connection fails",
    hint: "when a call on a client's socket fails, close this socket and go on with the next event",
    tier: Tier::Solid,
    timeout: Duration::from_secs(60),
    body: resets,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn resets(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    reset_in_every_way(&server)?;
    expect_alive(&server)
}

/// Each reset may harm a client that is there all the time.
fn reset_in_every_way(server: &Server) -> Verdict {
    let other = server.connect("another client")?;
    reverse_ping(&other)?;
    for _ in 0..20 {
        let says_nothing = server.connect("a client that says nothing")?;
        says_nothing.reset()?;

        let in_a_line = server.connect("a client in the middle of a line")?;
        in_a_line.send(b"abc")?;
        in_a_line.until_all_is_read()?;
        in_a_line.reset()?;

        // The reset follows the line immediately, so the server reads from, or sends to, a
        // connection that is already gone.
        let unanswered = server.connect("a client that does not wait for its answer")?;
        unanswered.send(b"hello\n")?;
        unanswered.reset()?;

        let answered = server.connect("a client that has its answer")?;
        reverse_ping(&answered)?;
        answered.reset()?;

        let half_closed = server.connect("a client that has half-closed")?;
        half_closed.send(b"hello\nworld")?;
        half_closed.half_close()?;
        half_closed.reset()?;

        // Closing a socket with unread bytes also resets the connection (tcp(7)).
        let unread = server.connect("a client that leaves its answer unread")?;
        unread.send(b"hello\n")?;
        unread.until_all_is_read()?;
        unread.close();
        reverse_ping(&other)?;
    }
    Ok(())
}

pub const NOTHING_IS_LEFT_OF_A_RESET: Check = Check {
    name: "nothing-is-left-of-a-reset",
    title: "A client that resets its connection leaves no descriptor open, and costs no CPU time",
    why: "epoll reports a socket with an error again and again until it is closed",
    hint: "when a call on a client's socket fails, close this socket; EPOLLERR and EPOLLHUP come without being asked for",
    tier: Tier::Robust,
    body: nothing_is_left_of_a_reset,
    ..RESETS
};

fn nothing_is_left_of_a_reset(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    reverse_ping(&server.connect("a first client")?)?;
    let before = server.figures()?;
    reset_in_every_way(&server)?;
    let stuck = server.connect("the client that never reads")?;
    stuck.send_until_stuck(&lines(9, 1_000_000), 64 << 20)?;
    stuck.reset()?;
    server.expect_descriptors_back(&before)?;
    server.expect_idle(Duration::from_millis(300), IDLE)
}

pub const RESET_DURING_AN_ANSWER: Check = Check {
    name: "reset-during-an-answer",
    title: "A client that resets its connection while the server sends to it does not end the server",
    why: "`send` on a connection that is gone raises SIGPIPE, and by default this signal kills the process",
    hint: "call `send` with MSG_NOSIGNAL, or ignore SIGPIPE; then `send` fails with EPIPE, and you close only this client",
    tier: Tier::Robust,
    body: reset_during_an_answer,
    ..RESETS
};

fn reset_during_an_answer(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let text = lines(9, 1_000_000);
    let client = server.connect("the client that never reads")?;
    client.send_until_stuck(&text, 64 << 20)?;
    client.reset()?;
    expect_alive(&server)?;
    // If the client had half-closed before its reset, the very first `send` raises SIGPIPE.
    let client = server.connect("the client that half-closes")?;
    half_close_while_answers_wait(&client)?;
    client.reset()?;
    expect_alive(&server)
}

pub const CONNECTS_AND_LEAVES: Check = Check {
    name: "connects-and-leaves",
    title: "Thousands of clients that connect and leave immediately do not harm the server",
    why: "health checks and port scanners do this all day; some are gone before `accept` returns",
    hint: "expect every call on a client's socket to fail, because the client may already be gone; then close only this client",
    tier: Tier::Robust,
    body: connects_and_leaves,
    ..RESETS
};

fn connects_and_leaves(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let other = server.connect("another client")?;
    reverse_ping(&other)?;
    let before = server.figures()?;
    for number in 0..trial.size(1_000, 10_000) {
        let client = server.connect("a client that leaves immediately")?;
        // Two in three reset their connection, so that it is dead when the server accepts it.
        if number % 3 == 0 {
            client.close();
        } else {
            client.reset()?;
        }
    }
    reverse_ping(&other)?;
    server.expect_no_leak(&before)?;
    expect_alive(&server)
}

pub const VANISHES: Check = Check {
    name: "client-that-vanishes",
    title: "A client whose machine has lost its power does not keep its connection for good",
    why: "such a client sends no FIN and no reset: a server that only waits keeps its descriptor until the end",
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
    let server = trial.start()?;
    let other = server.connect("another client")?;
    reverse_ping(&other)?;
    let before = server.figures()?;
    let client = server.connect("a client without power")?;
    reverse_ping(&client)?;
    client.vanish()?;
    server.expect_descriptors_back(&before)?;
    reverse_ping(&other)
}

pub const NO_LEAK: Check = Check {
    name: "no-leak",
    title: "The server keeps no descriptor and no memory of the clients that have left",
    why: "a server runs for months, so even a small leak with each client uses up all memory or descriptors in the end",
    hint: "when a client leaves, free everything that you made for it: descriptor, buffers, table entry",
    timeout: Duration::from_secs(120),
    body: no_leak,
    ..RESETS
};

fn no_leak(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let text = lines(2, 4_000);
    let cycle = || {
        let client = server.connect("a client")?;
        client.send(&text)?;
        client.expect_in_any_order(&text)?;
        client.close();
        Ok(())
    };
    cycle()?;
    let before = server.figures()?;
    (0..50).try_for_each(|_| cycle())?;
    server.expect_descriptors_back(&before)?;
    let count = trial.size(500, 2_000);
    server.expect_growth_to_end(&format!("{count} clients"), || {
        (0..count).try_for_each(|_| cycle())
    })?;
    server.expect_descriptors_back(&before)
}
