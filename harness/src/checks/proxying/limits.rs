//! Descriptors and memory: a proxy must neither run out of them nor lose them.

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
    title: "The proxy at its descriptor limit serves its clients, uses no CPU time, and later accepts again",
    why: "a client that cannot be accepted keeps the listener ready: a loop that retries immediately uses a whole CPU, and a proxy that gives up never accepts a client again",
    hint: "when `accept` or `socket` fails with EMFILE, remove the listener from epoll until descriptors are free again, and log the shortage once",
    tier: Tier::Robust,
    timeout: Duration::from_secs(60),
    body: |trial| at_the_descriptor_limit(trial, 32, 60, 8),
    ..PROXY
};

pub const AT_A_HIGHER_LIMIT: Check = Check {
    name: "at-a-higher-descriptor-limit",
    title: "The proxy with 64 descriptors and 200 clients serves those that fit, and later accepts again",
    body: |trial| at_the_descriptor_limit(trial, 64, 200, 22),
    ..AT_THE_DESCRIPTOR_LIMIT
};

/// `count` clients are more than `limit` allows; `fit` of them are served in any case.
fn at_the_descriptor_limit(trial: &Trial, limit: u64, count: usize, fit: usize) -> Verdict {
    let upstream = trial.upstream()?.serve(echo);
    let launch = launch(trial, upstream.address());
    let server = launch.limit(Resource::RLIMIT_NOFILE, limit).start()?;
    let other = server.connect("an earlier client")?;
    echo_ping(&other)?;
    let before = server.figures()?;
    let mut clients = server.connect_many(count)?;
    clients[..fit].iter().try_for_each(echo_ping)?;
    server.expect_idle(Duration::from_secs(1), 0.1)?;
    let log = server.process.log_size();
    trial.step(format!("the proxy's log has {log} bytes"));
    ensure(log < 64 * 1024, Outcome::Resources, || {
        format!(
            "at the descriptor limit the proxy has logged {log} bytes; at most 64 KiB are allowed"
        )
    })?;
    clients[..fit].iter().try_for_each(echo_ping)?;

    // Each waiting client is served in the end, or closed.
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
    title: "The proxy raises its limit of descriptors as far as it may",
    why: "a pair needs two descriptors, and most systems start a process with a limit of 1,024",
    hint: "at the start, raise the soft limit of RLIMIT_NOFILE to the hard limit (`setrlimit`, getrlimit(2))",
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
    title: "Thousands of clients that connect and leave immediately do not harm the proxy",
    why: "health checks and port scanners do this all day; some are gone before the upstream is connected",
    hint: "expect every call to fail, because each side may be gone at any moment, even while the other is being connected; then close only this pair",
    body: connects_and_leaves,
    ..AT_THE_DESCRIPTOR_LIMIT
};

fn connects_and_leaves(trial: &Trial) -> Verdict {
    let (server, _upstream) = start_echo(trial)?;
    let other = server.connect("another client")?;
    echo_ping(&other)?;
    let before = server.figures()?;
    for number in 0..trial.size(1_000, 10_000) {
        let client = server.connect("a client that leaves immediately")?;
        if number % 3 == 0 {
            client.close();
        } else {
            client.reset()?;
        }
        // When this client is served, the upstream has accepted all clients before it. Otherwise
        // its listen queue would fill up at some point, and the kernel would repeat a SYN only
        // after 1, 3, 7 and 15 seconds.
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
    title: "The proxy keeps no descriptor and no memory of the clients that have left",
    why: "a proxy runs for months, so even a small leak with each pair uses up all memory or descriptors in the end",
    hint: "when a pair ends, free everything that you made for it: two descriptors, buffers, table entries",
    tier: Tier::Solid,
    timeout: Duration::from_secs(120),
    body: no_leak,
    ..AT_THE_DESCRIPTOR_LIMIT
};

fn no_leak(trial: &Trial) -> Verdict {
    let (server, _upstream) = start_echo(trial)?;
    let bytes = Pattern::new(3).bytes(2_000);
    let cycle = || {
        let client = server.connect("a client")?;
        client.send(&bytes)?;
        client.expect(&bytes)?;
        client.close();
        Ok(())
    };
    cycle()?;
    let before = server.figures()?;
    (0..50).try_for_each(|_| cycle())?;
    server.expect_descriptors_back(&before)?;
    let count = trial.size(500, 2_000);
    server.expect_growth_to_end(&format!("{count} clients"), || {
        (0..count).try_for_each(|_| cycle())
    })?;
    server.expect_descriptors_back(&before)
}
