//! What idle clients cost the server, and what it keeps of clients that have left.

use std::time::Duration;

use super::base::{PHASE1, expect_echo, expect_log};
use super::proxy::echo_service;
use crate::check::{Check, Need};
use crate::checks::clients::echo_ping;
use crate::data::time;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::peer::Peer;
use crate::trial::{Server, Trial};

pub const CHECKS: &[Check] = &[
    IDLE,
    MEMORY_OF_AN_ECHO,
    MEMORY_OF_A_PROXY,
    NOTHING_IS_LEFT,
    crate::checks::soak::ALL_ROLES,
];

const IDLE: Check = Check {
    name: "idle-in-every-role",
    title: "An idle connection never wakes the server, whatever its role",
    why: "most connections of most servers are idle, and a server that wakes up for each of them never sleeps",
    hint: "note edge-triggered readiness once; try nothing until a pipe can move bytes; cancel a \
        timer that is no longer needed",
    chapter: "docs/src/phase1/architecture.md",
    body: idle,
    ..PHASE1
};

fn idle(trial: &Trial) -> Verdict {
    let upstream = echo_service(trial)?;
    let roles = [
        "reverse".to_owned(),
        "echo".to_owned(),
        format!("proxy:{}", upstream.address()),
    ];
    // So short that a timer which was not cancelled expires during the check.
    let options = ["--connect-timeout", "1"];
    let server = trial.launch().options(options).roles(&roles).start()?;
    let mut clients = Vec::new();
    for listener in 0..roles.len() {
        clients.push(server.connect_to(listener, "a client that has sent nothing")?);
        let spoken = server.connect_to(listener, "a client that has its answer")?;
        spoken.ask(b"oxo\n", b"oxo\n")?;
        clients.push(spoken);
    }
    server.expect_asleep(trial.size(Duration::from_secs(2), Duration::from_secs(10)))
}

/// What a connection that does nothing may cost, in bytes of resident memory.
const MOST_PER_CONNECTION: u64 = 1024;

const MEMORY_OF_AN_ECHO: Check = Check {
    name: "thousands-idle-at-an-echo",
    title: "Thousands of idle connections cost at most a kilobyte each, and no CPU time",
    why: "a chat server or a proxy may hold ten thousand connections of which only ten are active",
    hint: "do not keep a buffer for an idle connection: take chunks from a pool and give them back",
    timeout: Duration::from_secs(120),
    // A proxy needs two for each client.
    needs: &[
        Need::Option("--listen"),
        Need::Sockets {
            short: 2_000,
            full: 16_000,
        },
    ],
    body: memory_of_an_echo,
    ..IDLE
};

fn memory_of_an_echo(trial: &Trial) -> Verdict {
    let server = trial.launch().roles(&["echo"]).start()?;
    thousands_idle(trial, &server)
}

const MEMORY_OF_A_PROXY: Check = Check {
    name: "thousands-idle-in-a-proxy",
    body: memory_of_a_proxy,
    ..MEMORY_OF_AN_ECHO
};

fn memory_of_a_proxy(trial: &Trial) -> Verdict {
    let upstream = echo_service(trial)?;
    let role = format!("proxy:{}", upstream.address());
    let server = trial.launch().roles(&[role]).start()?;
    thousands_idle(trial, &server)
}

