//! The command lines: for any words the parser answers and does not panic, and every value
//! that it accepts is within its limits.
#![no_main]
#![allow(dead_code)] // only the arguments are used

#[path = "../../../stage01-tcp-server/src/given/cli.rs"]
mod stage01;
#[path = "../../../stage04-epoll/src/given/cli.rs"]
mod stage04;
#[path = "../../../stage05-proxy/src/given/cli.rs"]
mod stage05;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use arbitrary::Arbitrary;
use clap::Parser;
use libfuzzer_sys::fuzz_target;
use phase1_expserver::config::{Args, Role};

/// Words with a meaning. Random words alone would be refused at the first one.
#[derive(Arbitrary, Debug)]
enum Word {
    Any(Vec<u8>),
    Option(u8),
    Service {
        place: String,
        role: u8,
        rest: String,
    },
    Number(i64),
}

const OPTIONS: [&str; 17] = [
    "--stage",
    "--listen",
    "--public",
    "--workers",
    "--backlog",
    "--pipe-threshold",
    "--connect-timeout",
    "--idle-timeout",
    "--drain-timeout",
    "-v",
    "-q",
    "--",
    "--host",
    "--port",
    "--iterative",
    "--upstream",
    "--help",
];
const ROLES: [&str; 5] = ["reverse", "echo", "proxy:", "file:", ""];

impl Word {
    fn text(self) -> OsString {
        match self {
            Word::Any(bytes) => OsString::from_vec(bytes),
            Word::Option(which) => OPTIONS[usize::from(which) % OPTIONS.len()].into(),
            Word::Service { place, role, rest } => {
                format!("{place}={}{rest}", ROLES[usize::from(role) % ROLES.len()]).into()
            }
            Word::Number(number) => number.to_string().into(),
        }
    }
}

fuzz_target!(|words: Vec<Word>| {
    let words = words.into_iter().take(16).map(Word::text);
    let line: Vec<OsString> = std::iter::once("program".into()).chain(words).collect();
    let _ = stage01::Args::try_parse_from(&line);
    let _ = stage04::Args::try_parse_from(&line);
    if let Ok(args) = stage05::Args::try_parse_from(&line) {
        assert!(!args.connect_timeout.is_zero() && args.backlog > 0);
    }
    match Args::try_parse_from(&line) {
        Ok(args) => accepted(&args),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn accepted(args: &Args) {
    assert!((6..=13).contains(&args.stage));
    assert!(args.workers > 0 && args.backlog > 0 && args.pipe_threshold > 0);
    assert!(!args.connect_timeout.is_zero() && !args.drain_timeout.is_zero());
    for service in &args.listen {
        assert!(!service.host.is_empty());
        let said = service.role.to_string();
        assert!(
            !said.chars().any(char::is_control),
            "{said:?} would be printed"
        );
        match &service.role {
            Role::Proxy(route) => assert!(!route.host.is_empty() && route.port != 0),
            Role::File(path) => assert!(!path.as_os_str().is_empty()),
            Role::Reverse | Role::Echo => {}
        }
    }
}
