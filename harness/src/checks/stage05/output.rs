//! What the proxy prints, where it prints it, and the address it takes.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::check::{Check, Need, Tier};
use crate::checks::clients::echo_ping;
use crate::checks::proxying::{
    PASSES_REQUESTS_AND_ANSWERS, echo, expect_alive, expect_echo, join, launch, start,
};
use crate::checks::terminal::{await_log, expect_shown_again};
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::patience::patience;
use crate::peer::Peer;
use crate::process::Sink;
use crate::trial::{Server, Trial};

pub const REQUESTS: Check = Check {
    name: "shows-requests",
    title: "The proxy shows the first line of each HTTP request on stdout, escaped for a terminal",
    why: "it shows what clients ask for; but a client that can send control characters to your terminal can change what you see there",
    hint: "a request may begin with the first bytes of a client, and after each answer: escape and print its first line",
    tier: Tier::Robust,
    needs: &[Need::Option("--quiet")],
    body: requests,
    ..PASSES_REQUESTS_AND_ANSWERS
};

fn requests(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let ends = join(&server, &upstream, "the client")?;
    for (request, shown) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1"),
        (
            "GET /2.png HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /2.png HTTP/1.1",
        ),
        (
            "GET /\x1b[2J\u{202e} HTTP/1.1\r\n\r\n",
            "GET /\\x1b[2J\\u{202e} HTTP/1.1",
        ),
    ] {
        ends.client.send(request.as_bytes())?;
        ends.upstream.expect(request.as_bytes())?;
        expect_shown(&server, shown)?;
        ends.upstream.send(b"HTTP/1.1 404 Not Found\r\n\r\n")?;
        ends.client.expect(b"HTTP/1.1 404 Not Found\r\n\r\n")?;
    }
    ends.close()?;
    await_log(&server, "Client disconnected")?;
    let lines = server.process.stdout().split(|&byte| byte == b'\n').count() - 1;
    ensure(lines == 3, Outcome::WrongData, || {
        format!("stdout shows {lines} lines for three requests on one connection; 3 are expected")
    })
    .map_err(|failure| failure.received(server.process.stdout().escape_ascii().to_string()))
}

pub const TOTALS: Check = Check {
    name: "shows-totals",
    title: "The proxy shows on stdout how many bytes went each way when a connection that is not HTTP ends",
    why: "the bytes of an unknown protocol do not belong on a terminal, but their number is worth knowing",
    hint: "count the bytes from each side, and print one line when the pair is closed",
    body: totals,
    ..REQUESTS
};

fn totals(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let ends = join(&server, &upstream, "the client")?;
    ends.client.send(b"\x7fELF and so on")?;
    ends.upstream.expect(b"\x7fELF and so on")?;
    ends.upstream.send(b"an answer of 23 bytes.\n")?;
    ends.client.expect(b"an answer of 23 bytes.\n")?;
    ends.close()?;
    expect_shown(&server, "14 bytes from client, 23 bytes from upstream")
}

/// Waits for a line on stdout.
fn expect_shown(server: &Server, text: &str) -> Verdict {
    let line = format!("[CLIENT MESSAGE] {text}\n");
    let there = |printed: &[u8]| {
        let mut windows = printed.windows(line.len());
        windows.any(|window| window == line.as_bytes())
    };
    if server
        .process
        .wait_for_stdout(Instant::now() + patience(), there)
    {
        return Ok(());
    }
    let failure = Failure::new(Outcome::WrongData, "stdout does not show the expected line");
    let printed = server.process.stdout().escape_ascii().to_string();
    Err(failure.expected(line.trim_end()).received(printed))
}

pub const LOG_LINES: Check = Check {
    name: "log-lines",
    title: "The log says where the proxy listens, and when a client connects and disconnects",
    why: "an operator sees a server only through its log, and the exercises refer to these lines",
    hint: "log `Server listening on port …`, `Client connected to server`, `Client disconnected`",
    body: log_lines,
    ..REQUESTS
};

fn log_lines(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let port = server.address().port();
    await_log(&server, &format!("Server listening on port {port} ("))?;
    let ends = join(&server, &upstream, "the client")?;
    await_log(&server, "Client connected to server")?;
    ends.ping()?;
    ensure(
        !server.process.log().contains("Client disconnected"),
        Outcome::Behaviour,
        || "the log says `Client disconnected` while the client is still connected".to_owned(),
    )?;
    ends.close()?;
    await_log(&server, "Client disconnected")
}

