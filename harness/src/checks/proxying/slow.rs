//! Sides that do not read, and sides that never stop sending.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::base::{Ends, PROXY, join, start};
use crate::check::{Check, Tier};
use crate::data::{Pattern, time};
use crate::failure::{Failure, Outcome, Verdict};
use crate::peer::{Peer, both};
use crate::trial::{Server, Trial};
use crate::upstream::Upstream;

const GIBIBYTE: u64 = 1 << 30;

pub const CLIENT_NEVER_READS: Check = Check {
    name: "client-that-never-reads",
    title: "A client that does not read its answer costs little memory and does not delay the others",
    why: "the upstream sends as fast as you read: a proxy that keeps all of it runs out of memory, and a proxy that waits in `send` serves no other client",
    hint: "use backpressure: while bytes wait for one side, do not read from the other (EPOLLIN off)",
    tier: Tier::Robust,
    timeout: Duration::from_secs(60),
    body: |trial| never_reads(trial, |ends| (ends.upstream, ends.client)),
    ..PROXY
};

pub const UPSTREAM_NEVER_READS: Check = Check {
    name: "upstream-that-never-reads",
    title: "An upstream that does not read a request costs little memory and does not delay other clients",
    why: "a server that hangs must not make the proxy hang too",
    body: |trial| never_reads(trial, |ends| (ends.client, ends.upstream)),
    ..CLIENT_NEVER_READS
};

/// `roles` decides which end sends and which end does not read.
fn never_reads(trial: &Trial, roles: fn(Ends) -> (Peer, Peer)) -> Verdict {
    let (server, upstream) = start(trial)?;
    let other = join(&server, &upstream, "another client")?;
    other.ping()?;
    let before = server.figures()?;

    let (sender, stuck) = roles(join(&server, &upstream, "the client")?);
    let sent = send_until_stuck(&sender)?;
    trial.step(format!(
        "another client waits at most {} for an answer",
        time(slowest_ping(&other, 100)?)
    ));
    server.expect_little_growth(&before)?;
    join(&server, &upstream, "a new client")?.ping()?;

    trial.step("the side that did not read begins to read");
    stuck.expect_pattern(STREAM, sent)?;
    drop(sender);
    stuck.expect_end()
}

const STREAM: Pattern = Pattern::new(3);

/// Sends until the proxy takes no more. Returns the number of bytes that it has taken.
fn send_until_stuck(sender: &Peer) -> Verdict<u64> {
    let sent = sender.send_until_stuck(STREAM.period(), GIBIBYTE)?;
    if sent < GIBIBYTE {
        return Ok(sent);
    }
    let what = format!(
        "the proxy took {sent} bytes although the other side does not read; it should stop reading"
    );
    Err(Failure::new(Outcome::Resources, what))
}

/// The longest time that one of `count` answers took. The time is only reported: the check fails
/// if an answer does not come at all.
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
    title: "The bytes that wait for one side cost no CPU time while other clients are served",
    why: "a proxy that copies them, or tries to send them, in each turn of its loop becomes slow for all clients",
    hint: "watch for EPOLLOUT only while bytes wait, and touch them only when epoll reports it",
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
        "100 answers to another client take {} of CPU time; the slowest comes after {}",
        time(used),
        time(slowest)
    ));
    drop(stuck);
    let most = Duration::from_millis(500); // a hundred times what they need
    if used <= most {
        return Ok(());
    }
    let what = format!(
        "100 answers to another client took {} of CPU time",
        time(used)
    );
    Err(Failure::new(Outcome::Resources, what).expected(format!("at most {}", time(most))))
}

/// A pair in which the upstream sends and the client does not read.
pub fn stuck_pair(server: &Server, upstream: &Upstream) -> Verdict<(Peer, Peer)> {
    let ends = join(server, upstream, "a client that does not read")?;
    ends.upstream.send_until_stuck(STREAM.period(), 24 << 20)?;
    Ok((ends.client, ends.upstream))
}

pub const STREAMING_PAIR: Check = Check {
    name: "streaming-pair",
    title: "A pair that moves bytes without a pause does not starve the others",
    why: "a loop that moves the bytes of one pair until there are none never ends if more bytes always come",
    hint: "after some reads from one pair, go on to the next event",
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
    // The reader does not know when the sender stops, so it reads until the end of the stream.
    let receive = || {
        let (mut chunk, mut at) = (vec![0; 32 * 1024], 0);
        loop {
            let count = match client.receive(&mut chunk)? {
                0 => return Ok(()),
                count => count,
            };
            if chunk[..count] != STREAM.at(at)[..count] {
                let what = "the client that downloads received other bytes than the upstream sent";
                return Err(Failure::new(Outcome::WrongData, what));
            }
            at += count as u64;
        }
    };
    both(
        || both(send, receive),
        || {
            let flows = || begun.load(Ordering::Relaxed);
            let waited = trial.wait_until(
                "the upstream has sent the first bytes of the download",
                flows,
            );
            let slowest = waited.and_then(|()| slowest_ping(&other, 100));
            done.store(true, Ordering::Relaxed);
            trial.step(format!(
                "another client waits at most {} for an answer",
                time(slowest?)
            ));
            Ok(())
        },
    )
}
