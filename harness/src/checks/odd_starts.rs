//! Servers that are started in odd ways: without stdin, stdout and stderr, with an output that
//! takes nothing, under a kernel that lets calls fail now and then.

use std::time::Duration;

use crate::check::{Check, Need, Tier};
use crate::checks::proxying;
use crate::failure::Verdict;
use crate::patience::patience;
use crate::stage::Stage;
use crate::trial::{Launch, Server, Trial};
use crate::upstream::Service;

/// For every server of one stage.
pub fn checks(stage: Stage) -> Vec<Check> {
    let all = [
        NO_DESCRIPTORS,
        OUTPUT_LOST,
        FILE_LIMIT,
        PASSING_ERRORS,
        INTERRUPTED,
    ];
    // There is no `accept` for datagrams.
    let fit = |check: &Check| stage != Stage::Stage03 || check.name != PASSING_ERRORS.name;
    let checks = all.into_iter().filter(fit);
    let chapter = match stage {
        Stage::Stage01 => "docs/src/phase0/stage01.md",
        Stage::Stage03 => "docs/src/phase0/stage03.md",
        Stage::Stage05 => "docs/src/phase0/stage05.md",
        _ => "docs/src/phase0/stage04.md",
    };
    let of_stage = |check: Check| Check {
        stage,
        chapter,
        ..check
    };
    checks.map(of_stage).collect()
}

const NO_DESCRIPTORS: Check = Check {
    stage: Stage::Stage04,
    role: "",
    name: "started-without-descriptors",
    title: "A server that is started without stdin, stdout and stderr sends its log to no client",
    why: "a socket gets the lowest free number: without stderr it may get 2, and then each log line goes to that client",
    hint: "before anything else, open /dev/null until the numbers 0, 1 and 2 are taken (Rust does this before `main`)",
    chapter: "docs/src/phase0/stage01.md",
    tier: Tier::Robust,
    timeout: Duration::from_secs(60),
    needs: &[],
    body: |trial| still_serves(trial, |launch| launch.redirected("<&- >&- 2>&-")),
};

const OUTPUT_LOST: Check = Check {
    name: "output-lost",
    title: "The server goes on when nothing of its output can be written, because the disk is full",
    why: "a log line that is lost harms nobody; a server that ends because of it harms all its clients",
    hint: "go on when `write` to stdout or stderr fails; in Rust, `println!` and `eprintln!` panic",
    body: |trial| still_serves(trial, |launch| launch.redirected(">/dev/full 2>/dev/full")),
    ..NO_DESCRIPTORS
};

const FILE_LIMIT: Check = Check {
    name: "output-at-the-file-limit",
    title: "The server goes on when its output goes to a file that has reached the limit of `ulimit -f`",
    why: "at this limit the kernel sends SIGXFSZ, which ends a program: one log file too long, and the server is gone",
    hint: "ignore or block SIGXFSZ: then only `write` fails, with EFBIG (setrlimit(2))",
    body: |trial| {
        let folder = trial.folder().display();
        let files = format!(">'{folder}/shown.txt' 2>'{folder}/log.txt'");
        still_serves(trial, |launch| launch.without_files().redirected(&files))
    },
    ..NO_DESCRIPTORS
};

const PASSING_ERRORS: Check = Check {
    name: "passing-errors-of-accept",
    title: "When `accept` fails because of one client or its network, the next client is served",
    why: "Linux passes errors of the network on through `accept`: they say nothing about the next client (accept(2), \"Error handling\")",
    hint: "when `accept` fails with ECONNABORTED, EPROTO, EPERM, ENETDOWN or one of the others in accept(2), call it again",
    needs: &[Need::Strace],
    body: passing_errors,
    ..NO_DESCRIPTORS
};

fn passing_errors(trial: &Trial) -> Verdict {
    for error in [
        "ECONNABORTED",
        "EPERM",
        "EPROTO",
        "ENOPROTOOPT",
        "EOPNOTSUPP",
        "ENETDOWN",
        "ENETUNREACH",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENONET",
    ] {
        still_serves(trial, |launch| {
            launch.with_failing_calls(&format!("?accept,accept4:error={error}:when=1"))
        })?;
    }
    Ok(())
}

/// For our own programs only: on Linux a program without signal handlers sees EINTR in few of these
/// calls (signal(7)), and may do without.
const INTERRUPTED: Check = Check {
    name: "interrupted-calls",
    title: "The server calls again when a signal has interrupted a call (EINTR)",
    why: "every call that can wait may be interrupted, also while a client is in the middle of a line",
    hint: "when a call fails with EINTR, call it again: that is no error (signal(7))",
    needs: &[Need::Strace, Need::Option("--port")],
    body: interrupted,
    ..NO_DESCRIPTORS
};

/// Calls that can wait. Not `read`, which the loader of the program calls before `main`, and not
/// `write`, because a log line may be lost.
const WAITING: &str =
    "?accept,accept4,recvfrom,recvmsg,sendto,sendmsg,?poll,ppoll,?epoll_wait,epoll_pwait";

fn interrupted(trial: &Trial) -> Verdict {
    still_serves(trial, |launch| {
        launch.with_failing_calls(&format!("{WAITING}:error=EINTR:when=1+3"))
    })
}

/// Starts the server as `odd` says, and expects that it serves a client, or several if it can.
fn still_serves<'t>(trial: &'t Trial, odd: impl FnOnce(Launch<'t>) -> Launch<'t>) -> Verdict {
    let (launch, upstream) = launch(trial)?;
    let server = odd(launch).start_unheard()?;
    let clients = if trial.stage() == Stage::Stage01 {
        1
    } else {
        3
    };
    for number in 1..=clients {
        be_served(trial, &server, &format!("client {number}"))?;
    }
    server.process.end();
    trial.step("the check ends the server");
    drop(upstream);
    Ok(())
}

/// The server of the stage, and the upstream that it needs.
fn launch<'t>(trial: &'t Trial) -> Verdict<(Launch<'t>, Option<Service>)> {
    Ok(match trial.stage() {
        Stage::Stage05 => {
            let upstream = trial.upstream()?.serve(proxying::echo);
            let launch = proxying::launch(trial, upstream.address());
            (launch, Some(upstream))
        }
        Stage::Phase1 => (trial.launch().roles(&["reverse"]), None),
        _ => (trial.launch(), None),
    })
}

/// The client gets its answers, and not a byte more.
fn be_served(trial: &Trial, server: &Server, name: &str) -> Verdict {
    let answer: &[u8] = match trial.stage() {
        Stage::Stage05 => b"hello\n",
        _ => b"olleh\n",
    };
    if trial.stage() == Stage::Stage03 {
        let client = server.datagram(name)?;
        return (0..3).try_for_each(|_| client.ask(b"hello\n", answer, patience()));
    }
    let client = server.connect(name)?;
    for _ in 0..3 {
        client.ask(b"hello\n", answer)?;
    }
    client.half_close()?;
    client.expect_end()
}
