//! Runs the server that a [`Config`] describes, and returns how it has ended: [`serve`].
//!
//! Opens the listeners, runs one core on the main thread or several cores on a thread each, and
//! passes signals on to all of them. Called by `main`. It serves no client itself.

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

use super::event_loop::{Wake, count_signals};
use super::{Core, Ended, listening};
use crate::config::Config;
use crate::network::listener::Listener;
use crate::vec::XpsVec;

/// Runs the server that `config` describes, until a signal ends it.
pub fn serve(config: Config) -> Result<Ended> {
    raise_descriptor_limit();
    let signals = catch_signals().map_err(|e| anyhow!("cannot catch signals: {}", e.desc()))?;
    let shares = listening::open(&config)?;
    let places = listening::places(&shares[0]);
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

/// A client needs one or two descriptors. Many systems limit a process to 1024 descriptors until it
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

/// Makes SIGINT and SIGTERM readable from a descriptor. They become one more event in the loop,
/// instead of a handler that interrupts it anywhere (signalfd(2)). Threads started later inherit
/// the blocked signals.
fn catch_signals() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Logs which role is served at which address. Clients can connect from now on.
fn announce(config: &Config, places: &[(SocketAddr, u16)]) {
    for &(address, service) in places {
        info!("listening on tcp://{address} ({})", config.role(service));
    }
}

// ---- several workers ---------------------------------------------------------------------------

/// Several cores, each on its own thread. The main thread waits for signals and passes them on,
/// because a signal can be read only once: the workers cannot all watch the same signalfd.
struct Workers {
    threads: XpsVec<JoinHandle<Result<Ended>>>,
    /// One per worker: wakes it, and carries the number of signals that have arrived.
    wakes: XpsVec<Arc<EventFd>>,
    /// Each worker adds 1 when it ends.
    finished: Arc<EventFd>,
}

impl Workers {
    fn new() -> Result<Workers> {
        Ok(Workers {
            threads: XpsVec::new(),
            wakes: XpsVec::new(),
            finished: Arc::new(new_eventfd()?),
        })
    }

    fn start(&mut self, config: &Arc<Config>, listeners: XpsVec<Listener>) -> Result<()> {
        let wake = Arc::new(new_eventfd()?);
        let core = Core::new(Arc::clone(config), listeners, Wake::Told(Arc::clone(&wake)))?;
        let report = ReportEnd(Arc::clone(&self.finished));
        let work = move || {
            let _report = report;
            core.run()
        };
        let thread = thread::Builder::new().name(format!("worker {}", self.threads.len() + 1));
        self.threads
            .push(thread.spawn(work).context("cannot start a worker")?);
        self.wakes.push(wake);
        Ok(())
    }

    /// Passes signals on until all workers have ended.
    fn watch(self, signals: &SignalFd) -> Result<Ended> {
        let mut running = self.threads.len();
        let mut ending = false;
        while running > 0 {
            wait_for_either(signals, &self.finished)?;
            let ended = self.finished.read().unwrap_or(0) as usize;
            running = running.saturating_sub(ended);
            let mut told = count_signals(signals);
            if ended > 0 && !ending {
                told = told.max(1); // a worker has failed: drain the others, too
            }
            ending |= told > 0;
            for wake in &self.wakes {
                let _ = wake.write(told as u64); // fails only if the sum reaches 2^64
            }
        }
        let worst = |worst: Ended, ended: Result<Ended>| Ok(worst.max(ended?));
        self.threads
            .into_iter()
            .map(join)
            .try_fold(Ended::Clean, worst)
    }
}

/// Reports the end of a worker when it is dropped, so also when the worker panics.
struct ReportEnd(Arc<EventFd>);

impl Drop for ReportEnd {
    fn drop(&mut self) {
        let _ = self.0.write(1);
    }
}

fn join(thread: JoinHandle<Result<Ended>>) -> Result<Ended> {
    thread
        .join()
        .unwrap_or_else(|_| Err(anyhow!("a worker has panicked")))
}

fn new_eventfd() -> Result<EventFd> {
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