pub const ONE_WARNING: Check = Check {
    name: "one-warning",
    title: "The log says that the upstream is down, with its address, but not once for each client",
    why: "with thousands of clients per second, one line for each hides everything else and fills the disk",
    hint: "log the warning immediately, and then at most once a second with the number of failures since the last one",
    body: one_warning,
    ..REQUESTS
};

fn one_warning(trial: &Trial) -> Verdict {
    let nobody = trial.nobody()?;
    let server = launch(trial, nobody.address()).start()?;
    let begun = Instant::now();
    for _ in 0..300 {
        server.connect("a client")?.expect_gone()?;
    }
    let address = nobody.address().to_string();
    await_log(&server, &address)?;
    let log = server.process.log();
    let warnings = log.lines().filter(|line| line.contains(&address)).count();
    let most = 2 + begun.elapsed().as_secs() as usize * 2;
    trial.step(format!("{warnings} lines of the log name the upstream"));
    ensure(warnings <= most, Outcome::Behaviour, || {
        format!(
            "for 300 clients the proxy has logged {warnings} lines that name the upstream; at most {most} are allowed"
        )
    })
}

pub const QUIET: Check = Check {
    name: "quiet",
    title: "The proxy with `-q` prints nothing unless something goes wrong",
    why: "under load, printing a line for each message costs more than anything else that a server does",
    hint: "let `-q` reduce the log to warnings and turn off the messages on stdout",
    body: quiet,
    ..REQUESTS
};

fn quiet(trial: &Trial) -> Verdict {
    let upstream = trial.upstream()?;
    let launch = launch(trial, upstream.address());
    let program = launch.options(["--quiet", "--port", "0"]).run()?;
    let server = program.into_server_found_by_the_kernel()?;
    let ends = join(&server, &upstream, "the client")?;
    ends.client.send(b"GET / HTTP/1.1\r\n\r\n")?;
    ends.upstream.expect(b"GET / HTTP/1.1\r\n\r\n")?;
    ends.close()?;
    expect_alive(&server, &upstream)?;
    let (stdout, log) = (server.process.stdout(), server.process.log());
    ensure(
        stdout.is_empty() && log.is_empty(),
        Outcome::Behaviour,
        || "the proxy prints something, although it was started with `-q`".to_owned(),
    )
    .map_err(|failure| {
        let printed = format!(
            "stdout `{}`, stderr `{}`",
            stdout.escape_ascii(),
            log.escape_debug()
        );
        failure.received(printed)
    })
}

pub const STDOUT_CLOSED: Check = Check {
    name: "stdout-closed",
    title: "A stdout whose reader has ended (`proxy | head -1`) does not end the proxy",
    why: "a write to a pipe without a reader kills the process with SIGPIPE, or fails with EPIPE if this signal is ignored",
    hint: "ignore errors when you write to stdout; in C ignore SIGPIPE too, in Rust do not use `println!`, which panics",
    needs: &[],
    body: |trial| requests_with(trial, Sink::Closed, Sink::Captured),
    ..REQUESTS
};

pub const STDOUT_UNREAD: Check = Check {
    name: "stdout-unread",
    title: "A full stdout that is not read (Ctrl-S, a stuck pipe) does not stop any client",
    why: "a pipe is full after 64 KiB; a write that waits for its reader makes all clients wait",
    hint: "ask `poll` or epoll whether stdout takes bytes; keep some of what it does not take, drop the rest",
    body: |trial| requests_with(trial, Sink::Unread, Sink::Captured),
    ..STDOUT_CLOSED
};

/// How long nothing at all may happen in a proxy that has nothing to do.
const WINDOW: Duration = Duration::from_millis(700);

pub const FULL_STDOUT: Check = Check {
    name: "full-stdout-costs-nothing",
    title: "While stdout is full the proxy sleeps, and it shows messages again when there is room",
    why: "a proxy that looks again and again whether stdout has room never rests; but stdout is a descriptor, and epoll can tell",
    hint: "watch stdout for EPOLLOUT while messages wait, and only then; EPOLLERR says that the reader is gone",
    needs: &[Need::Option("--quiet")],
    body: full_stdout,
    ..STDOUT_CLOSED
};

