//! `multi-client`: many clients at once, each a process of its own.

use nix::sys::resource::Resource;
use nix::sys::signal::Signal;

use super::base::{CLIENT, expect_failed};
use crate::check::{Check, Need};
use crate::data::show;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::peer::Peer;
use crate::process::Input;
use crate::trial::{Launch, Running, Trial};
use crate::upstream::Upstream;

const MULTI_CLIENT: Check = Check {
    name: "multi-client-all-at-once",
    title: "multi-client: all clients are connected at the same time",
    why: "clients that come one after the other show nothing about a server for many",
    hint: "fork all the children before you wait for the first one",
    points: 3,
    needs: &[Need::Companion("multi-client")],
    body: all_at_once,
    ..CLIENT
};

fn clients<'t>(trial: &'t Trial, server: &Upstream, options: &[&str]) -> Verdict<Launch<'t>> {
    let launch = trial.launch_companion("multi-client")?;
    let launch = launch.input(Input::Nothing).client_of(server.address());
    Ok(launch.options(options.iter().copied()))
}

/// Accepts so many clients, and has the line of each before any gets its answer.
fn accept_all(server: &Upstream, count: usize, line: &[u8]) -> Verdict<Vec<Peer>> {
    let names = (1..=count).map(|number| format!("connection {number}"));
    let peers: Vec<Peer> = names
        .map(|name| server.accept(&name))
        .collect::<Verdict<_>>()?;
    peers.iter().try_for_each(|peer| peer.expect(line))?;
    Ok(peers)
}

