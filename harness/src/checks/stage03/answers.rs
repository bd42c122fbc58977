//! What any UDP server must do: each datagram whole, each answer to its own client.
//!
//! UDP may lose datagrams, but over loopback only when a queue is full. So these checks have at
//! most 50 datagrams on their way at the same time, and send large ones one by one.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::base::{ANSWER, UDP};
use crate::check::{Check, Need, Tier};
use crate::checks::terminal;
use crate::data::{Pattern, show, show_difference};
use crate::datagram::{DatagramPeer, send_forged};
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::patience::patience;
use crate::process::Sink;
use crate::trial::{Server, Trial};

pub const LISTENS: Check = Check {
    name: "listens",
    title: "The server's port takes datagrams",
    why: "without a socket on the port, the kernel answers each datagram with \"port unreachable\" (ICMP)",
    hint: "call `socket` and `bind`, in this order, and check what each of them returns",
    body: listens, // a first step, which alone is worth little
    ..UDP
};

fn listens(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.datagram("the client")?;
    client.send(b"hello\n")?;
    // Over loopback the refusal has come when `send` returns. An answer is another check's subject.
    client.receive(Duration::from_millis(10)).map(drop)
}

pub const REVERSES_A_DATAGRAM: Check = Check {
    tier: Tier::Core,
    ..UDP
};

/// This many clients, each with its own socket.
pub fn crowd(server: &Server, count: usize) -> Verdict<Vec<DatagramPeer>> {
    (1..=count)
        .map(|number| server.datagram(&format!("client {number}")))
        .collect()
}

pub const OWN_ANSWERS: Check = Check {
    name: "own-answers",
    title: "Each of many clients gets the answer to its own datagram",
    why: "one socket serves all clients, and only the sender's address distinguishes them",
    hint: "give each thread its own copy of the datagram and of the address from `recvfrom`",
    tier: Tier::Core,
    body: own_answers,
    ..UDP
};

fn own_answers(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let clients = crowd(&server, 20)?;
    for round in 100..110 {
        for (number, client) in (100..).zip(&clients) {
            client.send(format!("client {number} round {round}\n").as_bytes())?;
        }
        for (number, client) in (100..).zip(&clients) {
            let text = format!("client {number} round {round}");
            let answer: String = text.chars().rev().chain(['\n']).collect();
            client.expect(answer.as_bytes(), ANSWER)?;
        }
    }
    Ok(())
}

pub const EXACT_LENGTHS: Check = Check {
    name: "exact-lengths",
    title: "A datagram of any length is answered with exactly as many bytes",
    why: "`recvfrom` cuts off what does not fit into the buffer, without an error",
    hint: "pass `recvfrom` a buffer for more than 65,507 bytes, the longest datagram, and use the \
           number that it returns",
    body: |trial| exact_lengths(trial, &[]),
    ..UDP
};

/// The course's buffer and its neighbours, and the most that a datagram can carry.
const LENGTHS: [usize; 7] = [1, 2, 9_999, 10_000, 10_001, 60_000, 65_507];

pub fn exact_lengths(trial: &Trial, options: &[&str]) -> Verdict {
    let server = trial.launch().options(options.iter().copied()).start()?;
    let client = server.datagram("the client")?;
    for length in LENGTHS {
        // Letters only: no line ending at the end, no character of two bytes.
        let text = Pattern::new(length as u64).bytes(length);
        let text: Vec<u8> = text.iter().map(|byte| b'a' + byte % 26).collect();
        let answer: Vec<u8> = text.iter().rev().copied().collect();
        client.ask(&text, &answer, ANSWER)?;
    }
    Ok(())
}

pub const EMPTY: Check = Check {
    name: "empty-datagram",
    title: "An empty datagram is answered with an empty datagram",
    why: "with UDP, 0 bytes are a datagram like any other, not the end of a stream",
    hint: "when `recvfrom` returns 0, send an empty answer and go on",
    tier: Tier::Solid,
    body: empty_datagram,
    ..UDP
};

fn empty_datagram(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.datagram("the client")?;
    client.ask(b"", b"", ANSWER)?;
    client.ask(b"hello\n", b"olleh\n", ANSWER)
}

