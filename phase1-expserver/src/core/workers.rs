//! From a [`Config`] to running cores, and back to an exit status: [`serve`].
//!
//! Opens all listeners before anybody is served, runs one core on the main thread or several on
//! threads of their own, and sees to it that a signal reaches all of them. Called by `main`. It
//! serves no client itself.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use log::{debug, info};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::event_loop::Wake;
use super::{Core, Ended};
use crate::config::{Config, Service, usage_error};
use crate::network::listener::Listener;
use crate::vec::XpsVec;

/// Serves what `config` asks for, until a signal ends it.
pub fn serve(config: Config) -> Result<Ended> {
    raise_descriptor_limit();
    let signals = catch_signals().map_err(|e| anyhow!("cannot catch signals: {}", e.desc()))?;
    let shares = open_listeners(&config)?;
    let places: Vec<_> = shares[0].iter().map(|l| (l.address(), l.role)).collect();
    let config = Arc::new(config);

    if config.workers == 1 {
        let listeners = shares.into_iter().flatten().collect();
        let core = Core::new(Arc::clone(&config), listeners, Wake::Signals(signals))?;
        announce(&config, &places);
        return core.run();
    }
    let mut workers = Workers::new()?;
    for listeners in shares {
        workers.start(&config, listeners)?;
    }
    announce(&config, &places);
    workers.watch(&signals)
}

/// A client costs one or two descriptors. Many systems let a process have 1024 of them until it
/// asks for more (getrlimit(2)).
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| (soft, hard))
    });
    match raised {
        Ok((soft, hard)) => debug!("Descriptor limit raised to {hard}, it was {soft}"),
        Err(errno) => debug!("Descriptor limit stays as it is: {}", errno.desc()),
    }
}

/// Makes SIGINT and SIGTERM readable from a descriptor: one more event in the loop, instead of a
/// handler that interrupts it anywhere (signalfd(2)). Threads started later have them blocked too.
fn catch_signals() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

// ---- listeners ---------------------------------------------------------------------------------

/// The listeners of each worker, one per service. All are bound before the first of them listens.
fn open_listeners(config: &Config) -> Result<XpsVec<XpsVec<Listener>>> {
    let mut shares = XpsVec::new();
    shares.push(bind_services(config)?);
    if config.workers > 1 {
        // Only now is it certain that the ports are free: with SO_REUSEPORT a second server of the
        // same user could be bound to them as well, and each would get some of the clients.
        let places: Vec<_> = shares
            .iter()
            .flatten()
            .map(|l| (l.address(), l.role))
            .collect();
        shares.clear();
        for _ in 0..config.workers {
            let bound = places.iter().map(|&(at, role)| bind(at, true, role));
            shares.push(bound.collect::<Result<_>>()?);
        }
    }
    for listener in shares.iter().flatten() {
        let listening = listener.listen(config.limits.backlog);
        listening.map_err(|errno| cannot_listen(listener.address(), errno))?;
    }
    Ok(shares)
}

fn bind_services(config: &Config) -> Result<XpsVec<Listener>> {
    let mut listeners: XpsVec<Listener> = XpsVec::new();
    for (role, service) in (0..).zip(&config.services) {
        let listener = bind_service(service, role)?;
        let address = listener.address();
        if let Some(other) = listeners
            .iter()
            .find(|other| overlap(other.address(), address))
        {
            let other = other.address();
            return Err(usage_error(format!(
                "{address} is asked for twice, see {other}"
            )));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

/// A socket on the first address of the service's host that can be had (a name may have several).
fn bind_service(service: &Service, role: u16) -> Result<Listener> {
    let mut failure = anyhow!("cannot listen on {}", service.host);
    for address in service.addresses()? {
        match bind(address, false, role) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn bind(address: SocketAddr, reuse_port: bool, role: u16) -> Result<Listener> {
    Listener::bind(address, reuse_port, role).map_err(|errno| cannot_listen(address, errno))
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

/// Whether a client that connects to one address could mean the other as well.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |any: SocketAddr, one: SocketAddr| {
        any.ip().is_unspecified() && (any.is_ipv6() || one.is_ipv4())
    };
    a.port() == b.port() && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
}

/// Says what is served where: clients can connect now.
fn announce(config: &Config, places: &[(SocketAddr, u16)]) {
    for &(address, role) in places {
        info!("listening on tcp://{address} ({})", config.role(role));
    }
}

// ---- several workers ---------------------------------------------------------------------------

/// Cores on threads of their own. The main thread waits for signals and passes them on: each is read
/// from a signalfd once, so the workers cannot all watch the same.
struct Workers {
    threads: XpsVec<JoinHandle<Result<Ended>>>,
    bells: XpsVec<Arc<EventFd>>,
    /// Rung by each worker when it ends.
    finished: Arc<EventFd>,
}

impl Workers {
    fn new() -> Result<Workers> {
        Ok(Workers {
            threads: XpsVec::new(),
            bells: XpsVec::new(),
            finished: Arc::new(new_bell()?),
        })
    }

    fn start(&mut self, config: &Arc<Config>, listeners: XpsVec<Listener>) -> Result<()> {
        let bell = Arc::new(new_bell()?);
        let core = Core::new(Arc::clone(config), listeners, Wake::Bell(Arc::clone(&bell)))?;
        let at_end = RingAtEnd(Arc::clone(&self.finished));
        let work = move || {
            let _at_end = at_end;
            core.run()
        };
        let thread = thread::Builder::new().name(format!("worker {}", self.threads.len() + 1));
        self.threads
            .push(thread.spawn(work).context("cannot start a worker")?);
        self.bells.push(bell);
        Ok(())
    }

    /// Passes signals on until all have ended.
    fn watch(self, signals: &SignalFd) -> Result<Ended> {
        let mut running = self.threads.len();
        let mut ending = false;
        while running > 0 {
            wait_for_either(signals, &self.finished)?;
            let ended = self.finished.read().unwrap_or(0) as usize;
            running = running.saturating_sub(ended);
            let mut rings = count_signals(signals);
            if ended > 0 && !ending {
                rings = rings.max(1); // one has failed: the others end too, in order
            }
            ending |= rings > 0;
            for bell in &self.bells {
                let _ = bell.write(rings as u64); // fails only if it is full, after 2^64 rings
            }
        }
        let worst = |worst: Ended, ended: Result<Ended>| Ok(worst.max(ended?));
        self.threads
            .into_iter()
            .map(join)
            .try_fold(Ended::Clean, worst)
    }
}

/// Rings when it is dropped: a worker that panics has ended as well.
struct RingAtEnd(Arc<EventFd>);

impl Drop for RingAtEnd {
    fn drop(&mut self) {
        let _ = self.0.write(1);
    }
}

fn join(thread: JoinHandle<Result<Ended>>) -> Result<Ended> {
    thread
        .join()
        .unwrap_or_else(|_| Err(anyhow!("a worker has panicked")))
}

fn new_bell() -> Result<EventFd> {
    EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
        .map_err(|errno| anyhow!("cannot make an eventfd: {}", errno.desc()))
}

fn wait_for_either(signals: &SignalFd, finished: &EventFd) -> Result<()> {
    let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
    match poll(
        &mut [watch(signals.as_fd()), watch(finished.as_fd())],
        PollTimeout::NONE,
    ) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(anyhow!("cannot wait for signals: {}", errno.desc())),
    }
}

fn count_signals(signals: &SignalFd) -> usize {
    std::iter::from_fn(|| signals.read_signal().ok().flatten()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(
                (overlap(a, b), overlap(b, a)),
                (expected, expected),
                "{a} {b}"
            );
        }
    }
}
