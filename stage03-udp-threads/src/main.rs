//! Stage 3: a UDP server with threads.
//!
//! UDP has no connections. After `socket` and `bind`, `recvfrom` brings one datagram and
//! the address of its sender, and `sendto` sends the answer there. Several threads may wait
//! in `recvfrom` on one socket: the kernel gives each datagram to one of them.
//!
//! The client of this stage is `bin/udp-client.rs`. You may skip the folder `given`: this stage
//! needs it, but does not teach it.

use std::collections::VecDeque;
use std::io::{Write, stdout};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::thread::{self, Builder, ScopedJoinHandle};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use log::{error, info, warn};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind,
    getsockname, recvfrom, sendto, socket,
};
use stage03_udp_threads::MAX_DATAGRAM;
use stage03_udp_threads::given::cli::Args;
use stage03_udp_threads::given::logger::start_logger;
use stage03_udp_threads::given::repeated::Repeated;
use stage03_udp_threads::given::reverse::reverse;
use stage03_udp_threads::given::show::show_message;
use stage03_udp_threads::given::words::words;

fn main() -> ExitCode {
    let args = Args::parse();
    start_logger(args.verbose, args.quiet);
    if let Err(error) = run(&args) {
        error!("{error:#}");
    }
    ExitCode::FAILURE // only a signal or a failure ends this server
}

fn run(args: &Args) -> Result<()> {
    let (socket, port) = open_socket(args)?;
    let server = Server {
        socket,
        port,
        quiet: args.quiet,
        not_answered: Repeated::default(),
        failed_threads: Repeated::default(),
        failed_answers: Repeated::default(),
    };
    // The two designs of this stage.
    if args.per_datagram {
        return server.thread_per_datagram(args.max_threads as usize);
    }
    let cpus = || thread::available_parallelism().map_or(1, usize::from);
    server.share_socket(args.threads.map_or_else(cpus, |threads| threads as usize));
    Ok(())
}

/// Opens a socket that datagrams can be sent to, and returns its port as well. A name may have
/// several addresses: the first one that works is taken.
fn open_socket(args: &Args) -> Result<(OwnedFd, u16)> {
    let (host, port) = (args.host.as_str(), args.port);
    let addresses = (host, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve --host {host}"))?;
    let mut failure = anyhow!("--host {host} has no address");
    for address in addresses {
        match bind_to(address) {
            Ok(opened) => return Ok(opened),
            Err(errno) => failure = cannot_listen(address, errno),
        }
    }
    Err(failure)
}

/// Two calls are enough: without connections there is no `listen` and no `accept`.
fn bind_to(address: SocketAddr) -> nix::Result<(OwnedFd, u16)> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // No SO_REUSEADDR here: with UDP, a second server could take the port, and would then
    // get the datagrams (socket(7)).
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;

    let bound: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let port = port_of(&bound);
    info!("Server listening on port {port} ({bound})");
    Ok((socket, port))
}

fn port_of(address: &SockaddrStorage) -> u16 {
    let v4 = address.as_sockaddr_in().map(SockaddrIn::port);
    let v6 = address.as_sockaddr_in6().map(SockaddrIn6::port);
    v4.or(v6).unwrap_or_default()
}

fn cannot_listen(address: SocketAddr, errno: Errno) -> anyhow::Error {
    let hint = match errno {
        Errno::EADDRINUSE => " (`ss -lunp` shows who has the port)",
        Errno::EACCES => " (ports below 1024 are for root)",
        Errno::EADDRNOTAVAIL => " (`ip address` shows the addresses of this machine)",
        _ => "",
    };
    anyhow!("cannot listen on {address}: {}{hint}", errno.desc())
}

/// What all threads share. None of them changes the socket, so they need no lock for it.
struct Server {
    socket: OwnedFd,
    port: u16,
    quiet: bool,
    not_answered: Repeated,
    failed_threads: Repeated,
    failed_answers: Repeated,
}

