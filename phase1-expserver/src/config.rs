//! From the command line to a [`Config`]: which ports the server serves, in which role, within
//! which limits. The ports and roles of the course are written down only here.
//!
//! `main` calls it once. It resolves the names of upstreams and does no other I/O. A `Config` never
//! changes, so all workers share it.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser};

use crate::vec::XpsVec;

/// How long to wait for a client to close its side, after everything has been sent to it (lingering
/// close).
const LINGER: Duration = Duration::from_secs(2);

/// An event-driven TCP server: one thread serves all clients. Each port has a role: `reverse`
/// answers each line with the line reversed, `echo` sends every byte back, `proxy:HOST:PORT`
/// connects each client to that upstream server, `file:PATH` sends a file of the public folder.
///
/// Without --listen it serves the ports 8001 to 8004, in the roles of one stage of the course.
/// Ctrl-C starts a graceful shutdown; a second Ctrl-C ends the server immediately.
#[derive(Parser, Debug)]
pub struct Args {
    /// Serve the ports 8001 to 8004 in the roles of this stage of the course [default: 13]
    #[arg(long, value_name = "6..=13", default_value_t = 13, hide_default_value = true,
          value_parser = clap::value_parser!(u8).range(6..=13), conflicts_with = "listen")]
    pub stage: u8,
    /// Serve this port in this role, instead of the ports of a stage; may be repeated: `8001=echo`, `[::1]:8001=reverse`,
    /// `8001=proxy:127.0.0.1:3000`, `0.0.0.0:8001=file:index.html`; port 0 takes a free port
    #[arg(long, value_name = "[HOST:]PORT=ROLE", value_parser = parse_service)]
    pub listen: Vec<Service>,
    /// The folder of the role `file` [default: `public` in the folder of this program's source]
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/public"),
          hide_default_value = true)]
    pub public: PathBuf,
    /// How many threads serve clients; each thread has its own share of the clients
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// How many clients may wait in the kernel's queue to be accepted
    #[arg(long, value_name = "N", default_value_t = 4096,
          value_parser = clap::value_parser!(i32).range(1..=4096))]
    pub backlog: i32,
    /// How many bytes the server may hold for a slow receiver, in each direction; one read may go
    /// beyond that
    #[arg(long, value_name = "BYTES", default_value_t = 64 * 1024,
          value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    pub pipe_threshold: u32,
    /// How many seconds connecting to an upstream may take, shared equally among its addresses;
    /// then the client's connection is closed
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    pub connect_timeout: Duration,
    /// Cut off a client after this many seconds without a byte in either direction; allow slow
    /// readers a minute, because TCP lets them have bytes only in large steps [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub idle_timeout: Option<Duration>,
    /// How many seconds a graceful shutdown may take; then the clients that are left are cut off
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    pub drain_timeout: Duration,
    /// Log more: -v for debug (like XPS_DEBUG=1), -vv for trace
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Log warnings only, and do not print what clients send
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// What the server serves, and within which limits.
#[derive(Debug)]
pub struct Config {
    pub services: XpsVec<Service>,
    pub public: PathBuf,
    pub workers: usize,
    pub limits: Limits,
    /// Do not print what clients send.
    pub quiet: bool,
}

/// A port and its role. `host` may be a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    pub host: String,
    pub port: u16,
    pub role: Role,
}

/// What a listener does with its clients.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    Reverse,
    Echo,
    Proxy(Route),
    File(PathBuf),
}

/// The way to an upstream server.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub host: String,
    pub port: u16,
    /// The addresses to try, in this order. Empty until the name has been resolved.
    pub addresses: XpsVec<SocketAddr>,
}

#[derive(Debug, Clone)]
pub struct Limits {
    pub backlog: i32,
    /// In bytes, per direction.
    pub pipe_threshold: usize,
    pub connect: Duration,
    pub idle: Option<Duration>,
    pub drain: Duration,
    pub linger: Duration,
}

// ---- presets -----------------------------------------------------------------------------------

const PORTS: [u16; 4] = [8001, 8002, 8003, 8004];
const PROXY: &str = "proxy:127.0.0.1:3000";

/// The roles of the four ports, for the stages of the course.
const PRESETS: [(RangeInclusive<u8>, [&str; 4]); 5] = [
    (6..=9, ["reverse", "reverse", "reverse", "reverse"]),
    (10..=10, ["echo", "echo", "echo", "echo"]),
    (11..=11, [PROXY, "echo", "echo", "echo"]),
    (
        12..=12,
        [PROXY, "file:sample.txt", "file:../temp/file.txt", "echo"],
    ),
    (13..=13, [PROXY, "file:sample.txt", "reverse", "echo"]),
];

fn preset(stage: u8) -> Result<XpsVec<Service>, String> {
    let roles = PRESETS.iter().find(|(stages, _)| stages.contains(&stage));
    let (_, roles) = roles.ok_or_else(|| format!("there is no stage {stage}"))?;
    let services = PORTS.iter().zip(roles);
    services
        .map(|(port, role)| parse_service(&format!("{port}={role}")))
        .collect::<Result<Vec<_>, _>>()
        .map(XpsVec::from_iter)
}