pub const LINE_ENDINGS: Check = Check {
    name: "line-endings",
    title: "A line ending stays at the end of the answer, and none is added",
    why: "a datagram need not end with a line break, and the two bytes of `\\r\\n` belong together",
    hint: "split off `\\n` or `\\r\\n` if it is there, and reverse the rest",
    body: line_endings,
    ..UDP
};

fn line_endings(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.datagram("the client")?;
    let cases: [(&[u8], &[u8]); 6] = [
        (b"hello\r\n", b"olleh\r\n"),
        (b"hello", b"olleh"),
        (b"\n", b"\n"),
        (b"\r\n", b"\r\n"),
        (b"ab\ncd\n", b"dc\nba\n"),
        (b"ab\r", b"\rba"),
    ];
    cases
        .iter()
        .try_for_each(|(text, answer)| client.ask(text, answer, ANSWER))
}

pub const ANY_BYTES: Check = Check {
    name: "any-bytes",
    title: "Any bytes are reversed: valid UTF-8 by character, everything else by byte",
    why: "a datagram consists of bytes: `strlen` stops at a NUL, and an `é` is two bytes",
    hint: "use the number that `recvfrom` returns; reverse by character only what is valid UTF-8",
    tier: Tier::Solid,
    body: any_bytes,
    ..UDP
};

fn any_bytes(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.datagram("the client")?;
    client.ask(b"ab\0cd\n", b"dc\0ba\n", ANSWER)?;
    client.ask(b"\0", b"\0", ANSWER)?;
    client.ask(b"a\xff\xfeb\n", b"b\xfe\xffa\n", ANSWER)?;
    client.ask(b"\xc3\xa9\xff\n", b"\xff\xa9\xc3\n", ANSWER)?;
    client.ask("añ🦀\n".as_bytes(), "🦀ña\n".as_bytes(), ANSWER)
}

pub const CLIENTS_GONE: Check = Check {
    name: "clients-gone",
    title: "The server goes on when clients are gone before their answer comes",
    why: "\"port unreachable\" (ICMP) comes back to the server, and a later call may return it as an error",
    hint: "when `sendto` or `recvfrom` fails, go on with the next datagram",
    tier: Tier::Solid,
    body: clients_gone,
    ..UDP
};

fn clients_gone(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    for client in crowd(&server, 50)? {
        client.send(b"nobody waits for this\n")?;
    }
    trial.step("all these clients have closed their sockets");
    // Two rounds, because a later call may return the error of an earlier answer.
    for _ in 0..2 {
        let client = server.datagram("the next client")?;
        client.ask(b"hello\n", b"olleh\n", ANSWER)?;
    }
    server.expect_running()
}

pub const SEND_FAILS: Check = Check {
    name: "send-fails",
    title: "When `sendto` fails, because the kernel has no memory for a moment, only that answer is lost",
    why: "ENOBUFS says that a queue is full now, and a firewall may forbid one answer (EPERM)",
    hint: "when `sendto` fails, go on with the next datagram",
    needs: &[Need::Strace, Need::Option("--threads")],
    body: send_fails,
    ..UDP
};

fn send_fails(trial: &Trial) -> Verdict {
    for error in ["ENOBUFS", "ENOMEM", "EPERM"] {
        // One thread, because strace counts the calls of each thread.
        let launch = trial.launch().options(["--threads", "1"]);
        let launch = launch.with_failing_calls(&format!("sendto,sendmsg:error={error}:when=1"));
        let server = launch.start()?;
        let client = server.datagram("the client")?;
        client.send(b"this answer is lost\n")?;
        client.ask(b"hello\n", b"olleh\n", ANSWER)?;
        server.expect_running()?;
    }
    Ok(())
}

pub const OWN_ADDRESS: Check = Check {
    name: "own-address",
    title: "The server does not answer a datagram that seems to come from itself",
    why: "the sender's address can be forged: a server that answers its own answers never stops",
    hint: "drop a datagram whose sender has the port of your own server",
    needs: &[Need::OwnNetwork],
    body: own_address,
    ..UDP
};

fn own_address(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let SocketAddr::V4(address) = server.address() else {
        return Err(Failure::grader("an IPv4 address", server.address()));
    };
    send_forged(address, address, b"hello\n")
        .map_err(|errno| Failure::grader("send a forged datagram", errno))?;
    trial.step(format!(
        "the check sends `hello\\n`, seemingly from {address}"
    ));
    let client = server.datagram("the client")?;
    client.ask(b"hello\n", b"olleh\n", ANSWER)?;
    server.expect_idle(Duration::from_millis(500), 0.2)?;
    client.ask(b"hello\n", b"olleh\n", ANSWER)
}

