//! A server that a check plays: behind a proxy under test, or before a client.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::sockopt::{RcvBuf, ReuseAddr, TcpMaxSeg};
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, SockaddrStorage, bind, listen,
    setsockopt, shutdown, socket,
};

use crate::failure::{Failure, Outcome, Verdict};
use crate::patience::patience;
use crate::peer::Peer;
use crate::trace::Trace;

/// A listener whose connections the check accepts one by one, and then drives.
pub struct Upstream {
    listener: TcpListener,
    address: SocketAddr,
    trace: Trace,
    deadline: Instant,
}

impl Upstream {
    pub fn listen(address: SocketAddr, trace: &Trace, deadline: Instant) -> Verdict<Self> {
        let listen = || {
            let listener = TcpListener::bind(address)?;
            // std asks for 128: thousands of clients that come at once would have to come again.
            listen(&listener, Backlog::new(4096)?)?;
            Ok(listener)
        };
        let listener: TcpListener = listen()
            .map_err(|error: io::Error| Failure::grader(format!("listen on {address}"), error))?;
        let address = listener
            .local_addr()
            .map_err(|error| Failure::grader("getsockname", error))?;
        Self::new(listener, address, trace, deadline)
    }

    /// Begins to listen where nobody listened, with a queue of this length.
    pub fn appear(nobody: Nobody, backlog: i32, trace: &Trace, deadline: Instant) -> Verdict<Self> {
        Backlog::new(backlog)
            .and_then(|backlog| listen(&nobody.bound, backlog))
            .map_err(|errno| Failure::grader(format!("listen on {}", nobody.address), errno))?;
        Self::new(
            TcpListener::from(nobody.bound),
            nobody.address,
            trace,
            deadline,
        )
    }

    fn new(
        listener: TcpListener,
        address: SocketAddr,
        trace: &Trace,
        deadline: Instant,
    ) -> Verdict<Self> {
        let set = listener.set_nonblocking(true);
        set.map_err(|error| Failure::grader("O_NONBLOCK", error))?;
        trace.step(format!("the check itself listens on {address}"));
        Ok(Self {
            listener,
            address,
            trace: trace.clone(),
            deadline,
        })
    }

    /// Stops to listen: whoever connects now is refused. The address stays ours, if it
    /// was that of [`Nobody`] before (`shutdown(2)` of a listening socket).
    pub fn disappear(self) -> Verdict<Nobody> {
        shutdown(self.listener.as_raw_fd(), Shutdown::Read)
            .map_err(|errno| Failure::grader("stop listening", errno))?;
        self.trace
            .step(format!("nobody listens on {} any more", self.address));
        Ok(Nobody {
            bound: self.listener.into(),
            address: self.address,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections from now on take some 120 KB of one that never reads, instead of 4 MB: a
    /// small window here, small segments, and by them a small buffer there (`tcp(7)`).
    pub fn takes_little(&self) -> Verdict {
        setsockopt(&self.listener, RcvBuf, &2304)
            .and_then(|()| setsockopt(&self.listener, TcpMaxSeg, &256))
            .map_err(|errno| Failure::grader("make a small window", errno))
    }

    /// Waits for the next connection.
    pub fn accept(&self, name: &str) -> Verdict<Peer> {
        let deadline = self.deadline.min(Instant::now() + patience());
        loop {
            if let Ok((stream, _)) = self.listener.accept() {
                self.trace.step(format!("{name} accepts a connection"));
                return blocking(name, stream, &self.trace, self.deadline);
            }
            if Instant::now() >= deadline {
                let what = format!("nobody connected to {} as {name}", self.address);
                return Err(Failure::new(Outcome::Timeout, what));
            }
            self.wait_a_moment();
        }
    }

    /// Until somebody connects, or it is time to look at the clock.
    fn wait_a_moment(&self) {
        let mut asked = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut asked, 20u8); // interrupted: then earlier
    }

    /// From now on a thread accepts, and `handle` gets each connection, with its
    /// number, in a thread of its own.
    pub fn serve<F>(self, handle: F) -> Service
    where
        F: Fn(usize, &Peer) -> Verdict + Send + Sync + 'static,
    {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), self.address);
        let stopped = Arc::clone(&stop);
        let handle = Arc::new(handle);
        let accepting = thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) && Instant::now() < self.deadline {
                let Ok((stream, _)) = self.listener.accept() else {
                    self.wait_a_moment();
                    continue;
                };
                let (handle, deadline) = (Arc::clone(&handle), self.deadline);
                thread::spawn(move || {
                    let trace = Trace::default(); // one of thousands: not in the story
                    let peer = blocking("upstream", stream, &trace, deadline)?;
                    // Idle is no fault: whoever waits for too long is the check's to judge.
                    let left = deadline.saturating_duration_since(Instant::now());
                    let peer = peer.with_patience(left);
                    handle(number, &peer)
                });
                number += 1;
            }
            self
        });
        Service {
            address,
            stop,
            accepting: Some(accepting),
        }
    }
}

