//! The client in a pipe: `stage02-tcp-client < lines | sort`. Its output is the server's
//! bytes, all of them and nothing else.

use std::thread;
use std::time::Duration;

use super::base::{CLIENT, client};
use crate::check::{Check, Tier};
use crate::data::{lines, reversed};
use crate::failure::{Failure, Verdict};
use crate::peer::{Peer, both};
use crate::process::{Input, Sink};
use crate::trial::Trial;

pub const END_OF_INPUT: Check = Check {
    name: "end-of-input",
    title: "The client half-closes at the end of stdin, waits for the answers and ends",
    why: "`getline` returns -1 at the end, which is a very large number as a size for `send`",
    hint: "at the end of stdin call `shutdown` with SHUT_WR, and call `recv` until it returns 0",
    tier: Tier::Solid,
    body: end_of_input,
    ..CLIENT
};

fn end_of_input(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let input = Input::Bytes(b"hello\n".to_vec());
    let client = client(trial, &server).input(input).run()?;
    let connection = server.accept("the server")?;
    connection.expect(b"hello\n")?;
    connection.expect_end()?;
    connection.send(b"olleh\n")?;
    connection.close();
    client.expect_exit(0)?;
    client.expect_stdout(b"olleh\n")
}

pub const ANSWERS_CUT_ANYWHERE: Check = Check {
    name: "answers-cut-anywhere",
    title: "The output does not depend on how the answers were cut into reads",
    why: "TCP keeps the order of the bytes, but not the borders between two calls of `send`",
    hint: "when stdout is a pipe, print exactly what `recv` returned, and nothing else",
    tier: Tier::Solid,
    body: answers_cut_anywhere,
    ..CLIENT
};

fn answers_cut_anywhere(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let input = Input::Bytes(b"hello\nhow are you\n\nbye\n".to_vec());
    let answers = b"olleh\nuoy era woh\n\neyb\n";
    let client = client(trial, &server).input(input).run()?;
    let connection = server.accept("the server")?;
    connection.expect(b"hello\n")?;
    for byte in answers {
        connection.send(&[*byte])?;
        connection.until_all_is_read()?;
    }
    connection.expect(b"how are you\n\nbye\n")?;
    connection.expect_end()?;
    connection.close();
    client.expect_exit(0)?;
    client.expect_stdout(answers)
}

pub const LINES_FASTER_THAN_ANSWERS: Check = Check {
    name: "lines-faster-than-answers",
    title: "The client sends lines without waiting for the answers to earlier ones",
    why: "a server may need more input before it answers, and waiting costs a round trip per line",
    hint: "wait for stdin and for the socket at the same time, with `poll(2)`",
    body: lines_faster_than_answers,
    ..CLIENT
};

fn lines_faster_than_answers(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let text = lines(1, 20_000);
    let answers = reversed(&text);
    let input = Input::Bytes(text.clone());
    let client = client(trial, &server).input(input).run()?;
    let connection = server.accept("the server")?;
    let connection = connection.with_patience(Duration::from_secs(5));
    connection.expect(&text)?;
    connection.expect_end()?;
    connection.send(&answers)?;
    connection.close();
    client.expect_exit(0)?;
    client.expect_stdout(&answers)
}

pub const LARGE_FILE: Check = Check {
    name: "large-file",
    title: "The client sends a file of many megabytes and prints all the answers, byte for byte",
    why: "a client that sends everything before it reads waits for a server that waits for it",
    hint: "when the socket accepts no more bytes, read answers: `poll` for POLLIN and POLLOUT",
    timeout: Duration::from_secs(90),
    body: large_file,
    ..CLIENT
};

fn large_file(trial: &Trial) -> Verdict {
    const MIB: usize = 1024 * 1024;
    bulk(trial, trial.size(10 * MIB, 100 * MIB), Late::Nobody)
}

pub const SLOW_SERVER: Check = Check {
    name: "slow-server",
    title: "A server that reads late gets every byte",
    why: "`send` may accept only a part of the bytes, and the rest must still be sent",
    hint: "keep the bytes that `send` did not accept, and send them when there is room (POLLOUT)",
    timeout: Duration::from_secs(60),
    body: |trial| bulk(trial, BULK, Late::Server),
    ..CLIENT
};

pub const LATE_READER: Check = Check {
    name: "late-reader",
    title: "The output is complete even if it is read late",
    why: "a pipe is full after 64 KiB, and then `write` blocks or accepts only a part",
    hint: "check what `write` returns and write the rest; until then, do not call `recv` again",
    timeout: Duration::from_secs(60),
    body: |trial| bulk(trial, BULK, Late::Reader),
    ..CLIENT
};

/// More than the buffers of both sockets and a pipe hold together.
pub const BULK: usize = 12_000_000;

/// Which side stays idle for its first second. The delay is the test, not a wait for an event.
#[derive(Clone, Copy, PartialEq)]
enum Late {
    Nobody,
    Server,
    Reader,
}

impl Late {
    fn delay(self, who: Late) {
        if self == who {
            thread::sleep(Duration::from_secs(1));
        }
    }
}

pub const ANSWERS_IN_BULK: Check = Check {
    name: "answers-in-bulk",
    title: "The client receives answers while it cannot send lines",
    why: "a server that sends many answers reads nothing meanwhile: if the client blocks in `send`, \
          both wait forever",
    hint: "call `send` with MSG_DONTWAIT, so that it never blocks",
    timeout: Duration::from_secs(60),
    body: |trial| through_a_server(trial, 2 * BULK, Late::Nobody, BULK),
    ..CLIENT
};

