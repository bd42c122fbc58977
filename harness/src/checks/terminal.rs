//! The server as a program: its command line, the address it takes, what it prints.
//! Written for stage 4, taken over by stage 1.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::check::{Check, Need, Tier};
use crate::data::show;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::hint;
use crate::patience::patience;
use crate::pipe::Stdout;
use crate::process::Sink;
use crate::stage::Stage;
use crate::trial::{Running, Server, Trial};

pub const CHECKS: &[Check] = &[
    MESSAGES,
    LOG_LINES,
    QUIET,
    STDOUT_CLOSED,
    PORT_IN_USE,
    PRIVILEGED_PORT,
    ADDRESS_NOT_HERE,
    IPV6,
    LOCALHOST,
    USAGE_ERROR,
];

/// The checks that hold for any program that listens.
pub const LISTENING: &[Check] = &[PORT_IN_USE, PRIVILEGED_PORT, ADDRESS_NOT_HERE, USAGE_ERROR];

const PROGRAM: Check = Check {
    stage: Stage::Stage04,
    role: "",
    name: "port-in-use",
    title: "The server explains that its port is taken and ends with exit status 1",
    why: "starting a server twice is the most common mistake, and its cause must be easy to see",
    hint: "check what `bind` returns, and print the address and the system's reason to stderr",
    chapter: "docs/src/phase0/stage01.md",
    tier: Tier::Robust,
    timeout: Duration::from_secs(30),
    needs: &[Need::Option("--port")],
    body: port_in_use,
};

pub const PORT_IN_USE: Check = PROGRAM;

fn port_in_use(trial: &Trial) -> Verdict {
    let first = trial.start()?;
    let port = first.address().port().to_string();
    let second = trial.launch().options(["--port", &port]).run()?;
    second.expect_exit(1)?;
    expect_log(&second, &first.address().to_string())?;
    expect_log(&second, "Address already in use")
}

pub const PRIVILEGED_PORT: Check = Check {
    name: "privileged-port",
    title: "The server explains that its port is for root only and ends with exit status 1",
    why: "many people try port 80 first, and `Permission denied` alone makes them think of files",
    needs: &[
        Need::OwnNetwork,
        Need::Tool("setpriv"),
        Need::Option("--port"),
    ],
    body: privileged_port,
    ..PROGRAM
};

fn privileged_port(trial: &Trial) -> Verdict {
    cannot_have_port_80(trial, ["--port", "80"])
}

/// Port 80 is below `ip_unprivileged_port_start` (ip(7)). That is 1024 in a new network, but
/// may be 0 in a container. Root without the capability may do no more than another user.
pub fn cannot_have_port_80(trial: &Trial, options: [&str; 2]) -> Verdict {
    let launch = trial.launch().without_capability("net_bind_service");
    let server = launch.options(options).run()?;
    server.expect_exit(1)?;
    expect_log(&server, "127.0.0.1:80")?;
    expect_log(&server, "Permission denied")
}

pub const ADDRESS_NOT_HERE: Check = Check {
    name: "address-of-another-machine",
    title: "The server explains that its address belongs to another machine and ends with exit status 1",
    why: "a server that cannot listen where it should must not listen elsewhere or end silently",
    needs: &[Need::Option("--host")],
    body: address_not_here,
    ..PROGRAM
};

fn address_not_here(trial: &Trial) -> Verdict {
    // This address is reserved for documentation: no machine has it.
    let options = ["--host", "192.0.2.1", "--port", "0"];
    let server = trial.launch().options(options).run()?;
    server.expect_exit(1)?;
    expect_log(&server, "192.0.2.1")?;
    expect_log(&server, "Cannot assign requested address")
}

pub const IPV6: Check = Check {
    name: "ipv6",
    title: "The server with `--host ::1` is reached over IPv6",
    why: "half of the clients of a public server come over IPv6",
    hint: "take the family for `socket` from the address, not from a constant",
    needs: &[Need::Option("--host"), Need::Ipv6],
    body: ipv6,
    ..PROGRAM
};

