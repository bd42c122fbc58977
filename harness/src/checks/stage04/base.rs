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
    title: "Ten clients are served at the same time, in whatever order",
    why: "this is what epoll is for: one thread waits for all clients at the same time",
    hint: "block only in `epoll_wait`; call `accept` and `recv` only on sockets that it reports",
    chapter: "docs/src/phase0/stage04.md",
    tier: Tier::Core,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: clients_at_the_same_time,
};

/// The client that connected last sends first, so that a server that serves one client after
/// the other cannot pass.
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
    title: "A client that connects and sends nothing does not delay others",
    why: "most clients are silent most of the time, and anyone can open a connection and send nothing",
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
    title: "The server serves the others, and new clients, when one leaves",
    why: "clients come and go, but a server keeps running",
    hint: "when `recv` returns 0, only this client has ended: remove it from epoll, close its socket, and go on with the loop",
    body: outlives_its_clients,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn outlives_its_clients(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let before = server.connect("an earlier client")?;
    reverse_ping(&before)?;
    for _ in 0..3 {
        let client = server.connect("a client that leaves")?;
        reverse_ping(&client)?;
        client.close();
        reverse_ping(&before)?;
    }
    expect_alive(&server)
}

/// Connects at most `most` clients. There are fewer if the server accepts none at the moment and
/// its listen queue fills up: then the kernel does not answer the next client.
pub fn connect_as_many_as_fit(trial: &Trial, server: &Server, most: usize) -> Verdict<Vec<Peer>> {
    let moment = Duration::from_millis(500);
    let connect = |_| TcpStream::connect_timeout(&server.address(), moment).ok();
    let streams: Vec<TcpStream> = (0..most).map_while(connect).collect();
    trial.step(format!("{} clients connect", streams.len()));
    let named = streams.into_iter().zip(1..);
    named
        .map(|(stream, number)| {
            let name = format!("client {number}");
            Peer::new(&name, stream, trial.trace(), trial.deadline())
        })
        .collect()
}

/// Expects that a new client gets its answer and that the process still runs.
pub fn expect_alive(server: &Server) -> Verdict {
    server.expect_running()?;
    reverse_ping(&server.connect("a new client")?)?;
    server.expect_running()
}
