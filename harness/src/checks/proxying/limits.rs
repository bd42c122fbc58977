//! What runs out: descriptors, memory.

use std::time::Duration;

use nix::sys::resource::Resource;

use super::base::{PROXY, echo, expect_echo, launch, start_echo};
use crate::check::{Check, Need, Tier};
use crate::checks::clients::echo_ping;
use crate::data::Pattern;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::peer::Peer;
use crate::trial::Trial;

pub const AT_THE_DESCRIPTOR_LIMIT: Check = Check {
    name: "at-the-descriptor-limit",
    title: "At its descriptor limit the proxy serves who is in, rests, and later serves on",
    why: "a client that cannot be served keeps the listener ready: a loop that tries again at once uses a whole CPU; one that gives up serves nobody any more",
    hint: "on EMFILE, of `accept` and of `socket`, take the listener out of epoll until descriptors are free again, and log it once",
    tier: Tier::Robust,
    points: 3,
    timeout: Duration::from_secs(60),
    body: |trial| at_the_descriptor_limit(trial, 32, 60, 8),
    ..PROXY
};

pub const AT_A_HIGHER_LIMIT: Check = Check {
    name: "at-a-higher-descriptor-limit",
    title: "The same with 64 descriptors and 200 clients",
    body: |trial| at_the_descriptor_limit(trial, 64, 200, 22),
    ..AT_THE_DESCRIPTOR_LIMIT
};

/// `count` clients are more than `limit` allows; `fit` of them are surely served.
fn at_the_descriptor_limit(trial: &Trial, limit: u64, count: usize, fit: usize) -> Verdict {
    let upstream = trial.upstream()?.serve(echo);
    let launch = launch(trial, upstream.address());
    let server = launch.limit(Resource::RLIMIT_NOFILE, limit).start()?;
    let other = server.connect("a client from before")?;
    echo_ping(&other)?;
    let before = server.figures()?;
    let mut clients = server.connect_many(count)?;
    clients[..fit].iter().try_for_each(echo_ping)?;
    server.expect_idle(Duration::from_secs(1), 0.1)?;
    let log = server.process.log_size();
    trial.step(format!("its log has {log} bytes"));
    ensure(log < 64 * 1024, Outcome::Resources, || {
        format!("at the descriptor limit it has logged {log} bytes")
    })?;
    clients[..fit].iter().try_for_each(echo_ping)?;

    // Those that wait get their turn, or hear that they will not.
    while !clients.is_empty() {
        let leaving = clients.drain(..fit.min(clients.len()));
        leaving.for_each(Peer::close);
        clients.iter().take(fit).try_for_each(answered_or_closed)?;
    }
    (0..3).try_for_each(|_| expect_echo(&server))?;
    server.expect_no_leak(&before)?;
    echo_ping(&other)
}

fn answered_or_closed(client: &Peer) -> Verdict {
    let _ = client.send(b"ping\n"); // it may be closed already
    match client.expect(b"ping\n") {
        Err(Failure {
            outcome: Outcome::Reset | Outcome::ShortData,
            ..
        }) => Ok(()),
        result => result,
    }
}

pub const RAISES_THE_LIMIT: Check = Check {
    name: "raises-its-descriptor-limit",
    title: "The proxy takes all descriptors that it may have",
    why: "a pair needs two, and most systems start a process with 1,024",
    hint: "at the start raise the soft limit of RLIMIT_NOFILE to the hard one (getrlimit(2))",
    points: 1,
    needs: &[Need::Option("--backlog")],
    body: raises_the_limit,
    ..AT_THE_DESCRIPTOR_LIMIT
};

fn raises_the_limit(trial: &Trial) -> Verdict {
    let upstream = trial.upstream()?.serve(echo);
    let launch = launch(trial, upstream.address());
    let server = launch.limits(Resource::RLIMIT_NOFILE, 64, 1024).start()?;
    let clients = server.connect_many(100)?;
    clients.iter().try_for_each(echo_ping)
}

pub const CONNECTS_AND_LEAVES: Check = Check {
    name: "connects-and-leaves",
    title: "Thousands of clients that connect and leave at once do no harm",
    why: "health checks and port scanners do this all day; some are gone before the upstream is there",
    hint: "a side may be gone at any moment, also while the other is being connected: each call may fail, and that is all",
    body: connects_and_leaves,
    ..AT_THE_DESCRIPTOR_LIMIT
};

fn connects_and_leaves(trial: &Trial) -> Verdict {
    let (server, _upstream) = start_echo(trial)?;
    let other = server.connect("another client")?;
    echo_ping(&other)?;
    let before = server.figures()?;
    for number in 0..trial.size(1_000, 10_000) {
        let client = server.connect("a client that leaves at once")?;
        if number % 3 == 0 {
            client.close();
        } else {
            client.reset()?;
        }
        // Who is served now has been accepted by the upstream, and all before it: else its queue
        // is full some time, and the kernel tries to connect again after 1, 3, 7 and 15 seconds.
        if number % 100 == 99 {
            expect_echo(&server)?;
        }
    }
    echo_ping(&other)?;
    server.expect_no_leak(&before)?;
    expect_echo(&server)
}

pub const NO_LEAK: Check = Check {
    name: "no-leak",
    title: "After thousands of clients, descriptors and memory are back where they were",
    why: "a proxy runs for months: what is lost with each pair will run out",
    hint: "what was made for a pair is given back when it ends: two descriptors, buffers, entries",
    body: no_leak,
    ..AT_THE_DESCRIPTOR_LIMIT
};

fn no_leak(trial: &Trial) -> Verdict {
    let (server, _upstream) = start_echo(trial)?;
    let bytes = Pattern::new(3).bytes(2_000);
    let cycle = || {
        let client = server.connect("a client")?;
        client.send(&bytes)?;
        client.half_close()?;
        client.expect(&bytes)?;
        client.expect_end()
    };
    (0..50).try_for_each(|_| cycle())?;
    trial.step("the proxy has warmed up");
    let before = server.figures()?;
    (0..trial.size(1_500, 10_000)).try_for_each(|_| cycle())?;
    server.expect_no_leak(&before)
}