fn ipv6(trial: &Trial) -> Verdict {
    let server = trial.launch().options(["--host", "::1"]).start()?;
    let expected = SocketAddr::from((Ipv6Addr::LOCALHOST, server.address().port()));
    if server.address() != expected {
        let failure =
            Failure::behaviour("the server listens on another address than `--host` says");
        let (expected, received) = (expected.to_string(), server.address().to_string());
        return Err(failure.expected(expected).received(received));
    }
    server.connect("the client")?.ask(b"abcd\n", b"dcba\n")
}

pub const LOCALHOST: Check = Check {
    name: "host-by-name",
    title: "The server accepts a name instead of an address: `--host localhost`",
    why: "people remember names, and a program can look up the address",
    hint: "resolve the name with `getaddrinfo`, and use its first address on which `bind` succeeds",
    needs: &[Need::Option("--host")],
    body: localhost,
    ..PROGRAM
};

fn localhost(trial: &Trial) -> Verdict {
    let started = trial.launch().options(["--host", "localhost"]).start();
    let server = started.map_err(|failure| Failure {
        outcome: Outcome::Behaviour,
        what: format!(
            "with `--host localhost` the server does not start: {}",
            failure.what
        ),
        ..failure
    })?;
    server.connect("the client")?.ask(b"abcd\n", b"dcba\n")
}

pub const USAGE_ERROR: Check = Check {
    name: "usage-error",
    title: "The program explains a wrong command line and ends with exit status 2",
    why: "a script must be able to distinguish a typing error from a server that failed",
    hint: "print to stderr what is wrong, and call `exit` with status 2",
    body: usage_error,
    ..PROGRAM
};

fn usage_error(trial: &Trial) -> Verdict {
    for (options, named) in [
        (["--port", "eighty"], "eighty"),
        (["--port", "65536"], "65536"),
        (["--no-such-option", "1"], "--no-such-option"),
    ] {
        let program = trial.launch().options(options).run()?;
        program.expect_exit(2)?;
        expect_log(&program, named)?;
    }
    Ok(())
}

fn expect_log(program: &Running, wanted: &str) -> Verdict {
    if program.process.log().contains(wanted) {
        return Ok(());
    }
    let failure = Failure::behaviour(format!("stderr does not contain `{wanted}`"));
    Err(failure.received(program.process.logged()))
}

pub const MESSAGES: Check = Check {
    name: "shows-messages",
    title: "The server prints each line to stdout as `[CLIENT MESSAGE] …`, escaped for a terminal",
    why: "a client that can send control characters to your terminal can rewrite what you see",
    hint: "escape control characters and bytes that are not UTF-8, and shorten very long lines",
    needs: &[],
    body: messages,
    ..PROGRAM
};

fn messages(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    let long = "x".repeat(5000);
    let sent = format!("hello\r\nañ🦀\n\n\x1b[2J\t\0\r\x7f\u{85}\u{202e}!\n{long}\n");
    let mut sent = sent.into_bytes();
    sent.extend_from_slice(b"a\xff\xc3\nlast");
    client.send(&sent)?;
    client.half_close()?;
    client.receive_to_end(2 * sent.len())?;

    let lines = [
        "hello",
        "añ🦀",
        "",
        "\\x1b[2J\\t\\x00\\r\\x7f\\u{85}\\u{202e}!",
        &format!("{}… (5000 bytes)", "x".repeat(1024)),
        "a\\xff\\xc3",
        "last",
    ];
    let expected: String = lines
        .map(|line| format!("[CLIENT MESSAGE] {line}\n"))
        .concat();
    expect_stdout(&server, &expected)
}

/// Waits until as much as this has been printed, and compares.
fn expect_stdout(server: &Server, expected: &str) -> Verdict {
    let deadline = Instant::now() + patience();
    let enough = |printed: &[u8]| printed.len() >= expected.len();
    server.process.wait_for_stdout(deadline, enough);
    let printed = server.process.stdout();
    if printed == expected.as_bytes() {
        return Ok(());
    }
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let lines = bytes.split_inclusive(|&byte| byte == b'\n');
        lines.map(<[u8]>::to_vec).collect()
    };
    if printed.is_empty() {
        let failure = Failure::behaviour("the server has printed nothing to stdout");
        return Err(failure.hint(hint::FLUSH));
    }
    let (expected, printed) = (lines(expected.as_bytes()), lines(&printed));
    let same = expected.iter().zip(&printed).take_while(|(a, b)| a == b);
    let at = same.count();
    let line = |lines: &[Vec<u8>]| lines.get(at).map_or("nothing".to_owned(), |it| show(it));
    let what = format!("line {} of the server's stdout is wrong", at + 1);
    let failure = Failure::new(Outcome::WrongData, what);
    Err(failure.expected(line(&expected)).received(line(&printed)))
}

