//! `udp-client`: each line is one datagram, and UDP may lose it. The check plays the
//! server, and loses datagrams on purpose.

use std::net::UdpSocket;
use std::time::Duration;

use super::base::UDP;
use crate::check::{Check, Need};
use crate::datagram::{DatagramServer, MAX_DATAGRAM};
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::patience::patience;
use crate::process::{Input, Sink};
use crate::trial::{Launch, Running, Trial};

const UDP_CLIENT: Check = Check {
    name: "udp-client-a-line-is-a-datagram",
    title: "udp-client sends each line as one datagram, and prints the answer",
    why: "UDP keeps the borders of datagrams: one line is one datagram, and so is its answer",
    hint: "`send` the line with its line ending, and print the answer as it came",
    needs: &[Need::Companion("udp-client")],
    body: a_line_is_a_datagram,
    ..UDP
};

fn client<'t>(
    trial: &'t Trial,
    server: &DatagramServer,
    input: impl Into<Vec<u8>>,
    options: &[&str],
) -> Verdict<Launch<'t>> {
    let launch = trial.launch_companion("udp-client")?;
    let launch = launch.client_of(server.address()?);
    let launch = launch.options(options.iter().copied());
    Ok(launch.input(Input::Bytes(input.into())))
}

/// Expects that its log contains one of `words`.
fn expect_logged(client: &Running, words: &[&str]) -> Verdict {
    let log = client.process.log().to_lowercase();
    let found = words.iter().any(|word| log.contains(word));
    ensure(found, Outcome::Behaviour, || {
        let words = words.join("` or `");
        format!("stderr does not contain `{words}`: `{}`", log.trim_end())
    })
}

pub const A_LINE_IS_A_DATAGRAM: Check = UDP_CLIENT;

fn a_line_is_a_datagram(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    let largest = [vec![b'a'; MAX_DATAGRAM - 1], b"\n".to_vec()].concat();
    let exchanges: [(&[u8], &[u8]); 6] = [
        (b"hello\n", b"olleh\n"),
        (b"\n", b"\n"),
        (b"ab\0\xff\r\n", b"\xff\0ba\r\n"),
        (&largest, &largest),
        (b"empty answer\n", b""),
        (b"no line break", b"kaerb enil on"),
    ];
    let input = exchanges.map(|(line, _)| line).concat();
    let client = client(trial, &server, input, &[])?.run()?;
    for (line, answer) in exchanges {
        let port = server.expect(line)?;
        server.send(answer, port);
    }
    client.expect_exit(0)?;
    client.expect_stdout(&exchanges.map(|(_, answer)| answer).concat())
}

pub const SENDS_AGAIN: Check = Check {
    name: "udp-client-sends-again",
    title: "udp-client sends a line again when no answer comes in time",
    why: "UDP may lose the datagram or its answer, and only the client can notice",
    hint: "wait with a timeout (SO_RCVTIMEO or `poll`), then `send` the same datagram again",
    body: sends_again,
    ..UDP_CLIENT
};

fn sends_again(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    let options = ["--timeout", "0.3", "--retries", "20"];
    let client = client(trial, &server, b"hello\n", &options)?.run()?;
    server.expect(b"hello\n")?;
    trial.step("the check does not answer this datagram, as if it were lost");
    let port = server.expect(b"hello\n")?;
    server.send(b"olleh\n", port);
    client.expect_exit(0)?;
    client.expect_stdout(b"olleh\n")
}

pub const GIVES_UP: Check = Check {
    name: "udp-client-gives-up",
    title: "udp-client reports a line without an answer, goes on, and ends with exit status 1",
    why: "a server that is gone never answers, and a client that waits forever never reports it",
    hint: "count the tries; after the last one `send` the next line, and at the end exit with status 1",
    body: gives_up,
    ..UDP_CLIENT
};

fn gives_up(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    let options = ["--timeout", "0.4", "--retries", "2"];
    let client = client(trial, &server, b"lost\nfound\n", &options)?.run()?;
    for _ in 0..3 {
        server.expect(b"lost\n")?;
    }
    // The next datagram must not be a fourth try of this line. The check answers it each time
    // it comes, because the check itself may be slow.
    let mut port = server.expect(b"found\n")?;
    loop {
        server.send(b"dnuof\n", port);
        match server.receive(Duration::from_millis(300))? {
            Some((_, again)) => port = again,
            None => break,
        }
    }
    client.expect_exit(1)?;
    expect_logged(&client, &["no answer", "timed out", "timeout"])?;
    client.expect_stdout(b"dnuof\n")
}

pub const LATE_ANSWER: Check = Check {
    name: "udp-client-late-answer",
    title: "udp-client does not take a late answer to one line for the answer to the next",
    why: "datagrams carry no number: on the same socket two answers look alike",
    hint: "open a new `socket` for each line: an answer to the closed one is dropped",
    body: late_answer,
    ..UDP_CLIENT
};

