//! A program under test: what is run, and how we learn where it listens.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::Resource;

use crate::stage::Stage;

/// How a program gets its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// It takes `--port 0` and logs the address that it got: programs of this workspace.
    Announced,
    /// It has fixed ports, and need not log them.
    Fixed,
}

/// Set this variable to run long checks at their full size.
pub const FULL: &str = "EXPSERVER_FULL_TESTS";

/// Set this variable to a number of seconds to run soaks of that length by hand. They are too
/// long for a normal test.
pub const SOAK: &str = "EXPSERVER_SOAK_SECONDS";

/// Set this variable to the seed of a soak that failed, to repeat its operations.
pub const SEED: &str = "EXPSERVER_SOAK_SEED";

/// How long a soak lasts, if [`SOAK`] is set.
pub fn soak_by_hand() -> Option<Duration> {
    let seconds = std::env::var(SOAK).ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[derive(Clone, Debug)]
pub struct Program {
    /// The program and its own first arguments; a check adds its options.
    pub command: Vec<OsString>,
    pub ports: Ports,
    /// Long checks run at their full size.
    pub full_size: bool,
    /// The other binaries of the stage, by name: each with its own first arguments.
    pub companions: Vec<(String, Vec<OsString>)>,
    /// The ports of a program with fixed ports, if they differ from the course's.
    pub fixed_ports: Option<FixedPorts>,
    /// What the program may use, soft and hard (`setrlimit(2)`).
    pub limits: Vec<(Resource, u64, u64)>,
    /// Each run gets a copy of this folder as its working directory. Without it, an empty one.
    pub folder: Option<PathBuf>,
    /// A mount for what a check makes: read-only for the program.
    pub guarded: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct FixedPorts {
    pub listeners: Vec<u16>,
    pub upstream: u16,
}

impl FixedPorts {
    pub fn of_the_course(stage: Stage) -> Self {
        let upstream = match stage {
            Stage::Stage02 | Stage::Stage03 => 8080,
            _ => COURSE_UPSTREAM_PORT,
        };
        Self {
            listeners: course_ports(stage).to_vec(),
            upstream,
        }
    }
}

impl Program {
    /// A program of this workspace, or one that behaves like it.
    pub fn announced(path: impl AsRef<Path>) -> Self {
        Self::new(vec![path.as_ref().into()], Ports::Announced)
    }

    pub fn new(command: Vec<OsString>, ports: Ports) -> Self {
        Self {
            command,
            ports,
            full_size: std::env::var_os(FULL).is_some(),
            companions: Vec::new(),
            fixed_ports: None,
            limits: Vec::new(),
            folder: None,
            guarded: None,
        }
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.command.push(argument.into());
        self
    }

    pub fn companion(self, name: &str, path: impl AsRef<Path>) -> Self {
        self.companion_command(name, vec![path.as_ref().into()])
    }

    pub fn companion_command(mut self, name: &str, command: Vec<OsString>) -> Self {
        self.companions.push((name.to_owned(), command));
        self
    }

    pub fn find_companion(&self, name: &str) -> Option<&[OsString]> {
        let found = self.companions.iter().find(|(known, _)| known == name);
        found.map(|(_, command)| command.as_slice())
    }
}

/// The ports on which the course's program of a stage listens.
pub fn course_ports(stage: Stage) -> &'static [u16] {
    match stage {
        Stage::Phase1 => &[8001, 8002, 8003, 8004],
        _ => &[8080],
    }
}

/// The port of the upstream that the course's proxies connect to.
pub const COURSE_UPSTREAM_PORT: u16 = 3000;

/// The addresses that a log announces, in order:
/// `Server listening on port 8080 (127.0.0.1:8080)`, `listening on tcp://127.0.0.1:8001 (echo)`.
pub fn announced_addresses(log: &str) -> Vec<SocketAddr> {
    // A line still being written has no `\n` yet and may hold half an address.
    let lines = log
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    lines.filter_map(announced_address).collect()
}

fn announced_address(line: &str) -> Option<SocketAddr> {
    let address = if let Some((_, rest)) = line.split_once("listening on tcp://") {
        rest.split_whitespace().next()?
    } else {
        let (_, rest) = line.split_once("Server listening on port ")?;
        rest.split_once('(')?.1.split_once(')')?.0
    };
    let mut address: SocketAddr = address.parse().ok()?;
    // A server on every address is reached through loopback.
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_a_log() {
        let log = "INFO  [a] Server listening on port 8080 (127.0.0.1:8080)\n\
                   INFO  [b] listening on tcp://[::1]:8001 (echo)\nother\n\
                   INFO  [c] Server listening on port 80 (127.0.0.1:80";
        let found: Vec<String> = announced_addresses(log)
            .iter()
            .map(|a| a.to_string())
            .collect();
        assert_eq!(found, ["127.0.0.1:8080", "[::1]:8001"]);
    }
}