/// A usage error that is found only after names have been resolved. `main` lets clap report it.
pub fn usage_error(text: String) -> anyhow::Error {
    Args::command()
        .error(ErrorKind::ValueValidation, text)
        .into()
}

// ---- from text to values -----------------------------------------------------------------------

impl Config {
    /// The configuration that `args` ask for. Fails if the name of an upstream cannot be resolved.
    pub fn new(args: &Args) -> Result<Config> {
        let mut services = if args.listen.is_empty() {
            preset(args.stage).map_err(|error| anyhow!(error))?
        } else {
            args.listen.iter().cloned().collect()
        };
        for service in services.iter_mut() {
            if let Role::Proxy(route) = &mut service.role {
                route.resolve()?;
            }
        }
        Ok(Config {
            services,
            public: args.public.clone(),
            workers: usize::from(args.workers),
            limits: Limits {
                backlog: args.backlog,
                pipe_threshold: args.pipe_threshold as usize,
                connect: args.connect_timeout,
                idle: args.idle_timeout,
                drain: args.drain_timeout,
                linger: LINGER,
            },
            quiet: args.quiet,
        })
    }

    /// The role of the service with this index.
    pub fn role(&self, service: u16) -> &Role {
        &self.services[usize::from(service)].role
    }
}

impl Service {
    /// The addresses that `host` stands for.
    pub fn addresses(&self) -> Result<XpsVec<SocketAddr>> {
        resolve(&self.host, self.port)
            .with_context(|| format!("cannot resolve --listen {}", self.host))
    }
}

impl Route {
    fn resolve(&mut self) -> Result<()> {
        self.addresses = resolve(&self.host, self.port)
            .with_context(|| format!("cannot resolve upstream {self}"))?;
        Ok(())
    }
}

fn resolve(host: &str, port: u16) -> Result<XpsVec<SocketAddr>> {
    let addresses: XpsVec<_> = (host, port).to_socket_addrs()?.collect();
    if addresses.is_empty() {
        Err(anyhow!("the name has no address"))
    } else {
        Ok(addresses)
    }
}

/// `[HOST:]PORT=ROLE`
fn parse_service(text: &str) -> Result<Service, String> {
    let Some((place, role)) = text.split_once('=') else {
        return Err("the role is missing: write PORT=ROLE, for instance 8001=echo".to_owned());
    };
    let (host, port) = if place.contains(':') {
        parse_host_port(place)?
    } else {
        ("127.0.0.1".to_owned(), parse_port(place)?)
    };
    let role = parse_role(role)?;
    Ok(Service { host, port, role })
}

fn parse_role(text: &str) -> Result<Role, String> {
    match text.split_once(':') {
        None if text == "reverse" => Ok(Role::Reverse),
        None if text == "echo" => Ok(Role::Echo),
        None if text == "proxy" => Err("to which upstream? write proxy:HOST:PORT".to_owned()),
        None if text == "file" => Err("which file? write file:PATH".to_owned()),
        Some(("proxy", upstream)) => {
            let (host, port) = parse_host_port(upstream)?;
            if port == 0 {
                return Err("the upstream's port cannot be 0".to_owned());
            }
            let addresses = XpsVec::new();
            Ok(Role::Proxy(Route {
                host,
                port,
                addresses,
            }))
        }
        Some(("file", "")) => Err("which file? write file:PATH".to_owned()),
        Some(("file", path)) => Ok(Role::File(PathBuf::from(path))),
        _ => Err(format!(
            "there is no role `{text}`: write reverse, echo, proxy:HOST:PORT or file:PATH"
        )),
    }
}

/// `HOST:PORT`; an IPv6 address is in brackets.
fn parse_host_port(text: &str) -> Result<(String, u16), String> {
    let missing = || format!("`{}` is not HOST:PORT", text.escape_debug());
    if let Some((scheme, _)) = text.split_once("://") {
        let scheme = scheme.escape_debug();
        return Err(format!("{}: leave out `{scheme}://`", missing()));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(missing)?;
    let host = match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => address,
        None if host.contains(':') => {
            return Err(format!(
                "an IPv6 address stands in brackets: [{host}]:{port}"
            ));
        }
        None => host,
    };
    // The log shows the name: a control character in it could move the terminal's cursor.
    if host.is_empty() || host.contains(char::is_control) {
        return Err(missing());
    }
    Ok((host.to_owned(), parse_port(port)?))
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a port: a number from 0 to 65535 is expected"))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("a number of seconds from 0.001 to 86400 is expected".to_owned()),
    }
}

// ---- and back to text --------------------------------------------------------------------------

/// The role as on the command line, but with a space instead of its first colon:
/// `proxy 127.0.0.1:3000`.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Reverse => f.write_str("reverse"),
            Role::Echo => f.write_str("echo"),
            Role::Proxy(route) => write!(f, "proxy {route}"),
            Role::File(path) => write!(f, "file {}", path.display().to_string().escape_debug()),
        }
    }
}

/// `localhost:3000`, `[::1]:3000`
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests;