pub const SHOWN_WHOLE: Check = Check {
    name: "messages-shown-whole",
    title: "Every message is printed as one whole line, even with many threads",
    why: "threads share stdout: between two writes of one line, another thread may print",
    hint: "put the whole line together first, and then print it with one `write`",
    body: shown_whole,
    ..UDP
};

fn shown_whole(trial: &Trial) -> Verdict {
    const CLIENTS: usize = 40;
    let server = trial.start()?;
    let clients = crowd(&server, CLIENTS)?;
    let text = |number: usize| format!("client {number} {}", "abcdefgh".repeat(100));
    for round in 1..=3 {
        for (number, client) in (100..).zip(&clients) {
            client.send(format!("{}\n", text(number)).as_bytes())?;
        }
        for client in &clients {
            client.receive(ANSWER)?;
        }
        trial.step(format!(
            "all clients have waited for the answers of round {round}"
        ));
    }
    let mut wanted: Vec<String> = (100..100 + CLIENTS)
        .flat_map(|number| vec![format!("[CLIENT MESSAGE] {}", text(number)); 3])
        .collect();
    wanted.sort_unstable();

    let size: usize = wanted.iter().map(|line| line.len() + 1).sum();
    let printed = |stdout: &[u8]| stdout.len() >= size && stdout.ends_with(b"\n");
    let deadline = trial.deadline().min(std::time::Instant::now() + patience());
    server.process.wait_for_stdout(deadline, printed);
    let stdout = server.process.stdout();
    let stdout = String::from_utf8_lossy(&stdout);
    let mut lines: Vec<&str> = stdout.lines().collect();
    lines.sort_unstable();
    let pairs = lines.iter().zip(&wanted);
    let broken = pairs.into_iter().find(|(line, wanted)| line != wanted);
    if let Some((line, wanted)) = broken {
        let difference = show_difference(wanted.as_bytes(), line.as_bytes());
        let what = format!("a line of stdout is not one whole message: {difference}");
        let failure = Failure::new(Outcome::WrongData, what);
        return Err(failure
            .expected(show(wanted.as_bytes()))
            .received(show(line.as_bytes())));
    }
    ensure(lines.len() == wanted.len(), Outcome::ShortData, || {
        format!("stdout has {} of {} messages", lines.len(), wanted.len())
    })
}

pub const SHOWN_ESCAPED: Check = Check {
    name: "messages-shown-escaped",
    title: "Control bytes from a client do not reach the terminal",
    why: "a client could clear your screen, or make it show something false",
    hint: "escape control characters and bytes that are not UTF-8 before you print them",
    body: shown_escaped,
    ..UDP
};

fn shown_escaped(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.datagram("the client")?;
    client.send(b"\x1b[2J\0\x07\xff\nforged\n")?;
    client.receive(ANSWER)?;
    let deadline = trial.deadline().min(std::time::Instant::now() + patience());
    let whole = |stdout: &[u8]| stdout.ends_with(b"\n");
    server.process.wait_for_stdout(deadline, whole);
    let stdout = server.process.stdout();
    let lines = stdout.iter().filter(|&&byte| byte == b'\n').count();
    let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\n';
    let fit = lines == 1 && !stdout.iter().any(control) && std::str::from_utf8(&stdout).is_ok();
    if fit {
        return Ok(());
    }
    let failure = Failure::new(
        Outcome::WrongData,
        "the server printed control bytes unescaped",
    );
    Err(failure
        .expected("one line with escapes, as in `\\x1b[2J`")
        .received(show(&stdout)))
}

pub const STDOUT_GONE: Check = Check {
    name: "stdout-gone",
    title: "The server goes on answering when the reader of its stdout is gone",
    why: "`server | head -1` closes the pipe after one line, and then `println!` panics",
    hint: "when `write` fails, go on without the output",
    body: stdout_gone,
    ..UDP
};

