//! Stage 4: a TCP server for many clients on one thread.
//!
//! Nothing here waits for one client. All sockets are non-blocking, the thread
//! sleeps in one place (`epoll_wait`), and there the kernel says which sockets are
//! ready. The work of one wake-up is in proportion to those, not to all clients.

mod cli;
mod client;
mod console;
mod reverse;
mod show;

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use log::{debug, error, info, warn};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::sockopt::{ReuseAddr, TcpNoDelay};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, accept4, bind, getsockname,
    listen, setsockopt, socket,
};

use cli::Args;
use client::Client;
use console::Messages;
use show::show_message;

/// A token comes back with each event and says whose it is. A client's token is
/// the number of its descriptor; these two are no descriptors.
const LISTENER: u64 = u64::MAX;
const SIGNALS: u64 = u64::MAX - 1;

/// Clients accepted in one turn, so that a rush of new ones does not make the
/// others wait. Those left in the queue make the listener ready again.
const ACCEPTS_PER_TURN: usize = 64;
/// How long no one is accepted after descriptors ran out, unless a client leaves.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// The longest sleep, in milliseconds, while there is work that no event announces.
const TICK: u8 = 20;

fn main() -> ExitCode {
    let args = Args::parse();
    console::start_logger(args.verbose, args.quiet);
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    raise_descriptor_limit();
    let signals = catch_signals().context("cannot catch signals")?;
    let listener = open_listener(args)?;
    let mut server = Server::new(listener, signals, args.quiet).context("cannot set up epoll")?;
    server.run()
}

/// A client costs one descriptor. Many systems let a process have 1024 of them
/// until it asks for more (getrlimit(2)).
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| (soft, hard))
    });
    match raised {
        Ok((soft, hard)) => debug!("Descriptor limit raised to {hard}, it was {soft}"),
        Err(errno) => debug!("Descriptor limit stays as it is: {}", errno.desc()),
    }
}

/// Makes SIGINT and SIGTERM readable from a descriptor: one more event in the loop,
/// instead of a handler that interrupts it anywhere (signalfd(2)).
fn catch_signals() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Blocked for good: a second signal finds us on our way out and changes nothing.
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Opens a socket that clients can connect to, on the first address of `--host`
/// that can be had (a name may have several).
fn open_listener(args: &Args) -> Result<OwnedFd> {
    let (host, port) = (args.host.as_str(), args.port);
    let addresses = (host, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve --host {host}"))?;
    let mut failure = anyhow!("--host {host} has no address");
    for address in addresses {
        match listen_on(address, args.backlog) {
            Ok(listener) => return Ok(listener),
            Err(errno) => failure = cannot_listen(address, errno),
        }
    }
    Err(failure)
}

fn listen_on(address: SocketAddr, backlog: i32) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = socket(family, SockType::Stream, flags, None)?;
    // Without it the port stays taken for a minute after a client was served:
    // the old connection is in TIME_WAIT (tcp(7)).
    setsockopt(&listener, ReuseAddr, &true)?;
    // Answers go out at once, not when the ones before are acknowledged. Accepted
    // sockets inherit it.
    setsockopt(&listener, TcpNoDelay, &true)?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&listener, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))?;

    let bound: SockaddrStorage = getsockname(listener.as_raw_fd())?;
    let port = bound
        .to_string()
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .to_owned();
    info!("Server listening on port {port} ({bound})");
    Ok(listener)
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

struct Server {
    epoll: Epoll,
    listener: OwnedFd,
    signals: SignalFd,
    /// By descriptor. `epoll_wait` reports a descriptor once per call and a client
    /// is removed only while its own event is handled: so no later event of the
    /// batch is meant for it, even when a new client gets the same number.
    clients: HashMap<RawFd, Client>,
    /// One buffer for all: between two events nothing is in it.
    chunk: Vec<u8>,
    quiet: bool,
    messages: Messages,
    messages_wait: bool,
    /// Set while the listener is not watched, see [`Server::pause_accepting`].
    accept_again: Option<Instant>,
    warned: bool,
}

