//! Graceful shutdown: the server delivers what it owes, and then ends without waiting.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::base::{PHASE1, expect_echo, expect_log};
use super::proxy::{echo_service, until_it_connects};
use crate::check::{Check, Need};
use crate::checks::reversing::comes_true_soon;
use crate::data::{Pattern, lines, time};
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::patience::patience;
use crate::peer::{Peer, both};
use crate::trial::{Server, Trial};
use crate::upstream::Deaf;

pub const CHECKS: &[Check] = &[
    AT_ONCE,
    OWED,
    MID_FILE,
    PAIR_LIVES_ON,
    CONNECTING,
    CUT_OFF,
    SECOND_SIGNAL,
    IN_THE_QUEUE,
    UNDER_LOAD,
];

/// Longer than any check waits: a server that ends in time has not needed this timeout.
const LONG: [&str; 2] = ["--drain-timeout", "60"];

const AT_ONCE: Check = Check {
    name: "sigterm-when-nothing-is-owed",
    title: "SIGTERM ends the server immediately when it owes nothing to its clients",
    why: "a restart takes long if the server waits for clients that it owes nothing",
    hint: "when the drain begins, close each client whose pipe is empty",
    chapter: "docs/src/phase1/architecture.md",
    needs: &[Need::Option("--drain-timeout")],
    body: at_once,
    ..PHASE1
};

fn at_once(trial: &Trial) -> Verdict {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = trial.launch().options(LONG).roles(&["reverse", "echo"]);
        let server = server.start()?;
        let mut clients = Vec::new();
        for listener in [0, 1] {
            clients.push(server.connect_to(listener, "a client that has sent nothing")?);
            let client = server.connect_to(listener, "a client that has its answer")?;
            client.ask(b"oxo\n", b"oxo\n")?;
            clients.push(client);
        }
        let begun = Instant::now();
        server.signal(signal);
        server.expect_exit(0)?;
        trial.step(format!("the server ends after {}", time(begun.elapsed())));
        clients.iter().try_for_each(|client| client.expect_end())?;
    }
    Ok(())
}

const OWED: Check = Check {
    name: "sigterm-while-answers-are-owed",
    title: "Clients still get what they are owed after SIGTERM, and no new client is accepted",
    why: "a client may rely on an answer to every request that the server has read",
    hint: "treat SIGTERM as if each client had half-closed: answer, flush, close",
    body: owed,
    ..AT_ONCE
};

fn owed(trial: &Trial) -> Verdict {
    let server = trial.launch().options(LONG).roles(&["reverse", "echo"]);
    let server = server.start()?;
    let line = [b"ab".repeat(16 * 1024), b"\n".to_vec()].concat();
    let answer = crate::data::reversed(&line);
    let late: Vec<_> = [0, 1]
        .into_iter()
        .map(|listener| server.connect_to(listener, "a client that reads late"))
        .collect::<Verdict<_>>()?;
    // As much as the sockets and the pipe take: the server has read all lines, but cannot send all
    // answers.
    let mut counts = [0, 0];
    for (client, count) in late.iter().zip(&mut counts) {
        while *count < 400 && comes_true_soon(|| all_is_read(client)) {
            client.send(&line)?;
            *count += 1;
        }
        trial.step(format!("the client sends {count} lines in all"));
    }
    server.signal(Signal::SIGTERM);
    expect_to_end(trial, &server)?;
    for (client, (count, expected)) in late.iter().zip(counts.into_iter().zip([&answer, &line])) {
        // The last one may have come too late to be read.
        (1..count).try_for_each(|_| client.expect(expected))?;
    }
    late.iter().try_for_each(|client| client.expect_gone())?;
    server.expect_exit(0)
}

fn all_is_read(client: &Peer) -> bool {
    client.on_the_way().is_some_and(|it| it.to_the_program == 0)
}

const MID_FILE: Check = Check {
    name: "sigterm-mid-file",
    title: "A file that is being sent when SIGTERM comes is still sent to its end",
    why: "a restart must not break off a download",
    hint: "during the drain, let a session that has bytes to send go on as before",
    needs: &[Need::Option("--drain-timeout"), Need::Option("--public")],
    body: mid_file,
    ..AT_ONCE
};

fn mid_file(trial: &Trial) -> Verdict {
    let (pattern, length) = (Pattern::new(1), 50_000_000);
    let public = public_folder(trial, pattern, length)?;
    let options = ["--public".into(), public.into_os_string()];
    let launch = trial.launch().options(LONG).options(options);
    let server = launch.roles(&["file:f", "echo"]).start()?;
    let client = server.connect("the client of the file")?;
    client.expect_pattern(pattern, 1_000)?;
    let idle = server.connect_to(1, "an idle client")?;
    idle.ask(b"x", b"x")?;
    server.signal(Signal::SIGTERM);
    idle.expect_end()?;
    client.expect(&pattern.bytes(length)[1_000..])?;
    client.expect_end()?;
    client.close();
    server.expect_exit(0)
}