pub const LOG_LINES: Check = Check {
    name: "log-lines",
    title: "The log says where the server listens, and when a client connects or disconnects",
    why: "the log is what an operator sees of a server, and the exercises refer to it",
    hint: "log `Server listening on port …`, `Client connected to server`, `Client disconnected`",
    needs: &[Need::Option("--verbose")],
    body: log_lines,
    ..PROGRAM
};

fn log_lines(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let port = server.address().port();
    await_log(&server, &format!("Server listening on port {port} ("))?;
    let client = server.connect("the client")?;
    await_log(&server, "Client connected to server")?;
    ensure(
        !server.process.log().contains("Client disconnected"),
        Outcome::Behaviour,
        || "the server logs `Client disconnected` although the client is connected".to_owned(),
    )?;
    client.close();
    await_log(&server, "Client disconnected")
}

pub fn await_log(server: &Server, wanted: &str) -> Verdict {
    let deadline = Instant::now() + patience();
    if server
        .process
        .wait_for_log(deadline, |log| log.contains(wanted))
    {
        return Ok(());
    }
    let failure = Failure::behaviour(format!("the server's log has no line with `{wanted}`"));
    Err(failure.received(server.process.logged()))
}

/// Reads what was kept for a stdout that was full, and then new messages: one that ends in
/// `text` comes after some tries, each of which `says` it.
pub fn expect_shown_again(screen: &Stdout, text: &str, says: impl Fn() -> Verdict) -> Verdict {
    let deadline = Instant::now() + patience();
    while Instant::now() < deadline {
        says()?;
        let printed = screen.read_on()?;
        let shown = String::from_utf8_lossy(&printed);
        if shown.lines().any(|line| line.ends_with(text)) {
            return Ok(());
        }
    }
    let what = "stdout is read again, and new messages are not shown";
    Err(Failure::new(Outcome::Timeout, what))
}

pub const QUIET: Check = Check {
    name: "quiet",
    title: "The server with `-q` prints nothing unless something goes wrong",
    why: "under load, printing each message costs a server more than everything else it does",
    hint: "let `-q` limit the log to warnings, and turn off the messages on stdout",
    needs: &[Need::Option("--quiet")],
    body: quiet,
    ..PROGRAM
};

fn quiet(trial: &Trial) -> Verdict {
    let options = ["--quiet", "--port", "0"];
    let program = trial.launch().options(options).run()?;
    let server = program.into_server_found_by_the_kernel()?;
    let client = server.connect("the client")?;
    client.ask(b"abcd\n", b"dcba\n")?;
    client.half_close()?;
    client.expect_end()?;
    ensure(
        server.process.stdout().is_empty() && server.process.log_size() == 0,
        Outcome::Behaviour,
        || "the server prints, although it was started with `-q`".to_owned(),
    )
    .map_err(|failure| {
        let stdout = server.process.stdout();
        failure.received(format!(
            "stdout `{}`, stderr `{}`",
            stdout.escape_ascii(),
            server.process.log().escape_debug()
        ))
    })
}

pub const STDOUT_CLOSED: Check = Check {
    name: "stdout-closed",
    title: "The server goes on when the reader of its stdout has ended (`server | head -1`)",
    why: "`write` to a pipe without a reader raises SIGPIPE, which by default kills the process",
    hint: "ignore SIGPIPE and the error of `write`; in Rust do not use `println!`, which panics",
    needs: &[],
    body: stdout_closed,
    ..PROGRAM
};

fn stdout_closed(trial: &Trial) -> Verdict {
    let server = trial.launch().stdout(Sink::Closed).start()?;
    let client = server.connect("the client")?;
    // More than the stdout of a C program keeps in its buffer before it calls `write`.
    (0..200).try_for_each(|_| {
        let (line, answer) = (b"a line for a lost stdout\n", b"tuodts tsol a rof enil a\n");
        client.ask(line, answer)
    })?;
    server.expect_running()
}
