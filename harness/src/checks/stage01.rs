//! Stage 1: a blocking server for one client. It ends with exit status 1 when the client leaves.

use std::net::TcpStream;
use std::time::Duration;

use super::reversing::half_close_while_answers_wait;
use super::stage04::STOPPED_AND_CONTINUED;
use super::terminal::await_log;
use super::{netcat, odd_starts, reversing, signals, terminal};
use crate::check::{Check, Need, Tier, taken_over};
use crate::data::{lines, time};
use crate::failure::{Failure, Verdict};
use crate::process::Sink;
use crate::sockets::{Row, Table, listeners};
use crate::stage::Stage;
use crate::trial::Trial;

pub fn checks() -> Vec<Check> {
    let shared = [reversing::CHECKS, terminal::CHECKS, netcat::CHECKS].concat();
    let odd = odd_starts::checks(Stage::Stage01);
    [taken_over(&shared, Stage::Stage01), OWN.to_vec(), odd].concat()
}

const OWN: &[Check] = &[
    LISTENS,
    ACCEPTS,
    ENDS_WITH_ITS_CLIENT,
    ENDS_AFTER_A_RESET,
    ENDS_AFTER_A_RESET_WHILE_IT_SENDS,
    ITERATIVE,
    ITERATIVE_SURVIVES_RESETS,
    STDERR_CLOSED,
    STDERR_UNREAD,
    BACKLOG,
    signals::ENDS_ON_A_SIGNAL,
    Check {
        why: "a call that SIGCONT interrupts may fail with EINTR, although nothing is wrong (signal(7))",
        hint: "when a call fails with EINTR, call it again",
        ..STOPPED_AND_CONTINUED.taken_over(Stage::Stage01)
    },
];

const LISTENS: Check = Check {
    name: "listens",
    title: "A client can connect to the server's port",
    why: "without a listening socket the kernel refuses every connection",
    hint: "call `socket`, `bind` and `listen`, in this order, and check what each of them returns",
    tier: Tier::Robust, // a first step, which alone is worth little
    body: listens,
    ..ENDS_WITH_ITS_CLIENT
};

fn listens(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    server.connect("the client").map(drop)
}

const ACCEPTS: Check = Check {
    name: "accepts",
    title: "The server takes a client out of the queue",
    why: "the kernel connects a client before the server knows about it; the connection then waits \
          in a queue until the server calls `accept`",
    hint: "call `accept` on the listening socket: it returns a new socket, for this client",
    tier: Tier::Robust, // a first step, which alone is worth little
    body: accepts,
    ..ENDS_WITH_ITS_CLIENT
};

fn accepts(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let _client = server.connect("the client")?;
    let address = server.address();
    // A server may listen on all addresses, and then its row has another one.
    let is_ours = |row: &Row| row.local.port() == address.port();
    let queue = || {
        let tables = [Table::Tcp, Table::Tcp6].into_iter().flat_map(listeners);
        tables.filter(is_ours).map(|row| row.receiving).sum::<u64>()
    };
    trial.wait_until("the server's queue of connections is empty", || {
        queue() == 0
    })?;
    server.expect_running()
}

const ENDS_WITH_ITS_CLIENT: Check = Check {
    stage: Stage::Stage01,
    role: "",
    name: "ends-with-its-client",
    title: "The server ends with exit status 1 when its client leaves",
    why: "`recv` returns 0 when the client has closed its connection: the server must notice that",
    hint: "when `recv` returns 0, leave the loop and exit with status 1",
    chapter: "docs/src/phase0/stage01.md",
    tier: Tier::Core,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: ends_with_its_client,
};

fn ends_with_its_client(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask(b"hello\n", b"olleh\n")?;
    client.close();
    server.expect_exit(1)
}

const ENDS_AFTER_A_RESET: Check = Check {
    name: "ends-after-a-reset",
    title: "The server ends with exit status 1 when its client resets the connection",
    why: "a client that crashes may reset its connection, and then `recv` fails instead of returning 0",
    hint: "when `recv` returns -1 after a reset, treat it as a client that has left",
    tier: Tier::Solid,
    body: ends_after_a_reset,
    ..ENDS_WITH_ITS_CLIENT
};

fn ends_after_a_reset(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask(b"hello\n", b"olleh\n")?;
    client.reset()?;
    server.expect_exit(1)
}

const ENDS_AFTER_A_RESET_WHILE_IT_SENDS: Check = Check {
    name: "ends-after-a-reset-while-it-sends",
    title: "The server ends with exit status 1 when its client resets during an answer",
    why: "`send` on a connection that was reset raises SIGPIPE, which kills the process by default",
    hint: "call `send` with MSG_NOSIGNAL, and check what it returns",
    tier: Tier::Robust,
    body: ends_after_a_reset_while_it_sends,
    ..ENDS_AFTER_A_RESET
};

