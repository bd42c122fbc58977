//! What counts as a line and as a character.

use super::base::{LAST_LINE_WITHOUT_NEWLINE, LINE_PROTOCOL};
use crate::check::{Check, Tier};
use crate::failure::Verdict;
use crate::trial::Trial;

pub const ANY_BYTE: Check = Check {
    name: "nul-and-any-byte",
    title: "NUL and every other byte come back in reverse order",
    why: "a connection carries bytes, not strings, and a NUL is a byte like the others",
    hint: "use the number of bytes that `recv` returned, never `strlen`",
    tier: Tier::Robust,
    body: any_byte,
    ..LINE_PROTOCOL
};

fn any_byte(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask(b"ab\0cd\n", b"dc\0ba\n")?;
    client.ask(b"\0\n", b"\0\n")?;
    // All of them together are not valid UTF-8, so they are reversed byte by byte.
    let mut line: Vec<u8> = (0..=255).filter(|&byte| byte != b'\n').collect();
    let mut answer: Vec<u8> = line.iter().rev().copied().collect();
    line.push(b'\n');
    answer.push(b'\n');
    client.ask(&line, &answer)
}

pub const UTF8: Check = Check {
    name: "utf8-by-character",
    title: "A line of UTF-8 is reversed character by character",
    why: "the two bytes of an `é` in the wrong order are not a character any more",
    hint: "when the whole line is valid UTF-8, reverse its characters, not its bytes",
    tier: Tier::Robust,
    body: utf8,
    ..LINE_PROTOCOL
};

fn utf8(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask("añ€🦀\n".as_bytes(), "🦀€ña\n".as_bytes())?;
    client.ask("é\n".as_bytes(), "é\n".as_bytes())
}

pub const NOT_UTF8: Check = Check {
    name: "what-is-not-utf8",
    title: "A line that is not valid UTF-8 is reversed byte by byte",
    why: "a server must return any bytes: it must not replace, drop or refuse bytes that are not text",
    hint: "do not use `from_utf8_lossy`, which replaces bytes; when `from_utf8` fails, reverse bytes",
    tier: Tier::Robust,
    body: not_utf8,
    ..LINE_PROTOCOL
};

fn not_utf8(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask(b"a\xffb\n", b"b\xffa\n")?;
    client.ask(b"ab\xc3\n", b"\xc3ba\n")?; // a character without its second byte
    client.ask(b"\xc3\xa9\xff\n", b"\xff\xa9\xc3\n")?;
    client.ask(b"\xed\xa0\x80x\n", b"x\x80\xa0\xed\n")?; // half a surrogate pair
    client.ask(b"\xc0\xafx\n", b"x\xaf\xc0\n")?; // a `/` in two bytes instead of one
    client.ask(b"still here\n", b"ereh llits\n")
}

pub const CRLF: Check = Check {
    name: "crlf",
    title: "A line may end with `\\r\\n`",
    why: "telnet, `nc -C` and Windows end their lines with two bytes, which belong together",
    hint: "when a `\\r` stands right before the `\\n`, keep both at the end",
    tier: Tier::Robust,
    body: crlf,
    ..LINE_PROTOCOL
};

fn crlf(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask(b"abc\r\n", b"cba\r\n")?;
    client.ask(b"\r\n", b"\r\n")?;
    client.ask("é\r\n".as_bytes(), "é\r\n".as_bytes())
}

pub const LONE_CR: Check = Check {
    name: "lone-carriage-return",
    title: "A `\\r` that stands anywhere but before the `\\n` is data",
    why: "only the two bytes `\\r\\n` together end a line; a progress bar, for instance, prints a lone `\\r`",
    hint: "look at the byte right before the `\\n`, and at no other `\\r`",
    body: lone_cr,
    ..CRLF
};

fn lone_cr(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask(b"a\rb\n", b"b\ra\n")?;
    client.ask(b"ab\r\r\n", b"\rba\r\n")?;
    client.send(b"ab\r")?;
    client.half_close()?;
    client.expect(b"\rba")
}

pub const EMPTY_LINES: Check = Check {
    name: "empty-lines",
    title: "An empty line is answered with an empty line",
    why: "a client that counts its answers waits forever for one that is left out",
    hint: "answer a line of 0 characters like any other; only a `recv` of 0 bytes is the end",
    body: empty_lines,
    ..LAST_LINE_WITHOUT_NEWLINE
};

fn empty_lines(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    for line in [b"\n".as_slice(), b"\n", b"x\n", b"\n"] {
        client.ask(line, line)?;
    }
    client.half_close()?;
    client.expect_end() // and no line that the client has not sent
}
