//! Upstreams that fail for thousands of clients at the same time. Meanwhile another client is
//! served, and afterwards the proxy has given back all descriptors and memory.

use std::time::Duration;

use super::base::{Ends, PROXY, expect_alive, join, launch, proxy};
use super::upstreams::fill_the_queue;
use crate::check::{Check, Need, Tier};
use crate::data::Pattern;
use crate::failure::{Outcome, Verdict, ensure};
use crate::peer::Peer;
use crate::process::Figures;
use crate::trial::{Server, Trial};
use crate::upstream::Upstream;

pub const COME_AND_GO: Check = Check {
    name: "upstream-down-for-thousands",
    title: "Hundreds of clients are closed while the upstream is down, and served when it is back",
    why: "when a server is restarted, all its clients come back in the same second",
    hint: "try to connect again for each client; close the clients whose `connect` fails, and remember nothing about them",
    tier: Tier::Robust,
    timeout: Duration::from_secs(90),
    // Twice as many pairs, at the end.
    needs: &[Need::Sockets {
        short: 1_200,
        full: 8_000,
    }],
    body: come_and_go,
    ..PROXY
};

fn come_and_go(trial: &Trial) -> Verdict {
    let upstream = trial.upstream_at(trial.nobody()?, 128)?;
    let server = proxy(trial, upstream.address())?;
    let served = join_many(trial, &server, &upstream)?;
    let before = server.figures()?;
    let nobody = upstream.disappear()?;
    let refused = server.connect_many(count(trial))?;
    refused.iter().try_for_each(Peer::expect_gone)?;
    served.iter().try_for_each(Ends::ping)?; // their connections were made before
    drop(refused);
    server.expect_no_leak(&before)?;
    let upstream = trial.upstream_at(nobody, 128)?;
    let again = join_many(trial, &server, &upstream)?;
    served.iter().chain(&again).try_for_each(Ends::ping)
}

/// Both ends of [`count`] pairs.
const PAIRS: &[Need] = &[Need::Sockets {
    short: 600,
    full: 4_000,
}];

pub const CLOSED_AT_ONCE: Check = Check {
    name: "upstream-closes-on-thousands",
    title: "An upstream that closes or resets hundreds of connections disturbs no other client",
    why: "an overloaded server does this to every client",
    hint: "when the upstream is gone, close both sides of the pair and free its descriptors, buffers and table entry",
    needs: PAIRS,
    body: |trial| {
        for_thousands(trial, &trial.upstream()?, |_, _, all| {
            let mut clients = Vec::new();
            for (number, ends) in all.into_iter().enumerate() {
                match number % 3 {
                    0 => ends.upstream.close(),
                    1 => ends.upstream.reset()?,
                    _ => ends.upstream.send(b"busy\n")?,
                }
                clients.push(ends.client);
            }
            clients.iter().try_for_each(Peer::expect_gone)
        })
    },
    ..COME_AND_GO
};

pub const RESET_MIDWAY: Check = Check {
    name: "upstream-resets-thousands-midway",
    title: "Everything that an upstream sends before it dies in the middle of hundreds of answers arrives",
    why: "a server that crashes ends all its connections at the same moment",
    hint: "`recv` returns the bytes first and the error after them: read until the error, for each pair",
    needs: PAIRS,
    body: reset_midway,
    ..COME_AND_GO
};

fn reset_midway(trial: &Trial) -> Verdict {
    let half = |number: usize| format!("half of answer {number}").into_bytes();
    let fault = |server: &Server, other: &Ends, all: Vec<Ends>| {
        for ends in &all {
            ends.client.send(b"request\n")?;
            ends.upstream.expect(b"request\n")?;
        }
        // The proxy is stopped meanwhile, so that it finds all bytes and all resets together.
        trial.stop(&server.process)?;
        let mut clients = Vec::new();
        for (number, ends) in all.into_iter().enumerate() {
            ends.upstream.send(&half(number))?;
            ends.upstream.reset()?;
            clients.push(ends.client);
        }
        trial.go_on(&server.process)?;
        other.ping()?;
        for (number, client) in clients.iter().enumerate().rev() {
            client.expect(&half(number))?;
            client.expect_gone()?;
        }
        Ok(())
    };
    for_thousands(trial, &trial.upstream()?, fault)
}

pub const ANSWERED_EARLY: Check = Check {
    name: "upstream-answers-thousands-early",
    title: "Hundreds of clients whose answers end early can still send the rest of their requests",
    why: "a server may answer \"too large\" to all clients while they still send",
    hint: "when one direction of a pair ends, leave its other direction open",
    needs: PAIRS,
    body: |trial| {
        for_thousands(trial, &trial.upstream()?, |_, other, all| {
            let answer = |number: usize| format!("413 {number}\n").into_bytes();
            for (number, ends) in all.iter().enumerate() {
                ends.client.send(b"half of a ")?;
                ends.upstream.send(&answer(number))?;
                ends.upstream.half_close()?;
            }
            for (number, ends) in all.iter().enumerate() {
                ends.client.expect(&answer(number))?;
                ends.client.expect_end()?;
            }
            other.ping()?;
            for ends in &all {
                ends.client.send(b"request\n")?;
                ends.client.half_close()?;
            }
            for ends in &all {
                ends.upstream.expect(b"half of a request\n")?;
                ends.upstream.expect_end()?;
            }
            Ok(())
        })
    },
    ..COME_AND_GO
};

