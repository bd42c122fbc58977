//! A program under test: what is run, and how it says where it listens.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::check::Stage;

/// How a program comes to its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// It takes `--port 0` and logs the address that it got: programs of this workspace.
    Announced,
    /// It listens on the course's ports, whatever it is told.
    Fixed,
}

/// Set this to run long checks at their full size.
pub const FULL: &str = "EXPSERVER_FULL_TESTS";

#[derive(Clone, Debug)]
pub struct Program {
    /// The program and its own first arguments; a check adds its options.
    pub command: Vec<OsString>,
    pub ports: Ports,
    /// Long checks run at their full size.
    pub full_size: bool,
    /// The other binaries of the stage, by name: each with its own first arguments.
    pub companions: Vec<(String, Vec<OsString>)>,
}

impl Program {
    /// A program of this workspace, or one that behaves like it.
    pub fn announced(path: impl AsRef<Path>) -> Self {
        Self {
            command: vec![path.as_ref().into()],
            ports: Ports::Announced,
            full_size: std::env::var_os(FULL).is_some(),
            companions: Vec::new(),
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