/// The numbers of the clients that printed this answer, in order; anything else that
/// was printed is a failure.
fn answered(client: &Running, answer: &str) -> Verdict<Vec<usize>> {
    let printed = client.process.stdout();
    let printed = String::from_utf8_lossy(&printed);
    let mut numbers = Vec::new();
    for line in printed.lines() {
        let rest = line.strip_prefix("[Client ");
        let parts = rest.and_then(|rest| rest.split_once("] "));
        let number = parts.and_then(|(number, _)| number.parse().ok());
        match (number, parts) {
            (Some(number), Some((_, text))) if is_answer(text, answer) => numbers.push(number),
            _ => {
                let what = "a line of its output is not the whole line of one client";
                let failure = Failure::new(Outcome::WrongData, what);
                return Err(failure
                    .expected(show(
                        format!("[Client N] [SERVER MESSAGE] {answer}").as_bytes(),
                    ))
                    .received(show(line.as_bytes())));
            }
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn is_answer(text: &str, answer: &str) -> bool {
    text.strip_prefix("[SERVER MESSAGE] ").unwrap_or(text) == answer
}

fn expect_answered(client: &Running, answer: &str, expected: &[usize]) -> Verdict {
    let numbers = answered(client, answer)?;
    if numbers == expected {
        return Ok(());
    }
    let failure = Failure::new(Outcome::WrongData, "not every client printed its answers");
    Err(failure
        .expected(format!("answers of the clients {expected:?}"))
        .received(format!("answers of the clients {numbers:?}")))
}

pub const ALL_AT_ONCE: Check = MULTI_CLIENT;

fn all_at_once(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let options = ["--clients", "5", "--text", "abc"];
    let client = clients(trial, &server, &options)?.run()?;
    let peers = accept_all(&server, 5, b"abc\n")?;
    // In reverse order: no client may wait for the one before it.
    for peer in peers.into_iter().rev() {
        peer.send(b"cba\n")?;
        peer.expect_end()?;
    }
    client.expect_exit(0)?;
    expect_answered(&client, "cba", &[1, 2, 3, 4, 5])
}

pub const WRONG_ANSWER: Check = Check {
    name: "multi-client-wrong-answer",
    title: "multi-client: a wrong answer is a failure, and the client that got it is named",
    why: "a test client that takes any answer tests nothing",
    hint: "compare the answer with the line reversed; a child's exit status tells its parent",
    body: |trial| one_goes_wrong(trial, |peer| peer.send(b"olleg\n")),
    ..MULTI_CLIENT
};

pub const SERVER_CLOSES: Check = Check {
    name: "multi-client-server-closes",
    title: "multi-client: a connection without an answer is a failure of that client",
    why: "a server that drops one client of three must not look like one that serves them",
    hint: "`recv` returns 0 before the answer is whole: that child has failed",
    body: |trial| one_goes_wrong(trial, |peer| peer.send(b"oll")),
    ..MULTI_CLIENT
};

fn one_goes_wrong(trial: &Trial, mistreat: fn(&Peer) -> Verdict) -> Verdict {
    let server = trial.upstream()?;
    let client = clients(trial, &server, &["--clients", "3"])?.run()?;
    let mut peers = accept_all(&server, 3, b"hello\n")?;
    let unlucky = peers.remove(1);
    mistreat(&unlucky)?;
    unlucky.close();
    for peer in peers {
        peer.send(b"olleh\n")?;
        peer.expect_end()?;
    }
    expect_failed(&client)?;

    let content = answered(&client, "olleh")?;
    let failed = (1..=3).find(|number| !content.contains(number));
    let named = failed.map(|number| format!("Client {number}"));
    let log = client.process.log();
    match named.filter(|name| content.len() == 2 && log.contains(name)) {
        Some(_) => Ok(()),
        None => Err(Failure::behaviour("it does not say which client failed")
            .expected("the two answers, and the number of the third client on stderr")
            .received(format!("answers of {content:?}; `{}`", log.trim_end()))),
    }
}

pub const CONNECTION_REFUSED: Check = Check {
    name: "multi-client-connection-refused",
    title: "multi-client: when nobody listens it fails",
    why: "a script asks the exit status, not the screen",
    hint: "collect the exit status of every child (`waitpid(2)`)",
    points: 1,
    body: connection_refused,
    ..MULTI_CLIENT
};

fn connection_refused(trial: &Trial) -> Verdict {
    let nobody = trial.nobody()?;
    let launch = trial.launch_companion("multi-client")?;
    let client = launch.client_of(nobody.address()).run()?;
    expect_failed(&client)
}

pub const NO_MORE_PROCESSES: Check = Check {
    name: "multi-client-no-more-processes",
    title: "multi-client: when no process can be started any more it says so once, and fails",
    why: "the number of processes is limited, and a thousand errors hide the first one",
    hint: "`fork` returns -1: stop there, and wait for those that were started",
    points: 1,
    needs: &[
        Need::Companion("multi-client"),
        Need::Option("--clients"),
        Need::Root,
    ],
    body: no_more_processes,
    ..MULTI_CLIENT
};

fn no_more_processes(trial: &Trial) -> Verdict {
    // The limit counts all processes of a user, so a user that nobody else is.
    let user = 60_000 + std::process::id() % 5_000;
    let server = trial.upstream()?;
    let client = clients(trial, &server, &["--clients", "1000"])?
        .user(user)?
        .limit(Resource::RLIMIT_NPROC, 3) // the parent and two clients
        .run()?;
    let peers = accept_all(&server, 2, b"hello\n")?;
    client.until_it_rests()?; // it has tried to start the others
    for peer in peers {
        peer.send(b"olleh\n")?;
        peer.expect_end()?;
    }
    expect_failed(&client)?;
    expect_answered(&client, "olleh", &[1, 2])?;
    let log = client.process.log();
    ensure(log.contains("998"), Outcome::Behaviour, || {
        format!(
            "it does not say that 998 were not started: `{}`",
            log.trim_end()
        )
    })?;
    ensure(log.lines().count() <= 5, Outcome::Behaviour, || {
        format!("one error is told in {} lines", log.lines().count())
    })
}

pub const SIGCHLD_IGNORED: Check = Check {
    name: "multi-client-sigchld-ignored",
    title: "multi-client: started by one who ignores SIGCHLD, it still knows how its clients ended",
    why: "what a program's starter ignores it ignores too, and then the kernel keeps no exit status",
    hint: "set SIGCHLD to its default before the first `fork` (`waitpid(2)`, under NOTES)",
    points: 1,
    body: sigchld_ignored,
    ..MULTI_CLIENT
};

fn sigchld_ignored(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let client = clients(trial, &server, &[])?
        .ignoring(Signal::SIGCHLD)
        .run()?;
    for peer in accept_all(&server, 3, b"hello\n")? {
        peer.send(b"olleh\n")?;
        peer.expect_end()?;
    }
    client.expect_exit(0)?;
    expect_answered(&client, "olleh", &[1, 2, 3])
}

pub const FIFTY: Check = Check {
    name: "multi-client-whole-lines",
    title: "multi-client: 50 clients with 5 messages each, and every line comes out whole",
    why: "processes share the terminal: a line in two writes gets another one in its middle",
    hint: "put the line together first, then write it with one `write`",
    body: whole_lines,
    ..MULTI_CLIENT
};

fn whole_lines(trial: &Trial) -> Verdict {
    const CLIENTS: usize = 50;
    const MESSAGES: usize = 5;
    let server = trial.upstream()?;
    let (text, answer) = ("ab".repeat(400), "ba".repeat(400));
    let (count, messages) = (CLIENTS.to_string(), MESSAGES.to_string());
    let options = [
        "--clients",
        &count,
        "--messages",
        &messages,
        "--text",
        &text,
    ];
    let client = clients(trial, &server, &options)?.run()?;
    let line = format!("{text}\n");
    let peers = accept_all(&server, CLIENTS, line.as_bytes())?;
    for round in 1..=MESSAGES {
        // Those of one round print at the same time.
        for peer in &peers {
            peer.send(format!("{answer}\n").as_bytes())?;
        }
        for peer in peers.iter().filter(|_| round < MESSAGES) {
            peer.expect(line.as_bytes())?;
        }
    }
    peers.iter().try_for_each(Peer::expect_end)?;
    client.expect_exit(0)?;
    let expected: Vec<usize> = (0..CLIENTS * MESSAGES).map(|n| n / MESSAGES + 1).collect();
    expect_answered(&client, &answer, &expected)
}