/// An address that is taken, so that nobody else comes to listen there, and where
/// every connection is refused.
pub struct Nobody {
    bound: OwnedFd,
    address: SocketAddr,
}

impl Nobody {
    pub fn at(address: SocketAddr) -> Verdict<Self> {
        let found = take_address(address)?;
        if address.port() != 0 {
            return Ok(found);
        }
        // A port that the kernel has chosen is lost when the socket stops listening,
        // one that was named stays: so this takes it a second time, by its number.
        take_address(found.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A listener whose queue is full: to connect to it takes until it is heard, or for ever.
pub struct Deaf {
    listener: TcpListener,
    address: SocketAddr,
    queue: Vec<TcpStream>,
}

impl Deaf {
    pub fn listen() -> Verdict<Self> {
        let (listener, address) = listen_with_a_short_queue()
            .map_err(|error| Failure::grader("listen with a short queue", error))?;
        let mut queue = Vec::new();
        // The kernel lets in one or two more than were asked for.
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queue.push(stream);
            if queue.len() > 10 {
                return Err(Failure::grader("fill a queue", "it is never full"));
            }
        }
        Ok(Self {
            listener,
            address,
            queue,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Now it accepts: those that filled the queue, then the one who has been knocking.
    pub fn hear(self, name: &str, trace: &Trace, deadline: Instant) -> Verdict<Peer> {
        let upstream = Upstream {
            listener: self.listener,
            address: self.address,
            trace: trace.clone(),
            deadline,
        };
        for _ in &self.queue {
            upstream.accept("one that filled its queue")?;
        }
        upstream.accept(name)
    }
}

fn listen_with_a_short_queue() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listening = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let anywhere = SockaddrStorage::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    bind(listening.as_raw_fd(), &anywhere)?;
    listen(&listening, Backlog::new(1)?)?;
    let listener = TcpListener::from(listening);
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn take_address(address: SocketAddr) -> Verdict<Nobody> {
    let cannot = |errno| Failure::grader(format!("bind {address}"), errno);
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let bound = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let bound = bound.map_err(cannot)?;
    // Also while connections from before linger there.
    setsockopt(&bound, ReuseAddr, &true).map_err(cannot)?;
    bind(bound.as_raw_fd(), &SockaddrStorage::from(address)).map_err(cannot)?;
    // Bound, but never told to listen; std's names for an address need a listener's type.
    let socket = TcpListener::from(bound);
    let address = socket
        .local_addr()
        .map_err(|error| Failure::grader("getsockname", error))?;
    Ok(Nobody {
        bound: socket.into(),
        address,
    })
}

fn blocking(name: &str, stream: TcpStream, trace: &Trace, deadline: Instant) -> Verdict<Peer> {
    let set = stream.set_nonblocking(false);
    set.map_err(|error| Failure::grader("O_NONBLOCK", error))?;
    Peer::new(name, stream, trace, deadline)
}

/// An [`Upstream`] that serves by itself until it is dropped.
pub struct Service {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    accepting: Option<thread::JoinHandle<Upstream>>,
}

impl Service {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// See [`Upstream::disappear`]. Connections that were accepted go on.
    pub fn disappear(mut self) -> Verdict<Nobody> {
        self.stop.store(true, Ordering::Relaxed);
        let upstream = self.accepting.take().map(thread::JoinHandle::join);
        match upstream {
            Some(Ok(upstream)) => upstream.disappear(),
            _ => Err(Failure::grader("the check's own upstream", "panicked")),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}
