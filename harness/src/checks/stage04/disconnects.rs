//! Clients that leave, in every way and at every moment.

use std::time::Duration;

use super::base::{CLIENTS_AT_THE_SAME_TIME, expect_alive};
use crate::check::{Check, Tier};
use crate::checks::clients::reverse_ping;
use crate::checks::reversing::half_close_while_answers_wait;
use crate::data::lines;
use crate::failure::Verdict;
use crate::trial::Trial;

/// A share of a measuring window, for a server that has nothing to do.
const IDLE: f64 = 0.1;

pub const RESETS: Check = Check {
    name: "resets-at-any-moment",
    title: "A client that resets its connection, at whatever moment, ends nothing but that",
    why: "a client that crashes or loses its network shows as an error of `recv` or `send`",
    hint: "an error on a client's socket ends that client: close it, go on with the next event",
    tier: Tier::Robust,
    timeout: Duration::from_secs(60),
    body: resets,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn resets(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let other = server.connect("another client")?;
    reverse_ping(&other)?;
    let before = server.figures()?;
    for _ in 0..20 {
        let says_nothing = server.connect("a client that says nothing")?;
        says_nothing.reset()?;

        let in_a_line = server.connect("a client in the middle of a line")?;
        in_a_line.send(b"abc")?;
        in_a_line.until_all_is_read()?;
        in_a_line.reset()?;

        // Right after its line: the answer, or its bytes, find nobody.
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

        // To close with unread bytes resets too (tcp(7)).
        let unread = server.connect("a client that leaves its answer unread")?;
        unread.send(b"hello\n")?;
        unread.until_all_is_read()?;
        unread.close();
        reverse_ping(&other)?;
    }
    server.expect_no_leak(&before)?;
    server.expect_idle(Duration::from_millis(300), IDLE)?;
    expect_alive(&server)
}

pub const RESET_DURING_AN_ANSWER: Check = Check {
    name: "reset-during-an-answer",
    title: "A client that resets its connection while it is sent to does not end the server",
    why: "to send to a connection that is gone raises SIGPIPE, whose default is to kill the process",
    hint: "`send` with MSG_NOSIGNAL, or ignore SIGPIPE; then its error ends that client only",
    body: reset_during_an_answer,
    ..RESETS
};

fn reset_during_an_answer(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    reverse_ping(&server.connect("a first client")?)?;
    let text = lines(9, 1_000_000);
    let before = server.figures()?;
    let client = server.connect("the client that never reads")?;
    client.send_until_stuck(&text, 64 << 20)?;
    client.reset()?;
    expect_alive(&server)?;
    // To one that has half-closed before, the very first `send` raises SIGPIPE.
    let client = server.connect("the client that half-closes")?;
    half_close_while_answers_wait(&client)?;
    client.reset()?;
    expect_alive(&server)?;
    server.expect_no_leak(&before)?;
    server.expect_idle(Duration::from_millis(300), IDLE)
}

pub const CONNECTS_AND_LEAVES: Check = Check {
    name: "connects-and-leaves",
    title: "Thousands of clients that connect and leave at once do no harm",
    why: "health checks and port scanners do this all day; some are gone before `accept` returns",
    hint: "a client may be gone at any moment: each call on its socket may fail, and that is all",
    body: connects_and_leaves,
    ..RESETS
};

fn connects_and_leaves(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let other = server.connect("another client")?;
    reverse_ping(&other)?;
    let before = server.figures()?;
    for number in 0..trial.size(1_000, 10_000) {
        let client = server.connect("a client that leaves at once")?;
        // Two in three with a reset, so that the connection is dead when it is accepted.
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

pub const NO_LEAK: Check = Check {
    name: "no-leak",
    title: "After thousands of clients, descriptors and memory are back where they were",
    why: "a server runs for months: what is lost with each client will run out",
    hint: "what was made for a client is given back when it leaves: descriptor, buffers, entry",
    body: no_leak,
    ..RESETS
};

fn no_leak(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let text = lines(2, 8_000);
    let cycle = || {
        let client = server.connect("a client")?;
        client.send(&text)?;
        client.half_close()?;
        client.receive_to_end(2 * text.len())?;
        Ok(())
    };
    (0..50).try_for_each(|_| cycle())?;
    trial.step("the server has warmed up");
    let before = server.figures()?;
    (0..trial.size(1_500, 10_000)).try_for_each(|_| cycle())?;
    server.expect_no_leak(&before)
}
