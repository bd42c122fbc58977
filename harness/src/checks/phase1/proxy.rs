//! Role `proxy`: what stage 5 does, taken over from there, and some more.

use std::io::copy;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use super::base::{PHASE1, expect_echo, expect_log};
use crate::check::Check;
use crate::checks::proxying;
use crate::data::Pattern;
use crate::failure::{Outcome, Verdict, ensure};
use crate::patience::patience;
use crate::peer::{Peer, both};
use crate::stage::Stage;
use crate::trial::{Server, Trial};
use crate::upstream::{Deaf, Service, Upstream};

pub fn checks() -> Vec<Check> {
    let shared = [proxying::CHECKS, &[proxying::NEVER_READ_AND_FORGOTTEN]].concat();
    let shared = shared.into_iter().map(|check| Check {
        role: "proxy-",
        ..check.taken_over(Stage::Phase1)
    });
    shared.chain(OWN.iter().copied()).collect()
}

const OWN: &[Check] = &[
    DOWN_AND_THOUSANDS,
    BULK,
    HALF_CLOSE_WHILE_CONNECTING,
    TALKS_TO_THE_DEAD,
];

const DOWN_AND_THOUSANDS: Check = Check {
    name: "warnings-are-counted",
    title: "Thousands of clients of an upstream that is down do not fill the log",
    why: "an upstream that is down for a night must not fill the disk as well",
    hint: "say a warning once, count those that follow, and tell the number once a second",
    chapter: "docs/src/phase1/architecture.md",
    timeout: Duration::from_secs(60),
    body: down_and_thousands,
    ..PHASE1
};

fn down_and_thousands(trial: &Trial) -> Verdict {
    let nobody = trial.nobody()?;
    let roles = [format!("proxy:{}", nobody.address()), "echo".to_owned()];
    let server = trial.launch().roles(&roles).start()?;
    expect_echo(&server, 1)?;
    let (before, begun) = (server.figures()?, Instant::now());
    let count = trial.size(2_000, 10_000);
    for _ in 0..count {
        server.connect("a client")?.expect_gone()?;
    }
    let seconds = begun.elapsed().as_secs() as usize + 2;
    expect_log(&server, "more of these")?;
    let log = server.process.log();
    let told = log.matches("cannot reach upstream").count();
    trial.step(format!("{count} failures made {told} warnings"));
    ensure(told <= seconds + 1, Outcome::Resources, || {
        format!("{count} failures made {told} warnings in {seconds} s")
    })?;
    expect_echo(&server, 1)?;
    server.expect_no_leak(&before)
}

const BULK: Check = Check {
    name: "proxy-bulk-both-ways",
    title: "Gigabytes in both directions at once arrive byte for byte, in constant memory",
    why: "backpressure must hold in each direction by itself, or memory grows, or both get stuck",
    hint: "each direction has its own pipe, threshold and readiness",
    timeout: Duration::from_secs(120),
    body: bulk,
    ..DOWN_AND_THOUSANDS
};

fn bulk(trial: &Trial) -> Verdict {
    let (server, upstream) = start_before(trial)?;
    let client = server.connect("the client")?;
    let served = upstream.accept("the upstream")?;
    client.send(b"first")?;
    served.expect(b"first")?;
    let before = server.figures()?;
    let (up, down) = (Pattern::new(1), Pattern::new(2));
    let length = trial.size(64 << 20, 4 << 30);
    let upwards = || {
        both(
            || {
                client
                    .send_pattern(up, length)
                    .and_then(|()| client.half_close())
            },
            || served.expect_pattern(up, length),
        )
    };
    let downwards = || {
        both(
            || served.send_pattern(down, length),
            || {
                client.expect_pattern(down, length / 2)?;
                server.expect_little_growth(&before)?;
                let rest = length - length / 2;
                expect_from(&client, down, length / 2, rest)
            },
        )
    };
    both(upwards, downwards)?;
    served.expect_end()?;
    served.half_close()?;
    client.expect_end()?;
    server.expect_little_growth(&before)
}

