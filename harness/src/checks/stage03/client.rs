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
    title: "udp-client: each line goes out as one datagram, and its answer is printed",
    why: "a datagram keeps its borders: one line, one datagram, one answer",
    hint: "send the line with its ending, print the answer as it came",
    points: 3,
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

/// Its log has one of `words` in it.
fn expect_logged(client: &Running, words: &[&str]) -> Verdict {
    let log = client.process.log().to_lowercase();
    let found = words.iter().any(|word| log.contains(word));
    ensure(found, Outcome::Behaviour, || {
        let words = words.join("` or `");
        format!("its log says nothing of `{words}`: `{}`", log.trim_end())
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
    title: "udp-client: a line that gets no answer in time is sent again",
    why: "UDP may lose the datagram or its answer; nobody but the client notices",
    hint: "wait with a timeout (SO_RCVTIMEO or `poll`), then send the same datagram again",
    body: sends_again,
    ..UDP_CLIENT
};

fn sends_again(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    let options = ["--timeout", "0.3", "--retries", "20"];
    let client = client(trial, &server, b"hello\n", &options)?.run()?;
    server.expect(b"hello\n")?;
    trial.step("this one is lost");
    let port = server.expect(b"hello\n")?;
    server.send(b"olleh\n", port);
    client.expect_exit(0)?;
    client.expect_stdout(b"olleh\n")
}

pub const GIVES_UP: Check = Check {
    name: "udp-client-gives-up",
    title: "udp-client: after the retries it says so, goes on, and ends with exit status 1",
    why: "a server that is gone never answers: who waits for ever never tells",
    hint: "count the tries; go on with the next line, and remember for the exit status",
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
    // That there is no fourth shows in what comes next. This one is answered whenever
    // it comes again, for the check itself may be slow.
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
    title: "udp-client: a late answer to one line is not taken for the answer to the next",
    why: "datagrams carry no number: on the same socket two answers look alike",
    hint: "a new socket for each line: what comes to the old one comes to nobody",
    points: 4,
    body: late_answer,
    ..UDP_CLIENT
};

fn late_answer(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    // Ten seconds, for the second line must not time out.
    let options = ["--timeout", "0.5", "--retries", "20"];
    let client = client(trial, &server, b"first\nsecond\n", &options)?.run()?;
    let first = server.expect(b"first\n")?;
    trial.step("its answer is slow, so the line comes again");
    let again = server.expect(b"first\n")?;
    server.send(b"tsrif\n", again);
    // Whatever came meanwhile is the first line still.
    let second = loop {
        match server.receive(patience())? {
            Some((line, port)) if line == b"second\n" => break port,
            Some(_) => {}
            None => return Err(Failure::new(Outcome::Timeout, "the second line never came")),
        }
    };
    trial.step("only now comes the answer to the first try");
    server.send(b"tsrif\n", first);
    server.send(b"dnoces\n", second);
    client.expect_exit(0)?;
    client.expect_stdout(b"tsrif\ndnoces\n")
}

pub const STRANGER: Check = Check {
    name: "udp-client-stranger",
    title: "udp-client: a datagram from somebody else is no answer",
    why: "anybody may send to a UDP port; a connected socket receives from its server only",
    hint: "`connect` the UDP socket, or compare the address that `recvfrom` tells",
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
    title: "udp-client: a line that fits in no datagram gets an error, and the next is sent",
    why: "no UDP datagram holds more than 65,507 bytes, and half a line is the wrong line",
    hint: "look at the length before you send; pass over the rest of the line",
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
    title: "udp-client: when nobody receives there it says so and ends with exit status 1",
    why: "the machine itself tells (ICMP port unreachable), to a connected socket only",
    hint: "`connect` the UDP socket: then `recv` returns ECONNREFUSED",
    points: 1,
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
    title: "udp-client: stopped and continued while it waits, it goes on waiting",
    why: "Ctrl-Z and `fg` interrupt a `recv` with a timeout: EINTR, which is no error",
    hint: "EINTR from `recv`: ask again",
    points: 1,
    body: stopped_for_a_while,
    ..UDP_CLIENT
};

fn stopped_for_a_while(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    let options = ["--timeout", "20", "--retries", "0"];
    let client = client(trial, &server, b"hello\n", &options)?.run()?;
    let port = server.expect(b"hello\n")?;
    trial.wait_until("it waits", || client.process.state() == Some('S'))?;
    trial.stop(&client.process)?;
    trial.go_on(&client.process)?;
    server.send(b"olleh\n", port);
    client.expect_exit(0)?;
    client.expect_stdout(b"olleh\n")
}

pub const STDOUT_READER_GONE: Check = Check {
    name: "udp-client-stdout-reader-gone",
    title: "udp-client: when nobody reads its output any more it ends, without a crash",
    why: "`udp-client | head -1` closes the pipe after one line; `println!` panics then",
    hint: "`write` returns EPIPE: there is nothing left to do, so end",
    points: 1,
    body: stdout_reader_gone,
    ..UDP_CLIENT
};

fn stdout_reader_gone(trial: &Trial) -> Verdict {
    let server = trial.datagram_upstream()?;
    // Many answers: another program that is being started may hold the pipe a moment
    // longer, and take the first of them.
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
