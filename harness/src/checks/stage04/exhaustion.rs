//! When descriptors run out.

use std::time::Duration;

use nix::sys::resource::Resource;

use super::base::{CLIENTS_AT_THE_SAME_TIME, connect_as_many_as_fit, expect_alive};
use crate::check::{Check, Need, Tier};
use crate::checks::clients::reverse_ping;
use crate::failure::{Outcome, Verdict, ensure};
use crate::peer::Peer;
use crate::trial::{Server, Trial};

/// A limit, more clients than it allows, and how many of them surely fit.
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
    title: "At its descriptor limit the server serves who is in, and rests",
    why: "a client that cannot be accepted stays in the queue and keeps the listener ready: a loop that tries again at once uses a whole CPU and fills the disk with its log",
    hint: "on EMFILE take the listener out of epoll for a while, and log it once",
    tier: Tier::Robust,
    body: at_the_descriptor_limit,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn at_the_descriptor_limit(trial: &Trial) -> Verdict {
    for crowd in CROWDS {
        let (server, clients) = crowd_in(trial, crowd)?;
        server.expect_idle(Duration::from_secs(1), 0.1)?;
        let log = server.process.log_size();
        trial.step(format!("its log has {log} bytes"));
        ensure(log < 64 * 1024, Outcome::Resources, || {
            format!("at the descriptor limit it has logged {log} bytes")
        })?;
        clients[..crowd.fit].iter().try_for_each(reverse_ping)?;
        server.expect_running()?;
    }
    Ok(())
}

/// Starts the server with a limit of descriptors and connects more clients than it
/// can accept. The first of them, who were accepted, have spoken with it.
fn crowd_in(trial: &Trial, crowd: &Crowd) -> Verdict<(Server, Vec<Peer>)> {
    let launch = trial.launch().limit(Resource::RLIMIT_NOFILE, crowd.limit);
    let server = launch.start()?;
    let clients = connect_as_many_as_fit(trial, &server, crowd.clients)?;
    ensure(clients.len() > crowd.fit, Outcome::Behaviour, || {
        format!(
            "with a limit of {} only {} clients could connect",
            crowd.limit,
            clients.len()
        )
    })?;
    clients[..crowd.fit].iter().try_for_each(reverse_ping)?;
    Ok((server, clients))
}

pub const SERVES_ON_AFTER_THE_LIMIT: Check = Check {
    name: "serves-on-after-the-limit",
    title: "When clients leave, those that wait at the descriptor limit are served",
    why: "an edge-triggered listener says once that somebody waits: who gives up then never hears of it again",
    hint: "when a client has left, or after a moment, try to accept again",
    body: serves_on_after_the_limit,
    ..AT_THE_DESCRIPTOR_LIMIT
};

fn serves_on_after_the_limit(trial: &Trial) -> Verdict {
    for crowd in CROWDS {
        let (server, mut clients) = crowd_in(trial, crowd)?;
        // Each leaver makes room for one who waits, in the order in which they came.
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
    title: "The server takes all descriptors that it may have",
    why: "most systems start a process with 1,024 and let it have many more for the asking",
    hint: "at the start raise the soft limit of RLIMIT_NOFILE to the hard one (getrlimit(2))",
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
