//! What idle clients cost the server.

use std::time::Duration;

use super::base::CLIENTS_AT_THE_SAME_TIME;
use crate::check::{Check, Need, Tier};
use crate::checks::clients::reverse_ping;
use crate::checks::reversing::half_close_while_answers_wait;
use crate::data::lines;
use crate::failure::Verdict;
use crate::trial::Trial;

/// How long the CPU time of an idle server is measured, and the share of it that is allowed.
const WINDOW: Duration = Duration::from_millis(700);
const IDLE: f64 = 0.05;

pub const IDLE_CLIENTS: Check = Check {
    name: "idle-clients-cost-nothing",
    title: "The server uses no CPU time while its clients are silent",
    why: "a socket is nearly always ready for writing: a server that always watches for EPOLLOUT never sleeps",
    hint: "watch a socket for EPOLLOUT only while answers wait to be sent on it",
    tier: Tier::Solid,
    body: idle_clients,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn idle_clients(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let _silent = server.connect("a client that has sent nothing")?;
    let unfinished = server.connect("a client with half a line")?;
    unfinished.send(b"abc")?;
    unfinished.until_all_is_read()?;
    let answered = server.connect("a client that has its answer")?;
    reverse_ping(&answered)?;
    let left = server.connect("a client that has left")?;
    reverse_ping(&left)?;
    left.close();
    server.expect_idle(WINDOW, IDLE)
}

pub const WAITING_FOR_A_READER: Check = Check {
    name: "waiting-for-a-reader-costs-nothing",
    title: "The server uses no CPU time while it waits for clients to take their answers",
    why: "level-triggered epoll reports a state again and again until you act on it, so the server never sleeps",
    hint: "while you do not read from a client, do not watch its socket for EPOLLIN or EPOLLRDHUP either",
    tier: Tier::Robust,
    body: waiting_for_a_reader,
    ..IDLE_CLIENTS
};

fn waiting_for_a_reader(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let stuck = server.connect("the client that never reads")?;
    stuck.send_until_stuck(&lines(3, 100_000), 256 << 20)?;
    let half_closed = server.connect("the client that half-closes")?;
    half_close_while_answers_wait(&half_closed)?;
    let other = server.connect("another client")?;
    reverse_ping(&other)?;
    server.expect_idle(WINDOW, IDLE)
}

pub const THOUSANDS_IDLE: Check = Check {
    name: "thousands-of-idle-clients",
    title: "An active client costs no more CPU time among thousands of idle clients than alone",
    why: "this is the difference between epoll and `select`: the work grows with the ready sockets, not with all of them",
    hint: "do not loop over all clients in each turn; find the client by the data in its event (`epoll_data`)",
    tier: Tier::Robust,
    timeout: Duration::from_secs(90),
    needs: &[Need::Sockets {
        short: 2_000,
        full: 8_000,
    }],
    body: thousands_idle,
    ..IDLE_CLIENTS
};

fn thousands_idle(trial: &Trial) -> Verdict {
    let count = trial.size(2_000, 8_000);
    let server = trial.start()?;
    let active = server.connect("the active client")?;
    reverse_ping(&active)?;
    let alone = server.cost(|| reverse_ping(&active))?;

    let idle = server.connect_many(count)?;
    idle.iter().try_for_each(|client| client.send(b"hi\n"))?;
    idle.iter().try_for_each(|client| client.expect(b"ih\n"))?;
    let among_many = server.cost(|| reverse_ping(&active))?;
    server.expect_idle(Duration::from_millis(300), IDLE)?;

    server.expect_same_cost(alone, among_many)
}