fn ends_after_a_reset_while_it_sends(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.send_until_stuck(&lines(9, 1_000_000), 64 << 20)?;
    client.reset()?;
    server.expect_exit(1)?;

    // If the client has half-closed before its reset, even the first `send` raises SIGPIPE.
    let server = trial.start()?;
    let client = server.connect("the client that half-closes")?;
    half_close_while_answers_wait(&client)?;
    client.reset()?;
    server.expect_exit(1)
}

const ITERATIVE: Check = Check {
    name: "iterative",
    title: "The server with --iterative serves its clients one after the other",
    why: "a blocking server serves one client at a time, and the kernel lets the others wait in a queue",
    hint: "go back to `accept` when a client has left",
    tier: Tier::Robust,
    needs: &[Need::Option("--iterative")],
    body: iterative,
    ..ENDS_AFTER_A_RESET
};

fn iterative(trial: &Trial) -> Verdict {
    let server = trial.launch().options(["--iterative"]).start()?;
    let first = server.connect("the first client")?;
    let second = server.connect("the second client")?;
    second.send(b"second\n")?;
    let third = server.connect("the third client")?;
    third.send(b"third\n")?;
    first.ask(b"first\n", b"tsrif\n")?;
    first.close();
    second.expect(b"dnoces\n")?;
    second.close();
    third.expect(b"driht\n")?;
    third.half_close()?;
    third.expect_end()?;
    await_log(&server, "Client disconnected")?;
    server.expect_running()
}

const ITERATIVE_SURVIVES_RESETS: Check = Check {
    name: "iterative-survives-resets",
    title: "The server with --iterative goes on when a client resets its connection",
    why: "the next client already waits, and the way in which the last one left must not affect it",
    hint: "when `recv` or `send` fails, close that client's socket and go on; use MSG_NOSIGNAL",
    body: iterative_survives_resets,
    ..ITERATIVE
};

fn iterative_survives_resets(trial: &Trial) -> Verdict {
    let server = trial.launch().options(["--iterative"]).start()?;
    let text = lines(9, 1_000_000);
    for _ in 0..3 {
        let silent = server.connect("a client that says nothing")?;
        silent.reset()?;
        let in_a_line = server.connect("a client in the middle of a line")?;
        in_a_line.send(b"abc")?;
        in_a_line.until_all_is_read()?;
        in_a_line.reset()?;
        let stuck = server.connect("the client that never reads")?;
        stuck.send_until_stuck(&text, 64 << 20)?;
        let next = server.connect("the next client")?;
        stuck.reset()?;
        next.ask(b"next\n", b"txen\n")?;
    }
    server.expect_running()
}

const STDERR_CLOSED: Check = Check {
    name: "stderr-closed",
    title: "A closed stderr does not end the server with --iterative",
    why: "the terminal in which a server was started may be closed long before the server ends",
    hint: "ignore an error when you write a log line; do not use `eprintln!`, which panics",
    body: |trial| one_after_the_other(trial, Sink::Closed, 10),
    ..ITERATIVE
};

const STDERR_UNREAD: Check = Check {
    name: "stderr-unread",
    title: "A full stderr that is not read does not stop the server with --iterative",
    why: "each client causes some log lines, and a pipe is full after 64 KiB",
    hint: "ask `poll` whether stderr can take a line; if it cannot, drop the line and count it",
    body: |trial| one_after_the_other(trial, Sink::Unread, 1_500),
    ..ITERATIVE
};

fn one_after_the_other(trial: &Trial, stderr: Sink, clients: usize) -> Verdict {
    let launch = trial.launch().options(["--iterative"]);
    let server = launch.stderr(stderr).start()?;
    for number in 1..=clients {
        let client = server.connect(&format!("client {number}"))?;
        client.ask(b"hello\n", b"olleh\n")?;
    }
    server.expect_running()
}

const BACKLOG: Check = Check {
    name: "backlog",
    title: "The option --backlog says how many clients may wait",
    why: "the kernel keeps a queue of waiting clients, and the server decides how long it is",
    hint: "pass the number as the second argument of `listen`",
    needs: &[Need::Option("--backlog")],
    body: backlog,
    ..ITERATIVE
};

fn backlog(trial: &Trial) -> Verdict {
    let server = trial.launch().options(["--backlog", "2"]).start()?;
    let client = server.connect("the client")?;
    client.ask(b"hello\n", b"olleh\n")?;
    // The kernel takes one more than the backlog (listen(2)).
    let waiting: Vec<_> = ["the first", "the second", "the third"]
        .iter()
        .map(|which| server.connect(&format!("{which} client that waits")))
        .collect::<Verdict<_>>()?;
    // The queue is full, so the kernel does not answer: this attempt must time out.
    let patience = Duration::from_millis(400);
    if TcpStream::connect_timeout(&server.address(), patience).is_ok() {
        let what = "with a backlog of 2, a fourth waiting client was connected";
        return Err(Failure::behaviour(what).expected("no answer to the SYN of a fourth client"));
    }
    trial.step(format!(
        "a fourth client that waits gets no answer for {}",
        time(patience)
    ));
    drop(waiting);
    client.ask(b"hello\n", b"olleh\n")
}
