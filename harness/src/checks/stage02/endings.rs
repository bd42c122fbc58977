//! How the client ends when something goes wrong: with a message and a status other than 0.

use super::base::{CLIENT, client, expect_failed, expect_told};
use crate::check::{Check, Need, Tier};
use crate::data::lines;
use crate::failure::{Outcome, Verdict, ensure};
use crate::process::{Input, Sink};
use crate::trial::Trial;

pub const CONNECTION_REFUSED: Check = Check {
    name: "connection-refused",
    title: "The client reports that its connection was refused, and ends with exit status 1",
    why: "the most common mistake is a server that was not started",
    hint: "check what `connect` returns; print a message, and exit with status 1",
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
    title: "A message on stderr names the address that could not be reached, and the reason",
    why: "with \"failed\" alone the user must guess whether the port is wrong or the server is down",
    hint: "print the address and the reason why `connect` failed: `127.0.0.1:8080: Connection refused`",
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
        format!("stderr does not contain `{wanted}`: `{}`", log.trim_end())
    })?;
    client.expect_stdout(b"")
}

pub const CONNECTED_TO_ITSELF: Check = Check {
    name: "connected-to-itself",
    title: "If the kernel gives the client the very port that it connects to, the client reports a refused connection",
    why: "on a port above 32767 without a server, a connect to this machine sometimes succeeds: the client is connected to itself, and takes its own lines for answers",
    hint: "compare `getsockname` with `getpeername`: if they are equal, there is no server",
    needs: &[
        Need::OwnNetwork,
        Need::NetworkSettings,
        Need::Option("--port"),
    ],
    body: connected_to_itself,
    ..REASON_OF_A_REFUSAL
};

fn connected_to_itself(trial: &Trial) -> Verdict {
    let nobody = trial.nobody()?.address();
    trial.leave_only_port(nobody.port())?;
    let input = Input::Bytes(b"hello\n".to_vec());
    let client = trial.launch().client_of(nobody).input(input).run()?;
    client.expect_exit(1)?;
    client.expect_stdout(b"")?;
    expect_told(&client, &["refused"])
}

/// A message about a server that is gone contains one of these words.
const GONE: &[&str] = &["clos", "disconnect", "gone", "reset", "lost", "ended"];

pub const SERVER_CLOSES_UNANSWERED: Check = Check {
    name: "server-closes-unanswered",
    title: "The client reports a server that closes without an answer, and does not end with status 0",
    why: "`recv` returns 0 when the server has closed the connection: the client must notice that",
    hint: "when `recv` returns 0, print a message and exit with status 1",
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
    title: "The client notices immediately that the server closes, even while the user types nothing",
    why: "a client that waits only for the keyboard notices it one line too late",
    hint: "wait for stdin and for the socket at the same time, with `poll(2)`",
    tier: Tier::Solid,
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
    title: "The client prints all that the server sent before it closed, and ends with exit status 1",
    why: "the last message of a server often says why it closes",
    hint: "print what `recv` returns until it returns 0; if stdin has not ended by then, exit with \
           status 1",
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
    title: "The client reports a reset that comes while it sends, and does not crash",
    why: "`send` on a connection that was reset raises SIGPIPE, which ends a program silently",
    hint: "call `send` with MSG_NOSIGNAL, and handle its error instead of unwrapping it",
    tier: Tier::Solid,
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
    title: "The client ends without a crash when the reader of its output is gone",
    why: "`client | head -1` closes the pipe after one line, and then `println!` panics",
    hint: "when `write` fails with EPIPE, exit: there is nothing left to do",
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
    // More than one answer: a program that another thread starts at this moment may hold the
    // reading end a little longer, so that the first write succeeds.
    while client.process.status().is_none() && connection.send(b"olleh\n").is_ok() {
        let _ = connection.until_all_is_read(); // it may end instead
    }
    connection.expect_gone()?;
    client.wait().map(drop) // a crash is found by the trial itself
}

pub const LOG_LOST: Check = Check {
    name: "log-lost",
    title: "The client carries on when its log lines cannot be written, because the disk is full",
    why: "the answers are what the client is for, and a log line that is lost harms nobody",
    hint: "go on when `write` to stderr fails; in Rust, `eprintln!` panics",
    body: log_lost,
    ..CLIENT
};

fn log_lost(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let input = Input::Bytes(b"hello\n".to_vec());
    let client = client(trial, &server).input(input);
    let client = client.redirected("2>/dev/full").run()?;
    let connection = server.accept("the server")?;
    connection.expect(b"hello\n")?;
    connection.expect_end()?;
    connection.send(b"olleh\n")?;
    connection.close();
    client.expect_exit(0)?;
    client.expect_stdout(b"olleh\n")
}

pub const UNKNOWN_HOST: Check = Check {
    name: "unknown-host",
    title: "The client reports a name that cannot be resolved, and ends with exit status 1",
    why: "a typing error in a name must not end in a crash",
    hint: "when `getaddrinfo` fails, print the name and the error, and exit with status 1",
    needs: &[Need::Option("--host")],
    body: unknown_host,
    ..CLIENT
};

fn unknown_host(trial: &Trial) -> Verdict {
    // A name cannot have two dots in a row, so the resolver refuses it without asking a server.
    let client = trial.launch().options(["--host", "no..host"]).run()?;
    client.expect_exit(1)?;
    expect_told(&client, &["no..host"])
}

pub const USAGE: Check = Check {
    name: "usage",
    title: "The client answers a wrong command line with its usage on stderr, and exit status 2",
    why: "a script distinguishes a wrong call from a failed one by the exit status",
    hint: "check the options before anything else, and call `exit` with status 2",
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
