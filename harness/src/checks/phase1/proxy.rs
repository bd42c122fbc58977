//! Role `proxy`: what stage 5 does, taken over from there, and some more.

use std::io::copy;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use super::{PHASE1, expect_echo, expect_log};
use crate::check::Check;
use crate::checks::proxying;
use crate::data::Pattern;
use crate::failure::{Outcome, Verdict, ensure};
use crate::patience::patience;
use crate::peer::{Peer, both};
use crate::stage::Stage;
use crate::trial::{Server, Trial};
use crate::upstream::{Deaf, Service, Upstream};

pub const CHECKS: &[Check] = &[
    proxy(
        proxying::PASSES_REQUESTS_AND_ANSWERS,
        "phase1/proxy-passes-requests-and-answers",
    ),
    proxy(
        proxying::CLIENTS_AT_THE_SAME_TIME,
        "phase1/proxy-clients-at-the-same-time",
    ),
    proxy(proxying::ANY_BYTE, "phase1/proxy-any-byte"),
    proxy(proxying::LARGE_ANSWER, "phase1/proxy-large-transfers"),
    proxy(proxying::UPSTREAM_ENDS, "phase1/proxy-end-of-the-upstream"),
    proxy(proxying::CLIENT_ENDS, "phase1/proxy-end-of-the-client"),
    proxy(proxying::CURL, "phase1/proxy-curl"),
    proxy(proxying::AT_ONCE, "phase1/proxy-each-byte-at-once"),
    proxy(
        proxying::BOTH_WAYS_AT_ONCE,
        "phase1/proxy-both-ways-at-once",
    ),
    proxy(proxying::CONSTANT_MEMORY, "phase1/proxy-constant-memory"),
    proxy(
        proxying::CLIENT_HALF_CLOSES,
        "phase1/proxy-client-half-closes",
    ),
    proxy(
        proxying::UPSTREAM_HALF_CLOSES,
        "phase1/proxy-upstream-half-closes",
    ),
    proxy(
        proxying::ECHO_AND_HALF_CLOSE,
        "phase1/proxy-three-megabytes-and-half-close",
    ),
    proxy(
        proxying::LATE_READER,
        "phase1/proxy-ends-before-all-is-read",
    ),
    proxy(
        proxying::END_WITH_BYTES_IN_ONE_EVENT,
        "phase1/proxy-bytes-and-end-in-one-event",
    ),
    proxy(proxying::RESETS, "phase1/proxy-resets-at-any-moment"),
    proxy(
        proxying::RESET_PASSES_THROUGH,
        "phase1/proxy-reset-passes-through",
    ),
    proxy(
        proxying::BYTES_BEFORE_A_RESET,
        "phase1/proxy-bytes-before-a-reset",
    ),
    proxy(
        proxying::RESET_DURING_A_TRANSFER,
        "phase1/proxy-reset-during-a-transfer",
    ),
    proxy(proxying::DOWN, "phase1/proxy-upstream-down"),
    proxy(
        proxying::DOWN_FOR_MANY_AT_ONCE,
        "phase1/proxy-upstream-down-for-many-at-once",
    ),
    proxy(proxying::COMES_BACK, "phase1/proxy-upstream-comes-back"),
    proxy(
        proxying::FULL_QUEUE,
        "phase1/proxy-upstream-with-a-full-queue",
    ),
    proxy(proxying::CONNECT_TIMEOUT, "phase1/proxy-connect-timeout"),
    proxy(
        proxying::NAME_UNKNOWN,
        "phase1/proxy-upstream-without-an-address",
    ),
    proxy(
        proxying::NAME_WITH_SEVERAL_ADDRESSES,
        "phase1/proxy-upstream-by-name",
    ),
    proxy(
        proxying::CLOSES_AT_ONCE,
        "phase1/proxy-upstream-accepts-and-closes",
    ),
    proxy(
        proxying::ANSWERS_EARLY,
        "phase1/proxy-upstream-answers-early",
    ),
    proxy(
        proxying::ANSWERS_AND_RESETS,
        "phase1/proxy-upstream-answers-and-resets",
    ),
    proxy(
        proxying::COME_AND_GO,
        "phase1/proxy-upstream-down-for-thousands",
    ),
    proxy(
        proxying::CLOSED_AT_ONCE,
        "phase1/proxy-upstream-closes-on-thousands",
    ),
    proxy(
        proxying::RESET_MIDWAY,
        "phase1/proxy-upstream-resets-thousands-midway",
    ),
    proxy(
        proxying::ANSWERED_EARLY,
        "phase1/proxy-upstream-answers-thousands-early",
    ),
    proxy(
        proxying::NEVER_READ_AND_FORGOTTEN,
        "phase1/proxy-upstream-never-reads-thousands",
    ),
    proxy(proxying::SLOW, "phase1/proxy-upstream-slow-for-thousands"),
    proxy(
        proxying::NEVER_CONNECTED,
        "phase1/proxy-connect-timeout-for-thousands",
    ),
    proxy(
        proxying::CLIENT_NEVER_READS,
        "phase1/proxy-client-that-never-reads",
    ),
    proxy(
        proxying::UPSTREAM_NEVER_READS,
        "phase1/proxy-upstream-that-never-reads",
    ),
    proxy(
        proxying::STUCK_PAIR_IS_CHEAP,
        "phase1/proxy-stuck-pair-is-cheap",
    ),
    proxy(proxying::STREAMING_PAIR, "phase1/proxy-streaming-pair"),
    proxy(proxying::IDLE_PAIRS, "phase1/proxy-idle-pairs-cost-nothing"),
    proxy(
        proxying::WAITING_FOR_THE_UPSTREAM,
        "phase1/proxy-waiting-for-the-upstream-costs-nothing",
    ),
    proxy(proxying::DEAD_ENDS, "phase1/proxy-gone-while-bytes-wait"),
    proxy(
        proxying::GONE_WHILE_BOTH_WAIT,
        "phase1/proxy-gone-while-both-wait",
    ),
    proxy(
        proxying::EARLY_ANSWER,
        "phase1/proxy-answer-to-a-client-that-still-sends",
    ),
    proxy(
        proxying::THOUSANDS_IDLE,
        "phase1/proxy-thousands-of-idle-pairs",
    ),
    proxy(
        proxying::ONE_AFTER_THE_OTHER,
        "phase1/proxy-two-hundred-one-after-the-other",
    ),
    proxy(
        proxying::FIFTY_AT_ONCE,
        "phase1/proxy-fifty-answered-in-reverse-order",
    ),
    proxy(
        proxying::THOUSANDS_AT_ONCE,
        "phase1/proxy-thousands-at-once",
    ),
    proxy(
        proxying::MANY_AT_ONCE_IN_THE_QUEUE,
        "phase1/proxy-many-at-once-in-the-queue",
    ),
    proxy(
        proxying::CONNECTS_AND_LEAVES,
        "phase1/proxy-connects-and-leaves",
    ),
    proxy(proxying::NO_LEAK, "phase1/proxy-no-leak"),
    proxy(
        proxying::AT_THE_DESCRIPTOR_LIMIT,
        "phase1/proxy-at-the-descriptor-limit",
    ),
    proxy(
        proxying::AT_A_HIGHER_LIMIT,
        "phase1/proxy-at-a-higher-descriptor-limit",
    ),
    proxy(
        proxying::RAISES_THE_LIMIT,
        "phase1/proxy-raises-its-descriptor-limit",
    ),
    proxy(
        proxying::STOPPED_AND_CONTINUED,
        "phase1/proxy-stopped-and-continued",
    ),
    proxy(
        proxying::CURL_KEEP_ALIVE,
        "phase1/proxy-curl-keep-alive-and-range",
    ),
    proxy(proxying::CURL_LARGE_FILE, "phase1/proxy-curl-large-file"),
    proxy(proxying::CHROMIUM, "phase1/proxy-browser"),
    DOWN_AND_THOUSANDS,
    BULK,
    HALF_CLOSE_WHILE_CONNECTING,
    TALKS_TO_THE_DEAD,
];

/// What stage 5 does, in another house.
const fn proxy(check: Check, id: &'static str) -> Check {
    check.taken_over(Stage::Phase1, id)
}

const DOWN_AND_THOUSANDS: Check = Check {
    id: "phase1/warnings-are-counted",
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
    id: "phase1/proxy-bulk-both-ways",
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
    id: "phase1/proxy-upstream-talks-to-the-dead",
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
    id: "phase1/half-close-while-connecting",
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
