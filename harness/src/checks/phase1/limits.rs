//! What runs out, whatever the role: descriptors.

use std::thread;
use std::time::Duration;

use nix::sys::resource::Resource;

use super::base::PHASE1;
use super::proxy::echo_service;
use crate::check::{Check, Need};
use crate::checks::clients::ping;
use crate::data::Pattern;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::patience::patience;
use crate::peer::Peer;
use crate::trial::{Server, Trial};

pub const CHECKS: &[Check] = &[
    AT_THE_LIMIT,
    BULK_AT_THE_LIMIT,
    STUCK_AT_THE_LIMIT,
    BULK_LEAVES_NOTHING,
];

const AT_THE_LIMIT: Check = Check {
    name: "at-the-limit-in-every-role",
    title: "At the descriptor limit those that are in are served, whatever their role, the others wait, and nothing spins",
    why: "a file and a connection to an upstream need descriptors of their own: each may be the one that is missing",
    hint: "keep one descriptor in reserve for what a client needs; without one accept nobody, for a second or until somebody leaves",
    needs: &[Need::Option("--public")],
    timeout: Duration::from_secs(60),
    body: at_the_limit,
    ..PHASE1
};

const FILE: &[u8] = b"what everybody may read";
const CROWD: usize = 200;

fn at_the_limit(trial: &Trial) -> Verdict {
    let public = trial.directory().join("public");
    std::fs::create_dir(&public)
        .and_then(|()| std::fs::write(public.join("f"), FILE))
        .map_err(|error| Failure::grader("write a file", error))?;
    let upstream = echo_service(trial)?;
    let roles = [
        "echo".to_owned(),
        "reverse".to_owned(),
        format!("proxy:{}", upstream.address()),
        "file:f".to_owned(),
    ];
    let options = ["--public".into(), public.into_os_string()];
    let launch = trial.launch().options(options).roles(&roles);
    let server = launch.limit(Resource::RLIMIT_NOFILE, 64).start()?;
    (0..roles.len()).try_for_each(|listener| expect_served(&server, listener))?;
    trial.wait_until("the first clients are gone", || {
        server.process.sockets() == roles.len()
    })?;
    let before = server.figures()?;

    let early: Vec<Peer> = (0..6)
        .map(|number| server.connect_to(number % 3, "a client from before"))
        .collect::<Verdict<_>>()?;
    early.iter().try_for_each(ping)?;
    let crowd: Vec<Peer> = (0..CROWD)
        .map(|number| server.connect_to(number % roles.len(), &format!("client {number}")))
        .collect::<Verdict<_>>()?;
    server.expect_idle(Duration::from_secs(1), 0.1)?;
    let log = server.process.log_size();
    ensure(log < 64 * 1024, Outcome::Resources, || {
        format!("at the descriptor limit it has logged {log} bytes")
    })?;
    early.iter().try_for_each(ping)?;

    crowd.into_iter().for_each(Peer::close);
    (0..roles.len()).try_for_each(|listener| expect_served(&server, listener))?;
    early.iter().try_for_each(ping)?;
    drop(early);
    server.expect_no_leak(&before)
}

fn expect_served(server: &Server, listener: usize) -> Verdict {
    server.expect_running()?;
    let client = server.connect_to(listener, "a new client")?;
    if listener < 3 {
        return ping(&client);
    }
    client.expect(FILE)?;
    client.expect_end()
}

const BULK_AT_THE_LIMIT: Check = Check {
    name: "bulk-at-the-descriptor-limit",
    title: "Where descriptors are short, bulk moves as well as elsewhere, and each byte of it",
    why: "what is only for speed (a kernel pipe, a spare) must not be missed where it cannot be had",
    hint: "when a kernel pipe cannot be made, bytes are copied; an unused one is the first thing to give up",
    body: bulk_at_the_limit,
    ..AT_THE_LIMIT
};

/// Room for ten pairs of sockets, and for three or four kernel pipes.
const TIGHT: u64 = 40;

