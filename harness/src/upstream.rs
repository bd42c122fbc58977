//! A server inside a check, for a proxy or a client under test to connect to.

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

use crate::data::time;
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
            // std asks for a backlog of 128. With thousands of clients at the same time the kernel
            // would drop SYNs, and a retransmission comes only after a second.
            listen(&listener, Backlog::MAXALLOWABLE)?;
            Ok(listener)
        };
        let listener: TcpListener = listen()
            .map_err(|error: io::Error| Failure::grader(format!("listen on {address}"), error))?;
        let address = listener
            .local_addr()
            .map_err(|error| Failure::grader("getsockname", error))?;
        Self::new(listener, address, trace, deadline)
    }

    /// Starts to listen, with this backlog, where connections were refused so far.
    pub fn appear(nobody: Nobody, backlog: i32, trace: &Trace, deadline: Instant) -> Verdict<Self> {
        let backlog = Backlog::new(backlog).unwrap_or(Backlog::MAXALLOWABLE); // musl: over 128
        listen(&nobody.bound, backlog)
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

    /// Stops listening: from now on connections are refused. The address stays ours if it
    /// came from [`Nobody`] (`shutdown(2)` of a listening socket).
    pub fn disappear(self) -> Verdict<Nobody> {
        shutdown(self.listener.as_raw_fd(), Shutdown::Read)
            .map_err(|errno| Failure::grader("stop listening", errno))?;
        self.trace
            .step(format!("the check stops listening on {}", self.address));
        Ok(Nobody {
            bound: self.listener.into(),
            address: self.address,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on a connection that we never read takes about 120 KB instead of 4 MB: our
    /// receive window is small, and because the segments are small, so is the sender's buffer
    /// (`tcp(7)`).
    pub fn takes_little(&self) -> Verdict {
        setsockopt(&self.listener, RcvBuf, &2304)
            .and_then(|()| setsockopt(&self.listener, TcpMaxSeg, &256))
            .map_err(|errno| Failure::grader("make a small window", errno))
    }

    /// Waits for the next connection.
    pub fn accept(&self, name: &str) -> Verdict<Peer> {
        let begun = Instant::now();
        let deadline = self.deadline.min(begun + patience());
        loop {
            if let Ok((stream, _)) = self.listener.accept() {
                self.trace.step(format!("{name} accepts a connection"));
                return blocking(name, stream, &self.trace, self.deadline);
            }
            if Instant::now() >= deadline {
                let (waited, address) = (begun.elapsed(), self.address);
                let what = format!(
                    "{name} waited for {}, but no connection came to {address}",
                    time(waited)
                );
                return Err(Failure::new(Outcome::Timeout, what));
            }
            self.wait_a_moment();
        }
    }

    /// Waits for a connection, but for at most 20 ms.
    fn wait_a_moment(&self) {
        let mut asked = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut asked, 20u8); // a signal may end it earlier
    }

    /// Starts a thread that accepts connections. For each, another thread calls `handle` with
    /// the number of the connection.
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
                    let trace = Trace::default(); // not printed: there may be thousands
                    let peer = blocking("upstream", stream, &trace, deadline)?;
                    // A connection may be idle: the check decides what takes too long.
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

/// An address on which every connection is refused: we have bound it, so that no other
/// program can, but we do not listen.
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
        // When a socket stops listening, the kernel frees its port if the kernel chose it, but
        // not if it was named. So we bind it a second time, by its number.
        take_address(found.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A listener whose queue is full: the kernel answers no SYN to it before [`Deaf::hear`].
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
        // The kernel accepts one or two more than the backlog.
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

    /// Accepts the connections that filled the queue, then the one that has been waiting.
    pub fn hear(self, name: &str, trace: &Trace, deadline: Instant) -> Verdict<Peer> {
        let upstream = Upstream {
            listener: self.listener,
            address: self.address,
            trace: trace.clone(),
            deadline,
        };
        for _ in &self.queue {
            upstream.accept("the upstream with the full queue")?;
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
    // This must work even while earlier connections are in TIME_WAIT.
    setsockopt(&bound, ReuseAddr, &true).map_err(cannot)?;
    bind(bound.as_raw_fd(), &SockaddrStorage::from(address)).map_err(cannot)?;
    // It is bound, but does not listen. The type `TcpListener` is only for `local_addr`.
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

/// An [`Upstream`] that threads serve until it is dropped.
pub struct Service {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    accepting: Option<thread::JoinHandle<Upstream>>,
}

impl Service {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// See [`Upstream::disappear`]. Connections that were accepted stay open.
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