/// The bytes of a pattern from `offset` on.
fn expect_from(peer: &Peer, pattern: Pattern, offset: u64, length: u64) -> Verdict {
    let mut done = 0;
    while done < length {
        let piece = pattern.at(offset + done);
        let count = (piece.len() as u64).min(length - done) as usize;
        peer.expect(&piece[..count])?;
        done += count as u64;
    }
    Ok(())
}

/// A proxy, and the upstream behind it.
fn start_before(trial: &Trial) -> Verdict<(Server, Upstream)> {
    let upstream = trial.upstream()?;
    let role = format!("proxy:{}", upstream.address());
    Ok((trial.launch().roles(&[role]).start()?, upstream))
}

/// An upstream that echoes.
pub fn echo_service(trial: &Trial) -> Verdict<Service> {
    let upstream = trial.upstream()?;
    Ok(upstream.serve(|_, peer| {
        let (mut from, mut to) = (peer.stream(), peer.stream());
        let _ = copy(&mut from, &mut to); // until the proxy ends it, in whatever way
        let _ = peer.stream().shutdown(Shutdown::Write);
        Ok(())
    }))
}

const TALKS_TO_THE_DEAD: Check = Check {
    name: "proxy-upstream-talks-to-the-dead",
    title: "An upstream that reads nothing, and talks without end to a client that has died, is told",
    why: "the client pays nothing for what it does not get: an endless download for nobody is its weapon",
    hint: "what the client has sent is owed to the upstream; if that takes nothing for some time, give up",
    body: talks_to_the_dead,
    ..DOWN_AND_THOUSANDS
};

fn talks_to_the_dead(trial: &Trial) -> Verdict {
    let (server, upstream) = start_before(trial)?;
    let client = server.connect("a first client")?;
    upstream.accept("its upstream")?.close();
    client.expect_end()?;
    client.close();
    let before = server.figures()?;
    let client = server.connect("the client")?;
    let talker = upstream.accept("the upstream that talks")?;
    client.send_until_stuck(Pattern::new(3).period(), 64 << 20)?;
    client.reset()?;
    let begun = Instant::now();
    // Time is the recipe: without a pause it would only be a matter of Gigabytes.
    while talker.send(&[b'x'; 64 * 1024]).is_ok() {
        ensure(begun.elapsed() < patience() * 2, Outcome::Resources, || {
            "what is said to a client that has gone is still taken".to_owned()
        })?;
        thread::sleep(Duration::from_millis(10));
    }
    trial.step(format!("told after {:?}", begun.elapsed()));
    drop(talker);
    server.expect_no_leak(&before)
}

const HALF_CLOSE_WHILE_CONNECTING: Check = Check {
    name: "half-close-while-connecting",
    title: "A client that sends, half-closes and waits, all before its upstream is reached, is served",
    why: "`printf … | nc -N` has said its last word before the proxy has connected",
    hint: "what comes meanwhile waits in the pipe, its end too, until there is a sink",
    body: half_close_while_connecting,
    ..DOWN_AND_THOUSANDS
};

fn half_close_while_connecting(trial: &Trial) -> Verdict {
    let deaf = Deaf::listen()?;
    let role = format!("proxy:{}", deaf.address());
    let server = trial.launch().roles(&[role]).start()?;
    let before = server.figures()?.descriptors;
    let client = server.connect("the client")?;
    client.send(b"a question")?;
    client.half_close()?;
    until_it_connects(trial, &server, before)?;
    // Now its queue has room; the kernel knocks again after a second.
    let served = deaf.hear("the upstream", trial.trace(), trial.deadline())?;
    served.expect(b"a question")?;
    served.expect_end()?;
    served.send(b"an answer")?;
    served.close();
    client.expect(b"an answer")?;
    client.expect_end()
}

/// Until it has accepted a client and has a socket towards the upstream.
pub fn until_it_connects(trial: &Trial, server: &Server, before: usize) -> Verdict {
    trial.wait_until("the server knocks at its upstream", || {
        server
            .figures()
            .is_ok_and(|now| now.descriptors >= before + 2)
    })
}