fn bulk_at_the_limit(trial: &Trial) -> Verdict {
    let upstream = echo_service(trial)?;
    let roles = [format!("proxy:{}", upstream.address()), "echo".to_owned()];
    let launch = trial.launch().roles(&roles);
    let server = launch.limit(Resource::RLIMIT_NOFILE, TIGHT).start()?;
    (0..roles.len()).try_for_each(|listener| expect_served(&server, listener))?;
    trial.wait_until("the first clients are gone", || {
        server.process.sockets() == roles.len()
    })?;
    let before = server.figures()?;
    let bulk = |number: u64| {
        let client = server.connect_to(number as usize % 2, &format!("client {number}"))?;
        let client = client.with_patience(3 * patience()); // the last of them wait for the first
        let bytes = Pattern::new(number).bytes(3_000_000);
        client.exchange(&bytes, &bytes)?;
        client.half_close()?;
        client.expect_end()
    };
    thread::scope(|scope| {
        // More than fit: the last of them are accepted when others have left.
        let clients: Vec<_> = (0..24)
            .map(|number| scope.spawn(move || bulk(number)))
            .collect();
        let broken = || Err(Failure::grader("a thread", "panicked"));
        let verdicts = clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| broken()));
        verdicts
            .collect::<Vec<Verdict>>()
            .into_iter()
            .collect::<Verdict>()
    })?;
    server.expect_no_leak(&before)?;
    server.expect_idle(Duration::from_millis(300), 0.1)
}

const STUCK_AT_THE_LIMIT: Check = Check {
    name: "stuck-bulk-leaves-room",
    title: "Clients whose bulk nobody reads take no more descriptors from the others than their sockets and a fair share",
    why: "a kernel pipe is two descriptors, held as long as bytes wait in it: who never reads decides how long that is",
    hint: "what is only for speed gets a share of the descriptors, not all of them",
    body: stuck_at_the_limit,
    ..AT_THE_LIMIT
};

/// Of 64 descriptors twelve stuck pairs need 24, and as many again if each has a pipe.
fn stuck_at_the_limit(trial: &Trial) -> Verdict {
    let upstream = trial.upstream()?;
    let roles = [format!("proxy:{}", upstream.address()), "echo".to_owned()];
    let launch = trial.launch().roles(&roles);
    let server = launch.limit(Resource::RLIMIT_NOFILE, 64).start()?;
    let mut stuck = Vec::new();
    for number in 0..12 {
        let client = server.connect(&format!("stuck client {number}"))?;
        let deaf = upstream.accept("an upstream that never reads")?;
        client.send_until_stuck(Pattern::new(1).period(), 64 << 20)?;
        stuck.push((client, deaf));
    }
    let others: Vec<Peer> = (0..12)
        .map(|number| server.connect_to(1, &format!("client {number}")))
        .collect::<Verdict<_>>()?;
    others.iter().try_for_each(ping)
}

const BULK_LEAVES_NOTHING: Check = Check {
    name: "bulk-leaves-nothing",
    title: "What bulk has taken is free when its client has left, though others stay",
    why: "a server always has some client: what is freed when the last one leaves is never freed",
    hint: "close unused kernel pipes when no flow has needed one for a while",
    body: bulk_leaves_nothing,
    ..PHASE1
};

fn bulk_leaves_nothing(trial: &Trial) -> Verdict {
    let upstream = echo_service(trial)?;
    let roles = [format!("proxy:{}", upstream.address()), "echo".to_owned()];
    let server = trial.launch().roles(&roles).start()?;
    let quiet = server.connect_to(1, "a client that stays")?;
    ping(&quiet)?;
    let before = server.figures()?;
    for number in 0..12 {
        let client = server.connect_to(number % 2, &format!("client {number}"))?;
        let bytes = Pattern::new(number as u64).bytes(3_000_000);
        client.exchange(&bytes, &bytes)?;
        client.half_close()?;
        client.expect_end()?;
    }
    server.expect_no_leak(&before)?;
    ping(&quiet)
}
