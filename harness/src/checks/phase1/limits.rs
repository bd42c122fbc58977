//! A server that runs out of descriptors, in every role.

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
    title: "The server at its descriptor limit serves its clients in every role and uses no CPU time",
    why: "a file and a connection to an upstream each need one more descriptor, and this may be the one that is missing",
    hint: "keep one descriptor in reserve for what an accepted client needs; without it stop accepting for a second, or until a client leaves",
    needs: &[Need::Option("--public")],
    timeout: Duration::from_secs(60),
    body: at_the_limit,
    ..PHASE1
};

const FILE: &[u8] = b"what everybody may read";
const CROWD: usize = 200;

fn at_the_limit(trial: &Trial) -> Verdict {
    let public = trial.folder().join("public");
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
        .map(|number| server.connect_to(number % 3, "an earlier client"))
        .collect::<Verdict<_>>()?;
    early.iter().try_for_each(ping)?;
    let crowd: Vec<Peer> = (0..CROWD)
        .map(|number| server.connect_to(number % roles.len(), &format!("client {number}")))
        .collect::<Verdict<_>>()?;
    server.expect_idle(Duration::from_secs(1), 0.1)?;
    let log = server.process.log_size();
    ensure(log < 64 * 1024, Outcome::Resources, || {
        format!(
            "at the descriptor limit the server has logged {log} bytes; at most 64 KiB are allowed"
        )
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
    title: "Long streams arrive in full even when descriptors are short",
    why: "a kernel pipe is only for speed, so the server must also work when it cannot make one",
    hint: "when `pipe` fails, copy the bytes; when descriptors are short, close unused kernel pipes first",
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
        // There are more clients than fit: the last ones are accepted when others have left.
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
    title: "Streams that are stuck keep only their sockets and a fair share of the other descriptors",
    why: "a kernel pipe keeps two descriptors as long as bytes wait in it, and with a peer that never reads they wait forever",
    hint: "limit the kernel pipes, which are only for speed, to a share of the descriptors",
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
    title: "What a long stream needed is freed when its client leaves, even if other clients stay",
    why: "a busy server always has some client, so what is freed only when the last client leaves is never freed",
    hint: "close unused kernel pipes when no stream has needed one for a while",
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
