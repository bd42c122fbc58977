//! A server that runs out of descriptors.

use std::time::Duration;

use nix::sys::resource::Resource;

use super::base::{CLIENTS_AT_THE_SAME_TIME, connect_as_many_as_fit, expect_alive};
use crate::check::{Check, Need, Tier};
use crate::checks::clients::reverse_ping;
use crate::failure::{Outcome, Verdict, ensure};
use crate::peer::Peer;
use crate::trial::{Server, Trial};

/// A descriptor limit, more clients than it allows, and how many of them fit in any case.
struct Crowd {
    limit: u64,
    clients: usize,
    fit: usize,
}

const CROWDS: &[Crowd] = &[
    Crowd {
        limit: 32,
        clients: 60,
        fit: 16,
    },
    Crowd {
        limit: 64,
        clients: 200,
        fit: 48,
    },
];

pub const AT_THE_DESCRIPTOR_LIMIT: Check = Check {
    name: "at-the-descriptor-limit",
    title: "The server at its descriptor limit serves its connected clients and uses no CPU time",
    why: "a client that cannot be accepted stays in the queue and keeps the listener ready: a loop that retries immediately uses a whole CPU and fills the disk with its log",
    hint: "when `accept` fails with EMFILE, remove the listener from epoll for a while, and log the shortage once",
    tier: Tier::Robust,
    body: at_the_descriptor_limit,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn at_the_descriptor_limit(trial: &Trial) -> Verdict {
    for crowd in CROWDS {
        let (server, clients) = crowd_in(trial, crowd)?;
        server.expect_idle(Duration::from_secs(1), 0.1)?;
        let log = server.process.log_size();
        trial.step(format!("the server's log has {log} bytes"));
        ensure(log < 64 * 1024, Outcome::Resources, || {
            format!(
                "at the descriptor limit the server has logged {log} bytes; at most 64 KiB are allowed"
            )
        })?;
        clients[..crowd.fit].iter().try_for_each(reverse_ping)?;
        server.expect_running()?;
    }
    Ok(())
}

/// Starts the server with a descriptor limit and connects more clients than it can accept. The
/// first ones, which it has accepted, get an answer.
fn crowd_in(trial: &Trial, crowd: &Crowd) -> Verdict<(Server, Vec<Peer>)> {
    let launch = trial.launch().limit(Resource::RLIMIT_NOFILE, crowd.limit);
    let server = launch.start()?;
    let clients = connect_as_many_as_fit(trial, &server, crowd.clients)?;
    ensure(clients.len() > crowd.fit, Outcome::Behaviour, || {
        format!(
            "with a limit of {} descriptors only {} clients could connect; more than {} should",
            crowd.limit,
            clients.len(),
            crowd.fit
        )
    })?;
    clients[..crowd.fit].iter().try_for_each(reverse_ping)?;
    Ok((server, clients))
}

pub const SERVES_ON_AFTER_THE_LIMIT: Check = Check {
    name: "serves-on-after-the-limit",
    title: "The clients that wait at the descriptor limit are served when others leave",
    why: "edge-triggered epoll reports a waiting client only once: a server that gives up then gets no further event",
    hint: "when a client has left, or after a short time, call `accept` again",
    body: serves_on_after_the_limit,
    ..AT_THE_DESCRIPTOR_LIMIT
};

fn serves_on_after_the_limit(trial: &Trial) -> Verdict {
    for crowd in CROWDS {
        let (server, mut clients) = crowd_in(trial, crowd)?;
        // Each client that leaves makes room for the client that has waited longest.
        while clients.len() > crowd.fit {
            clients.remove(0).close();
            reverse_ping(&clients[crowd.fit - 1])?;
        }
        clients.into_iter().for_each(Peer::close);
        (0..3).try_for_each(|_| expect_alive(&server))?;
    }
    Ok(())
}

pub const RAISES_THE_LIMIT: Check = Check {
    name: "raises-its-descriptor-limit",
    title: "The server raises its limit of descriptors as far as it may",
    why: "most systems start a process with a limit of 1,024 descriptors, but let it raise this limit",
    hint: "at the start, raise the soft limit of RLIMIT_NOFILE to the hard limit (`setrlimit`, getrlimit(2))",
    needs: &[Need::Option("--backlog")],
    body: raises_the_limit,
    ..AT_THE_DESCRIPTOR_LIMIT
};

fn raises_the_limit(trial: &Trial) -> Verdict {
    let launch = trial.launch().limits(Resource::RLIMIT_NOFILE, 64, 1024);
    let server = launch.start()?;
    let clients = server.connect_many(200)?;
    clients.iter().try_for_each(reverse_ping)
}
