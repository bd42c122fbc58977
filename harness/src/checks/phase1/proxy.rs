//! Role `proxy`, beside what it shares with stage 5: upstreams that are not there, that
//! do not answer, and streams without end.

use std::io::copy;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use nix::sys::resource::Resource;

use super::echo::send_a_gigabyte_and_never_read;
use super::{PHASE1, expect_echo, expect_log};
use crate::check::{Check, Need, Outcome, Verdict, ensure};
use crate::data::Pattern;
use crate::peer::{Peer, both};
use crate::trial::{Server, Trial};
use crate::upstream::{Deaf, Service, Upstream};

pub const CHECKS: &[Check] = &[
    COMES_LATER,
    DOWN_AND_THOUSANDS,
    CONNECT_TIMEOUT,
    BULK,
    NEVER_READS,
    AT_THE_LIMIT,
    HALF_CLOSE_WHILE_CONNECTING,
];

const COMES_LATER: Check = Check {
    id: "phase1/upstream-absent-then-present",
    title: "While its upstream is away each client is closed; when it is back they are served",
    why: "upstreams are restarted every day, and nobody wants to restart the proxy too",
    hint: "a failed connect ends one session; the next client's session tries anew",
    chapter: "docs/src/phase1/stage11-upstream.md",
    body: comes_later,
    ..PHASE1
};

fn comes_later(trial: &Trial) -> Verdict {
    let nobody = trial.nobody()?;
    let address = nobody.address();
    let launch = trial.launch();
    let roles = [format!("proxy:{address}"), "echo".to_owned()];
    let server = launch.roles(&roles).start()?;
    expect_echo(&server, 1)?;
    let before = server.figures()?;
    // At once, so that one failure must not make the others be forgotten.
    let clients: Vec<Peer> = (0..20)
        .map(|number| server.connect(&format!("client {number}")))
        .collect::<Verdict<_>>()?;
    clients.iter().try_for_each(Peer::expect_end)?;
    let speaker = server.connect("a client that speaks first")?;
    speaker.send(b"hello?\n")?;
    speaker.expect_gone()?;
    expect_log(&server, "Connection refused")?;
    expect_echo(&server, 1)?;
    drop(clients);
    server.expect_no_leak(&before)?;

    drop(nobody);
    let upstream = Upstream::listen(address, trial.trace(), trial.deadline())?;
    let client = server.connect("a client that comes later")?;
    let served = upstream.accept("the upstream")?;
    client.ask_through(&served)?;
    drop(upstream);
    client.ask_through(&served)?;
    let refused = server.connect("a client when it is away again")?;
    refused.expect_end()?;
    client.ask_through(&served)
}

impl Peer {
    /// A question and its answer, with the check at both ends.
    fn ask_through(&self, upstream: &Peer) -> Verdict {
        self.send(b"a question")?;
        upstream.expect(b"a question")?;
        upstream.send(b"an answer")?;
        self.expect(b"an answer")
    }
}

const DOWN_AND_THOUSANDS: Check = Check {
    id: "phase1/warnings-are-counted",
    title: "Thousands of clients of an upstream that is down do not fill the log",
    why: "an upstream that is down for a night must not fill the disk as well",
    hint: "say a warning once, count those that follow, and tell the number once a second",
    timeout: Duration::from_secs(60),
    body: down_and_thousands,
    ..COMES_LATER
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
    expect_log(&server, "times more")?;
    let log = server.process.log();
    let told = log.matches("cannot connect to the upstream").count();
    trial.step(format!("{count} failures made {told} warnings"));
    ensure(told <= seconds + 1, Outcome::Resources, || {
        format!("{count} failures made {told} warnings in {seconds} s")
    })?;
    expect_echo(&server, 1)?;
    server.expect_no_leak(&before)
}

const CONNECT_TIMEOUT: Check = Check {
    id: "phase1/connect-timeout",
    title: "An upstream that does not answer keeps its client waiting for --connect-timeout, and nobody else",
    why: "a full queue or a firewall answers nothing at all: a connect to it may take minutes",
    hint: "connect without blocking (EINPROGRESS), with a timer of your own",
    needs: &[Need::Option("--connect-timeout")],
    body: connect_timeout,
    ..COMES_LATER
};