fn stdout_gone(trial: &Trial) -> Verdict {
    let server = trial.launch().stdout(Sink::Closed).start()?;
    let client = server.datagram("the client")?;
    for _ in 0..3 {
        client.ask(b"hello\n", b"olleh\n", ANSWER)?;
    }
    server.expect_running()
}

pub const STOPPED_FOR_A_WHILE: Check = Check {
    name: "stopped-for-a-while",
    title: "Datagrams that come while the server is stopped are answered when it continues",
    why: "Ctrl-Z and `fg` may interrupt a waiting call with EINTR, although nothing is wrong",
    hint: "when `recvfrom` fails with EINTR, call it again",
    body: stopped_for_a_while,
    ..UDP
};

fn stopped_for_a_while(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let clients = crowd(&server, 40)?;
    clients[0].ask(b"ready?\n", b"?ydaer\n", ANSWER)?;
    let state = || server.process.state();
    trial.wait_until("the server sleeps", || state() == Some('S'))?;
    trial.stop(&server.process)?;
    clients
        .iter()
        .try_for_each(|client| client.send(b"hello\n"))?;
    trial.go_on(&server.process)?;
    clients
        .iter()
        .try_for_each(|client| client.expect(b"olleh\n", ANSWER))?;
    server.expect_running()
}

pub const PORT_IN_USE: Check = Check {
    name: "port-in-use",
    title: "The server explains that its port is taken and ends with exit status 1",
    why: "with SO_REUSEADDR a second UDP server would silently take over the datagrams",
    hint: "check what `bind` returns, and do not set SO_REUSEADDR, which lets two UDP servers share a port",
    needs: &[Need::Option("--port")],
    body: port_in_use,
    ..UDP
};

fn port_in_use(trial: &Trial) -> Verdict {
    let first = trial.start()?;
    let port = first.address().port().to_string();
    let second = trial.launch().options(["--port", &port]).run()?;
    second.expect_exit(1)?;
    let wanted = format!("127.0.0.1:{port}: Address already in use");
    let log = second.process.log();
    ensure(log.contains(&wanted), Outcome::Behaviour, || {
        format!("stderr does not contain `{wanted}`: `{}`", log.trim_end())
    })?;
    let client = first.datagram("the client of the first server")?;
    client.ask(b"hello\n", b"olleh\n", ANSWER)
}

pub const PRIVILEGED_PORT: Check = Check {
    name: "privileged-port",
    title: "The server explains that its port is for root only and ends with exit status 1",
    why: "many people try port 53 first, and `Permission denied` alone makes them think of files",
    hint: "check what `bind` returns, and print the address and the reason",
    needs: terminal::PRIVILEGED_PORT.needs,
    body: terminal::PRIVILEGED_PORT.body,
    ..PORT_IN_USE
};

pub const USAGE: Check = Check {
    name: "usage",
    title: "The server answers a wrong command line with its usage on stderr, and exit status 2",
    why: "a script distinguishes a wrong call from a failed one by the exit status",
    hint: "check the options before anything else, and call `exit` with status 2",
    needs: &[Need::Option("--threads")],
    body: usage,
    ..UDP
};

fn usage(trial: &Trial) -> Verdict {
    for wrong in [
        &["--no-such-option"][..],
        &["--threads", "0"],
        &["--port", "x"],
    ] {
        let server = trial.launch().options(wrong.iter().copied()).run()?;
        server.expect_exit(2)?;
        let log = server.process.log();
        ensure(log.contains("--help"), Outcome::Behaviour, || {
            format!("stderr does not mention `--help`: `{}`", log.trim_end())
        })?;
    }
    Ok(())
}

pub const IPV6: Check = Check {
    name: "ipv6",
    title: "The server with `--host ::1` answers over IPv6",
    why: "not every address is four numbers with dots",
    hint: "take the family for `socket` from the address",
    needs: &[Need::Ipv6, Need::Option("--host")],
    body: ipv6,
    ..UDP
};

fn ipv6(trial: &Trial) -> Verdict {
    let server = trial.launch().options(["--host", "::1"]).start()?;
    let here = server.address().ip() == Ipv6Addr::LOCALHOST;
    ensure(here, Outcome::Behaviour, || {
        format!(
            "with `--host ::1` the server listens on {}",
            server.address()
        )
    })?;
    let client = server.datagram("the client")?;
    client.ask(b"hello\n", b"olleh\n", ANSWER)
}