/// Sends a file of lines through the client to a line server, and its answers back.
fn bulk(trial: &Trial, size: usize, late: Late) -> Verdict {
    through_a_server(trial, size, late, 1)
}

/// The server answers when it has read at least `batch` bytes.
fn through_a_server(trial: &Trial, size: usize, late: Late, batch: usize) -> Verdict {
    let server = trial.upstream()?;
    let text = lines(2, size);
    let file = trial.folder().join("lines");
    std::fs::write(&file, &text).map_err(|error| Failure::grader("write a file", error))?;
    let answers = reversed(&text);
    drop(text);
    trial.step(format!(
        "the check writes a file of {} bytes",
        answers.len()
    ));

    let client = client(trial, &server)
        .input(Input::File(file))
        .stdout(Sink::Handed)
        .run()?;
    let output = client.stdout()?;
    let _service = server.serve(move |_, connection| {
        late.delay(Late::Server);
        answer_lines(connection, batch)
    });
    late.delay(Late::Reader);
    output.expect_all(&answers)?;
    client.expect_exit(0)
}

/// A blocking line server, as in stage 1. It does not read while it cannot send its answers.
pub fn answer_lines(connection: &Peer, batch: usize) -> Verdict {
    let (mut unanswered, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let count = connection.receive(&mut chunk)?;
        unanswered.extend_from_slice(&chunk[..count]);
        let whole = match unanswered.iter().rposition(|&byte| byte == b'\n') {
            _ if count == 0 => unanswered.len(),
            Some(at) if unanswered.len() >= batch => at + 1,
            _ => 0,
        };
        let rest = unanswered.split_off(whole);
        connection.send(&reversed(&unanswered))?;
        unanswered = rest;
        if count == 0 {
            return connection.half_close();
        }
    }
}

pub const LAST_LINE_WITHOUT_NEWLINE: Check = Check {
    name: "last-line-without-newline",
    title: "A last line without a line break is sent as it is, and so is its answer",
    why: "`printf hello` prints no line break: the end of the stream ends the line",
    hint: "`send` exactly the bytes that `read` returned: never add one, never remove one",
    body: last_line_without_newline,
    ..CLIENT
};

fn last_line_without_newline(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let input = Input::Bytes(b"abc\ndef".to_vec());
    let client = client(trial, &server).input(input).run()?;
    let connection = server.accept("the server")?;
    connection.expect(b"abc\ndef")?;
    connection.expect_end()?;
    connection.send(b"cba\nfed")?;
    connection.close();
    client.expect_exit(0)?;
    client.expect_stdout(b"cba\nfed")
}

pub const ANY_BYTES: Check = Check {
    name: "any-bytes",
    title: "NUL bytes and bytes that are not UTF-8 pass unchanged in both directions",
    why: "a line consists of bytes: `strlen` stops at a NUL, and `read_line` refuses non-UTF-8",
    hint: "read bytes, not strings, and use the number that `read` and `recv` return",
    body: any_bytes,
    ..CLIENT
};

fn any_bytes(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let input = b"ab\0cd\n\xff\xfe\xc3\n\r\n\x1b[2J\n".to_vec();
    let client = client(trial, &server)
        .input(Input::Bytes(input.clone()))
        .run()?;
    let connection = server.accept("the server")?;
    both(
        || connection.send(b"dc\0ba\n\xc3\xfe\xff\n\r\nJ2[\x1b\n"),
        || connection.expect(&input),
    )?;
    connection.expect_end()?;
    connection.close();
    client.expect_exit(0)?;
    client.expect_stdout(b"dc\0ba\n\xc3\xfe\xff\n\r\nJ2[\x1b\n")
}

pub const IDLE: Check = Check {
    name: "idle",
    title: "A client that waits uses no CPU time",
    why: "stdin at its end is always ready, so a client that still polls it never sleeps",
    hint: "pass to `poll` only what you would read now: not stdin when it is at its end, or while \
           the socket is full",
    tier: Tier::Solid,
    body: idle,
    ..CLIENT
};

fn idle(trial: &Trial) -> Verdict {
    const WINDOW: Duration = Duration::from_millis(400);
    let server = trial.upstream()?;
    trial.step("first case: stdin is at its end, and the answer has not come yet");
    let input = Input::Bytes(b"hello\n".to_vec());
    let waiting = client(trial, &server).input(input).run()?;
    let connection = server.accept("the server")?;
    connection.expect(b"hello\n")?;
    connection.expect_end()?;
    waiting.expect_idle(WINDOW, 0.2)?;
    connection.close();
    waiting.expect_exit(0)?;

    trial.step("second case: the server does not read");
    let input = Input::Bytes(lines(3, BULK));
    let stuck = client(trial, &server).input(input).run()?;
    let _connection = server.accept("the server")?;
    stuck.until_it_rests()?; // the buffers of both sockets are full
    stuck.expect_idle(WINDOW, 0.2)?;

    trial.step("third case: a terminal on which nothing is typed");
    let typing = client(trial, &server).input(Input::Terminal).run()?;
    let _other = server.accept("the server")?;
    typing.expect_idle(WINDOW, 0.2)
}
