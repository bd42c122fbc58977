//! Clients that send without reading, and clients that never stop sending.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::base::{CLIENTS_AT_THE_SAME_TIME, expect_alive};
use crate::check::{Check, Tier};
use crate::checks::clients::reverse_ping;
use crate::data::{lines, reversed, time};
use crate::failure::{Failure, Outcome, Verdict};
use crate::peer::{Peer, both};
use crate::trial::Trial;

pub const NEVER_READS: Check = Check {
    name: "client-that-never-reads",
    title: "A client that sends and never reads costs little memory and does not delay the others",
    why: "its answers cannot be delivered: a server that keeps them all runs out of memory, and a server that waits in `send` serves no other client",
    hint: "use backpressure: while many answers wait for a client, do not read from it (EPOLLIN off)",
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
        "another client waits at most {} for an answer",
        time(slowest_ping(&other, 100)?)
    ));
    server.expect_little_growth(&before)?;
    expect_alive(&server)
}

/// The longest time that one of `count` answers took. The time is only reported: the check fails
/// if an answer does not come at all.
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
    title: "The answers that wait for one client cost no CPU time while others are served",
    why: "a server that copies them, or tries to send them, in each turn of its loop becomes slow for all clients",
    hint: "watch for EPOLLOUT only while answers wait, and touch them only when epoll reports it",
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
        "300 answers to another client take {} of CPU time; the slowest comes after {}",
        time(used),
        time(slowest)
    ));
    let most = Duration::from_millis(300); // many times what they need
    if used <= most {
        return Ok(());
    }
    let what = format!(
        "300 answers to another client took {} of CPU time",
        time(used)
    );
    Err(Failure::new(Outcome::Resources, what).expected(format!("at most {}", time(most))))
}

pub const STREAMING_CLIENT: Check = Check {
    name: "streaming-client",
    title: "A client that sends without a pause does not starve the others",
    why: "a loop that reads from one client until there is nothing more never ends if this client always sends more",
    hint: "after one or a few reads from a client, go on to the next event",
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
    // The reader does not know in which round the sender stops, so it reads until the end of the
    // stream.
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
                let what = "the client that streams did not receive its own lines in reverse";
                return Err(Failure::new(Outcome::WrongData, what));
            }
            at = (at + count) % answers.len();
        }
    };
    both(
        || both(send, receive),
        || {
            let flows = || begun.load(Ordering::Relaxed);
            let waited =
                trial.wait_until("the client that streams has sent its first megabyte", flows);
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