/// Makes a public folder with one file, `f`.
fn public_folder(trial: &Trial, pattern: Pattern, length: usize) -> Verdict<PathBuf> {
    let public = trial.folder().join("public");
    fs::create_dir(&public)
        .and_then(|()| fs::write(public.join("f"), pattern.bytes(length)))
        .map_err(|error| Failure::grader("write a file", error))?;
    Ok(public)
}

const PAIR_LIVES_ON: Check = Check {
    name: "sigterm-and-a-proxied-pair",
    title: "A client and its upstream can go on after SIGTERM until both have ended",
    why: "only these two know when they are done, because a proxy does not understand what it carries",
    hint: "end a proxied pair when both of its directions have ended, not before",
    body: pair_lives_on,
    ..AT_ONCE
};

/// Waits until the server has read the first signal and has closed its listener, so that no more
/// clients are accepted.
fn expect_to_end(trial: &Trial, server: &Server) -> Verdict {
    expect_log(server, "Stopping")?;
    let refuses = || TcpStream::connect(server.address()).is_err();
    trial.wait_until("the server accepts no more clients", refuses)
}

fn pair_lives_on(trial: &Trial) -> Verdict {
    let upstream = trial.upstream()?;
    let role = format!("proxy:{}", upstream.address());
    let server = trial.launch().options(LONG).roles(&[role]).start()?;
    let client = server.connect("the client")?;
    let served = upstream.accept("the upstream")?;
    let half = server.connect("a client that half-closes")?;
    let half_served = upstream.accept("the upstream of the client that half-closes")?;
    client.ask(b"", b"")?;
    half.send(b"all I say")?;
    half.half_close()?;
    half_served.expect(b"all I say")?;
    half_served.expect_end()?;
    server.signal(Signal::SIGTERM);
    expect_to_end(trial, &server)?;
    for _ in 0..3 {
        client.send(b"still here?")?;
        served.expect(b"still here?")?;
        served.send(b"yes")?;
        client.expect(b"yes")?;
        half_served.send(b"more")?;
        half.expect(b"more")?;
    }
    half_served.close();
    half.expect_end()?;
    half.close();
    client.half_close()?;
    served.expect_end()?;
    served.send(b"bye")?;
    client.expect(b"bye")?;
    server.expect_running()?;
    served.close();
    client.expect_end()?;
    client.close();
    server.expect_exit(0)
}

const CONNECTING: Check = Check {
    name: "sigterm-while-connecting",
    title: "A client whose upstream does not answer delays the end by `--drain-timeout` at most",
    why: "a server that does not end in time is killed, and then all its clients lose their connections",
    hint: "use one drain timer for all clients; when it expires, cut off those that are left",
    body: connecting,
    ..AT_ONCE
};

fn connecting(trial: &Trial) -> Verdict {
    let deaf = Deaf::listen()?;
    let role = format!("proxy:{}", deaf.address());
    let options = ["--drain-timeout", "1", "--connect-timeout", "60"];
    let server = trial.launch().options(options).roles(&[role]).start()?;
    let before = server.figures()?.descriptors;
    let client = server.connect("the client")?;
    client.send(b"hello?")?;
    until_it_connects(trial, &server, before)?;
    server.signal(Signal::SIGTERM);
    server.expect_exit(0)?;
    client.expect_gone()
}

const CUT_OFF: Check = Check {
    name: "sigterm-and-a-client-that-never-reads",
    title: "A client that does not read what it is owed is cut off after `--drain-timeout`, and counted",
    why: "the server must end at some point, and an operator must know how many clients were cut off",
    hint: "when the timer expires, count the clients that are still owed something, log their number, and exit with status 0",
    body: cut_off,
    ..AT_ONCE
};

fn cut_off(trial: &Trial) -> Verdict {
    let roles = ["echo", "reverse"];
    let launch = trial.launch().options(["--drain-timeout", "1"]);
    let server = launch.roles(&roles).start()?;
    let mut stuck = Vec::new();
    for listener in 0..roles.len() {
        let client = server.connect_to(listener, "a client that never reads")?;
        client.send_until_stuck(&lines(1, 1_000_000), 64 << 20)?;
        stuck.push(client);
    }
    let begun = Instant::now();
    server.signal(Signal::SIGTERM);
    server.expect_exit(0)?;
    let took = begun.elapsed();
    trial.step(format!("the server ends after {}", time(took)));
    ensure(
        took >= Duration::from_millis(900),
        Outcome::Behaviour,
        || {
            format!(
                "the server ended after {}, but its clients had one second to read",
                time(took)
            )
        },
    )?;
    expect_log(&server, "Drain timeout: 2 clients cut off\n")
}