fn connect_timeout(trial: &Trial) -> Verdict {
    let deaf = Deaf::listen()?;
    trial.step(format!("{} has a full queue", deaf.address()));
    let roles = [format!("proxy:{}", deaf.address()), "echo".to_owned()];
    let launch = trial.launch().options(["--connect-timeout", "1"]);
    let server = launch.roles(&roles).start()?;
    expect_echo(&server, 1)?;
    let before = server.figures()?;
    let begun = Instant::now();
    let client = server.connect("the client that waits")?;
    client.send(b"hello?")?;
    (0..5).try_for_each(|_| expect_echo(&server, 1))?;
    server.expect_idle(Duration::from_millis(300), 0.05)?;
    client.expect_gone()?;
    let took = begun.elapsed();
    trial.step(format!("it was closed after {took:?}"));
    ensure(
        took > Duration::from_millis(900),
        Outcome::Behaviour,
        || format!("the client was closed after {took:?}, long before its second was over"),
    )?;
    expect_log(&server, "timed out")?;
    drop(client);
    server.expect_no_leak(&before)
}

const BULK: Check = Check {
    id: "phase1/proxy-both-ways-at-once",
    title: "Gigabytes in both directions at once arrive byte for byte, in constant memory",
    why: "backpressure must hold in each direction by itself, or memory grows, or both get stuck",
    hint: "each direction has its own pipe, threshold and readiness",
    timeout: Duration::from_secs(120),
    body: bulk,
    ..COMES_LATER
};

fn bulk(trial: &Trial) -> Verdict {
    let (server, upstream) = start_before(trial)?;
    let client = server.connect("the client")?;
    let served = upstream.accept("the upstream")?;
    client.ask_through(&served)?;
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

const NEVER_READS: Check = Check {
    id: "phase1/proxy-for-a-client-that-never-reads",
    title: "A client that sends a gigabyte and never reads costs the proxy little memory",
    why: "its answers have nowhere to go, and neither has what it sends when the upstream is stuck too",
    timeout: Duration::from_secs(60),
    body: never_reads,
    ..BULK
};

fn never_reads(trial: &Trial) -> Verdict {
    let upstream = echo_service(trial)?;
    let role = format!("proxy:{}", upstream.address());
    let server = trial.launch().roles(&[role.as_str()]).start()?;
    expect_echo(&server, 0)?;
    let before = server.figures()?;
    send_a_gigabyte_and_never_read(&server, 0, || expect_echo(&server, 0))?;
    server.expect_no_leak(&before)
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

const AT_THE_LIMIT: Check = Check {
    id: "phase1/proxy-at-the-descriptor-limit",
    title: "At its descriptor limit a proxy serves who is in, rests, and goes on when there is room",
    why: "a proxied client needs two descriptors: it may get one and not the other",
    hint: "when there is none for the upstream, end that session in order; do not try in a loop",
    timeout: Duration::from_secs(60),
    body: at_the_limit,
    ..COMES_LATER
};

fn at_the_limit(trial: &Trial) -> Verdict {
    let upstream = echo_service(trial)?;
    let role = format!("proxy:{}", upstream.address());
    let launch = trial.launch().limit(Resource::RLIMIT_NOFILE, 64);
    let server = launch.roles(&[role]).start()?;
    let clients: Vec<Peer> = (0..200)
        .map(|number| server.connect(&format!("client {number}")))
        .collect::<Verdict<_>>()?;
    let ping = |client: &Peer| client.ask(b"ping\n", b"ping\n");
    clients[..20].iter().try_for_each(ping)?;
    server.expect_idle(Duration::from_secs(1), 0.1)?;
    let log = server.process.log_size();
    ensure(log < 64 * 1024, Outcome::Resources, || {
        format!("at the descriptor limit it has logged {log} bytes")
    })?;
    clients[..20].iter().try_for_each(ping)?;
    clients.into_iter().for_each(Peer::close);
    trial.wait_until("there are descriptors again", || {
        server
            .figures()
            .is_ok_and(|figures| figures.descriptors < 32)
    })?;
    (0..3).try_for_each(|_| expect_echo(&server, 0))
}

const HALF_CLOSE_WHILE_CONNECTING: Check = Check {
    id: "phase1/half-close-while-connecting",
    title: "A client that sends, half-closes and waits, all before its upstream is reached, is served",
    why: "`printf … | nc -N` has said its last word before the proxy has connected",
    hint: "what comes meanwhile waits in the pipe, its end too, until there is a sink",
    body: half_close_while_connecting,
    ..COMES_LATER
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
