//! Bytes pass through the proxy: all of them, unchanged, in order, and without filling its memory.

use std::thread;
use std::time::Duration;

use super::base::{Ends, PROXY, join, start};
use crate::check::{Check, Tier};
use crate::data::Pattern;
use crate::failure::Verdict;
use crate::peer::{Peer, both};
use crate::trial::Trial;

pub const ANY_BYTE: Check = Check {
    name: "any-byte",
    title: "Every byte passes unchanged in both directions: NUL, line endings, and bytes that are not text",
    why: "pictures and compressed data contain every byte value, and a proxy does not know what it carries",
    hint: "use the number of bytes that `recv` returns; do not use `strlen` or strings",
    body: any_byte,
    ..PROXY
};

fn any_byte(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let ends = join(&server, &upstream, "the client")?;
    let all: Vec<u8> = (0..=255).collect();
    let odd = b"\r\n\n\r\0\0\xff\xc3(\xf0\x9f\x94\x01 last".as_slice();
    for bytes in [b"\0", all.as_slice(), odd, &all.repeat(20)] {
        ends.client.send(bytes)?;
        ends.upstream.expect(bytes)?;
        ends.upstream.send(bytes)?;
        ends.client.expect(bytes)?;
    }
    Ok(())
}

pub const AT_ONCE: Check = Check {
    name: "each-byte-at-once",
    title: "A single byte is passed on immediately, in both directions, even without a line break",
    why: "a proxy that waits for a whole line or a full buffer can block a conversation",
    hint: "send what `recv` has returned, even if it is only one byte",
    tier: Tier::Robust,
    body: at_once,
    ..PROXY
};

fn at_once(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let ends = join(&server, &upstream, "the client")?;
    for byte in b"one byte\r\n" {
        ends.client.send(&[*byte])?;
        ends.upstream.expect(&[*byte])?;
        ends.upstream.send(&[*byte])?;
        ends.client.expect(&[*byte])?;
    }
    Ok(())
}

pub const LARGE_ANSWER: Check = Check {
    name: "large-transfers",
    title: "8 MB arrive in full in each direction, even if the receiver starts to read late",
    why: "one `send` may take only a part of the bytes, and the rest must still be sent",
    hint: "look at how many bytes `send` returns, and continue after these",
    body: large_answer,
    ..PROXY
};

fn large_answer(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let ends = join(&server, &upstream, "the client")?;
    ends.ping()?;
    transfer_to_a_late_reader(&ends.upstream, &ends.client)?;
    transfer_to_a_late_reader(&ends.client, &ends.upstream)?;
    ends.ping()
}

fn transfer_to_a_late_reader(from: &Peer, to: &Peer) -> Verdict {
    let (pattern, length) = (Pattern::new(8), 8_000_000);
    both(
        || from.send_pattern(pattern, length),
        || {
            thread::sleep(Duration::from_millis(300)); // so that buffers are full
            to.expect_pattern(pattern, length)
        },
    )
}

/// Sends `length` bytes at one end, and expects them at the other.
pub fn transfer(from: &Peer, to: &Peer, length: u64) -> Verdict {
    let pattern = Pattern::new(length);
    both(
        || from.send_pattern(pattern, length),
        || to.expect_pattern(pattern, length),
    )
}

pub const BOTH_WAYS_AT_ONCE: Check = Check {
    name: "both-ways-at-once",
    title: "Each side gets all bytes of the other, even if both send at the same time",
    why: "an upload and its answer may overlap, and a proxy that finishes one direction before it starts the other gets stuck",
    hint: "give each direction its own buffer, and do not let one direction wait for the other",
    tier: Tier::Robust,
    timeout: Duration::from_secs(60),
    body: both_ways_at_once,
    ..PROXY
};

fn both_ways_at_once(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let Ends { client, upstream } = join(&server, &upstream, "the client")?;
    let (up, down) = (Pattern::new(1), Pattern::new(2));
    let length = trial.size(24 << 20, 512 << 20);
    let send = |peer: &Peer, pattern| {
        peer.send_pattern(pattern, length)?;
        peer.half_close()
    };
    let receive = |peer: &Peer, pattern| {
        thread::sleep(Duration::from_millis(300)); // so that both directions are full
        peer.expect_pattern(pattern, length)?;
        peer.expect_end()
    };
    both(
        || both(|| send(&client, up), || receive(&upstream, up)),
        || both(|| send(&upstream, down), || receive(&client, down)),
    )
}

pub const CONSTANT_MEMORY: Check = Check {
    name: "constant-memory",
    title: "A transfer needs constant memory, however long it is",
    why: "a proxy that keeps all bytes, or reads faster than it can send, runs out of memory",
    hint: "use backpressure: read from one side only when the other side has taken what you have",
    tier: Tier::Robust,
    timeout: Duration::from_secs(120),
    body: constant_memory,
    ..PROXY
};

fn constant_memory(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let ends = join(&server, &upstream, "the client")?;
    ends.ping()?;
    let before = server.figures()?;
    transfer(&ends.upstream, &ends.client, trial.size(64 << 20, 4 << 30))?;
    server.expect_little_growth(&before)?;
    transfer(&ends.client, &ends.upstream, trial.size(16 << 20, 1 << 30))?;
    server.expect_little_growth(&before)?;
    ends.ping()
}
