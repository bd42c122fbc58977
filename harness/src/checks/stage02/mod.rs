//! Stage 2: the client. The check plays the server; [`multi`] is about the program that
//! forks many clients.

use std::time::Duration;

mod endings;
mod multi;
mod pipes;
mod signals;
mod terminal;

use crate::check::{Check, Need, Tier};
use crate::failure::{Failure, Verdict};
use crate::process::Input;
use crate::stage::Stage;
use crate::trial::{Launch, Running, Trial};
use crate::upstream::Upstream;

pub const CHECKS: &[Check] = &[
    terminal::SHOWS_EACH_ANSWER,
    endings::CONNECTION_REFUSED,
    endings::SERVER_CLOSES_UNANSWERED,
    pipes::END_OF_INPUT,
    pipes::ANSWERS_CUT_ANYWHERE,
    pipes::LINES_FASTER_THAN_ANSWERS,
    pipes::LARGE_FILE,
    pipes::SLOW_SERVER,
    pipes::ANSWERS_IN_BULK,
    pipes::LATE_READER,
    pipes::LAST_LINE_WITHOUT_NEWLINE,
    pipes::ANY_BYTES,
    pipes::IDLE,
    terminal::ANSWER_IN_PIECES,
    terminal::PROMPT,
    terminal::CONTROL_BYTES,
    terminal::END_OF_INPUT,
    endings::REASON_OF_A_REFUSAL,
    endings::SERVER_GONE_AT_THE_PROMPT,
    endings::SERVER_CLOSES_EARLY,
    endings::SERVER_RESETS,
    endings::STDOUT_READER_GONE,
    endings::UNKNOWN_HOST,
    endings::USAGE,
    signals::STOPPED_WHILE_IT_WAITS,
    signals::STOPPED_WHILE_IT_CARRIES,
    signals::ENDS_ON_A_SIGNAL,
    HOST_NAME,
    IPV6,
    multi::ALL_AT_ONCE,
    multi::WRONG_ANSWER,
    multi::SERVER_CLOSES,
    multi::CONNECTION_REFUSED,
    multi::NO_MORE_PROCESSES,
    multi::SIGCHLD_IGNORED,
    multi::FIFTY,
];

/// What the checks of this stage have in common.
const CLIENT: Check = Check {
    stage: Stage::Stage02,
    id: "stage02/shows-each-answer",
    title: "What is typed goes to the server, and its answer is shown",
    why: "it is what the client is for",
    hint: "send the line with its `\\n`, receive, print what was received",
    chapter: "docs/src/phase0/stage02.md",
    tier: Tier::Robust,
    points: 2,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: terminal::shows_each_answer,
};

/// The client under test, on its way to the check's server.
fn client<'t>(trial: &'t Trial, server: &Upstream) -> Launch<'t> {
    trial.launch().client_of(server.address())
}

/// It has ended by itself, with a status that says that something went wrong.
fn expect_failed(client: &Running) -> Verdict {
    let status = client.wait()?;
    if status.code().is_some_and(|code| code != 0) {
        return Ok(());
    }
    let failure = Failure::behaviour("its exit status does not tell that something went wrong");
    Err(failure
        .expected("an exit status other than 0")
        .received(status.to_string()))
}

/// It has told the user something that has one of `words` in it.
fn expect_told(client: &Running, words: &[&str]) -> Verdict {
    let printed = client.process.stdout();
    let told = client.process.log() + &String::from_utf8_lossy(&printed);
    let lower = told.to_lowercase();
    if words.iter().any(|word| lower.contains(word)) {
        return Ok(());
    }
    let failure = Failure::behaviour("it does not tell the user what has happened");
    Err(failure
        .expected(format!("a message with `{}`", words.join("` or `")))
        .received(format!("`{}`", told.trim_end())))
}

const HOST_NAME: Check = Check {
    id: "stage02/host-name",
    title: "The server may be given by name",
    why: "people remember names, not addresses, and a name may have several addresses",
    hint: "ask the resolver (`getaddrinfo(3)`) and try its addresses in turn",
    points: 1,
    needs: &[Need::Option("--host")],
    body: host_name,
    ..CLIENT
};

fn host_name(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let port = server.address().port().to_string();
    let client = trial
        .launch()
        .options(["--host", "localhost", "--port", &port])
        .input(Input::Bytes(b"hello\n".to_vec()))
        .run()?;
    one_exchange(&server, &client)
}

const IPV6: Check = Check {
    id: "stage02/ipv6",
    title: "The server may be given by an IPv6 address",
    why: "an address is more than four numbers with dots",
    hint: "the family of the socket comes from the address",
    points: 1,
    needs: &[Need::Ipv6, Need::Option("--host")],
    body: ipv6,
    ..CLIENT
};

fn ipv6(trial: &Trial) -> Verdict {
    let loopback = (std::net::Ipv6Addr::LOCALHOST, 0).into();
    let server = Upstream::listen(loopback, trial.trace(), trial.deadline())?;
    let input = Input::Bytes(b"hello\n".to_vec());
    let client = client(trial, &server).input(input).run()?;
    one_exchange(&server, &client)
}

fn one_exchange(server: &Upstream, client: &Running) -> Verdict {
    let connection = server.accept("the server")?;
    connection.expect(b"hello\n")?;
    connection.expect_end()?;
    connection.send(b"olleh\n")?;
    connection.close();
    client.expect_exit(0)?;
    client.expect_stdout(b"olleh\n")
}