impl Server {
    fn new(listener: OwnedFd, signals: SignalFd, quiet: bool) -> nix::Result<Server> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        Ok(Server {
            epoll,
            listener,
            signals,
            clients: HashMap::new(),
            chunk: vec![0; 16 * 1024],
            quiet,
            messages: Messages::default(),
            messages_wait: false,
            accept_again: None,
            warned: false,
        })
    }

    /// The event loop: sleeps until something is ready, deals with it, until a
    /// signal ends it.
    fn run(&mut self) -> Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let mut stopping = false;
        while !stopping {
            debug!("Epoll wait");
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0, // stopped and continued (signal(7))
                Err(errno) => bail!("cannot wait for events: {}", errno.desc()),
            };
            for event in &events[..count] {
                match event.data() {
                    LISTENER => self.accept_clients(),
                    SIGNALS => stopping |= self.signalled(),
                    client => self.serve(client as RawFd, event.events()),
                }
            }
            self.messages_wait = !self.messages.flush();
            if self.accept_again.is_some_and(|at| at <= Instant::now()) {
                self.resume_accepting();
            }
        }
        info!(
            "Ended by a signal, {} clients connected",
            self.clients.len()
        );
        Ok(())
    }

    fn signalled(&self) -> bool {
        let Ok(Some(info)) = self.signals.read_signal() else {
            return false;
        };
        let signal = Signal::try_from(info.ssi_signo as i32).map_or("a signal", Signal::as_str);
        info!("Server ends on {signal}, clients: {}", self.clients.len());
        true
    }

    fn timeout(&self) -> EpollTimeout {
        if self.messages_wait || self.accept_again.is_some() {
            EpollTimeout::from(TICK)
        } else {
            EpollTimeout::NONE
        }
    }

    fn accept_clients(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.accept_client() {
                Ok(()) => info!("Client connected to server"),
                Err(Errno::EAGAIN) => {
                    self.warned = false; // there is room again, and nobody waits
                    return;
                }
                // The trouble of one client, which left while it waited (accept(2)).
                Err(errno @ (Errno::ECONNABORTED | Errno::EPROTO | Errno::EINTR)) => {
                    debug!("A client left before it was accepted: {}", errno.desc());
                }
                Err(errno) => return self.pause_accepting(errno),
            }
        }
    }

    fn accept_client(&mut self) -> nix::Result<()> {
        // A socket does not inherit NONBLOCK from its listener: ask for it.
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = accept4(self.listener.as_raw_fd(), flags)?;
        // SAFETY: accept4 has just opened this descriptor, nobody else has it.
        #[allow(unsafe_code)]
        let client = Client::new(unsafe { OwnedFd::from_raw_fd(fd) });
        let event = EpollEvent::new(client.watched, fd as u64);
        self.epoll.add(&client, event)?;
        self.clients.insert(fd, client);
        Ok(())
    }

    /// Descriptors ran out, or memory. The clients in the queue keep the listener
    /// ready, so it would wake us again and again for nothing: stop watching it, for
    /// a second or until a client leaves.
    fn pause_accepting(&mut self, errno: Errno) {
        if !self.warned {
            let count = self.clients.len();
            let why = errno.desc();
            warn!("cannot accept more than {count} clients: {why} (the next one waits)");
            self.warned = true;
        }
        self.watch_listener(EpollFlags::empty());
        self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
    }

    fn resume_accepting(&mut self) {
        if self.accept_again.take().is_some() {
            self.watch_listener(EpollFlags::EPOLLIN);
        }
    }

    fn watch_listener(&self, interest: EpollFlags) {
        let mut event = EpollEvent::new(interest, LISTENER);
        let _ = self.epoll.modify(&self.listener, &mut event); // it is there: cannot fail
    }

    fn serve(&mut self, fd: RawFd, ready: EpollFlags) {
        let Some(client) = self.clients.get_mut(&fd) else {
            return;
        };
        client.serve(ready, &mut self.chunk, |line| {
            if !self.quiet {
                self.messages.add(|shown| show_message(line, shown));
            }
        });

        let interest = client.interest();
        if interest.is_empty() {
            self.clients.remove(&fd); // closes it, and epoll forgets it (epoll(7))
            info!("Client disconnected");
            self.resume_accepting();
        } else if interest != client.watched {
            let mut event = EpollEvent::new(interest, fd as u64);
            let _ = self.epoll.modify(&*client, &mut event); // it is there: cannot fail
            client.watched = interest;
        }
    }
}
