//! What a UDP server with threads must do: start not too many of them, and go on when no more
//! can be started.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nix::sys::resource::Resource;

use super::answers::{crowd, exact_lengths};
use super::base::{ANSWER, UDP};
use crate::check::{Check, Need, Tier};
use crate::datagram::unread;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::patience::patience;
use crate::trial::{Server, Trial};

pub const BOUNDED_IN_A_FLOOD: Check = Check {
    name: "threads-bounded-in-a-flood",
    title: "A flood of datagrams does not start hundreds of threads",
    why: "a thread costs memory and time, so a flood of datagrams could stop the whole machine",
    hint: "start a fixed number of threads, or wait until one is free before the next `recvfrom`",
    body: |trial| {
        // A server with more threads than this starts one for each datagram.
        bounded_in_a_flood(trial, &[], 100)
    },
    ..UDP
};

fn bounded_in_a_flood(trial: &Trial, options: &[&str], bound: usize) -> Verdict {
    let server = trial.launch().options(options.iter().copied()).start()?;
    let most = flood(&server, Duration::from_secs(1))?;
    trial.step(format!("the server had up to {most} threads"));
    ensure(most <= bound, Outcome::Resources, || {
        format!("the server had {most} threads during the flood; at most {bound} are allowed")
    })?;
    answers_after_all_is_read(trial, &server)
}

/// Sends as fast as it can for this long, and reads nothing. Returns the largest number of
/// threads that the server had meanwhile.
fn flood(server: &Server, duration: Duration) -> Verdict<usize> {
    let (end, mut most) = (Instant::now() + duration, 0);
    flood_while(server, || {
        most = most.max(server.figures()?.threads);
        Ok(Instant::now() < end)
    })?;
    Ok(most)
}

/// Sends as fast as it can and reads nothing, as long as `goes_on` says so.
fn flood_while(server: &Server, mut goes_on: impl FnMut() -> Verdict<bool>) -> Verdict {
    let cannot = |error: std::io::Error| Failure::grader("send a flood", error);
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(cannot)?;
    socket.connect(server.address()).map_err(cannot)?;
    while goes_on()? {
        for _ in 0..50 {
            let _ = socket.send(&[b'x'; 500]); // it may be lost: this is a flood
        }
    }
    Ok(())
}

/// Expects that threads begin and end while datagrams come. A fixed number of threads always has
/// the same ids.
fn expect_new_threads(trial: &Trial, server: &Server) -> Verdict {
    let (mut seen, mut most) = (BTreeSet::new(), 0);
    let deadline = trial.deadline().min(Instant::now() + patience());
    let has_new = |seen: &BTreeSet<u32>, most| seen.len() >= most + 10;
    flood_while(server, || {
        let ids = server.process.thread_ids();
        most = most.max(ids.len());
        seen.extend(ids);
        server.expect_running()?;
        Ok(!has_new(&seen, most) && Instant::now() < deadline)
    })?;
    let count = seen.len();
    let up_to = format!("{count} different threads, up to {most} at the same time");
    trial.step(format!("during a flood the server had {up_to}"));
    ensure(has_new(&seen, most), Outcome::Behaviour, || {
        format!("the server does not start a thread for each datagram: it had {up_to}")
    })
}

/// One request, after the server's queue has room for it again.
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
    title: "The server goes on answering when no more threads can be created",
    why: "the number of threads of a user is limited, and the user's other programs may need them all",
    hint: "when `pthread_create` returns EAGAIN, answer without a new thread; in Rust use \
           `thread::Builder`, because `thread::spawn` panics",
    needs: &[Need::Root],
    body: |trial| no_more_threads(trial, &[], 0),
    ..UDP
};

pub const PER_DATAGRAM_NO_MORE_THREADS: Check = Check {
    name: "per-datagram-no-more-threads",
    title: "The server with --per-datagram goes on answering when no more threads can be created",
    needs: &[Need::Root, Need::Option("--per-datagram")],
    body: |trial| no_more_threads(trial, &["--per-datagram"], 1),
    ..NO_MORE_THREADS
};

