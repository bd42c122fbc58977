//! `multi-client`: many clients at the same time, each in its own process.

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
    title: "multi-client has all its clients connected at the same time",
    why: "clients that connect one after the other do not test a server for many clients",
    hint: "`fork` all children before you `wait` for the first one",
    needs: &[Need::Companion("multi-client")],
    body: all_at_once,
    ..CLIENT
};

fn clients<'t>(trial: &'t Trial, server: &Upstream, options: &[&str]) -> Verdict<Launch<'t>> {
    let launch = trial.launch_companion("multi-client")?;
    let launch = launch.input(Input::Nothing).client_of(server.address());
    Ok(launch.options(options.iter().copied()))
}

/// Accepts this many clients, and receives the line of each before any gets its answer.
fn accept_all(server: &Upstream, count: usize, line: &[u8]) -> Verdict<Vec<Peer>> {
    let names = (1..=count).map(|number| format!("the server (connection {number})"));
    let peers: Vec<Peer> = names
        .map(|name| server.accept(&name))
        .collect::<Verdict<_>>()?;
    peers.iter().try_for_each(|peer| peer.expect(line))?;
    Ok(peers)
}

/// The numbers of the clients that printed this answer, in order. Any other output is a
/// failure.
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
                let what = "a line of the output is not one complete line of one client";
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
    let failure = Failure::new(
        Outcome::WrongData,
        "not every client has printed its answers",
    );
    Err(failure
        .expected(format!("answers to the clients {expected:?}"))
        .received(format!("answers to the clients {numbers:?}")))
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

pub const KILLED: Check = Check {
    name: "multi-client-killed",
    title: "When multi-client is killed, its children end as well",
    why: "a child outlives its parent, and one that waits for a silent server waits forever",
    hint: "in the child, ask the kernel for a signal at the parent's end (PR_SET_PDEATHSIG in prctl(2)), and then check with `getppid` that the parent still runs",
    body: killed,
    ..MULTI_CLIENT
};

fn killed(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let options = ["--clients", "3", "--text", "abc"];
    let client = clients(trial, &server, &options)?.run()?;
    let silent = accept_all(&server, 3, b"abc\n")?;
    client.process.signal(Signal::SIGKILL);
    trial.step("the check kills multi-client, and answers none of its children");
    silent.iter().try_for_each(Peer::expect_gone)
}

pub const WRONG_ANSWER: Check = Check {
    name: "multi-client-wrong-answer",
    title: "multi-client fails when an answer is wrong, and names the client that got it",
    why: "a test client that accepts any answer tests nothing",
    hint: "compare the answer with the reversed line, and report it by the exit status of the child",
    body: |trial| one_goes_wrong(trial, |peer| peer.send(b"olleg\n")),
    ..MULTI_CLIENT
};

pub const SERVER_CLOSES: Check = Check {
    name: "multi-client-server-closes",
    title: "multi-client fails when a connection ends before its answer, and names the client",
    why: "a server that drops one of three clients must not look like one that serves them all",
    hint: "when `recv` returns 0 before the answer is complete, end that child with an error status",
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
        None => Err(
            Failure::behaviour("multi-client does not say which client failed")
                .expected("answers to two clients, and `Client N` for the third on stderr")
                .received(format!(
                    "answers to the clients {content:?}; stderr `{}`",
                    log.trim_end()
                )),
        ),
    }
}

pub const CONNECTION_REFUSED: Check = Check {
    name: "multi-client-connection-refused",
    title: "multi-client fails when its connections are refused",
    why: "a script looks at the exit status, not at the screen",
    hint: "collect the exit status of every child (`waitpid(2)`)",
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
    title: "multi-client fails when no more processes can be started, and reports it once",
    why: "the number of processes is limited, and a thousand messages hide the first one",
    hint: "when `fork` returns -1, start no more clients, and wait for those that run",
    needs: &[
        Need::Companion("multi-client"),
        Need::Option("--clients"),
        Need::Root,
    ],
    body: no_more_processes,
    ..MULTI_CLIENT
};

fn no_more_processes(trial: &Trial) -> Verdict {
    // The limit counts all processes of a user, so we take a user that has no others.
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
            "stderr does not say that 998 clients were not started: `{}`",
            log.trim_end()
        )
    })?;
    ensure(log.lines().count() <= 5, Outcome::Behaviour, || {
        format!("one error is reported in {} lines", log.lines().count())
    })
}

pub const SIGCHLD_IGNORED: Check = Check {
    name: "multi-client-sigchld-ignored",
    title: "multi-client knows how its clients ended, even if it was started with SIGCHLD ignored",
    why: "a program inherits ignored signals, and if SIGCHLD is ignored the kernel keeps no exit status",
    hint: "set SIGCHLD to its default before the first `fork` (`waitpid(2)`, under NOTES)",
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
    title: "multi-client prints every line whole, even with 50 clients that send 5 messages each",
    why: "processes share the terminal: between two writes of one line, another process may print",
    hint: "put the whole line together first, and then print it with one `write`",
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
        // The clients of one round print at the same time.
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
