//! Role `proxy`: the checks of stage 5, taken over from there, and a few more.

use std::io::copy;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use super::base::{PHASE1, expect_echo, expect_log};
use crate::check::Check;
use crate::checks::proxying;
use crate::data::{Pattern, time};
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
    why: "an upstream that is down for a night must not fill the disk too",
    hint: "log a warning once, count those that follow, and log their number once a second",
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
    trial.step(format!("{count} failures cause {told} warnings"));
    ensure(told <= seconds + 1, Outcome::Resources, || {
        let most = seconds + 1;
        format!(
            "{count} failures caused {told} warnings in {seconds} s; at most {most} are allowed"
        )
    })?;
    expect_echo(&server, 1)?;
    server.expect_no_leak(&before)
}

const BULK: Check = Check {
    name: "proxy-bulk-both-ways",
    title: "Gigabytes that move in both directions at the same time arrive byte for byte, in constant memory",
    why: "backpressure must work in each direction by itself; otherwise memory grows, or both directions get stuck",
    hint: "give each direction its own pipe, threshold and readiness",
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

/// Starts a proxy, and the upstream behind it.
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
        let _ = copy(&mut from, &mut to); // until the proxy ends the connection
        let _ = peer.stream().shutdown(Shutdown::Write);
        Ok(())
    }))
}

const TALKS_TO_THE_DEAD: Check = Check {
    name: "proxy-upstream-talks-to-the-dead",
    title: "An upstream that reads nothing and keeps sending to a client that has died is cut off",
    why: "otherwise a client can start an endless download and leave, and the proxy works for nothing",
    hint: "keep what the client has sent for the upstream; if the upstream takes none of it for some time, close both sides",
    body: talks_to_the_dead,
    ..DOWN_AND_THOUSANDS
};

fn talks_to_the_dead(trial: &Trial) -> Verdict {
    let (server, upstream) = start_before(trial)?;
    let client = server.connect("a first client")?;
    upstream.accept("the upstream of the first client")?.close();
    client.expect_end()?;
    client.close();
    let before = server.figures()?;
    let client = server.connect("the client")?;
    let talker = upstream.accept("the upstream that keeps sending")?;
    client.send_until_stuck(Pattern::new(3).period(), 64 << 20)?;
    client.reset()?;
    let begun = Instant::now();
    // The proxy gives up after some time, and without pauses this would take gigabytes.
    while talker.send(&[b'x'; 64 * 1024]).is_ok() {
        ensure(begun.elapsed() < patience() * 2, Outcome::Resources, || {
            let waited = begun.elapsed();
            format!(
                "after {} the proxy still takes bytes for a client that is gone",
                time(waited)
            )
        })?;
        thread::sleep(Duration::from_millis(10));
    }
    trial.step(format!(
        "the upstream is cut off after {}",
        time(begun.elapsed())
    ));
    drop(talker);
    server.expect_no_leak(&before)
}

const HALF_CLOSE_WHILE_CONNECTING: Check = Check {
    name: "half-close-while-connecting",
    title: "A client that sends and half-closes before its upstream is connected still gets its answer",
    why: "`printf … | nc -N` has sent its last byte before the proxy is connected to the upstream",
    hint: "keep what comes meanwhile in the pipe, including the end of the stream, until there is a sink",
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
    // Now the upstream's queue has room; the kernel repeats its SYN after a second.
    let served = deaf.hear("the upstream", trial.trace(), trial.deadline())?;
    served.expect(b"a question")?;
    served.expect_end()?;
    served.send(b"an answer")?;
    served.close();
    client.expect(b"an answer")?;
    client.expect_end()
}

/// Waits until the server has accepted a client and opened a socket to the upstream.
pub fn until_it_connects(trial: &Trial, server: &Server, before: usize) -> Verdict {
    trial.wait_until("the server is connecting to its upstream", || {
        server
            .figures()
            .is_ok_and(|now| now.descriptors >= before + 2)
    })
}
