//! What the checks of the line protocol have in common, and the first of them.

use std::thread;
use std::time::{Duration, Instant};

use crate::check::{Check, Tier};
use crate::checks::clients::{ask_line, expect_answer};
use crate::data::{lines, reversed, time};
use crate::failure::Verdict;
use crate::patience::LOOK;
use crate::peer::{Peer, both};
use crate::stage::Stage;
use crate::trial::Trial;

/// What most of these checks have in common.
pub const LINE_PROTOCOL: Check = Check {
    stage: Stage::Stage04,
    role: "",
    name: "reverses-a-line",
    title: "A line is answered with the line reversed",
    why: "this is what the server is for",
    hint: "keep the `\\n` at the end and reverse the bytes before it, then `send` the line",
    chapter: "docs/src/phase0/stage01.md",
    tier: Tier::Core,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: reverses_a_line,
};

pub const REVERSES_A_LINE: Check = LINE_PROTOCOL;

fn reverses_a_line(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask(b"abcd\n", b"dcba\n")
}

pub const LINE_AFTER_LINE: Check = Check {
    name: "line-after-line",
    title: "A client gets an answer to each of its lines",
    why: "a conversation has more than one line, so the server must read on after an answer",
    hint: "call `recv` in a loop, and begin each turn with an empty message",
    body: line_after_line,
    ..LINE_PROTOCOL
};

fn line_after_line(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    // A long line comes first: the rest of it must not appear in the answer to a short one.
    ask_line(&client, b"a longer first line\n")?;
    ask_line(&client, b"short\n")?;
    (0..20).try_for_each(|number| ask_line(&client, format!("line {number}\n").as_bytes()))
}

pub const LAST_LINE_WITHOUT_NEWLINE: Check = Check {
    name: "last-line-without-newline",
    title: "A last line without a line break is answered at the end of the stream",
    why: "`printf hello | nc -N` sends no line break: the end of the stream ends the line",
    hint: "when `recv` returns 0, answer what is left; cut off the last byte only if it is a `\\n`",
    tier: Tier::Robust,
    body: last_line_without_newline,
    ..LINE_PROTOCOL
};

fn last_line_without_newline(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask(b"first\n", b"tsrif\n")?;
    client.send(b"abcd")?;
    client.half_close()?;
    client.expect(b"dcba")?;
    client.expect_end()
}

pub const SEVERAL_LINES_IN_ONE_READ: Check = Check {
    name: "several-lines-in-one-read",
    title: "Several lines that arrive together are answered line by line",
    why: "TCP is a stream of bytes: what a client sends with several calls may arrive in one `recv`",
    hint: "a `recv` is not a message: look for each `\\n` in what it returned, and answer line by line",
    tier: Tier::Solid,
    body: several_lines_in_one_read,
    ..LINE_PROTOCOL
};

fn several_lines_in_one_read(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask(b"abc\ndef\nghi\n", b"cba\nfed\nihg\n")
}

pub const LINE_IN_SEVERAL_READS: Check = Check {
    name: "line-in-several-reads",
    title: "A line that arrives in several reads is one line",
    why: "TCP is a stream of bytes: one `send` of a client may arrive in many reads",
    hint: "keep what `recv` returned until there is a `\\n`, and only then answer",
    tier: Tier::Robust,
    body: line_in_several_reads,
    ..LINE_PROTOCOL
};

fn line_in_several_reads(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.send(b"abc")?;
    client.until_all_is_read()?;
    client.ask(b"def\n", b"fedcba\n")?;

    for byte in b"one byte at a time\n" {
        client.send(&[*byte])?;
        client.until_all_is_read()?;
    }
    client.expect(b"emit a ta etyb eno\n")
}

pub const EVERY_SPLIT: Check = Check {
    name: "every-split-of-a-message",
    title: "Lines may be cut in two at any byte, also together with the lines around them",
    why: "TCP may cut the bytes anywhere: after one line, before one, or in the middle of it",
    hint: "after each `recv`, answer every complete line, and keep the rest for the next `recv`",
    body: |trial| every_split(trial, "first\nsecond\nc\n", "tsrif\ndnoces\nc\n"),
    ..LINE_IN_SEVERAL_READS
};

pub const EVERY_SPLIT_OF_CRLF: Check = Check {
    name: "every-split-of-crlf",
    title: "TCP may cut a line ending `\\r\\n` in two",
    why: "a `\\r` may be the last byte of one read, and its `\\n` the first byte of the next",
    hint: "decide what a `\\r` means only when the byte after it has come",
    body: |trial| every_split(trial, "first\r\nsecond\r\n", "tsrif\r\ndnoces\r\n"),
    ..LINE_IN_SEVERAL_READS
};

pub const EVERY_SPLIT_OF_UTF8: Check = Check {
    name: "every-split-of-utf8",
    title: "TCP may cut a character of several bytes in two",
    why: "an `é` has two bytes, and they may come with two reads",
    hint: "collect a complete line before you decode it; never decode what one `recv` returned",
    body: |trial| every_split(trial, "añ€🦀\n", "🦀€ña\n"),
    ..LINE_IN_SEVERAL_READS
};

