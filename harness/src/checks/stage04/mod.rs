//! Stage 4: many clients on one thread.

use std::net::TcpStream;
use std::time::Duration;

use super::netcat::{NC_OPENBSD, NC_TRADITIONAL, NCAT};
use super::reversing::{
    ALL_ANSWERS_TO_A_LATE_READER, ANY_BYTE, BOUNDARY_LENGTHS, CRLF, EMPTY_LINES, ENDLESS_LINE,
    EVERY_SPLIT, HALF_CLOSE, HOWEVER_IT_IS_CUT, LAST_LINE_WITHOUT_NEWLINE, LINE_AFTER_LINE,
    LONG_LINE_IN_PIECES, MANY_LINES_AT_ONCE, NOT_UTF8, REVERSES_A_LINE, UTF8,
};
use super::terminal::{
    ADDRESS_NOT_HERE, IPV6, LOCALHOST, LOG_LINES, MESSAGES, PORT_IN_USE, PRIVILEGED_PORT, QUIET,
    STDOUT_CLOSED, USAGE_ERROR,
};
use crate::check::{Check, Tier};
use crate::failure::Verdict;
use crate::peer::Peer;
use crate::stage::Stage;
use crate::trial::{Server, Trial};

pub(super) mod batches;
pub(super) mod disconnects;
pub(super) mod exhaustion;
pub(super) mod idling;
pub(super) mod slow_readers;
pub(super) mod surroundings;

pub const CHECKS: &[Check] = &[
    REVERSES_A_LINE,
    LINE_AFTER_LINE,
    CLIENTS_AT_THE_SAME_TIME,
    SILENT_CLIENT,
    OUTLIVES_ITS_CLIENTS,
    // The line protocol.
    LAST_LINE_WITHOUT_NEWLINE,
    HOWEVER_IT_IS_CUT,
    EVERY_SPLIT,
    MANY_LINES_AT_ONCE,
    EMPTY_LINES,
    CRLF,
    ANY_BYTE,
    UTF8,
    NOT_UTF8,
    BOUNDARY_LENGTHS,
    LONG_LINE_IN_PIECES,
    ENDLESS_LINE,
    // What a client may do without harm to the others.
    ALL_ANSWERS_TO_A_LATE_READER,
    HALF_CLOSE,
    slow_readers::NEVER_READS,
    slow_readers::STUCK_CLIENT_IS_CHEAP,
    slow_readers::STREAMING_CLIENT,
    disconnects::RESETS,
    disconnects::RESET_DURING_AN_ANSWER,
    disconnects::CONNECTS_AND_LEAVES,
    disconnects::NO_LEAK,
    // The event loop.
    batches::MORE_THAN_ONE_READ,
    batches::DISCONNECT_IN_A_BATCH,
    batches::MANY_AT_ONCE_IN_THE_QUEUE,
    batches::STOPPED_AND_CONTINUED,
    idling::IDLE_CLIENTS,
    idling::WAITING_FOR_A_READER,
    idling::THOUSANDS_IDLE,
    exhaustion::AT_THE_DESCRIPTOR_LIMIT,
    exhaustion::SERVES_ON_AFTER_THE_LIMIT,
    exhaustion::RAISES_THE_LIMIT,
    super::soak::LINES,
    // The program.
    super::stopping::SIGTERM,
    super::stopping::SIGTERM_UNDER_LOAD,
    super::stopping::PORT_IS_FREE_AT_ONCE,
    MESSAGES,
    LOG_LINES,
    surroundings::EPOLL_WAIT_LOG,
    QUIET,
    STDOUT_CLOSED,
    surroundings::STDOUT_UNREAD,
    surroundings::STDERR_CLOSED,
    surroundings::STDERR_UNREAD,
    PORT_IN_USE,
    PRIVILEGED_PORT,
    ADDRESS_NOT_HERE,
    IPV6,
    LOCALHOST,
    USAGE_ERROR,
    NC_OPENBSD,
    NC_TRADITIONAL,
    NCAT,
];

pub const CLIENTS_AT_THE_SAME_TIME: Check = Check {
    stage: Stage::Stage04,
    id: "stage04/clients-at-the-same-time",
    title: "Ten clients are served at the same time, whoever speaks first",
    why: "that is what epoll is for: one thread waits for all clients at once",
    hint: "nothing but `epoll_wait` may wait: `accept` and `recv` only what is ready",
    chapter: "docs/src/phase0/stage04.md",
    tier: Tier::Core,
    points: 3,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: clients_at_the_same_time,
};

/// The last to come speaks first, so that a server which serves them one after the
/// other cannot pass.
fn clients_at_the_same_time(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let clients = connect_many(&server, 10)?;
    for _ in 0..3 {
        clients.iter().rev().try_for_each(ping)?;
    }
    clients.iter().try_for_each(ping)
}

pub const SILENT_CLIENT: Check = Check {
    id: "stage04/silent-client",
    title: "A client that connects and says nothing keeps nobody waiting",
    why: "most clients are silent most of the time, and anybody can open a connection",
    body: silent_client,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn silent_client(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let silent = server.connect("the silent client")?;
    let unfinished = server.connect("the client with half a line")?;
    unfinished.send(b"hal")?;
    unfinished.until_all_is_read()?;
    let client = server.connect("another client")?;
    (0..3).try_for_each(|_| ping(&client))?;
    ping(&silent)
}

pub const OUTLIVES_ITS_CLIENTS: Check = Check {
    id: "stage04/outlives-its-clients",
    title: "When a client leaves, the others are served on, and new ones too",
    why: "clients come and go, a server stays",
    hint: "a `recv` of 0 bytes ends one client: take it out of epoll, close it, go on",
    body: outlives_its_clients,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn outlives_its_clients(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let before = server.connect("a client from before")?;
    ping(&before)?;
    for _ in 0..3 {
        let client = server.connect("a client that leaves")?;
        ping(&client)?;
        client.close();
        ping(&before)?;
    }
    expect_alive(&server)
}

fn connect_many(server: &Server, count: usize) -> Verdict<Vec<Peer>> {
    (1..=count)
        .map(|number| server.connect(&format!("client {number}")))
        .collect()
}

/// At most `most` clients, fewer where the queue of a server that accepts nobody at
/// the moment is shorter: then the kernel leaves a client without an answer.
fn connect_as_many_as_fit(trial: &Trial, server: &Server, most: usize) -> Verdict<Vec<Peer>> {
    let moment = Duration::from_millis(500);
    let connect = |_| TcpStream::connect_timeout(&server.address(), moment).ok();
    let streams: Vec<TcpStream> = (0..most).map_while(connect).collect();
    trial.step(format!("{} clients connected", streams.len()));
    let named = streams.into_iter().zip(1..);
    named
        .map(|(stream, number)| {
            let name = format!("client {number}");
            Peer::new(&name, stream, trial.trace(), trial.deadline())
        })
        .collect()
}

/// A line and its answer.
fn ping(client: &Peer) -> Verdict {
    client.ask(b"ping\n", b"gnip\n")
}

/// A new client gets its answer, and the process has not ended.
fn expect_alive(server: &Server) -> Verdict {
    server.expect_running()?;
    ping(&server.connect("a new client")?)?;
    server.expect_running()
}
