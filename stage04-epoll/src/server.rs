//! The event loop. No other file uses epoll.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use log::{debug, info, warn};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{SockFlag, accept4};

use crate::client::Client;
use crate::given::messages::Messages;
use crate::given::passing::is_passing;
use crate::signals::caught;

/// Each event brings back the token with which its descriptor was registered. A client's
/// token is the number of its descriptor. These three are larger than any descriptor.
const LISTENER: u64 = u64::MAX;
const SIGNALS: u64 = u64::MAX - 1;
const STDOUT: u64 = u64::MAX - 2;

/// At most this many clients are accepted per turn, so that connected ones do not starve. The
/// clients left in the queue make the listener ready again.
const ACCEPTS_PER_TURN: usize = 64;
/// How long to stop accepting after running out of descriptors. A client that leaves ends the
/// pause early.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

pub struct Server {
    epoll: Epoll,
    listener: OwnedFd,
    signals: SignalFd,
    /// By descriptor. `epoll_wait` reports a descriptor once per call, and a client is removed
    /// only while its own event is handled. So no later event of the batch is for that client,
    /// and a new client may get the same number.
    clients: HashMap<RawFd, Client>,
    /// One buffer for all clients, because it is empty between two events.
    chunk: Vec<u8>,
    messages: Messages,
    /// stdout is in the epoll set, see [`Server::watch_stdout`].
    stdout_watched: bool,
    /// Set while the listener is not watched, see [`Server::pause_accepting`].
    accept_again: Option<Instant>,
    /// The shortage has been logged; do not log it again.
    warned: bool,
}

impl Server {
    pub fn new(listener: OwnedFd, signals: SignalFd, quiet: bool) -> nix::Result<Server> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        Ok(Server {
            epoll,
            listener,
            signals,
            clients: HashMap::new(),
            chunk: vec![0; 16 * 1024],
            messages: Messages::for_stdout(quiet),
            stdout_watched: false,
            accept_again: None,
            warned: false,
        })
    }

    /// The event loop: sleeps until something is ready, and deals with it. A signal ends the
    /// loop.
    pub fn run(&mut self) -> Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let mut stopping = false;
        while !stopping {
            debug!("Epoll wait");
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0, // the process was stopped and continued (signal(7))
                Err(errno) => bail!("cannot wait for events: {}", errno.desc()),
            };
            for event in &events[..count] {
                match event.data() {
                    LISTENER => self.accept_clients(),
                    SIGNALS => stopping |= self.signalled(),
                    STDOUT => self.messages.resume(),
                    client => self.serve(client as RawFd, event.events()),
                }
            }
            self.messages.flush();
            self.watch_stdout();
            if self.accept_again.is_some_and(|at| at <= Instant::now()) {
                self.resume_accepting();
            }
        }
        Ok(())
    }

    /// How long to sleep when nothing happens: until the pause in accepting is over, or
    /// without limit.
    fn timeout(&self) -> EpollTimeout {
        let Some(until) = self.accept_again else {
            return EpollTimeout::NONE;
        };
        // Rounded up to whole milliseconds. With a timeout of 0 the loop would spin.
        let wait = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
    }

    /// stdout is a descriptor like any other. It is watched only while messages wait for it.
    fn watch_stdout(&mut self) {
        let full = self.messages.is_full();
        if full && !self.stdout_watched {
            let event = EpollEvent::new(EpollFlags::EPOLLOUT, STDOUT);
            // A file cannot be watched (EPERM), but it is never full.
            self.stdout_watched = self.epoll.add(&self.messages, event).is_ok();
        } else if !full && self.stdout_watched {
            let _ = self.epoll.delete(&self.messages); // it is in the set: cannot fail
            self.stdout_watched = false;
        }
    }

    fn accept_clients(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.accept_client() {
                Ok(()) => info!("Client connected to server"),
                Err(Errno::EAGAIN) => {
                    self.warned = false; // no client waits: the shortage is over
                    return;
                }
                Err(errno) if is_passing(errno) => {
                    debug!("A client left before it was accepted: {}", errno.desc());
                }
                Err(errno) => return self.pause_accepting(errno),
            }
        }
    }

    fn accept_client(&mut self) -> nix::Result<()> {
        // On Linux a socket does not inherit NONBLOCK from its listener.
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = accept4(self.listener.as_raw_fd(), flags)?;
        // SAFETY: accept4 has just opened this descriptor, and nothing else owns it.
        #[allow(unsafe_code)]
        let client = Client::new(unsafe { OwnedFd::from_raw_fd(fd) });
        let event = EpollEvent::new(client.watched, fd as u64);
        self.epoll.add(&client, event)?;
        self.clients.insert(fd, client);
        Ok(())
    }

    /// There are no descriptors left, or no memory. The clients in the queue keep the listener ready, so
    /// epoll would report it again and again. Stop watching it, for a second or until a client
    /// leaves.
    fn pause_accepting(&mut self, errno: Errno) {
        if !self.warned {
            let connected = self.clients.len();
            let why = errno.desc();
            warn!("cannot accept a client: {why} ({connected} connected, others wait)");
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
        let _ = self.epoll.modify(&self.listener, &mut event); // it is in the set: cannot fail
    }

    fn signalled(&mut self) -> bool {
        let Some(signal) = caught(&self.signals) else {
            return false;
        };
        self.messages.resume(); // the last ones, if stdout takes them
        let count = self.clients.len();
        let s = if count == 1 { "" } else { "s" };
        info!("Stopping on {signal} ({count} client{s} connected)");
        true
    }

    /// Lets the client act, then watches for what it needs next. Usually that has not changed,
    /// so a message costs one `recv` and one `send`, and no `epoll_ctl`.
    fn serve(&mut self, fd: RawFd, ready: EpollFlags) {
        let Some(client) = self.clients.get_mut(&fd) else {
            return;
        };
        client.serve(ready, &mut self.chunk, &mut self.messages);

        let interest = client.interest();
        if interest.is_empty() {
            self.clients.remove(&fd); // closes it, which takes it out of epoll (epoll(7))
            self.messages.flush(); // the client's last messages come before the log line
            info!("Client disconnected");
            self.resume_accepting();
        } else if interest != client.watched {
            let mut event = EpollEvent::new(interest, fd as u64);
            let _ = self.epoll.modify(&*client, &mut event); // it is in the set: cannot fail
            client.watched = interest;
        }
    }
}
