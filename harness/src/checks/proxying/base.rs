//! What the checks of a proxy have in common, and the first of them.

use std::fmt::Display;
use std::time::Duration;

use crate::check::{Check, Tier};
use crate::checks::clients::echo_ping;
use crate::failure::Verdict;
use crate::peer::Peer;
use crate::stage::Stage;
use crate::trial::{Launch, Server, Trial};
use crate::upstream::{Service, Upstream};

/// What most of these checks have in common.
pub const PROXY: Check = Check {
    stage: Stage::Stage05,
    role: "",
    name: "passes-requests-and-answers",
    title: "What the client sends reaches the upstream, and the answer comes back",
    why: "this is what a proxy is for",
    hint: "open a separate connection to the upstream for each client; send what you receive on one of the two to the other",
    chapter: "docs/src/phase0/stage05.md",
    tier: Tier::Core,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: passes_requests_and_answers,
};

/// The stage's proxy in front of this upstream, ready to be started.
pub fn launch<'t>(trial: &'t Trial<'_>, upstream: impl Display) -> Launch<'t> {
    match trial.stage() {
        Stage::Phase1 => trial.launch().roles(&[format!("proxy:{upstream}")]),
        _ => trial.launch().towards("--upstream", upstream),
    }
}

/// Starts the stage's proxy in front of this upstream.
pub fn proxy(trial: &Trial, upstream: impl Display) -> Verdict<Server> {
    launch(trial, upstream).start()
}

/// Starts a proxy, and the upstream whose connections the check accepts itself.
pub fn start(trial: &Trial) -> Verdict<(Server, Upstream)> {
    let upstream = trial.upstream()?;
    let server = proxy(trial, upstream.address())?;
    Ok((server, upstream))
}

/// Starts a proxy in front of an upstream that sends everything back.
pub fn start_echo(trial: &Trial) -> Verdict<(Server, Service)> {
    let upstream = trial.upstream()?.serve(echo);
    let server = proxy(trial, upstream.address())?;
    Ok((server, upstream))
}

pub fn echo(_: usize, upstream: &Peer) -> Verdict {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match upstream.receive(&mut chunk)? {
            0 => return Ok(()),
            count => upstream.send(&chunk[..count])?,
        }
    }
}

/// Both ends of a connection through the proxy.
pub struct Ends {
    pub client: Peer,
    pub upstream: Peer,
}

pub fn join(server: &Server, upstream: &Upstream, name: &str) -> Verdict<Ends> {
    let client = server.connect(name)?;
    let upstream = upstream.accept(&format!("the upstream of {name}"))?;
    Ok(Ends { client, upstream })
}

impl Ends {
    pub fn ping(&self) -> Verdict {
        self.client.send(b"ping\n")?;
        self.upstream.expect(b"ping\n")?;
        self.upstream.send(b"pong\n")?;
        self.client.expect(b"pong\n")
    }

    /// Closes the client and then the upstream, so that the proxy can close both its sockets.
    pub fn close(self) -> Verdict {
        self.client.close();
        self.upstream.expect_end()?;
        self.upstream.close();
        Ok(())
    }
}

/// Expects that a new client is served and that the process still runs.
pub fn expect_alive(server: &Server, upstream: &Upstream) -> Verdict {
    server.expect_running()?;
    let ends = join(server, upstream, "a new client")?;
    ends.ping()?;
    ends.close()?;
    server.expect_running()
}

/// The same with an upstream that sends everything back.
pub fn expect_echo(server: &Server) -> Verdict {
    server.expect_running()?;
    let client = server.connect("a new client")?;
    echo_ping(&client)?;
    server.expect_running()
}

pub const PASSES_REQUESTS_AND_ANSWERS: Check = PROXY;

fn passes_requests_and_answers(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    let ends = join(&server, &upstream, "the client")?;
    ends.client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")?;
    ends.upstream
        .expect(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")?;
    ends.upstream
        .send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
    ends.client
        .expect(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
    // More requests follow on the same connection.
    (0..10).try_for_each(|_| ends.ping())
}

pub const CLIENTS_AT_THE_SAME_TIME: Check = Check {
    name: "clients-at-the-same-time",
    title: "Five clients are served at the same time, and each gets its own answer",
    why: "a browser opens several connections at the same time, and no answer may go to the wrong one",
    hint: "find the other socket of the pair from each socket, and block only in `epoll_wait`",
    body: clients_at_the_same_time,
    ..PROXY
};

fn clients_at_the_same_time(trial: &Trial) -> Verdict {
    let (server, upstream) = start(trial)?;
    answered_in_reverse_order(&server, &upstream, 5)?;
    server.expect_running()
}

/// The client that connected last is answered first, so that a proxy that serves one client after
/// the other cannot pass.
pub fn answered_in_reverse_order(
    server: &Server,
    upstream: &Upstream,
    count: usize,
) -> Verdict<Vec<Ends>> {
    let all: Vec<Ends> = (1..=count)
        .map(|number| join(server, upstream, &format!("client {number}")))
        .collect::<Verdict<_>>()?;
    for (number, ends) in all.iter().enumerate() {
        ends.client.send(format!("request {number}\n").as_bytes())?;
    }
    for (number, ends) in all.iter().enumerate().rev() {
        ends.upstream
            .expect(format!("request {number}\n").as_bytes())?;
        ends.upstream
            .send(format!("answer {number}\n").as_bytes())?;
        ends.client
            .expect(format!("answer {number}\n").as_bytes())?;
    }
    Ok(all)
}
