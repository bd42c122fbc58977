//! The client as its user sees it: on a terminal.

use super::base::{CLIENT, client, shows};
use crate::check::{Check, Tier};
use crate::data::show;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::pipe::CTRL_D;
use crate::process::Input;
use crate::trial::Trial;

pub const SHOWS_EACH_ANSWER: Check = Check {
    tier: Tier::Core,
    ..CLIENT
};

pub const ANSWER_IN_PIECES: Check = Check {
    name: "answer-in-pieces",
    title: "An answer that comes in two pieces is shown as one line",
    why: "TCP is a stream of bytes: one answer may arrive in two reads",
    hint: "collect what `recv` returns until there is a `\\n`, and then show the line",
    body: answer_in_pieces,
    ..CLIENT
};

fn answer_in_pieces(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let client = client(trial, &server).input(Input::Terminal).run()?;
    let keyboard = client.stdin()?;
    let connection = server.accept("the server")?;
    keyboard.send(b"hello\n")?;
    connection.expect(b"hello\n")?;
    connection.send(b"ol")?;
    connection.until_all_is_read()?;
    connection.send(b"leh\n")?;
    client.expect_printed("`olleh` in one line", |screen| shows(screen, "olleh"))?;

    // The next answer must belong to the next line.
    keyboard.send(b"next\n")?;
    connection.expect(b"next\n")?;
    connection.send(b"txen\n")?;
    client.expect_printed("`txen`", |screen| shows(screen, "txen"))
}

pub const PROMPT: Check = Check {
    name: "prompt",
    title: "The client shows a prompt on a terminal",
    why: "without a prompt you cannot see whether the client waits for you or for the server",
    hint: "print the prompt without `\\n`, and flush stdout, which otherwise waits for a `\\n`",
    body: prompt,
    ..CLIENT
};

fn prompt(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let client = client(trial, &server).input(Input::Terminal).run()?;
    let connection = server.accept("the server")?;
    let prompted = |screen: &[u8]| screen.last().is_some_and(|&last| last != b'\n');
    client.expect_printed("a prompt", prompted)?;
    let keyboard = client.stdin()?;
    keyboard.send(b"hello\n")?;
    connection.expect(b"hello\n")?;
    connection.send(b"olleh\n")?;
    client.expect_printed("`olleh`, and the next prompt", |screen| {
        shows(screen, "olleh") && prompted(screen)
    })
}

pub const CONTROL_BYTES: Check = Check {
    name: "control-bytes",
    title: "Control bytes from the server do not reach the terminal",
    why: "a server could clear your screen, or make it show something false",
    hint: "escape control characters and bytes that are not UTF-8 before you print them",
    body: control_bytes,
    ..CLIENT
};

fn control_bytes(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let client = client(trial, &server).input(Input::Terminal).run()?;
    let connection = server.accept("the server")?;
    connection.send(b"\x1b[2Jab\x07\0\x7f\xffc\xc2\x85d\rend\n")?;
    connection.send(b"plain\n")?;
    client.expect_printed("`plain`", |screen| shows(screen, "plain"))?;

    let screen = client.process.stdout();
    // The terminal turns each `\n` into `\r\n`, so we look for a `\r` that stands alone.
    let text = String::from_utf8_lossy(&screen).replace("\r\n", "\n");
    let raw = |character: char| character.is_control() && character != '\n';
    match text.chars().find(|&character| raw(character)) {
        None => Ok(()),
        Some(character) => {
            let what = format!(
                "the client printed an unescaped {}",
                character.escape_unicode()
            );
            Err(Failure::new(Outcome::WrongData, what)
                .expected("control characters escaped, as in `\\x1b[2J`")
                .received(show(&screen)))
        }
    }
}

pub const END_OF_INPUT: Check = Check {
    name: "ctrl-d",
    title: "Ctrl-D makes the client half-close, show the last answers and end with exit status 0",
    why: "the answers to the last lines may still be on their way",
    hint: "at the end of stdin call `shutdown` with SHUT_WR, and call `recv` until it returns 0",
    body: ctrl_d,
    ..CLIENT
};

fn ctrl_d(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let client = client(trial, &server).input(Input::Terminal).run()?;
    let keyboard = client.stdin()?;
    let connection = server.accept("the server")?;
    keyboard.send(b"hello\n")?;
    connection.expect(b"hello\n")?;
    keyboard.send(CTRL_D)?;
    connection.expect_end()?;
    // The last answer has no line break, but the shell's prompt must come on a new line.
    connection.send(b"olleh")?;
    connection.close();
    client.expect_exit(0)?;
    let screen = client.process.stdout();
    let last_line_is_ended = shows(&screen, "olleh") && screen.ends_with(b"\n");
    ensure(last_line_is_ended, Outcome::WrongData, || {
        format!(
            "the screen does not end with `olleh` and a line break: {}",
            show(&screen)
        )
    })
}
