//! What idle pairs cost the proxy.

use std::time::Duration;

use super::base::{Ends, PROXY, join, proxy, start};
use super::slow::stuck_pair;
use super::upstreams::fill_the_queue;
use crate::check::{Check, Need, Tier};
use crate::data::Pattern;
use crate::failure::{Failure, Outcome, Verdict};
use crate::peer::Peer;
use crate::trial::Trial;

/// How long the CPU time of an idle proxy is measured, and the share of it that is allowed.
const WINDOW: Duration = Duration::from_millis(700);
const IDLE: f64 = 0.05;

pub const IDLE_PAIRS: Check = Check {
    name: "idle-pairs-cost-nothing",
    title: "The proxy uses no CPU time while no bytes move, whatever its pairs wait for",
    why: "level-triggered epoll reports a state again and again until you act on it, so the proxy never sleeps",
    hint: "watch for EPOLLOUT only while bytes wait; do not watch for EPOLLIN or EPOLLRDHUP on a side that has ended or that you do not read",
    tier: Tier::Solid,
    body: idle_pairs,
    ..PROXY
};

fn idle_pairs(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let answered = join(&server, &upstream, "a client that has its answer")?;
    answered.ping()?;
    let client_ended = join(&server, &upstream, "a client that has half-closed")?;
    client_ended.client.half_close()?;
    client_ended.upstream.expect_end()?;
    let upstream_ended = join(
        &server,
        &upstream,
        "a client whose upstream has half-closed",
    )?;
    upstream_ended.upstream.half_close()?;
    upstream_ended.client.expect_end()?;
    server.expect_idle(WINDOW, IDLE)?;

    let _stuck = stuck_pair(&server, &upstream)?;
    server.expect_idle(WINDOW, IDLE)?;
    answered.ping()
}

pub const WAITING_FOR_THE_UPSTREAM: Check = Check {
    name: "waiting-for-the-upstream-costs-nothing",
    title: "The proxy uses no CPU time while it waits for a connection to the upstream",
    why: "the client's bytes cannot be sent yet, and a proxy that watches for them wakes up again and again",
    hint: "until `connect` has a result, watch the upstream's socket for EPOLLOUT, and nothing else",
    tier: Tier::Robust,
    body: waiting_for_the_upstream,
    ..IDLE_PAIRS
};

fn waiting_for_the_upstream(trial: &Trial) -> Verdict {
    let upstream = trial.upstream_at(trial.nobody()?, 0)?;
    let _queue = fill_the_queue(trial, &upstream)?;
    let server = proxy(trial, upstream.address())?;
    let waiting = server.connect("the client that waits")?;
    waiting.send(b"request\n")?;
    let leaving = server.connect("a client that does not wait")?;
    leaving.send(b"request\n")?;
    leaving.half_close()?;
    server.expect_idle(WINDOW, IDLE)
}

pub const DEAD_ENDS: Check = Check {
    name: "gone-while-bytes-wait",
    title: "The proxy uses no CPU time and loses no bytes while one side is gone and the other does not read",
    why: "epoll always reports EPOLLHUP and EPOLLERR, asked for or not, until the socket is removed from it",
    hint: "remove the dead socket from epoll, and still deliver the bytes that you have read from it",
    tier: Tier::Robust,
    body: dead_ends,
    ..IDLE_PAIRS
};

fn dead_ends(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    join(&server, &upstream, "a first client")?.close()?;
    let before = server.figures()?;
    let pattern = Pattern::new(8);

    // The client closes normally: everything that it sent arrives.
    let closed = join(&server, &upstream, "the client that closes")?;
    let sent = closed.client.send_until_stuck(pattern.period(), 64 << 20)?;
    closed.client.close();
    // The client resets: bytes that the proxy has already sent arrive, but bytes that it has not
    // read are lost.
    let reset = join(&server, &upstream, "the client that resets")?;
    reset.client.send_until_stuck(pattern.period(), 64 << 20)?;
    let reset_owed = owed(&reset.upstream)?;
    reset.client.reset()?;
    // The same with an upstream that resets.
    let down = join(&server, &upstream, "a client that does not read")?;
    down.upstream.send_until_stuck(pattern.period(), 64 << 20)?;
    let down_owed = owed(&down.client)?;
    down.upstream.reset()?;
    server.expect_idle(WINDOW, IDLE)?;

    closed.upstream.expect_pattern(pattern, sent)?;
    closed.upstream.expect_end()?;
    for (peer, count) in [(&reset.upstream, reset_owed), (&down.client, down_owed)] {
        peer.expect_pattern(pattern, count)?;
        peer.expect_gone()?;
    }
    drop((closed.upstream, reset.upstream, down.client));
    server.expect_no_leak(&before)
}

