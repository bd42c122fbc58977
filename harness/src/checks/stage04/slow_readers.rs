//! Clients that send without reading, and clients that never stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::base::{CLIENTS_AT_THE_SAME_TIME, expect_alive};
use crate::check::{Check, Tier};
use crate::checks::clients::reverse_ping;
use crate::data::{lines, reversed};
use crate::failure::{Failure, Outcome, Verdict};
use crate::peer::{Peer, both};
use crate::trial::Trial;

pub const NEVER_READS: Check = Check {
    name: "client-that-never-reads",
    title: "A client that sends and never reads costs little memory and delays nobody",
    why: "its answers have nowhere to go: who keeps them all runs out of memory, who waits serves nobody",
    hint: "while a client owes the reading of much, do not read from it either (EPOLLIN off)",
    tier: Tier::Robust,
    timeout: Duration::from_secs(60),
    body: never_reads,
    ..CLIENTS_AT_THE_SAME_TIME
};

fn never_reads(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let other = server.connect("another client")?;
    reverse_ping(&other)?;
    let before = server.figures()?;

    let stuck = server.connect("the client that never reads")?;
    let (text, part, gibibyte) = (lines(3, 1_000_000), 64 << 20, 1 << 30);
    let mut sent = 0;
    while sent < gibibyte {
        let taken = stuck.send_until_stuck(&text, part)?;
        server.expect_little_growth(&before)?;
        if taken < part {
            break;
        }
        sent += taken;
    }
    trial.step(format!(
        "another client waited {:?}",
        slowest_ping(&other, 100)?
    ));
    server.expect_little_growth(&before)?;
    expect_alive(&server)
}

/// The longest that one of `count` answers took. Reported, not judged: an answer
/// that does not come while the bad client is there is the failure.
fn slowest_ping(client: &Peer, count: usize) -> Verdict<Duration> {
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let begun = Instant::now();
        reverse_ping(client)?;
        slowest = slowest.max(begun.elapsed());
    }
    Ok(slowest)
}

pub const STUCK_CLIENT_IS_CHEAP: Check = Check {
    name: "stuck-client-is-cheap",
    title: "The answers that wait for one client cost nothing while others are served",
    why: "copying or sending them again at each turn of the loop makes everybody slow",
    hint: "watch for EPOLLOUT only while answers wait, and touch them only when it comes",
    body: stuck_client_is_cheap,
    ..NEVER_READS
};

fn stuck_client_is_cheap(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let stuck = server.connect("the client that never reads")?;
    stuck.send_until_stuck(&lines(4, 1_000_000), 48 << 20)?;
    let other = server.connect("another client")?;
    reverse_ping(&other)?;

    let before = server.figures()?.cpu;
    let slowest = slowest_ping(&other, 300)?;
    let used = server.figures()?.cpu - before;
    trial.step(format!(
        "300 answers to another client: {used:?} of CPU time, the slowest took {slowest:?}"
    ));
    let most = Duration::from_millis(300); // many times what they need
    if used <= most {
        return Ok(());
    }
    let what = format!("300 answers to another client took {used:?} of CPU time");
    Err(Failure::new(Outcome::Resources, what).expected(format!("at most {most:?}")))
}

pub const STREAMING_CLIENT: Check = Check {
    name: "streaming-client",
    title: "A client that sends without a pause does not keep the others waiting",
    why: "reading one client until it has nothing more never ends when it always has more",
    hint: "after one or a few reads of a client, give the others their turn",
    body: streaming_client,
    ..NEVER_READS
};

fn streaming_client(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let stream = server.connect("the client that streams")?;
    let other = server.connect("another client")?;
    reverse_ping(&other)?;

    let (begun, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let text = lines(6, 1_000_000);
    let answers = reversed(&text);
    let rounds = || std::iter::repeat(()).take_while(|()| !done.load(Ordering::Relaxed));
    let send = || {
        rounds().try_for_each(|()| {
            let sent = stream.send(&text);
            begun.store(true, Ordering::Relaxed);
            sent
        })?;
        stream.half_close()
    };
    // The reader does not know in which round the sender stops: the end tells.
    let receive = || {
        let mut chunk = vec![0; 256 * 1024];
        let mut at = 0;
        loop {
            let count = stream.receive(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            let expected = answers.iter().cycle().skip(at).take(count);
            if !chunk[..count].iter().eq(expected) {
                let what = "the client that streams received something else";
                return Err(Failure::new(Outcome::WrongData, what));
            }
            at = (at + count) % answers.len();
        }
    };
    both(
        || both(send, receive),
        || {
            let flows = || begun.load(Ordering::Relaxed);
            let waited = trial.wait_until("its first megabyte is on the way", flows);
            let slowest = waited.and_then(|()| slowest_ping(&other, 100));
            done.store(true, Ordering::Relaxed);
            trial.step(format!("another client waited {:?} at most", slowest?));
            Ok(())
        },
    )
}
