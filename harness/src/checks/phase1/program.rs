//! The program around the server: its command line, its log, its workers.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::base::{PHASE1, expect_echo, expect_log};
use crate::check::{Check, Need};
use crate::checks::terminal::cannot_have_port_80;
use crate::data::time;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::peer::Peer;
use crate::program::announced_addresses;
use crate::trial::{Running, Trial};

pub const CHECKS: &[Check] = &[
    USAGE,
    PORT_IN_USE,
    PRIVILEGED_PORT,
    ALL_OR_NOTHING,
    NO_SUCH_ADDRESS,
    NO_SUCH_UPSTREAM,
    IPV6,
    SAYS_WHAT_IT_SERVES,
    LEVELS,
    QUIET,
    IDLE_TIMEOUT,
    WORKERS,
    WORKERS_AND_A_TAKEN_PORT,
];

const USAGE: Check = Check {
    name: "usage-error",
    title: "The program explains a wrong command line and ends with exit status 2",
    why: "a script must be able to distinguish a typing error from a server that failed",
    hint: "print the word that is wrong to stderr, and say what would be right",
    chapter: "docs/src/phase1/architecture.md",
    body: usage,
    ..PHASE1
};

fn usage(trial: &Trial) -> Verdict {
    let wrong: &[(&[&str], &str)] = &[
        (&["--no-such-option"], "--no-such-option"),
        (&["--listen", "0=dance"], "dance"),
        (&["--listen", "0"], "role"),
        (&["--listen", "eighty=echo"], "eighty"),
        (&["--listen", "65536=echo"], "65536"),
        (&["--listen", "0=proxy:nowhere"], "HOST:PORT"),
        (&["--listen", "0=file:"], "PATH"),
        (&["--stage", "5"], "5"),
        (&["--stage", "14"], "14"),
        (&["--stage", "9", "--listen", "0=echo"], "--listen"),
        (&["--workers", "0", "--listen", "0=echo"], "--workers"),
        (&["--drain-timeout", "soon", "--listen", "0=echo"], "soon"),
        (&["-v", "-q", "--listen", "0=echo"], "--quiet"),
    ];
    for (options, named) in wrong {
        let program = trial.launch().options(*options).run()?;
        program.expect_exit(2)?;
        expect_said(&program, named)?;
    }
    Ok(())
}

fn expect_said(program: &Running, wanted: &str) -> Verdict {
    let said = program.process.log();
    if said.contains(wanted) {
        return Ok(());
    }
    let what = format!("stderr does not contain `{wanted}`");
    Err(Failure::behaviour(what).received(said.trim_end()))
}

const PORT_IN_USE: Check = Check {
    name: "port-in-use",
    title: "The server says which of its ports is taken and ends with exit status 1",
    why: "starting a server twice is the most common mistake, so the message must be easy to understand",
    hint: "print the address and the system's error message",
    body: port_in_use,
    ..USAGE
};

fn port_in_use(trial: &Trial) -> Verdict {
    let first = trial.launch().roles(&["echo"]).start()?;
    let address = first.address().to_string();
    let listen = format!("{address}=echo");
    let second = trial.launch().options(["--listen", &listen]).run()?;
    second.expect_exit(1)?;
    expect_said(&second, &address)?;
    expect_said(&second, "Address already in use")?;
    expect_echo(&first, 0)
}

const PRIVILEGED_PORT: Check = Check {
    name: "privileged-port",
    title: "The server explains that a port is for root only and ends with exit status 1",
    why: "port 80 is the first port that many people try, and `Permission denied` alone makes them think of files",
    needs: &[
        Need::OwnNetwork,
        Need::Tool("setpriv"),
        Need::Option("--listen"),
    ],
    body: |trial| cannot_have_port_80(trial, ["--listen", "80=echo"]),
    ..PORT_IN_USE
};

const ALL_OR_NOTHING: Check = Check {
    name: "all-listeners-or-none",
    title: "The server serves no port when it cannot get one of several, and names this one",
    why: "a server that runs on half of its ports is harder to notice than a server that does not run",
    hint: "bind all listeners first, and then begin to serve",
    body: all_or_nothing,
    ..PORT_IN_USE
};

