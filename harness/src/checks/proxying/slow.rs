//! Sides that do not read, and sides that never stop sending.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::base::{Ends, PROXY, join, start};
use crate::check::{Check, Tier};
use crate::data::Pattern;
use crate::failure::{Failure, Outcome, Verdict};
use crate::peer::{Peer, both};
use crate::trial::{Server, Trial};
use crate::upstream::Upstream;

const GIBIBYTE: u64 = 1 << 30;

pub const CLIENT_NEVER_READS: Check = Check {
    name: "client-that-never-reads",
    title: "A client that does not read its answer costs little memory and delays nobody",
    why: "the upstream sends as fast as you read: who keeps all of it runs out of memory, who waits serves nobody",
    hint: "while bytes wait for one side, do not read from the other (EPOLLIN off)",
    tier: Tier::Robust,
    points: 3,
    timeout: Duration::from_secs(60),
    body: |trial| never_reads(trial, |ends| (ends.upstream, ends.client)),
    ..PROXY
};

pub const UPSTREAM_NEVER_READS: Check = Check {
    name: "upstream-that-never-reads",
    title: "An upstream that does not read a request costs little memory and delays nobody",
    why: "a server that hangs must not take the proxy with it",
    body: |trial| never_reads(trial, |ends| (ends.client, ends.upstream)),
    ..CLIENT_NEVER_READS
};

/// The sender and the one that never reads.
fn never_reads(trial: &Trial, roles: fn(Ends) -> (Peer, Peer)) -> Verdict {
    let (server, upstream) = start(trial)?;
    let other = join(&server, &upstream, "another client")?;
    other.ping()?;
    let before = server.figures()?;

    let (sender, stuck) = roles(join(&server, &upstream, "the client")?);
    let sent = send_until_stuck(&sender)?;
    trial.step(format!(
        "another client waited {:?}",
        slowest_ping(&other, 100)?
    ));
    server.expect_little_growth(&before)?;
    join(&server, &upstream, "a new client")?.ping()?;

    trial.step("now it reads after all");
    stuck.expect_pattern(STREAM, sent)?;
    drop(sender);
    stuck.expect_end()
}

const STREAM: Pattern = Pattern::new(3);

/// Sends until nothing more is taken: how many bytes that were.
fn send_until_stuck(sender: &Peer) -> Verdict<u64> {
    let sent = sender.send_until_stuck(STREAM.period(), GIBIBYTE)?;
    if sent < GIBIBYTE {
        return Ok(sent);
    }
    let what = format!("{sent} bytes were taken although nobody reads them");
    Err(Failure::new(Outcome::Resources, what))
}

/// The longest that one of `count` answers took. Reported, not judged: an answer
/// that does not come while the bad one is there is the failure.
fn slowest_ping(ends: &Ends, count: usize) -> Verdict<Duration> {
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let begun = Instant::now();
        ends.ping()?;
        slowest = slowest.max(begun.elapsed());
    }
    Ok(slowest)
}

pub const STUCK_PAIR_IS_CHEAP: Check = Check {
    name: "stuck-pair-is-cheap",
    title: "The bytes that wait for one side cost nothing while others are served",
    why: "copying or sending them again at each turn of the loop makes everybody slow",
    hint: "watch for EPOLLOUT only while bytes wait, and touch them only when it comes",
    body: stuck_pair_is_cheap,
    ..CLIENT_NEVER_READS
};

fn stuck_pair_is_cheap(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let stuck = stuck_pair(&server, &upstream)?;
    let other = join(&server, &upstream, "another client")?;
    other.ping()?;

    let before = server.figures()?.cpu;
    let slowest = slowest_ping(&other, 100)?;
    let used = server.figures()?.cpu - before;
    trial.step(format!(
        "100 answers to another client: {used:?} of CPU time, the slowest took {slowest:?}"
    ));
    drop(stuck);
    let most = Duration::from_millis(500); // a hundred times what they need
    if used <= most {
        return Ok(());
    }
    let what = format!("100 answers to another client took {used:?} of CPU time");
    Err(Failure::new(Outcome::Resources, what).expected(format!("at most {most:?}")))
}

/// A pair in which the upstream sends and the client does not read.
pub fn stuck_pair(server: &Server, upstream: &Upstream) -> Verdict<(Peer, Peer)> {
    let ends = join(server, upstream, "a client that does not read")?;
    ends.upstream.send_until_stuck(STREAM.period(), 24 << 20)?;
    Ok((ends.client, ends.upstream))
}

pub const STREAMING_PAIR: Check = Check {
    name: "streaming-pair",
    title: "A pair that moves bytes without a pause does not keep the others waiting",
    why: "moving the bytes of one pair until there are none never ends when there are always more",
    hint: "after some reads of a pair, give the others their turn",
    body: streaming_pair,
    ..CLIENT_NEVER_READS
};

fn streaming_pair(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let stream = join(&server, &upstream, "the client that downloads")?;
    let other = join(&server, &upstream, "another client")?;
    other.ping()?;

    let (begun, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let Ends { client, upstream } = &stream;
    let send = || {
        while !done.load(Ordering::Relaxed) {
            upstream.send(STREAM.period())?;
            begun.store(true, Ordering::Relaxed);
        }
        upstream.half_close()
    };
    // The reader does not know when the sender stops: the end tells.
    let receive = || {
        let (mut chunk, mut at) = (vec![0; 32 * 1024], 0);
        loop {
            let count = match client.receive(&mut chunk)? {
                0 => return Ok(()),
                count => count,
            };
            if chunk[..count] != STREAM.at(at)[..count] {
                let what = "the client that downloads received something else";
                return Err(Failure::new(Outcome::WrongData, what));
            }
            at += count as u64;
        }
    };
    both(
        || both(send, receive),
        || {
            let flows = || begun.load(Ordering::Relaxed);
            let waited = trial.wait_until("its first bytes are on the way", flows);
            let slowest = waited.and_then(|()| slowest_ping(&other, 100));
            done.store(true, Ordering::Relaxed);
            trial.step(format!("another client waited {:?} at most", slowest?));
            Ok(())
        },
    )
}