const SECOND_SIGNAL: Check = Check {
    name: "second-signal",
    title: "A second signal ends the server immediately with exit status 1, and resets waiting clients",
    why: "a user who presses Ctrl-C twice does not want to wait for any client",
    hint: "during the drain, let the same signal close everything and end the loop",
    body: second_signal,
    ..AT_ONCE
};

fn second_signal(trial: &Trial) -> Verdict {
    let public = public_folder(trial, Pattern::new(2), 30_000_000)?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let options = ["--public".into(), public.clone().into_os_string()];
        let launch = trial.launch().options(LONG).options(options);
        let server = launch.roles(&["echo", "file:f"]).start()?;
        let stuck = server.connect("a client that never reads")?;
        stuck.send_until_stuck(&lines(1, 1_000_000), 64 << 20)?;
        let download = server.connect_to(1, "the client of a file")?;
        download.expect_pattern(Pattern::new(2), 1_000)?;
        server.signal(Signal::SIGTERM);
        expect_to_end(trial, &server)?;
        server.signal(signal);
        server.expect_exit(1)?;
        stuck.expect_reset()?;
        download.expect_reset()?;
    }
    Ok(())
}

const IN_THE_QUEUE: Check = Check {
    name: "sigterm-and-clients-in-the-queue",
    title: "Clients that are still in the listen queue when SIGTERM comes get their answers",
    why: "these clients are connected and may have sent a request, and closing the listener resets them",
    hint: "call `accept` until EAGAIN, then close the listener, then begin the drain",
    body: in_the_queue,
    ..AT_ONCE
};

fn in_the_queue(trial: &Trial) -> Verdict {
    let server = trial.launch().options(LONG).roles(&["reverse", "echo"]);
    let server = server.start()?;
    trial.stop(&server.process)?;
    // More than are accepted in one turn.
    let mut clients = Vec::new();
    for number in 0..100 {
        let client = server.connect_to(number % 2, &format!("client {number}"))?;
        client.send(b"oxo\n")?;
        clients.push(client);
    }
    server.signal(Signal::SIGTERM);
    trial.go_on(&server.process)?;
    for client in &clients {
        client.expect(b"oxo\n")?;
        client.expect_end()?;
    }
    server.expect_exit(0)
}

const UNDER_LOAD: Check = Check {
    name: "sigterm-in-every-role-under-load",
    title: "SIGTERM ends a busy server normally, and all bytes that clients got until then are right",
    why: "a server must react to SIGTERM even when it has much to do",
    hint: "read the signal from a `signalfd` in the same epoll, as one more event of the loop",
    body: under_load,
    ..AT_ONCE
};

fn under_load(trial: &Trial) -> Verdict {
    let upstream = echo_service(trial)?;
    let roles = ["echo".to_owned(), format!("proxy:{}", upstream.address())];
    let launch = trial.launch().options(["--drain-timeout", "2"]);
    let server = launch.roles(&roles).start()?;
    expect_echo(&server, 0)?;
    expect_echo(&server, 1)?;
    let stream = |listener: usize| stream_until_the_end(&server, listener);
    std::thread::scope(|scope| {
        let streams = [0, 0, 1, 1].map(|listener| scope.spawn(move || stream(listener)));
        std::thread::sleep(Duration::from_millis(300)); // the load itself
        server.signal(Signal::SIGTERM);
        let ended = server.expect_exit(0);
        if ended.is_err() {
            server.signal(Signal::SIGKILL); // so that the threads end
        }
        let broken = || Err(Failure::grader("a thread", "panicked"));
        let streams = streams.map(|stream| stream.join().unwrap_or_else(|_| broken()));
        streams.into_iter().fold(ended, |all, one| all.and(one))
    })
}

/// Sends without a pause until the server ends. What comes back until then must be right.
fn stream_until_the_end(server: &Server, listener: usize) -> Verdict {
    let client = server
        .connect_to(listener, "a busy client")?
        .with_patience(patience());
    let pattern = Pattern::new(7);
    let send = || {
        let _ = client.send_pattern(pattern, u64::MAX); // ends with the server
        Ok(())
    };
    let receive = || {
        let (mut chunk, mut at) = (vec![0; 64 * 1024], 0);
        loop {
            let expected = pattern.at(at);
            let most = expected.len().min(chunk.len());
            match client.receive(&mut chunk[..most]) {
                Ok(0) => return Ok(()),
                Ok(count) if chunk[..count] != expected[..count] => {
                    let what = format!("a busy client received wrong bytes after {at} right ones");
                    return Err(Failure::new(Outcome::WrongData, what));
                }
                Ok(count) => at += count as u64,
                Err(failure) if failure.outcome == Outcome::Reset => return Ok(()),
                Err(failure) => return Err(failure),
            }
        }
    };
    both(send, receive)
}
