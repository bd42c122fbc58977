//! What a UDP server with threads must do: not too many of them, and none that is
//! missing stops it.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nix::sys::resource::Resource;

use super::answers::{crowd, exact_lengths};
use super::base::{ANSWER, UDP};
use crate::check::{Check, Need};
use crate::datagram::unread;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::trial::{Server, Trial};

pub const BOUNDED_IN_A_FLOOD: Check = Check {
    name: "threads-bounded-in-a-flood",
    title: "A flood of datagrams does not start hundreds of threads",
    why: "a thread costs memory and time: whoever sends enough datagrams would stop the machine",
    hint: "start a fixed number of threads, or wait until one is free",
    points: 4,
    body: |trial| {
        // More threads than this are no design, they are one for each datagram.
        bounded_in_a_flood(trial, &[], 100)
    },
    ..UDP
};

fn bounded_in_a_flood(trial: &Trial, options: &[&str], bound: usize) -> Verdict {
    let server = trial.launch().options(options.iter().copied()).start()?;
    let most = flood(&server, Duration::from_secs(1))?;
    trial.step(format!("the server had up to {most} threads"));
    ensure(most <= bound, Outcome::Resources, || {
        format!("it had {most} threads in the flood, {bound} are enough")
    })?;
    answers_after_all_is_read(trial, &server)
}

/// Sends for so long as fast as it can and reads nothing; the largest number of threads
/// that was seen meanwhile.
fn flood(server: &Server, duration: Duration) -> Verdict<usize> {
    let cannot = |error: std::io::Error| Failure::grader("send a flood", error);
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(cannot)?;
    socket.connect(server.address()).map_err(cannot)?;
    let (end, mut most) = (Instant::now() + duration, 0);
    while Instant::now() < end {
        for _ in 0..50 {
            let _ = socket.send(&[b'x'; 500]); // lost or not: it is a flood
        }
        most = most.max(server.figures()?.threads);
    }
    Ok(most)
}

/// One request, when there is room for it again in the server's queue.
fn answers_after_all_is_read(trial: &Trial, server: &Server) -> Verdict {
    trial.wait_until("the server has read all that was sent", || {
        unread(server.address()) == 0 || server.process.status().is_some()
    })?;
    server.expect_running()?;
    let client = server.datagram("the client after the flood")?;
    client.ask(b"hello\n", b"olleh\n", ANSWER)
}

pub const NO_MORE_THREADS: Check = Check {
    name: "no-more-threads",
    title: "When no thread can be created any more the server lives on and answers",
    why: "the number of threads is limited, and others of the same user use them up, too",
    hint: "creating a thread can fail (`pthread_create` returns EAGAIN, `thread::spawn` panics): \
           answer without it",
    points: 3,
    needs: &[Need::Root],
    body: |trial| no_more_threads(trial, &[], 0),
    ..UDP
};

pub const PER_DATAGRAM_NO_MORE_THREADS: Check = Check {
    name: "per-datagram-no-more-threads",
    title: "--per-datagram: when no thread can be created any more the server lives on",
    needs: &[Need::Root, Need::Option("--per-datagram")],
    body: |trial| no_more_threads(trial, &["--per-datagram"], 1),
    ..NO_MORE_THREADS
};

pub const THREADS_NO_MORE: Check = Check {
    name: "threads-option-no-more-threads",
    title: "--threads 8: when fewer can be created, those serve",
    needs: &[Need::Root, Need::Option("--threads")],
    body: |trial| no_more_threads(trial, &["--threads", "8"], 2),
    ..NO_MORE_THREADS
};

fn no_more_threads(trial: &Trial, options: &[&str], user: u32) -> Verdict {
    // The limit counts all of a user's threads, so a user that nobody else is.
    let user = 20_000 + 3 * (std::process::id() % 13_000) + user;
    let server = trial
        .launch()
        .options(options.iter().copied())
        .user(user)?
        .limit(Resource::RLIMIT_NPROC, 2)
        .start()?;
    flood(&server, Duration::from_millis(500))?;
    answers_after_all_is_read(trial, &server)
}

pub const IDLE: Check = Check {
    name: "idle",
    title: "A server that nobody asks uses no CPU time",
    why: "a thread that waits in `recvfrom` costs nothing; one that asks again and again does",
    hint: "let the threads block in `recvfrom`",
    body: idle,
    ..UDP
};

fn idle(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.datagram("the client")?;
    client.ask(b"hello\n", b"olleh\n", ANSWER)?;
    server.expect_idle(Duration::from_millis(500), 0.2)
}

pub const THREADS: Check = Check {
    name: "threads-option",
    title: "--threads 3: three threads serve the socket",
    why: "the number of threads is what the experiment of this stage is about",
    hint: "each of them runs the same loop: receive, reverse, send",
    points: 1,
    needs: &[Need::Option("--threads")],
    body: threads_option,
    ..UDP
};

fn threads_option(trial: &Trial) -> Verdict {
    let server = trial.launch().options(["--threads", "3"]).start()?;
    // One more may wait for the others.
    let right = || matches!(server.figures(), Ok(figures) if (3..=4).contains(&figures.threads));
    trial.wait_until("it has 3 threads", right)?;
    all_answered(&server)
}

fn all_answered(server: &Server) -> Verdict {
    let clients = crowd(server, 40)?;
    clients
        .iter()
        .try_for_each(|client| client.send(b"hello\n"))?;
    clients
        .iter()
        .try_for_each(|client| client.expect(b"olleh\n", ANSWER))
}

pub const PER_DATAGRAM: Check = Check {
    name: "per-datagram",
    title: "--per-datagram: a thread for each datagram answers as exactly",
    why: "the two designs differ in what they cost, not in what they do",
    hint: "give each thread its own copy of the datagram and of the client's address",
    needs: &[Need::Option("--per-datagram")],
    body: |trial| {
        exact_lengths(trial, &["--per-datagram"])?;
        // With a single thread the receiver has to wait for each one.
        for options in [
            &["--per-datagram"][..],
            &["--per-datagram", "--max-threads", "1"],
        ] {
            all_answered(&trial.launch().options(options.iter().copied()).start()?)?;
        }
        Ok(())
    },
    ..UDP
};

pub const MAX_THREADS: Check = Check {
    name: "max-threads",
    title: "--per-datagram --max-threads 8: never more threads than that, also in a flood",
    why: "a bound that a flood can pass is none",
    hint: "while all threads are busy do not receive: the kernel keeps or drops what comes",
    points: 3,
    needs: &[Need::Option("--max-threads")],
    body: |trial| {
        // And the one that receives; and the kernel counts a thread for a little longer
        // than anybody who waits for its end.
        bounded_in_a_flood(trial, &["--per-datagram", "--max-threads", "8"], 16)
    },
    ..UDP
};
