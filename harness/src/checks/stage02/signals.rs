//! Signals: the kernel's default ends the client, and to be stopped changes nothing.

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
    title: "Stopped and continued while it waits, the client goes on waiting",
    why: "Ctrl-Z and `fg` interrupt a waiting call with EINTR, which is no error",
    hint: "EINTR from `poll` or `recv`: ask again",
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
    trial.step("it is stopped; the answer comes, and another line");
    trial.stop(&client.process)?;
    connection.send(b"olleh\n")?;
    stdin.send(b"abc\n")?;
    trial.go_on(&client.process)?;
    connection.expect(b"abc\n")?;
    stdin.close();
    connection.expect_end()?;
    trial.step("it is stopped without anything to do before or after");
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
    title: "Stopped and continued in the middle of a file, the client loses nothing",
    why: "a call that is interrupted may have done a part of its work, and must say how much",
    hint: "go on after EINTR, from where the number that `send` returned says",
    points: 3,
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
    trial.step("first it is stopped while it can do nothing, then whatever it does");
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
    title: "SIGTERM and SIGINT (Ctrl-C) end the client, also while it cannot send or print",
    why: "a user who gives up on a server has nothing but Ctrl-C",
    hint: "leave these signals alone: their default is to end the process, in any call",
    body: ends_on_a_signal,
    ..CLIENT
};

fn ends_on_a_signal(trial: &Trial) -> Verdict {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = trial.upstream()?;
        trial.step("first: nobody types anything");
        let waiting = client(trial, &server).input(Input::Terminal).run()?;
        let connection = server.accept("the server")?;
        waiting.until_it_rests()?;
        waiting.process.signal(signal);
        waiting.wait()?;
        connection.expect_gone()?;

        trial.step("then: a server that does not read");
        let input = Input::Bytes(lines(7, BULK));
        let stuck = client(trial, &server).input(input).run()?;
        let connection = server.accept("the server")?;
        stuck.until_it_rests()?; // the buffers of both sockets are full
        stuck.process.signal(signal);
        stuck.wait()?;
        connection.expect_gone()?;

        trial.step("last: nobody reads what it prints");
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
            // It could not take all of it: that is how it was kept from printing.
            Err(failure) if failure.outcome == Outcome::Reset => {}
            sent => sent?,
        }
    }
    Ok(())
}
