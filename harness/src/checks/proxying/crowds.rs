//! Many clients, one after the other and at the same time.

use std::time::Duration;

use super::base::{Ends, PROXY, answered_in_reverse_order, join, start, start_echo};
use crate::check::{Check, Need, Tier};
use crate::checks::clients::echo_ping;
use crate::data::Pattern;
use crate::failure::Verdict;
use crate::peer::Peer;
use crate::trial::Trial;

pub const ONE_AFTER_THE_OTHER: Check = Check {
    name: "two-hundred-one-after-the-other",
    title: "Each of 200 clients, one after the other, gets its own answer",
    why: "a table with room for ten pairs is full after ten clients if its entries are never removed",
    hint: "when a pair has ended, remove its entry, and make sure that nothing is found under its old number",
    tier: Tier::Solid,
    body: one_after_the_other,
    ..PROXY
};

fn one_after_the_other(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    for number in 0..200 {
        let ends = join(&server, &upstream, &format!("client {number}"))?;
        let (request, answer) = (format!("request {number}\n"), format!("answer {number}\n"));
        ends.client.send(request.as_bytes())?;
        ends.upstream.expect(request.as_bytes())?;
        ends.upstream.send(answer.as_bytes())?;
        ends.upstream.close();
        ends.client.expect(answer.as_bytes())?;
        ends.client.expect_end()?;
    }
    server.expect_running()
}

pub const FIFTY_AT_ONCE: Check = Check {
    name: "fifty-answered-in-reverse-order",
    title: "50 waiting clients are answered in reverse order, and cost no CPU time when idle",
    why: "a slow answer to one client must not delay the other clients",
    hint: "do not use a table of fixed size; find the other side of a pair by the data in the event (`epoll_data`)",
    tier: Tier::Robust,
    body: fifty_at_once,
    ..PROXY
};

fn fifty_at_once(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let all = answered_in_reverse_order(&server, &upstream, 50)?;
    server.expect_idle(Duration::from_millis(700), 0.05)?;
    all.iter().try_for_each(Ends::ping)
}

pub const THOUSANDS_AT_ONCE: Check = Check {
    name: "thousands-at-once",
    title: "Each of hundreds of clients at the same time gets its own bytes, and no others",
    why: "with many connections every table grows, and a mistake in it mixes up two clients",
    hint: "raise the limit of descriptors; do not give the number of a pair to another pair while events for the old one may still come",
    tier: Tier::Robust,
    timeout: Duration::from_secs(90),
    needs: &[Need::Sockets {
        short: 600,
        full: 4_000,
    }],
    body: thousands_at_once,
    ..PROXY
};

fn thousands_at_once(trial: &Trial) -> Verdict {
    let count = trial.size(300, 2000);
    let (server, _upstream) = start_echo(trial)?;
    let clients = server.connect_many(count)?;
    let pattern = |number: usize| Pattern::new(number as u64);
    let length = |number: usize| 1000 + 7 * number;
    for (number, client) in clients.iter().enumerate() {
        client.send(&pattern(number).bytes(length(number)))?;
    }
    for (number, client) in clients.iter().enumerate().rev() {
        client.expect(&pattern(number).bytes(length(number)))?;
    }
    // Half of the clients leave; the others are still served.
    let mut staying = Vec::new();
    for (number, client) in clients.into_iter().enumerate() {
        if number % 2 == 0 {
            client.half_close()?;
            client.expect_end()?;
        } else {
            staying.push(client);
        }
    }
    staying.iter().try_for_each(echo_ping)
}

pub const MANY_AT_ONCE_IN_THE_QUEUE: Check = Check {
    name: "many-at-once-in-the-queue",
    title: "40 clients that connect at the same moment are all served",
    why: "one event of the listener may stand for many clients in its queue",
    hint: "with edge-triggered epoll, call `accept` until EAGAIN; level-triggered epoll reports the listener again",
    tier: Tier::Solid,
    body: many_at_once_in_the_queue,
    ..PROXY
};

fn many_at_once_in_the_queue(trial: &Trial) -> Verdict {
    let (server, _upstream) = start_echo(trial)?;
    let first = server.connect("a first client")?;
    echo_ping(&first)?;
    trial.stop(&server.process)?;
    let clients = server.connect_many(40)?;
    let send = |client: &Peer| client.send(b"ping\n");
    clients.iter().try_for_each(send)?;
    trial.go_on(&server.process)?;
    let expect = |client: &Peer| client.expect(b"ping\n");
    clients.iter().try_for_each(expect)?;

    // The same with bytes and ends of streams from clients that are already connected.
    trial.stop(&server.process)?;
    for (number, client) in clients.iter().enumerate() {
        client.send(b"pong\n")?;
        if number % 2 == 0 {
            client.half_close()?;
        }
    }
    trial.go_on(&server.process)?;
    for (number, client) in clients.iter().enumerate() {
        client.expect(b"pong\n")?;
        if number % 2 == 0 {
            client.expect_end()?;
        }
    }
    echo_ping(&first)
}

pub const STOPPED_AND_CONTINUED: Check = Check {
    name: "stopped-and-continued",
    title: "A proxy that is stopped and continued (Ctrl-Z, `fg`) still serves its clients",
    why: "`epoll_wait` fails with EINTR when a stopped process continues (signal(7)), and this is not an error of the proxy",
    hint: "when `epoll_wait` fails with EINTR, call it again",
    tier: Tier::Robust,
    body: stopped_and_continued,
    ..PROXY
};

fn stopped_and_continued(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let ends = join(&server, &upstream, "the client")?;
    for _ in 0..5 {
        ends.ping()?;
        // A proxy that sleeps is in `epoll_wait`, so the signals interrupt that call.
        trial.wait_until("the proxy sleeps", || server.process.state() == Some('S'))?;
        trial.stop(&server.process)?;
        trial.go_on(&server.process)?;
    }
    ends.ping()
}