pub const THREADS_NO_MORE: Check = Check {
    name: "threads-option-no-more-threads",
    title: "The server with --threads 8 answers with fewer threads when no more can be created",
    needs: &[Need::Root, Need::Option("--threads")],
    body: |trial| no_more_threads(trial, &["--threads", "8"], 2),
    ..NO_MORE_THREADS
};

fn no_more_threads(trial: &Trial, options: &[&str], user: u32) -> Verdict {
    // The limit counts all threads of a user, so we take a user that has no others.
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
    title: "A server without requests uses no CPU time",
    why: "a thread that blocks in `recvfrom` costs nothing, but one that loops uses a whole CPU",
    hint: "let the threads block in `recvfrom`",
    tier: Tier::Solid,
    body: idle,
    ..UDP
};

fn idle(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.datagram("the client")?;
    client.ask(b"hello\n", b"olleh\n", ANSWER)?;
    server.expect_idle(Duration::from_millis(500), 0.2)
}

pub const SEVERAL: Check = Check {
    name: "several-threads",
    title: "The server has more than one thread, if the machine has more than one CPU",
    why: "one thread uses one CPU: while it works on a datagram, all others wait in the queue",
    hint: "start threads that all call `recvfrom` on the same socket: the kernel gives each datagram \
           to one of them",
    body: several_threads,
    ..UDP
};

fn several_threads(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.datagram("the client")?;
    client.ask(b"hello\n", b"olleh\n", ANSWER)?;
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1) {
        trial.step("this machine has one CPU, and one thread is enough for it");
        return Ok(());
    }
    // A server may also start a thread for each datagram, and then it has one when nothing comes.
    let deadline = trial.deadline().min(Instant::now() + patience());
    let mut most = 0;
    flood_while(&server, || {
        most = most.max(server.figures()?.threads);
        Ok(most < 2 && Instant::now() < deadline)
    })?;
    ensure(most >= 2, Outcome::Behaviour, || {
        "the server had one thread only, also during a flood of datagrams".to_owned()
    })
}

pub const THREADS: Check = Check {
    name: "threads-option",
    title: "The server with --threads 3 serves its socket with three threads",
    why: "the experiment of this stage compares different numbers of threads",
    hint: "let each thread run the same loop: `recvfrom`, reverse, `sendto`",
    needs: &[Need::Option("--threads")],
    body: threads_option,
    ..UDP
};

fn threads_option(trial: &Trial) -> Verdict {
    let server = trial.launch().options(["--threads", "3"]).start()?;
    // The main thread may be one more, which waits for the others.
    let right = || matches!(server.figures(), Ok(figures) if (3..=4).contains(&figures.threads));
    trial.wait_until("the server has 3 threads", right)?;
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
    title: "The server with --per-datagram, a thread for each datagram, gives the same answers",
    why: "the two designs differ in what they cost, not in what they do",
    hint: "give each thread its own copy of the datagram and of the address from `recvfrom`",
    needs: &[Need::Option("--per-datagram")],
    body: |trial| {
        exact_lengths(trial, &["--per-datagram"])?;
        // With --max-threads 1 the receiver has to wait for each thread.
        for options in [
            &["--per-datagram"][..],
            &["--per-datagram", "--max-threads", "1"],
        ] {
            let server = trial.launch().options(options.iter().copied()).start()?;
            all_answered(&server)?;
            expect_new_threads(trial, &server)?;
        }
        Ok(())
    },
    ..UDP
};

pub const MAX_THREADS: Check = Check {
    name: "max-threads",
    title: "The server with --per-datagram --max-threads 8 keeps to that limit, even in a flood",
    why: "a limit that a flood can exceed does not protect the machine",
    hint: "do not call `recvfrom` while all threads are busy: the kernel keeps or drops what comes",
    needs: &[Need::Option("--max-threads")],
    body: |trial| {
        // The thread that receives is one more. And the kernel still counts a thread for a moment
        // after another thread has joined it.
        bounded_in_a_flood(trial, &["--per-datagram", "--max-threads", "8"], 16)
    },
    ..UDP
};