impl Server {
    /// The first design: a few threads, each with its own loop. This thread is one of
    /// them, so the server works even if it can start no other.
    fn share_socket(&self, threads: usize) {
        let work = || {
            if let Err(error) = self.work() {
                error!("{error:#}");
            }
        };
        thread::scope(|scope| {
            for number in 2..=threads {
                // If no thread can be started, `thread::spawn` panics. The builder returns
                // an error.
                if let Err(error) = Builder::new().spawn_scoped(scope, work) {
                    let why = words(&error);
                    warn!("cannot start thread {number} of {threads}: {why}");
                    break;
                }
            }
            work();
        });
    }

    /// The loop of one thread, with its own buffer.
    fn work(&self) -> Result<()> {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let (count, client) = self.receive(&mut buffer)?;
            self.answer(&buffer[..count], &client);
        }
    }

    /// The second design: a thread for each datagram. Each answer costs the start of a
    /// thread, and without a limit a flood of datagrams would start thousands.
    fn thread_per_datagram(&self, max_threads: usize) -> Result<()> {
        thread::scope(|scope| {
            let mut buffer = vec![0; MAX_DATAGRAM];
            let mut running: VecDeque<ScopedJoinHandle<()>> = VecDeque::new();
            loop {
                // Join threads that have ended, the oldest first. At the limit, wait.
                while let Some(oldest) = running.front()
                    && (oldest.is_finished() || running.len() == max_threads)
                {
                    let _ = running.pop_front().map(ScopedJoinHandle::join);
                }
                let (count, client) = self.receive(&mut buffer)?;
                // A copy for the thread, because the next datagram overwrites the buffer.
                let datagram = buffer[..count].to_vec();
                let answer = move || self.answer(&datagram, &client);
                match Builder::new().spawn_scoped(scope, answer) {
                    Ok(thread) => running.push_back(thread),
                    // Without a new thread, this thread answers.
                    Err(error) => {
                        let why = words(&error);
                        let warning = || format!("cannot start a thread: {why}");
                        self.failed_threads.warn(warning);
                        self.answer(&buffer[..count], &client);
                    }
                }
            }
        })
    }

    /// Waits for a datagram of a client, and returns its size and its sender.
    fn receive(&self, buffer: &mut [u8]) -> Result<(usize, SockaddrStorage)> {
        loop {
            match recvfrom(self.socket.as_raw_fd(), buffer) {
                Ok((_, Some(sender))) if self.is_a_server(&sender) => {
                    let warning = || format!("{sender} is not answered: it may be a server");
                    self.not_answered.warn(warning);
                }
                Ok((count, Some(client))) => return Ok((count, client)),
                Ok((_, None)) | Err(Errno::EINTR) => continue,
                Err(errno) => bail!("cannot receive datagrams: {}", errno.desc()),
            }
        }
    }

    /// The sender's address may be forged. If it were the address of a server, that server would
    /// answer our answer, and so on without end. Clients have ports that their kernels choose,
    /// from 1024 on: below are servers, and at our own port are we and others of our kind.
    fn is_a_server(&self, sender: &SockaddrStorage) -> bool {
        let port = port_of(sender);
        port < 1024 || port == self.port
    }

    /// Answers one datagram. If that fails, only this answer is lost.
    fn answer(&self, datagram: &[u8], client: &SockaddrStorage) {
        if !self.quiet {
            let mut shown = String::new();
            show_message(datagram, &mut shown);
            // One write for the whole line, so that the threads do not mix their lines. It
            // fails if stdout is closed, and that must not end the server.
            let _ = stdout().write_all(shown.as_bytes());
        }
        let mut answer = Vec::with_capacity(datagram.len());
        reverse(datagram, &mut answer);
        while let Err(errno) = self.send(&answer, client) {
            if errno != Errno::EINTR {
                let warning = || format!("cannot answer {client}: {}", errno.desc());
                return self.failed_answers.warn(warning);
            }
        }
    }

    /// One `sendto`. It needs no lock: a datagram is sent as a whole or not at all.
    fn send(&self, answer: &[u8], client: &SockaddrStorage) -> nix::Result<usize> {
        sendto(self.socket.as_raw_fd(), answer, client, MsgFlags::empty())
    }
}