fn every_split(trial: &Trial, message: &str, answers: &str) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    let (message, answers) = (message.as_bytes(), answers.as_bytes());
    (1..message.len()).try_for_each(|at| {
        client.send(&message[..at])?;
        client.until_all_is_read()?;
        client.ask(&message[at..], answers)
    })
}

pub const MANY_LINES_AT_ONCE: Check = Check {
    name: "many-lines-in-one-segment",
    title: "Thousands of lines that arrive together are all answered",
    why: "the server already has all these lines: no later `recv` will bring them again",
    hint: "after each `recv`, answer lines until no complete one is left, and only then read again",
    body: many_lines_at_once,
    ..LINE_IN_SEVERAL_READS
};

fn many_lines_at_once(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    let numbers: String = (0..10_000).map(|number| format!("{number}\n")).collect();
    let numbers = numbers.as_bytes();
    client.exchange(numbers, &reversed(numbers))?;
    let short = b"ab\n".repeat(20_000);
    client.exchange(&short, &reversed(&short))
}

pub const ALL_ANSWERS_TO_A_LATE_READER: Check = Check {
    name: "all-answers-to-a-late-reader",
    title: "A client that reads late gets all answers to 12 MB of lines",
    why: "`send` may accept only a part of the bytes, and the rest must still be sent",
    hint: "keep the bytes that `send` did not accept, and send them when the socket has room",
    tier: Tier::Robust,
    body: |trial| answers_to_a_late_reader(trial, 12_000_000, Duration::from_secs(1)),
    ..LINE_PROTOCOL
};

pub const HALF_CLOSE: Check = Check {
    name: "half-close",
    title: "A client that half-closes right after its line still gets the answer",
    why: "a half-closed client sends nothing more, but it still receives",
    hint: "EPOLLRDHUP, or a `recv` of 0 bytes, says only that no more lines come: first answer what has come",
    tier: Tier::Solid,
    body: half_close,
    ..LINE_PROTOCOL
};

/// The server is stopped meanwhile, so that it finds the line and the end together.
fn half_close(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    ask_line(&client, b"first\n")?;
    trial.stop(&server.process)?;
    client.send(b"abcd\n")?;
    client.half_close()?;
    trial.go_on(&server.process)?;
    expect_answer(&client, b"abcd\n")
}

pub const HALF_CLOSE_WHILE_ANSWERS_WAIT: Check = Check {
    name: "half-close-while-answers-wait",
    title: "A client that half-closes gets all answers that wait for it, and then the end",
    why: "when the last line has come, megabytes of answers may still wait for room in the socket",
    hint: "when `recv` returns 0, send every answer that is left, and only then `close`",
    tier: Tier::Robust,
    body: half_close_while_answers_are_owed,
    ..LINE_PROTOCOL
};

fn half_close_while_answers_are_owed(trial: &Trial) -> Verdict {
    answers_to_a_late_reader(trial, 3_000_000, Duration::from_millis(300))?;

    let server = trial.start()?;
    let client = server.connect("the client that reads nothing yet")?;
    half_close_while_answers_wait(&client)?.expect(&client)
}

fn answers_to_a_late_reader(trial: &Trial, length: usize, late: Duration) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    let text = lines(8, length);
    let answers = reversed(&text);
    both(
        || client.send(&text).and_then(|()| client.half_close()),
        || {
            trial.step(format!("the client reads nothing for {}", time(late)));
            thread::sleep(late); // the delay is the test, not a wait for an event
            client.expect(&answers)?;
            client.expect_end()
        },
    )
}

/// The answers that a client has asked for: `count` times the same one.
pub struct Owed {
    answer: Vec<u8>,
    count: usize,
}

impl Owed {
    /// Expects all of them, then the end of the stream.
    pub fn expect(&self, client: &Peer) -> Verdict {
        (0..self.count).try_for_each(|_| client.expect(&self.answer))?;
        client.expect_end()
    }
}

/// Sends line after line and reads nothing until the answers no longer fit into the sockets,
/// then half-closes. So the server has read everything, even the end of the stream, and still
/// owes answers, unless it has stopped reading earlier.
pub fn half_close_while_answers_wait(client: &Peer) -> Verdict<Owed> {
    let line = [b"half".repeat(8 * 1024), b"\n".to_vec()].concat();
    let mut count = 0;
    let all_is_out = |sent: usize| {
        let it = client.on_the_way();
        it.is_some_and(|it| it.to_the_program == 0 && it.to_us >= sent as u64)
    };
    loop {
        client.send(&line)?;
        count += 1;
        let sent = count * line.len();
        let mut before = None;
        while !comes_true_soon(|| all_is_out(sent)) {
            let now = client.on_the_way();
            if now == before {
                break; // no byte moves any more
            }
            before = now; // a busy machine is slow, but not stuck
        }
        if !all_is_out(sent) {
            break;
        }
    }
    client.half_close()?;
    comes_true_soon(|| client.on_the_way().is_some_and(|it| it.to_the_program == 0));
    let answer = reversed(&line);
    Ok(Owed { answer, count })
}

/// Waits a short time for a state that may never come.
pub fn comes_true_soon(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_millis(300);
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        thread::sleep(LOOK);
    }
    false
}
