//! How the client ends when something is wrong: it says what, and its status tells.

use super::base::{CLIENT, client, expect_failed, expect_told};
use crate::check::{Check, Need, Tier};
use crate::data::lines;
use crate::failure::{Outcome, Verdict, ensure};
use crate::process::{Input, Sink};
use crate::trial::Trial;

pub const CONNECTION_REFUSED: Check = Check {
    name: "connection-refused",
    title: "When nobody listens the client says so and ends with exit status 1",
    why: "the first thing that goes wrong is a server that was not started",
    hint: "look at what `connect` returns; print a message, exit with status 1",
    tier: Tier::Core,
    body: connection_refused,
    ..CLIENT
};

fn connection_refused(trial: &Trial) -> Verdict {
    let nobody = trial.nobody()?;
    let client = trial.launch().client_of(nobody.address()).run()?;
    client.expect_exit(1)?;
    expect_told(
        &client,
        &["fail", "refused", "cannot", "could not", "error"],
    )
}

pub const REASON_OF_A_REFUSAL: Check = Check {
    name: "reason-of-a-refusal",
    title: "The message says what could not be reached, and why, on stderr",
    why: "\"failed\" alone leaves the user to guess: a wrong port looks like a dead server",
    hint: "name the address and the system's reason: `127.0.0.1:8080: Connection refused`",
    points: 1,
    needs: &[Need::Option("--port")],
    body: reason_of_a_refusal,
    ..CLIENT
};

fn reason_of_a_refusal(trial: &Trial) -> Verdict {
    let nobody = trial.nobody()?;
    let client = trial.launch().client_of(nobody.address()).run()?;
    client.expect_exit(1)?;
    let wanted = format!("tcp server {}: Connection refused", nobody.address());
    let log = client.process.log();
    ensure(log.contains(&wanted), Outcome::Behaviour, || {
        format!("the message does not say `{wanted}`: `{}`", log.trim_end())
    })?;
    client.expect_stdout(b"")
}

/// What a message about a server that is gone has in it.
const GONE: &[&str] = &["clos", "disconnect", "gone", "reset", "lost", "ended"];

pub const SERVER_CLOSES_UNANSWERED: Check = Check {
    name: "server-closes-unanswered",
    title: "A server that closes instead of answering: a message, and not exit status 0",
    why: "a `recv` of 0 bytes is how a client learns that the server is gone",
    hint: "`recv` returns 0 at the end of the stream: print a message, exit with status 1",
    tier: Tier::Core,
    body: server_closes_unanswered,
    ..CLIENT
};

fn server_closes_unanswered(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let client = client(trial, &server).input(Input::Terminal).run()?;
    let keyboard = client.stdin()?;
    let connection = server.accept("the server")?;
    keyboard.send(b"hello\n")?;
    connection.expect(b"hello\n")?;
    connection.close();
    expect_failed(&client)?;
    expect_told(&client, GONE)
}

pub const SERVER_GONE_AT_THE_PROMPT: Check = Check {
    name: "server-gone-at-the-prompt",
    title: "A server that leaves while the user thinks is noticed at once",
    why: "who waits for the keyboard alone learns of it one line too late",
    hint: "wait for stdin and for the socket at once (`poll(2)`)",
    points: 3,
    body: server_gone_at_the_prompt,
    ..CLIENT
};

fn server_gone_at_the_prompt(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let client = client(trial, &server).input(Input::Terminal).run()?;
    let keyboard = client.stdin()?;
    let connection = server.accept("the server")?;
    keyboard.send(b"hello\n")?;
    connection.expect(b"hello\n")?;
    connection.send(b"olleh\n")?;
    connection.until_all_is_read()?;
    connection.close();
    expect_failed(&client)?;
    expect_told(&client, GONE)
}