fn all_or_nothing(trial: &Trial) -> Verdict {
    let first = trial.launch().roles(&["echo"]).start()?;
    let taken = format!("{}=reverse", first.address());
    for taken_at in 0..3 {
        let mut listeners = vec!["127.0.0.1:0=echo"; 2];
        listeners.insert(taken_at, &taken);
        let options = listeners.iter().flat_map(|listener| ["--listen", listener]);
        let second = trial.launch().options(options).run()?;
        second.expect_exit(1)?;
        expect_said(&second, &first.address().to_string())?;
        let announced = announced_addresses(&second.process.log());
        ensure(announced.is_empty(), Outcome::Behaviour, || {
            format!(
                "the server said that it listens on {announced:?} although one of its ports is taken"
            )
        })?;
    }
    // A program may notice before `bind` that its own options name a port twice.
    let port = first.address().port();
    first.signal(Signal::SIGTERM);
    first.expect_exit(0)?;
    let (one, two) = (format!("{port}=echo"), format!("{port}=reverse"));
    let twice = trial.launch().options(["--listen", &one, "--listen", &two]);
    let twice = twice.run()?;
    let status = twice.wait()?;
    ensure(
        matches!(status.code(), Some(1 | 2)),
        Outcome::Behaviour,
        || {
            format!(
                "with port {port} twice on its command line the server ended with {status}; 1 or 2 is expected"
            )
        },
    )?;
    expect_said(&twice, &port.to_string())
}

const NO_SUCH_ADDRESS: Check = Check {
    name: "address-of-another-machine",
    title: "The server explains that its address does not belong to this machine and ends with exit status 1",
    why: "a server that cannot listen on the given address must not listen on another one, nor keep running without a message",
    body: no_such_address,
    ..PORT_IN_USE
};

fn no_such_address(trial: &Trial) -> Verdict {
    // Reserved for documentation: no machine has it.
    let server = trial
        .launch()
        .options(["--listen", "192.0.2.1:0=echo"])
        .run()?;
    server.expect_exit(1)?;
    expect_said(&server, "192.0.2.1")?;
    expect_said(&server, "Cannot assign requested address")
}

const NO_SUCH_UPSTREAM: Check = Check {
    name: "upstream-without-address",
    title: "An upstream whose name cannot be resolved ends the program at the start, with exit status 1",
    why: "a proxy that can never reach its upstream should not start",
    hint: "resolve the names of all upstreams before you call `listen`",
    // In a network of its own the program asks no name server, which might be slow or know the
    // name.
    needs: &[Need::OwnNetwork, Need::Option("--listen")],
    body: no_such_upstream,
    ..PORT_IN_USE
};

fn no_such_upstream(trial: &Trial) -> Verdict {
    let role = "0=proxy:no-such-name.invalid:80";
    let server = trial.launch().options(["--listen", role]).run()?;
    server.expect_exit(1)?;
    expect_said(&server, "no-such-name.invalid:80")?;
    // A name that can be resolved is accepted, and shown as it was given.
    let server = trial
        .launch()
        .roles(&["echo", "proxy:localhost:9"])
        .start()?;
    expect_echo(&server, 0)?;
    expect_log(&server, "(proxy localhost:9)")
}

const IPV6: Check = Check {
    name: "ipv6",
    title: "A listener and an upstream may have IPv6 addresses",
    why: "half of the clients of a public server come over IPv6",
    hint: "take the family of each socket from its address; in text, write an IPv6 address in brackets",
    needs: &[Need::Ipv6, Need::Option("--listen")],
    body: ipv6,
    ..PORT_IN_USE
};

fn ipv6(trial: &Trial) -> Verdict {
    let launch = trial.launch().options(["--listen", "[::1]:0=echo"]);
    let behind = launch.listeners(1).start()?;
    ensure(behind.address().is_ipv6(), Outcome::Behaviour, || {
        let address = behind.address();
        format!("the server listens on {address}; an IPv6 address is expected")
    })?;
    expect_echo(&behind, 0)?;
    let role = format!("[::1]:0=proxy:{}", behind.address());
    let launch = trial.launch().options(["--listen", &role]).listeners(1);
    expect_echo(&launch.start()?, 0)
}

const SAYS_WHAT_IT_SERVES: Check = Check {
    name: "says-what-it-serves",
    title: "The log shows the address and the role of each listener",
    why: "this is the first thing that an operator wants to know about a server",
    hint: "log a line such as `listening on tcp://127.0.0.1:8001 (proxy 127.0.0.1:3000)`",
    body: says_what_it_serves,
    ..PORT_IN_USE
};

