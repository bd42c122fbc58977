//! Opens the listeners for the services of a [`Config`]: [`open`].
//!
//! All of them are bound before the first one listens: either every service starts, or none does
//! and the error says why. Some mistakes in a configuration show only here, when names have become
//! addresses and ports are known: two services on one address, a proxy that is its own upstream.
//! Called by `workers` at the start. It accepts no clients.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, anyhow};
use log::warn;
use nix::errno::Errno;

use crate::config::{Config, Role, Service, usage_error};
use crate::network::listener::{Listener, SOMAXCONN, shorter_queue};
use crate::vec::XpsVec;

/// The listeners of each worker, one per service.
pub fn open(config: &Config) -> Result<XpsVec<XpsVec<Listener>>> {
    let mut shares = XpsVec::new();
    shares.push(bind_services(config)?);
    if config.workers > 1 {
        // The bind above, without SO_REUSEPORT, has shown that no other socket listens on these
        // ports. A bind with SO_REUSEPORT does not show that: it can succeed beside another server
        // of the same user, and then the two would share the clients. (Two servers that start in
        // the same moment may still share a port: neither sees the other before it listens.)
        let places = places(&shares[0]);
        shares.clear();
        for _ in 0..config.workers {
            let bound = places.iter().map(|&(at, service)| bind(at, true, service));
            shares.push(bound.collect::<Result<_>>()?);
        }
    }
    let backlog = config.limits.backlog;
    if let Some(most) = shorter_queue(backlog) {
        warn!("Only {most} clients can wait to be accepted, not {backlog}: see {SOMAXCONN}");
    }
    for listener in shares.iter().flatten() {
        let listening = listener.listen(backlog);
        listening.map_err(|errno| cannot_listen(listener.address(), errno))?;
    }
    Ok(shares)
}

/// The address and the service of each listener.
pub fn places(listeners: &[Listener]) -> XpsVec<(SocketAddr, u16)> {
    let places = listeners.iter().map(|l| (l.address(), l.service));
    places.collect()
}

fn bind_services(config: &Config) -> Result<XpsVec<Listener>> {
    let mut listeners: XpsVec<Listener> = XpsVec::new();
    for (index, service) in (0..).zip(&config.services) {
        let listener = bind_service(service, index)?;
        let address = listener.address();
        let mut others = listeners.iter().map(Listener::address);
        if let Some(other) = others.find(|&other| overlap(other, address)) {
            let covered = if other == address {
                String::new()
            } else {
                format!(", see {other}")
            };
            return Err(usage_error(format!(
                "{address} is asked for twice{covered}"
            )));
        }
        listeners.push(listener);
    }
    let addresses: XpsVec<_> = listeners.iter().map(Listener::address).collect();
    refuse_circles(config, &addresses)?;
    Ok(listeners)
}

