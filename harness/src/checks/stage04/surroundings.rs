//! A terminal that is slow, or gone.

use std::time::Duration;

use super::base::{CLIENTS_AT_THE_SAME_TIME, expect_alive};
use crate::check::{Check, Need, Tier};
use crate::checks::clients::reverse_ping;
use crate::checks::terminal::{await_log, expect_shown_again};
use crate::data::{lines, reversed};
use crate::failure::Verdict;
use crate::process::Sink;
use crate::trial::Trial;

pub const STDOUT_UNREAD: Check = Check {
    name: "stdout-unread",
    title: "A full stdout that is not read (Ctrl-S, a stuck pipe) does not stop any client",
    why: "a pipe is full after 64 KiB; a write that waits for its reader makes all clients wait",
    hint: "ask `poll` or epoll whether stdout takes bytes; keep some of what it does not take, drop the rest",
    tier: Tier::Robust,
    body: stdout_unread,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn stdout_unread(trial: &Trial) -> Verdict {
    let server = trial.launch().stdout(Sink::Unread).start()?;
    let other = server.connect("another client")?;
    let talker = server.connect("the client that sends much")?;
    let before = server.figures()?;
    // More than a pipe holds, and more than a server may keep.
    let text = lines(7, 4_000_000);
    talker.exchange(&text, &reversed(&text))?;
    reverse_ping(&other)?;
    server.expect_little_growth(&before)?;
    expect_alive(&server)
}

/// How long nothing at all may happen in a server that has nothing to do.
const WINDOW: Duration = Duration::from_millis(700);

pub const FULL_STDOUT: Check = Check {
    name: "full-stdout-costs-nothing",
    title: "While stdout is full the server sleeps, and it shows messages again when there is room",
    why: "a server that looks again and again whether stdout has room never rests; but stdout is a descriptor, and epoll can tell",
    hint: "watch stdout for EPOLLOUT while messages wait, and only then; EPOLLERR says that the reader is gone",
    body: full_stdout,
    ..STDOUT_UNREAD
};

fn full_stdout(trial: &Trial) -> Verdict {
    let server = trial.launch().stdout(Sink::Handed).start()?;
    let screen = server.stdout()?;
    let talker = server.connect("the client that says much")?;
    let text = lines(7, 4_000_000);
    talker.exchange(&text, &reversed(&text))?;
    server.expect_asleep(WINDOW)?;

    // There is room again: what was kept comes first.
    expect_shown_again(&screen, "here again", || {
        talker.ask(b"here again\n", b"niaga ereh\n")
    })?;
    server.expect_asleep(WINDOW)?;

    talker.exchange(&text, &reversed(&text))?;
    screen.close();
    server.expect_asleep(WINDOW)?;
    expect_alive(&server)
}

pub const STDERR_CLOSED: Check = Check {
    name: "stderr-closed",
    title: "A closed stderr does not end the server",
    why: "the terminal in which a server was started may be closed long before the server ends",
    hint: "ignore an error when you write a log line; do not use `eprintln!`, which panics",
    body: stderr_closed,
    ..STDOUT_UNREAD
};

fn stderr_closed(trial: &Trial) -> Verdict {
    let server = trial.launch().stderr(Sink::Closed).start()?;
    for _ in 0..10 {
        server.connect_many(3)?.iter().try_for_each(reverse_ping)?;
    }
    expect_alive(&server)
}

pub const STDERR_UNREAD: Check = Check {
    name: "stderr-unread",
    title: "A full stderr that is not read does not stop any client",
    why: "each client causes some log lines, and a pipe is full after 64 KiB",
    hint: "ask `poll` whether stderr can take a line; if it cannot, drop the line and count it",
    body: stderr_unread,
    ..STDOUT_UNREAD
};

fn stderr_unread(trial: &Trial) -> Verdict {
    let server = trial.launch().stderr(Sink::Unread).start()?;
    // Each client causes two log lines: those of 1,500 clients fill any pipe.
    for _ in 0..150 {
        server.connect_many(10)?.iter().try_for_each(reverse_ping)?;
    }
    expect_alive(&server)
}

pub const EPOLL_WAIT_LOG: Check = Check {
    name: "logs-epoll-wait",
    title: "The log with `-v` shows a line `Epoll wait` for each wait",
    why: "these lines show that the thread sleeps in one place only, and when it wakes up",
    hint: "log this line at level debug, right before you call `epoll_wait`",
    needs: &[Need::Option("--verbose")],
    body: epoll_wait_log,
    ..STDOUT_UNREAD
};

fn epoll_wait_log(trial: &Trial) -> Verdict {
    let server = trial.launch().options(["-v"]).start()?;
    reverse_ping(&server.connect("the client")?)?;
    await_log(&server, "Epoll wait")
}