pub const GONE_WHILE_BOTH_WAIT: Check = Check {
    name: "gone-while-both-wait",
    title: "A side does not get stuck if the other side dies while both wait for each other to read",
    why: "a side that is blocked in `send` does not read: if the proxy takes no more from it, it never gets what it is owed",
    hint: "while you still owe bytes to a side, keep reading from it and discard what it sends",
    tier: Tier::Robust,
    body: gone_while_both_wait,
    ..IDLE_PAIRS
};

fn gone_while_both_wait(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    join(&server, &upstream, "a first client")?.close()?;
    let before = server.figures()?;
    for the_client_goes in [true, false] {
        let Ends { client, upstream } = join(&server, &upstream, "the client")?;
        let (goes, stays) = match the_client_goes {
            true => (client, upstream),
            false => (upstream, client),
        };
        let (owed_to_it, its_own) = (Pattern::new(9), Pattern::new(10));
        goes.send_until_stuck(owed_to_it.period(), 64 << 20)?;
        stays.send_until_stuck(its_own.period(), 64 << 20)?;
        goes.reset()?;
        // This side sends more than any socket holds, and only then reads. It may get a reset as
        // soon as the proxy has passed on what it held.
        match stays.send_pattern(its_own, 32 << 20) {
            Err(failure) if failure.outcome != Outcome::Reset => return Err(failure),
            _ => stays.expect_gone()?,
        }
    }
    server.expect_no_leak(&before)
}

pub const EARLY_ANSWER: Check = Check {
    name: "answer-to-a-client-that-still-sends",
    title: "A client that still sends gets the whole answer of an upstream that answers early and closes",
    why: "closing a socket with unread input resets the connection, and the reset destroys the answer on its way",
    hint: "use a lingering close: half-close towards the client, then read and discard what it sends until it ends too, or for two seconds",
    tier: Tier::Robust,
    body: early_answer,
    ..IDLE_PAIRS
};

fn early_answer(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    join(&server, &upstream, "a first client")?.close()?;
    let before = server.figures()?;
    let (answer, length) = (Pattern::new(11), 1_000_000);
    let Ends { client, upstream } = join(&server, &upstream, "the client")?;
    client.send(b"the beginning of a long request")?;
    upstream.expect(b"the beginning of a long request")?;
    upstream.send_pattern(answer, length)?;
    upstream.until_all_is_read()?;
    upstream.close();
    // The upstream is gone, so the proxy discards these bytes. When the answer has arrived it may
    // reset the connection, and then this `send` fails, which is fine.
    let _ = client.send_pattern(Pattern::new(12), 10_000_000);
    client.expect_pattern(answer, length)?;
    client.expect_gone()?;
    client.close();
    server.expect_no_leak(&before)
}

/// The number of bytes that the proxy has sent to this end, and that this end has not read yet.
fn owed(peer: &Peer) -> Verdict<u64> {
    let found = peer.on_the_way();
    let found = found.ok_or_else(|| Failure::grader("the queues of a connection", "not there"))?;
    Ok(found.to_us)
}

pub const THOUSANDS_IDLE: Check = Check {
    name: "thousands-of-idle-pairs",
    title: "An active pair costs no more CPU time among very many idle pairs than alone",
    why: "this is the difference between epoll and `select`: the work grows with the ready sockets, not with all of them",
    hint: "do not loop over all pairs in each turn; find the pair by the data in its event (`epoll_data`)",
    tier: Tier::Robust,
    timeout: Duration::from_secs(90),
    needs: &[Need::Sockets {
        short: 2_000,
        full: 6_000,
    }],
    body: thousands_idle,
    ..IDLE_PAIRS
};

fn thousands_idle(trial: &Trial) -> Verdict {
    let count = trial.size(1_000, 3_000);
    let (server, upstream) = start(trial)?;
    let active = join(&server, &upstream, "the active client")?;
    active.ping()?;
    let alone = server.cost(|| active.ping())?;

    let idle = (0..count)
        .map(|_| join(&server, &upstream, "an idle client"))
        .collect::<Verdict<Vec<Ends>>>()?;
    idle.iter().try_for_each(Ends::ping)?;
    let among_many = server.cost(|| active.ping())?;
    server.expect_idle(Duration::from_millis(300), IDLE)?;

    server.expect_same_cost(alone, among_many)
}