fn says_what_it_serves(trial: &Trial) -> Verdict {
    let roles = ["proxy:127.0.0.1:3000", "file:sample.txt", "reverse", "echo"];
    let server = trial.launch().roles(&roles).start()?;
    let said = ["proxy 127.0.0.1:3000", "file sample.txt", "reverse", "echo"];
    for (address, role) in server.addresses.iter().zip(said) {
        expect_log(&server, &format!("listening on tcp://{address} ({role})"))?;
    }
    Ok(())
}

const LEVELS: Check = Check {
    name: "log-levels",
    title: "The command line sets the log level, otherwise XPS_DEBUG=1 does, otherwise RUST_LOG",
    why: "an option is typed for one run, so it must win over what is set in the environment",
    hint: "let -q and -v win over the environment; take XPS_DEBUG=1 for the level debug",
    needs: &[Need::Option("--verbose")],
    body: levels,
    ..PORT_IN_USE
};

fn levels(trial: &Trial) -> Verdict {
    let (debug, rust_log) = (Some("1"), Some("warn"));
    // Options, XPS_DEBUG, RUST_LOG, and whether lines at level debug are shown.
    type Case<'a> = (&'a [&'a str], Option<&'a str>, Option<&'a str>, bool);
    let cases: &[Case] = &[
        (&[], None, None, false),
        (&["-v"], None, None, true),
        (&["-vv"], None, None, true),
        (&[], debug, None, true),
        (&[], Some("0"), None, false),
        (&["-v"], None, rust_log, true),
        (&[], debug, rust_log, true),
        (&[], None, Some("debug"), true),
        (&[], Some("0"), Some("debug"), true),
        (&["-q"], debug, Some("debug"), false),
    ];
    for (options, xps_debug, rust_log, shown) in cases {
        let mut launch = trial.launch().options(*options);
        if let Some(value) = xps_debug {
            launch = launch.environment("XPS_DEBUG", value);
        }
        if let Some(value) = rust_log {
            launch = launch.environment("RUST_LOG", value);
        }
        let running = launch.options(["--listen", "127.0.0.1:0=echo"]).run()?;
        let server = running.into_server_found_by_the_kernel()?;
        expect_echo(&server, 0)?;
        server.signal(Signal::SIGTERM);
        server.expect_exit(0)?;
        let log = server.process.log();
        let what = format!("{options:?}, XPS_DEBUG {xps_debug:?}, RUST_LOG {rust_log:?}");
        trial.step(format!("the server runs with {what}"));
        ensure(log.contains("DEBUG") == *shown, Outcome::Behaviour, || {
            let wrong = if *shown { "lacks" } else { "has" };
            format!("with {what} the log {wrong} lines at level debug")
        })
        .map_err(|failure| failure.received(log.trim_end()))?;
    }
    Ok(())
}

const QUIET: Check = Check {
    name: "quiet",
    title: "The server with `-q` prints nothing unless something goes wrong",
    why: "under load, printing a line for each message costs more than anything else that a server does",
    hint: "let `-q` reduce the log to warnings and turn off the messages on stdout",
    needs: &[Need::Option("--quiet")],
    body: quiet,
    ..PORT_IN_USE
};

fn quiet(trial: &Trial) -> Verdict {
    let options = ["--quiet", "--listen", "127.0.0.1:0=reverse"];
    let server = trial.launch().options(options).run()?;
    let server = server.into_server_found_by_the_kernel()?;
    let client = server.connect("the client")?;
    client.ask(b"abcd\n", b"dcba\n")?;
    client.half_close()?;
    client.expect_end()?;
    server.signal(Signal::SIGTERM);
    server.expect_exit(0)?;
    let (log, stdout) = (server.process.log(), server.process.stdout());
    ensure(
        stdout.is_empty() && log.is_empty(),
        Outcome::Behaviour,
        || "the server prints something, although it was started with `-q`".to_owned(),
    )
    .map_err(|failure| failure.received(format!("{}{log}", stdout.escape_ascii())))
}

const IDLE_TIMEOUT: Check = Check {
    name: "idle-timeout",
    title: "The server with `--idle-timeout` cuts off a silent client in time, but not an active one",
    why: "a client that has lost its network never closes its connection",
    hint: "use one timer for each session; when it expires, check whether any byte has moved meanwhile",
    needs: &[Need::Option("--idle-timeout")],
    body: idle_timeout,
    ..PORT_IN_USE
};

fn idle_timeout(trial: &Trial) -> Verdict {
    let options = ["--idle-timeout", "2"];
    let upstream = super::proxy::echo_service(trial)?;
    let roles = [
        "echo".to_owned(),
        "reverse".to_owned(),
        format!("proxy:{}", upstream.address()),
    ];
    let server = trial.launch().options(options).roles(&roles).start()?;
    expect_echo(&server, 0)?;
    let before = server.figures()?;
    let begun = Instant::now();
    let silent: Vec<Peer> = (0..roles.len())
        .map(|listener| server.connect_to(listener, "a silent client"))
        .collect::<Verdict<_>>()?;
    let active = server.connect("an active client")?;
    // The time is the test, not a way to wait: a message every 200 ms, for three seconds.
    for _ in 0..15 {
        active.ask(b"x", b"x")?;
        std::thread::sleep(Duration::from_millis(200));
    }
    active.ask(b"x", b"x")?;
    silent.iter().try_for_each(Peer::expect_gone)?;
    trial.step(format!(
        "after {} the silent clients are gone",
        time(begun.elapsed())
    ));
    active.expect_gone()?;
    drop((silent, active));
    server.expect_no_leak(&before)
}

const WORKERS: Check = Check {
    name: "workers",
    title: "Several workers share the clients, and SIGTERM ends all of them",
    why: "one thread uses one processor; several threads can use more if they share no data",
    hint: "give each worker its own loop and its own listener (SO_REUSEPORT), and let the main thread pass the signal on",
    needs: &[Need::Option("--workers")],
    body: workers,
    ..PORT_IN_USE
};

fn workers(trial: &Trial) -> Verdict {
    let launch = trial.launch().options(["--workers", "3"]);
    let server = launch.roles(&["echo", "reverse"]).start()?;
    let threads = server.figures()?.threads;
    ensure((3..=5).contains(&threads), Outcome::Behaviour, || {
        format!("with `--workers 3` the server has {threads} threads; 3 to 5 are expected")
    })?;
    let count = 60;
    for listener in [0, 1] {
        let clients: Vec<Peer> = (0..count)
            .map(|number| server.connect_to(listener, &format!("client {number}")))
            .collect::<Verdict<_>>()?;
        let ping = |client: &Peer| client.ask(b"oxo\n", b"oxo\n");
        clients.iter().rev().try_for_each(ping)?;
        clients.iter().try_for_each(ping)?;
    }
    let stays = server.connect("a client that stays")?;
    stays.ask(b"oxo\n", b"oxo\n")?;
    server.signal(Signal::SIGTERM);
    server.expect_exit(0)?;
    stays.expect_end()?;
    // The kernel distributes the clients by a hash of their addresses, so each worker gets some.
    let log = server.process.log();
    let shares: Vec<usize> = log
        .lines()
        .filter_map(|line| line.split_once("clients served: ")?.1.parse().ok())
        .collect();
    trial.step(format!("the workers have served {shares:?} clients"));
    ensure(
        shares.len() == 3 && shares.iter().all(|&share| share > 0),
        Outcome::Behaviour,
        || format!("the workers have served {shares:?} clients; 3 numbers above 0 are expected"),
    )?;
    ensure(
        shares.iter().sum::<usize>() == 2 * count + 1,
        Outcome::Behaviour,
        || {
            let all = 2 * count + 1;
            format!("the workers have served {shares:?} clients; the sum should be {all}")
        },
    )
}

const WORKERS_AND_A_TAKEN_PORT: Check = Check {
    name: "workers-and-a-taken-port",
    title: "A second server with workers cannot take the port of the first",
    why: "with SO_REUSEPORT two servers of one user can share a port, and each would get some of the clients",
    hint: "before you set SO_REUSEPORT, call `bind` without it to see whether the port is taken",
    body: workers_and_a_taken_port,
    ..WORKERS
};

fn workers_and_a_taken_port(trial: &Trial) -> Verdict {
    for (first, second) in [("3", "3"), ("3", "1"), ("1", "3")] {
        let launch = trial.launch().options(["--workers", first]);
        let server = launch.roles(&["echo"]).start()?;
        let listen = format!("{}=reverse", server.address());
        let options = ["--workers", second, "--listen", &listen];
        let other = trial.launch().options(options).run()?;
        other.expect_exit(1)?;
        expect_said(&other, "Address already in use")?;
        (0..10).try_for_each(|_| expect_echo(&server, 0))?;
    }
    Ok(())
}
