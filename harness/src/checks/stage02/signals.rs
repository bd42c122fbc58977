//! Signals: the kernel's default action ends the client, and SIGSTOP changes nothing.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::base::{CLIENT, client};
use super::pipes::{BULK, answer_lines};
use crate::check::Check;
use crate::data::{lines, reversed};
use crate::failure::{Outcome, Verdict};
use crate::peer::both;
use crate::process::{Input, Sink};
use crate::trial::Trial;

pub const STOPPED_WHILE_IT_WAITS: Check = Check {
    name: "stopped-while-it-waits",
    title: "The client goes on waiting after it was stopped and continued",
    why: "Ctrl-Z and `fg` may interrupt a waiting call with EINTR, although nothing is wrong",
    hint: "when `poll` or `recv` fails with EINTR, call it again",
    body: stopped_while_it_waits,
    ..CLIENT
};

fn stopped_while_it_waits(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let client = client(trial, &server).input(Input::Pipe).run()?;
    let stdin = client.stdin()?;
    let connection = server.accept("the server")?;
    stdin.send(b"hello\n")?;
    connection.expect(b"hello\n")?;
    client.until_it_rests()?;
    trial.step("first case: the client is stopped while an answer and another line come");
    trial.stop(&client.process)?;
    connection.send(b"olleh\n")?;
    stdin.send(b"abc\n")?;
    trial.go_on(&client.process)?;
    connection.expect(b"abc\n")?;
    stdin.close();
    connection.expect_end()?;
    trial.step("second case: the client is stopped while it has nothing to do");
    client.until_it_rests()?;
    trial.stop(&client.process)?;
    trial.go_on(&client.process)?;
    connection.send(b"cba\n")?;
    connection.close();
    client.expect_exit(0)?;
    client.expect_stdout(b"olleh\ncba\n")
}

pub const STOPPED_WHILE_IT_CARRIES: Check = Check {
    name: "stopped-while-it-carries",
    title: "The client loses no byte when it is stopped and continued in the middle of a file",
    why: "a call that is interrupted may have done a part of its work, and returns how much",
    hint: "when `send` fails with EINTR, call it again; otherwise go on after the bytes it accepted",
    timeout: Duration::from_secs(60),
    body: stopped_while_it_carries,
    ..CLIENT
};

fn stopped_while_it_carries(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let text = lines(6, 2 * BULK);
    let answers = reversed(&text);
    let client = client(trial, &server)
        .input(Input::Bytes(text))
        .stdout(Sink::Handed)
        .run()?;
    let output = client.stdout()?;
    let connection = server.accept("the server")?;
    client.until_it_rests()?; // the buffers of both sockets are full
    trial.step("the client is stopped first while it can do nothing, then while it works");
    trial.stop(&client.process)?;
    trial.go_on(&client.process)?;
    let stop_and_go = || {
        for _ in 0..20 {
            if client.process.status().is_some() {
                break;
            }
            trial.stop(&client.process)?;
            trial.go_on(&client.process)?;
        }
        Ok(())
    };
    both(
        || output.expect_all(&answers),
        || both(|| answer_lines(&connection, 1), stop_and_go),
    )?;
    client.expect_exit(0)
}

pub const ENDS_ON_A_SIGNAL: Check = Check {
    name: "ends-on-a-signal",
    title: "SIGTERM and SIGINT (Ctrl-C) end the client, even while it cannot send or print",
    why: "Ctrl-C is all that a user can do about a server that does not answer",
    hint: "neither block nor handle these signals: their default action ends the process",
    body: ends_on_a_signal,
    ..CLIENT
};

fn ends_on_a_signal(trial: &Trial) -> Verdict {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = trial.upstream()?;
        trial.step(format!("first case: {signal} while nothing is typed"));
        let waiting = client(trial, &server).input(Input::Terminal).run()?;
        let connection = server.accept("the server")?;
        waiting.until_it_rests()?;
        waiting.process.signal(signal);
        waiting.wait()?;
        connection.expect_gone()?;

        trial.step(format!(
            "second case: {signal} while the server does not read"
        ));
        let input = Input::Bytes(lines(7, BULK));
        let stuck = client(trial, &server).input(input).run()?;
        let connection = server.accept("the server")?;
        stuck.until_it_rests()?; // the buffers of both sockets are full
        stuck.process.signal(signal);
        stuck.wait()?;
        connection.expect_gone()?;

        trial.step(format!(
            "third case: {signal} while the client's output is not read"
        ));
        let stuck = client(trial, &server)
            .input(Input::Pipe)
            .stdout(Sink::Handed)
            .run()?;
        let connection = server.accept("the server")?;
        let answers = lines(8, BULK);
        let sent = both(
            || connection.send(&answers),
            || {
                stuck.until_it_rests()?; // its pipe is full, and so are both sockets
                stuck.process.signal(signal);
                stuck.wait().map(drop)
            },
        );
        match sent {
            // The client has not received everything, because it could not print any more.
            Err(failure) if failure.outcome == Outcome::Reset => {}
            sent => sent?,
        }
    }
    Ok(())
}
