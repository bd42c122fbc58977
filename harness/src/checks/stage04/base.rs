//! What the checks of many clients have in common, and the first of them.

use std::net::TcpStream;
use std::time::Duration;

use crate::check::{Check, Tier};
use crate::checks::clients::reverse_ping;
use crate::failure::Verdict;
use crate::peer::Peer;
use crate::stage::Stage;
use crate::trial::{Server, Trial};

pub const CLIENTS_AT_THE_SAME_TIME: Check = Check {
    stage: Stage::Stage04,
    role: "",
    name: "clients-at-the-same-time",
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
    let clients = server.connect_many(10)?;
    for _ in 0..3 {
        clients.iter().rev().try_for_each(reverse_ping)?;
    }
    clients.iter().try_for_each(reverse_ping)
}

pub const SILENT_CLIENT: Check = Check {
    name: "silent-client",
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
    (0..3).try_for_each(|_| reverse_ping(&client))?;
    reverse_ping(&silent)
}

pub const OUTLIVES_ITS_CLIENTS: Check = Check {
    name: "outlives-its-clients",
    title: "When a client leaves, the others are served on, and new ones too",
    why: "clients come and go, a server stays",
    hint: "a `recv` of 0 bytes ends one client: take it out of epoll, close it, go on",
    body: outlives_its_clients,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn outlives_its_clients(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let before = server.connect("a client from before")?;
    reverse_ping(&before)?;
    for _ in 0..3 {
        let client = server.connect("a client that leaves")?;
        reverse_ping(&client)?;
        client.close();
        reverse_ping(&before)?;
    }
    expect_alive(&server)
}

/// At most `most` clients, fewer where the queue of a server that accepts nobody at
/// the moment is shorter: then the kernel leaves a client without an answer.
pub fn connect_as_many_as_fit(trial: &Trial, server: &Server, most: usize) -> Verdict<Vec<Peer>> {
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

/// A new client gets its answer, and the process has not ended.
pub fn expect_alive(server: &Server) -> Verdict {
    server.expect_running()?;
    reverse_ping(&server.connect("a new client")?)?;
    server.expect_running()
}
