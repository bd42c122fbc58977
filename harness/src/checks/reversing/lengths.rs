//! Lines of every length: as long as a buffer, longer than a buffer, and without an end.

use std::time::Duration;

use super::base::LINE_PROTOCOL;
use crate::check::{Check, Tier};
use crate::data::splitmix;
use crate::failure::Verdict;
use crate::peer::both;
use crate::trial::Trial;

/// A longer line is answered in pieces of this many bytes.
const MAX_LINE: usize = 64 * 1024;

pub const BOUNDARY_LENGTHS: Check = Check {
    name: "lines-as-long-as-a-buffer",
    title: "Lines as long as a buffer may be, and one byte more or less, come back whole",
    why: "many servers go wrong with a line that exactly fills a buffer, or is one byte too long",
    hint: "do not take a full buffer for a complete line, and leave room in it for a NUL if you add one",
    tier: Tier::Robust,
    body: boundary_lengths,
    ..LINE_PROTOCOL
};

/// Buffers have a power of two of bytes, or thousands of them.
fn boundary_lengths(trial: &Trial) -> Verdict {
    let powers = (1..=16).map(|exponent| 1 << exponent);
    let thousands = (1..=10).map(|thousand| 1_000 * thousand);
    let sizes = powers.chain(thousands).chain([30_000]);
    let around = sizes.flat_map(|size| [size - 1, size, size + 1]);
    let lengths: Vec<usize> = around.filter(|&length| length < MAX_LINE).collect();
    lines_of_lengths(trial, &lengths)
}

pub const LONG_LINE_IN_PIECES: Check = Check {
    name: "long-line-in-pieces",
    title: "A line over 64 KiB is answered in pieces of 65,536 bytes",
    why: "a server that waits for a `\\n` that never comes needs more and more memory",
    hint: "when 65,536 bytes contain no `\\n`, reverse and `send` them as a piece without a `\\n`",
    body: long_line_in_pieces,
    ..BOUNDARY_LENGTHS
};

fn long_line_in_pieces(trial: &Trial) -> Verdict {
    lines_of_lengths(trial, &[65_536, 65_537, 131_071, 131_072, 200_000])
}

fn lines_of_lengths(trial: &Trial, lengths: &[usize]) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    for &length in lengths {
        trial.step(format!("next is a line of {length} bytes and a `\\n`"));
        let mut line = letters(length as u64, length);
        let mut answer: Vec<u8> = line
            .chunks(MAX_LINE)
            .flat_map(|piece| piece.iter().rev().copied())
            .collect();
        line.push(b'\n');
        answer.push(b'\n');
        client.exchange(&line, &answer)?;
    }
    Ok(())
}

pub const ENDLESS_LINE: Check = Check {
    name: "endless-line",
    title: "A line of 100 MiB is answered in full, and the server's memory stays bounded",
    why: "a client that never sends a `\\n` must not be able to fill the server's memory",
    hint: "`send` the answer to each 65,536 bytes without a `\\n` as they arrive, then discard them",
    timeout: Duration::from_secs(60),
    body: endless_line,
    ..BOUNDARY_LENGTHS
};

fn endless_line(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask(b"short\n", b"trohs\n")?;
    let pieces = 1024 * 1024 / MAX_LINE;
    let piece = letters(5, MAX_LINE);
    let answer: Vec<u8> = piece.iter().rev().copied().collect();
    let all = |act: &dyn Fn() -> Verdict| (0..pieces).try_for_each(|_| act());
    let mebibyte = || {
        both(
            || all(&|| client.send(&piece)),
            || all(&|| client.expect(&answer)),
        )
    };
    (0..trial.size(16, 100)).try_for_each(|_| mebibyte())?;
    server.expect_growth_to_end("1 MiB", mebibyte)?;
    client.ask(b"\n", b"\n")
}

/// Text without a line break that does not repeat itself.
fn letters(seed: u64, length: usize) -> Vec<u8> {
    let letter = |n| b'a' + (splitmix(seed * 1_000_003 + n) % 26) as u8;
    (0..length as u64).map(letter).collect()
}