pub const SERVER_CLOSES_EARLY: Check = Check {
    name: "server-closes-early",
    title: "What a server said before it left is printed, and exit status 1 tells that it left",
    why: "the last words of a server are often the reason why it leaves",
    hint: "print what `recv` brings until it returns 0; the end of the stream before the end of \
           stdin is an error",
    points: 3,
    body: server_closes_early,
    ..CLIENT
};

fn server_closes_early(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let words = lines(4, 300_000);
    let client = client(trial, &server).input(Input::Pipe).run()?;
    let stdin = client.stdin()?;
    let connection = server.accept("the server")?;
    stdin.send(b"hello\n")?;
    connection.expect(b"hello\n")?;
    connection.send(&words)?;
    connection.half_close()?;
    client.expect_exit(1)?;
    expect_told(&client, GONE)?;
    client.expect_stdout(&words)
}

pub const SERVER_RESETS: Check = Check {
    name: "server-resets",
    title: "A reset while the client is sending ends it in order",
    why: "sending to a connection that is gone raises SIGPIPE, which ends a program silently",
    hint: "send with MSG_NOSIGNAL and look at the error; no unwrap around it",
    points: 3,
    body: server_resets,
    ..CLIENT
};

fn server_resets(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let input = Input::Bytes(lines(5, 8_000_000));
    let client = client(trial, &server).input(input).run()?;
    let connection = server.accept("the server")?;
    let mut chunk = vec![0; 64 * 1024];
    connection.receive(&mut chunk)?;
    connection.reset()?;
    expect_failed(&client)?;
    expect_told(&client, GONE)
}

pub const STDOUT_READER_GONE: Check = Check {
    name: "stdout-reader-gone",
    title: "When nobody reads its output any more the client ends, without a crash",
    why: "`client | head -1` closes the pipe after one line; `println!` panics then",
    hint: "`write` returns EPIPE: there is nothing left to do, so end",
    body: stdout_reader_gone,
    ..CLIENT
};

fn stdout_reader_gone(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let client = client(trial, &server)
        .input(Input::Pipe)
        .stdout(Sink::Handed)
        .run()?;
    let stdin = client.stdin()?;
    client.stdout()?.close();
    let connection = server.accept("the server")?;
    stdin.send(b"hello\n")?;
    connection.expect(b"hello\n")?;
    // More than one answer: another program that is being started may hold the pipe a moment
    // longer, and take the first of them.
    while client.process.status().is_none() && connection.send(b"olleh\n").is_ok() {
        let _ = connection.until_all_is_read(); // it may end instead
    }
    connection.expect_gone()?;
    client.wait().map(drop) // a crash is found by the trial itself
}

pub const UNKNOWN_HOST: Check = Check {
    name: "unknown-host",
    title: "A name that does not resolve: a message with the name, exit status 1",
    why: "a typing error in the name is no reason for a crash",
    hint: "the resolver returns an error: say which name it was about",
    points: 1,
    needs: &[Need::Option("--host")],
    body: unknown_host,
    ..CLIENT
};

fn unknown_host(trial: &Trial) -> Verdict {
    // No dot may follow a dot in a name: the resolver needs nobody to refuse it.
    let client = trial.launch().options(["--host", "no..host"]).run()?;
    client.expect_exit(1)?;
    expect_told(&client, &["no..host"])
}

pub const USAGE: Check = Check {
    name: "usage",
    title: "A wrong command line: the usage on stderr, exit status 2",
    why: "scripts tell a wrong call from a failed one by the status",
    hint: "check the options before anything else; exit with status 2",
    points: 1,
    needs: &[Need::Option("--port")],
    body: usage,
    ..CLIENT
};

fn usage(trial: &Trial) -> Verdict {
    for wrong in [&["--no-such-option"][..], &["--port", "70000"], &["--port"]] {
        let client = trial.launch().options(wrong.iter().copied()).run()?;
        client.expect_exit(2)?;
        expect_told(&client, &["usage", "--help"])?;
        client.expect_stdout(b"")?;
    }
    Ok(())
}