pub const NEVER_READ: Check = Check {
    name: "upstream-never-reads-thousands",
    title: "An upstream that does not read hundreds of requests delays no other client, and gets them later",
    why: "a server that hangs stops reading from all its clients",
    hint: "while bytes wait for one side, do not read from the other; go on when there is room",
    needs: PAIRS,
    // A heap gives back only its upper end: if a few bytes there are in use, the freed memory below
    // them stays with the process. This is not a leak.
    body: |trial| never_read(trial).map(drop),
    ..COME_AND_GO
};

/// The same for a server that also promises to give back the memory.
pub const NEVER_READ_AND_FORGOTTEN: Check = Check {
    body: |trial| {
        let (server, before) = never_read(trial)?;
        server.expect_little_growth(&before)
    },
    ..NEVER_READ
};

fn never_read(trial: &Trial) -> Verdict<(Server, Figures)> {
    let upstream = trial.upstream()?;
    upstream.takes_little()?; // so that most of it waits in the proxy
    let pattern = |number: usize| Pattern::new(number as u64);
    let fault = |server: &Server, other: &Ends, all: Vec<Ends>| {
        let before = server.figures()?.rss;
        for (number, ends) in all.iter().enumerate() {
            ends.client.send_pattern(pattern(number), REQUEST)?;
            ends.client.half_close()?;
        }
        (0..100).try_for_each(|_| other.ping())?;
        let growth = server.figures()?.rss.saturating_sub(before);
        let each = growth / all.len() as u64;
        ensure(each <= MOST_EACH, Outcome::Resources, || {
            format!(
                "each waiting request costs {each} bytes of memory; at most {MOST_EACH} are allowed"
            )
        })?;
        for (number, ends) in all.iter().enumerate().rev() {
            ends.upstream.expect_pattern(pattern(number), REQUEST)?;
            ends.upstream.expect_end()?;
        }
        Ok(())
    };
    outlive_thousands(trial, &upstream, fault)
}

/// In bytes: twice what the sockets between proxy and upstream can hold here.
const REQUEST: u64 = 250_000;
/// In bytes.
const MOST_EACH: u64 = 256 * 1024;

pub const SLOW: Check = Check {
    name: "upstream-slow-for-thousands",
    title: "Hundreds of answers that come byte by byte at the same time are not mixed up",
    why: "a slow server has the most connections open at the same time",
    hint: "send what you receive on a socket to the other socket of its pair, immediately",
    needs: PAIRS,
    body: |trial| {
        for_thousands(trial, &trial.upstream()?, |_, other, all| {
            let answer = |number: usize| format!("{number:07}\n").into_bytes();
            for at in 0..8 {
                for (number, ends) in all.iter().enumerate() {
                    ends.upstream.send(&answer(number)[at..=at])?;
                }
                other.ping()?;
                for (number, ends) in all.iter().enumerate().rev() {
                    ends.client.expect(&answer(number)[at..=at])?;
                }
            }
            Ok(())
        })
    },
    ..COME_AND_GO
};

pub const NEVER_CONNECTED: Check = Check {
    name: "connect-timeout-for-thousands",
    title: "Hundreds of clients whose upstream does not answer are all closed in time",
    why: "behind a firewall that drops packets, every `connect` waits until a timeout ends it",
    hint: "keep a deadline for each connect, and let `epoll_wait` wait only until the earliest deadline",
    needs: &[
        Need::Option("--connect-timeout"),
        Need::Sockets {
            short: 300,
            full: 2_000,
        },
    ],
    body: never_connected,
    ..COME_AND_GO
};

fn never_connected(trial: &Trial) -> Verdict {
    let upstream = trial.upstream_at(trial.nobody()?, 0)?;
    let options = ["--connect-timeout", "1"];
    let server = launch(trial, upstream.address()).options(options).start()?;
    let other = join(&server, &upstream, "another client")?;
    other.ping()?;
    let before = server.figures()?;
    let queue = fill_the_queue(trial, &upstream)?;
    let waiting = server.connect_many(count(trial))?;
    (0..100).try_for_each(|_| other.ping())?;
    waiting.iter().try_for_each(Peer::expect_gone)?;
    drop(waiting);
    server.expect_no_leak(&before)?;
    for _ in &queue {
        upstream.accept("the upstream of a connection that filled the queue")?;
    }
    other.ping()?;
    expect_alive(&server, &upstream)
}

fn count(trial: &Trial) -> usize {
    trial.size(300, 2000)
}

fn join_many(trial: &Trial, server: &Server, upstream: &Upstream) -> Verdict<Vec<Ends>> {
    (1..=count(trial))
        .map(|number| join(server, upstream, &format!("client {number}")))
        .collect()
}

/// Joins many clients and lets `fault` do what it likes with both ends of them. Another client is
/// served before and after that, and the proxy's memory must not grow.
fn for_thousands(
    trial: &Trial,
    upstream: &Upstream,
    fault: impl FnOnce(&Server, &Ends, Vec<Ends>) -> Verdict,
) -> Verdict {
    let (server, before) = outlive_thousands(trial, upstream, fault)?;
    server.expect_little_growth(&before)
}

/// The same without a look at the memory. Returns the server, and its figures from before.
fn outlive_thousands(
    trial: &Trial,
    upstream: &Upstream,
    fault: impl FnOnce(&Server, &Ends, Vec<Ends>) -> Verdict,
) -> Verdict<(Server, Figures)> {
    let server = proxy(trial, upstream.address())?;
    let other = join(&server, upstream, "another client")?;
    other.ping()?;
    let before = server.figures()?;
    fault(&server, &other, join_many(trial, &server, upstream)?)?;
    other.ping()?;
    server.expect_descriptors_back(&before)?;
    server.expect_idle(Duration::from_millis(300), 0.1)?;
    expect_alive(&server, upstream)?;
    Ok((server, before))
}