fn late_answer(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    // Ten seconds in all, because the second line must not time out.
    let options = ["--timeout", "0.5", "--retries", "20"];
    let client = client(trial, &server, b"first\nsecond\n", &options)?.run()?;
    let first = server.expect(b"first\n")?;
    trial.step("the check delays its answer, so that the client sends the line again");
    let again = server.expect(b"first\n")?;
    server.send(b"tsrif\n", again);
    // All that comes before the second line is the first line again.
    let second = loop {
        match server.receive(patience())? {
            Some((line, port)) if line == b"second\n" => break port,
            Some(_) => {}
            None => {
                return Err(Failure::new(
                    Outcome::Timeout,
                    "the second line has not come",
                ));
            }
        }
    };
    trial.step("only now does the check answer the first try");
    server.send(b"tsrif\n", first);
    server.send(b"dnoces\n", second);
    client.expect_exit(0)?;
    client.expect_stdout(b"tsrif\ndnoces\n")
}

pub const STRANGER: Check = Check {
    name: "udp-client-stranger",
    title: "udp-client does not take a datagram from another sender for an answer",
    why: "any program may send to a UDP port, but a connected socket receives from its server only",
    hint: "`connect` the UDP socket, or compare the address that `recvfrom` returns",
    body: stranger,
    ..UDP_CLIENT
};

fn stranger(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    let client = client(trial, &server, b"hello\n", &[])?.run()?;
    let port = server.expect(b"hello\n")?;
    trial.step(format!("a stranger sends `wrong` to port {}", port.port()));
    UdpSocket::bind("127.0.0.1:0")
        .and_then(|stranger| stranger.send_to(b"wrong\n", port))
        .map_err(|error| Failure::grader("send a datagram", error))?;
    server.send(b"olleh\n", port);
    client.expect_exit(0)?;
    client.expect_stdout(b"olleh\n")
}

pub const LONG_LINES: Check = Check {
    name: "udp-client-long-lines",
    title: "udp-client reports a line that is too long for a datagram, and sends the next one",
    why: "a UDP datagram holds at most 65,507 bytes, and the answer to a part of a line is wrong",
    hint: "check the length of the line before `send`, and skip the whole line",
    body: long_lines,
    ..UDP_CLIENT
};

fn long_lines(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    let line = |length: usize| [vec![b'x'; length - 1], b"\n".to_vec()].concat();
    let input = [line(MAX_DATAGRAM + 1), line(300_000), b"next\n".to_vec()].concat();
    let client = client(trial, &server, input, &[])?.run()?;
    let port = server.expect(b"next\n")?;
    server.send(b"txen\n", port);
    client.expect_exit(1)?;
    expect_logged(&client, &["65507", "too long", "65,507"])?;
    client.expect_stdout(b"txen\n")
}

pub const NOBODY_THERE: Check = Check {
    name: "udp-client-nobody-there",
    title: "udp-client reports a port without a server, and ends with exit status 1",
    why: "the kernel reports this (ICMP port unreachable), but only to a connected socket",
    hint: "`connect` the UDP socket, so that `recv` fails with ECONNREFUSED",
    body: nobody_there,
    ..UDP_CLIENT
};

fn nobody_there(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    server.refuse_all()?;
    let client = client(trial, &server, b"hello\n", &[])?.run()?;
    client.expect_exit(1)?;
    expect_logged(&client, &["refused"])?;
    client.expect_stdout(b"")
}

pub const STOPPED_FOR_A_WHILE: Check = Check {
    name: "udp-client-stopped-for-a-while",
    title: "udp-client goes on waiting after it was stopped and continued",
    why: "Ctrl-Z and `fg` make a `recv` with a timeout fail with EINTR, although nothing is wrong",
    hint: "when `recv` fails with EINTR, call it again",
    body: stopped_for_a_while,
    ..UDP_CLIENT
};

fn stopped_for_a_while(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    let options = ["--timeout", "20", "--retries", "0"];
    let client = client(trial, &server, b"hello\n", &options)?.run()?;
    let port = server.expect(b"hello\n")?;
    trial.wait_until("udp-client sleeps", || client.process.state() == Some('S'))?;
    trial.stop(&client.process)?;
    trial.go_on(&client.process)?;
    server.send(b"olleh\n", port);
    client.expect_exit(0)?;
    client.expect_stdout(b"olleh\n")
}

pub const STDOUT_READER_GONE: Check = Check {
    name: "udp-client-stdout-reader-gone",
    title: "udp-client ends without a crash when the reader of its output is gone",
    why: "`udp-client | head -1` closes the pipe after one line, and then `println!` panics",
    hint: "when `write` fails with EPIPE, exit: there is nothing left to do",
    body: stdout_reader_gone,
    ..UDP_CLIENT
};

fn stdout_reader_gone(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    // Many answers: a program that another thread starts at this moment may hold the
    // reading end a little longer, so that the first writes succeed.
    let client = client(trial, &server, b"hello\n".repeat(20), &[])?
        .stdout(Sink::Handed)
        .run()?;
    client.stdout()?.close();
    while client.process.status().is_none() {
        if let Some((_, sender)) = server.receive(Duration::from_millis(100))? {
            server.send(b"olleh\n", sender);
        }
    }
    client.wait().map(drop) // a crash is found by the trial itself
}