fn full_stdout(trial: &Trial) -> Verdict {
    let upstream = trial.upstream()?.serve(echo);
    let launch = launch(trial, upstream.address());
    let server = launch.stdout(Sink::Handed).start()?;
    let screen = server.stdout()?;
    let client = server.connect("the client that asks much")?;
    ask_much(&client)?;
    server.expect_asleep(WINDOW)?;

    // There is room again: what was kept comes first.
    let request = b"GET /again HTTP/1.1\r\n\r\n";
    expect_shown_again(&screen, "GET /again HTTP/1.1", || {
        client.ask(request, request)
    })?;
    server.expect_asleep(WINDOW)?;

    ask_much(&client)?;
    screen.close();
    server.expect_asleep(WINDOW)?;
    expect_echo(&server)
}

/// Requests whose messages are more than a pipe or a buffer holds.
fn ask_much(client: &Peer) -> Verdict {
    let request = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(900));
    (0..2_000).try_for_each(|_| client.ask(request.as_bytes(), request.as_bytes()))
}

pub const STDERR_CLOSED: Check = Check {
    name: "stderr-closed",
    title: "A closed stderr does not end the proxy",
    why: "the terminal in which a server was started may be closed long before the server ends",
    hint: "ignore an error when you write a log line; do not use `eprintln!`, which panics",
    body: |trial| clients_with(trial, Sink::Closed, 3),
    ..STDOUT_CLOSED
};

pub const STDERR_UNREAD: Check = Check {
    name: "stderr-unread",
    title: "A full stderr that is not read does not stop any client",
    why: "each client causes some log lines, and a pipe is full after 64 KiB",
    hint: "ask `poll` whether stderr can take a line; if it cannot, drop the line and count it",
    body: |trial| clients_with(trial, Sink::Unread, 150),
    ..STDOUT_CLOSED
};

fn requests_with(trial: &Trial, stdout: Sink, stderr: Sink) -> Verdict {
    let upstream = trial.upstream()?.serve(echo);
    let launch = launch(trial, upstream.address());
    let server = launch.stdout(stdout).stderr(stderr).start()?;
    let before = server.figures()?;
    let client = server.connect("the client that asks much")?;
    ask_much(&client)?;
    server.expect_little_growth(&before)?;
    expect_echo(&server)
}

/// Ten clients in each round. Each of them causes some log lines.
fn clients_with(trial: &Trial, stderr: Sink, rounds: usize) -> Verdict {
    let upstream = trial.upstream()?.serve(echo);
    let server = launch(trial, upstream.address()).stderr(stderr).start()?;
    for _ in 0..rounds {
        server.connect_many(10)?.iter().try_for_each(echo_ping)?;
    }
    expect_echo(&server)
}

pub const IPV6: Check = Check {
    name: "ipv6",
    title: "The proxy with `--host ::1` is reached over IPv6, even if its upstream has an IPv4 address",
    why: "the connections on the two sides of a proxy are independent of each other",
    hint: "take the family of each socket from its address, not from a constant",
    needs: &[Need::Option("--host"), Need::Ipv6],
    body: ipv6,
    ..REQUESTS
};

fn ipv6(trial: &Trial) -> Verdict {
    let upstream = trial.upstream()?;
    let launch = launch(trial, upstream.address());
    let server = launch.options(["--host", "::1"]).start()?;
    let expected = SocketAddr::from((Ipv6Addr::LOCALHOST, server.address().port()));
    if server.address() != expected {
        let failure = Failure::behaviour("the proxy listens on another address than `--host` says");
        let (expected, received) = (expected.to_string(), server.address().to_string());
        return Err(failure.expected(expected).received(received));
    }
    expect_alive(&server, &upstream)
}

pub const LOCALHOST: Check = Check {
    name: "host-by-name",
    title: "The proxy accepts a name instead of an address: `--host localhost`",
    why: "people use names, and a program can look up the address",
    hint: "resolve the name, and use the first of its addresses on which you can listen",
    needs: &[Need::Option("--host")],
    body: localhost,
    ..REQUESTS
};

fn localhost(trial: &Trial) -> Verdict {
    let upstream = trial.upstream()?;
    let launch = launch(trial, upstream.address());
    let started = launch.options(["--host", "localhost"]).start();
    let server = started.map_err(|failure| Failure {
        outcome: Outcome::Behaviour,
        what: format!(
            "with `--host localhost` the proxy does not start: {}",
            failure.what
        ),
        ..failure
    })?;
    expect_alive(&server, &upstream)
}