/// Opens a listening socket. The host's name may have several addresses: the first that can be bound
/// is taken.
fn bind_service(service: &Service, index: u16) -> Result<Listener> {
    let mut failure = anyhow!("cannot listen on {}", service.host);
    for address in service.addresses()? {
        match bind(address, false, index) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn bind(address: SocketAddr, reuse_port: bool, service: u16) -> Result<Listener> {
    Listener::bind(address, reuse_port, service).map_err(|errno| cannot_listen(address, errno))
}

fn cannot_listen(address: SocketAddr, errno: Errno) -> anyhow::Error {
    let hint = match errno {
        Errno::EADDRINUSE => " (`ss -ltnp` shows who has the port)",
        Errno::EACCES => " (ports below 1024 are for root)",
        Errno::EADDRNOTAVAIL => " (`ip address` shows the addresses of this machine)",
        _ => "",
    };
    anyhow!("cannot listen on {address}: {}{hint}", errno.desc())
}

/// Whether a connection to one of these addresses could also reach a listener on the other.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    // ::ffff:127.0.0.1 is 127.0.0.1, written as an IPv6 address (ipv6(7)).
    let [a, b] = [a, b].map(|at| SocketAddr::new(at.ip().to_canonical(), at.port()));
    let covers = |any: SocketAddr, one: SocketAddr| {
        any.ip().is_unspecified() && (any.is_ipv6() || one.is_ipv4())
    };
    a.port() == b.port() && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
}

// ---- circles of proxies ------------------------------------------------------------------------

/// Refuses a proxy whose upstream is the proxy itself, or another proxy that leads back to it. As
/// soon as a client connects, such a proxy connects to itself again and again, until no descriptor
/// is left. `addresses` are those of the services.
fn refuse_circles(config: &Config, addresses: &[SocketAddr]) -> Result<()> {
    for (index, service) in config.services.iter().enumerate() {
        if leads_back(config, addresses, index) {
            let (address, role) = (addresses[index], &service.role);
            return Err(usage_error(format!(
                "{address} ({role}) leads back to itself: \
                 choose another upstream, or another port to listen on"
            )));
        }
    }
    Ok(())
}

fn leads_back(config: &Config, addresses: &[SocketAddr], start: usize) -> bool {
    let mut reached = XpsVec::new();
    let mut to_follow = XpsVec::from_iter([start]);
    while let Some(at) = to_follow.pop() {
        let Role::Proxy(route) = &config.services[at].role else {
            continue;
        };
        for (next, &ours) in addresses.iter().enumerate() {
            let leads_there = route.addresses.iter().any(|&to| arrives_at(to, ours));
            if leads_there && !reached.contains(&next) {
                reached.push(next);
                to_follow.push(next);
            }
        }
    }
    reached.contains(&start)
}

/// Whether a connection to `upstream` reaches our listener on `ours`.
fn arrives_at(upstream: SocketAddr, ours: SocketAddr) -> bool {
    overlap(upstream, ours) && is_of_this_machine(upstream.ip().to_canonical())
}

/// A socket can be bound only to an address of this machine (ip(7)).
fn is_of_this_machine(ip: IpAddr) -> bool {
    Listener::bind((ip, 0).into(), false, 0).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Args;
    use clap::Parser;

    #[test]
    fn two_services_cannot_share_an_address() {
        for (a, b, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "0.0.0.0:1", true),
            ("[::1]:1", "127.0.0.1:1", false),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1", true), // IPv4, written as IPv6
            ("[::ffff:0.0.0.0]:1", "127.0.0.1:1", true),
            ("[::ffff:127.0.0.1]:1", "[::1]:1", false),
        ] {
            let a = a.parse().unwrap();
            let b = b.parse().unwrap();
            assert_eq!(
                (overlap(a, b), overlap(b, a)),
                (expected, expected),
                "{a} {b}"
            );
        }
    }

    /// Whether these services (on the ports they name, without binding them) are refused.
    fn refused(services: &str) -> bool {
        let listen = services.split_whitespace().flat_map(|s| ["--listen", s]);
        let args = Args::try_parse_from(["server"].into_iter().chain(listen)).unwrap();
        let config = Config::new(&args).unwrap();
        let first = |service: &Service| service.addresses().unwrap()[0];
        let addresses: XpsVec<_> = config.services.iter().map(first).collect();
        refuse_circles(&config, &addresses).is_err()
    }

    #[test]
    fn a_proxy_of_itself_is_refused() {
        for (services, expected) in [
            ("9=proxy:127.0.0.1:9", true),
            ("9=proxy:127.0.0.1:8", false),
            ("9=proxy:localhost:9", true),
            ("9=proxy:0.0.0.0:9", true), // connects to the loopback address
            ("0.0.0.0:9=proxy:127.0.0.1:9", true),
            ("0.0.0.0:9=proxy:127.3.2.1:9", true),
            ("0.0.0.0:9=proxy:192.0.2.1:9", false), // on another machine
            ("[::]:9=proxy:192.0.2.1:9", false),
            ("9=proxy:[::ffff:127.0.0.1]:9", true),
            ("[::ffff:127.0.0.1]:9=proxy:127.0.0.1:9", true),
            ("[::ffff:0.0.0.0]:9=proxy:127.3.2.1:9", true),
            ("[::ffff:127.0.0.1]:9=proxy:127.0.0.2:9", false),
            ("9=proxy:127.0.0.2:9", false),
            // By way of other proxies; but not every way leads back.
            ("9=proxy:127.0.0.1:8 8=proxy:127.0.0.1:9", true),
            ("9=proxy:127.0.0.1:8 8=proxy:127.0.0.1:8", true),
            ("9=proxy:127.0.0.1:8 8=proxy:127.0.0.1:7 7=echo", false),
        ] {
            assert_eq!(refused(services), expected, "{services}");
        }
    }
}
