//! Many events from one call of `epoll_wait`. These checks stop the server while its clients act,
//! so that it finds all the events together when it continues.

use super::base::{CLIENTS_AT_THE_SAME_TIME, connect_as_many_as_fit, expect_alive};
use crate::check::{Check, Need, Tier};
use crate::checks::clients::{expect_answer, reverse_ping};
use crate::data::lines;
use crate::failure::{Outcome, Verdict, ensure};
use crate::trial::Trial;

pub const MORE_THAN_ONE_READ: Check = Check {
    name: "more-than-one-read",
    title: "A client whose 30,000 bytes arrive together gets as many bytes back",
    why: "edge-triggered epoll reports new bytes only once: bytes that you leave unread cause no further event",
    hint: "with edge-triggered epoll, call `recv` until EAGAIN; level-triggered epoll reports the socket again",
    tier: Tier::Solid,
    body: more_than_one_read,
    ..CLIENTS_AT_THE_SAME_TIME
};

/// Their order is the business of the checks of lines.
fn more_than_one_read(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    reverse_ping(&client)?;
    let mut text = lines(1, 29_000);
    text.resize(29_999, b'x');
    text.push(b'\n');
    trial.stop(&server.process)?;
    client.send(&text)?;
    trial.go_on(&server.process)?;
    client.expect_in_any_order(&text)
}

pub const DISCONNECT_IN_A_BATCH: Check = Check {
    name: "disconnect-in-a-batch",
    title: "49 clients get their answers even if another client leaves while they send",
    why: "`epoll_wait` returns many events together, and a client that has left must not make the loop skip the rest of them",
    hint: "after the end of a client use `continue`, not `break`; ignore events for a client that you have already freed",
    tier: Tier::Robust,
    body: disconnect_in_a_batch,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn disconnect_in_a_batch(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    for leaving in [0, 24, 49] {
        let mut clients = server.connect_many(50)?;
        clients.iter().try_for_each(reverse_ping)?;
        trial.stop(&server.process)?;
        // It leaves before the others send, so that its event is not the last one.
        let leaver = clients.remove(leaving);
        if leaving == 24 {
            leaver.reset()?;
        } else {
            leaver.close();
        }
        clients
            .iter()
            .try_for_each(|client| client.send(b"ping\n"))?;
        trial.go_on(&server.process)?;
        clients
            .iter()
            .try_for_each(|client| expect_answer(client, b"ping\n"))?;
    }
    expect_alive(&server)
}

pub const MANY_AT_ONCE_IN_THE_QUEUE: Check = Check {
    name: "many-at-once-in-the-queue",
    title: "40 clients that connect at the same moment are all accepted",
    why: "one event of the listener may stand for many clients in its queue",
    hint: "with edge-triggered epoll, call `accept` until EAGAIN; level-triggered epoll reports the listener again",
    tier: Tier::Solid,
    body: many_at_once_in_the_queue,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn many_at_once_in_the_queue(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let first = server.connect("a first client")?;
    reverse_ping(&first)?;
    trial.stop(&server.process)?;
    let clients = connect_as_many_as_fit(trial, &server, 40)?;
    clients
        .iter()
        .try_for_each(|client| client.send(b"ping\n"))?;
    trial.go_on(&server.process)?;
    clients
        .iter()
        .try_for_each(|client| expect_answer(client, b"ping\n"))?;
    reverse_ping(&first)
}

pub const LONG_QUEUE: Check = Check {
    name: "long-queue",
    title: "With --backlog 300, 150 clients can wait to be accepted",
    why: "when the queue is full, the kernel drops the SYN of the next client, which tries again only after a second",
    hint: "pass the number as the second argument of `listen`; the C library's SOMAXCONN is no limit, and is 128 in musl",
    needs: &[Need::Option("--backlog")],
    tier: Tier::Robust,
    body: long_queue,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn long_queue(trial: &Trial) -> Verdict {
    let server = trial.launch().options(["--backlog", "300"]).start()?;
    trial.stop(&server.process)?;
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    let limit = limit.map_or(128, |text| text.trim().parse().unwrap_or(128));
    let wanted = limit.min(150);
    let clients = connect_as_many_as_fit(trial, &server, wanted)?;
    ensure(clients.len() == wanted, Outcome::Behaviour, || {
        let fit = clients.len();
        format!("with a backlog of 300, only {fit} clients could wait; {wanted} should")
    })?;
    trial.go_on(&server.process)?;
    clients.iter().try_for_each(reverse_ping)
}

pub const STOPPED_AND_CONTINUED: Check = Check {
    name: "stopped-and-continued",
    title: "A server that is stopped and continued (Ctrl-Z, `fg`) still serves its clients",
    why: "`epoll_wait` fails with EINTR when a stopped process continues (signal(7)), and this is not an error of the server",
    hint: "when `epoll_wait` fails with EINTR, call it again",
    tier: Tier::Robust,
    body: stopped_and_continued,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn stopped_and_continued(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    for _ in 0..5 {
        reverse_ping(&client)?;
        // A server that sleeps is in `epoll_wait`, so the signals interrupt that call.
        trial.wait_until("the server sleeps", || server.process.state() == Some('S'))?;
        trial.stop(&server.process)?;
        trial.go_on(&server.process)?;
    }
    reverse_ping(&client)
}