fn thousands_idle(trial: &Trial, server: &Server) -> Verdict {
    let count: u64 = trial.size(1_000, 8_000);
    let active = server.connect("the active client")?;
    echo_ping(&active)?;
    let alone = server.cost(|| echo_ping(&active))?;
    let before = server.figures()?;
    // Each client sends one message, and what the server needed for it must be given back.
    let idle: Vec<Peer> = (0..count)
        .map(|number| server.connect(&format!("client {number}")))
        .collect::<Verdict<_>>()?;
    idle.iter().try_for_each(echo_ping)?;
    let each = server.figures()?.rss.saturating_sub(before.rss) / count;
    trial.step(format!(
        "each of {count} idle clients costs {each} bytes of memory"
    ));
    let among_many = server.cost(|| echo_ping(&active))?;
    server.expect_asleep(Duration::from_millis(300))?;
    ensure(each <= MOST_PER_CONNECTION, Outcome::Resources, || {
        format!(
            "an idle connection costs {each} bytes of memory; at most {MOST_PER_CONNECTION} are allowed"
        )
    })?;
    server.expect_same_cost(alone, among_many)?;
    let with_clients = server.figures()?.descriptors;
    drop(idle);
    trial.wait_until(
        "the descriptors of the clients that left are closed",
        || {
            server
                .figures()
                .is_ok_and(|now| now.descriptors + count as usize <= with_clients)
        },
    )?;
    trial.step(format!(
        "in short: each of {count} idle clients costs {each} bytes of memory; \
         a message costs {} of CPU time alone, and {} beside them",
        time(alone),
        time(among_many)
    ));
    echo_ping(&active)
}

const NOTHING_IS_LEFT: Check = Check {
    name: "nothing-is-left-of-them",
    title: "The server frees all that it needed for thousands of clients of every kind",
    why: "a server runs for months, so even a small leak with each client uses up all memory or descriptors in the end",
    hint: "create sessions in one place and destroy them in one place; in a debug build, count at the end what is left",
    chapter: "docs/src/phase1/architecture.md",
    timeout: Duration::from_secs(120),
    body: nothing_is_left,
    ..IDLE
};

fn nothing_is_left(trial: &Trial) -> Verdict {
    let public = trial.folder().join("public");
    let file = vec![b'x'; 200_000];
    std::fs::create_dir(&public)
        .and_then(|()| std::fs::write(public.join("f"), &file))
        .map_err(|error| Failure::grader("write a file", error))?;
    let (upstream, nobody) = (echo_service(trial)?, nobody(trial)?);
    let roles = [
        "reverse".to_owned(),
        "echo".to_owned(),
        format!("proxy:{}", upstream.address()),
        "file:f".to_owned(),
        "file:missing".to_owned(),
        format!("proxy:{}", nobody.address()),
    ];
    let options = ["--public".into(), public.into_os_string()];
    let server = trial.launch().options(options).roles(&roles).start()?;
    (0..60).try_for_each(|number| one_of_them(&server, number, &file))?;
    trial.wait_until("the clients that left are gone", || {
        server.process.sockets() == roles.len()
    })?;
    let before = server.figures()?;
    let count = trial.size(1_000, 10_000);
    (60..60 + count).try_for_each(|number| one_of_them(&server, number, &file))?;
    server.expect_no_leak(&before)?;
    expect_echo(&server, 1)?;
    // A debug build of the server counts at its end what it has created and destroyed.
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.expect_exit(0)?;
    expect_log(&server, &format!("clients served: {}\n", 61 + count))
}

fn nobody(_trial: &Trial) -> Verdict<crate::upstream::Nobody> {
    crate::upstream::Nobody::at(([127, 0, 0, 1], 0).into())
}

/// Each number stands for a role and a way to leave.
fn one_of_them(server: &Server, number: usize, file: &[u8]) -> Verdict {
    let listener = number % 6;
    let client = server.connect_to(listener, "a client")?;
    match (listener, number / 6 % 5) {
        (4, _) => return client.expect_gone(),
        (5, 0) => client.send(b"hello").or(Ok(()))?,
        (5, _) => return client.expect_gone(),
        (3, 0) => {
            client.expect(file)?;
            return client.expect_end();
        }
        (3, 1) => client.expect(&file[..1_000])?,
        (_, 0) => {
            client.send(b"oxo\n")?;
            client.half_close()?;
            client.expect_gone()?;
        }
        (_, 1) => client.send(b"oxo\n")?,
        (_, 2) => {
            client.send(b"half a line")?;
            return client.reset();
        }
        (_, 3) => return client.reset(),
        (_, _) => {}
    }
    client.close();
    Ok(())
}
