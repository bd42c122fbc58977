//! Broken servers for many clients (stage 4): one small event loop, and the places where it
//! can be wrong.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::KeepAlive;
use nix::unistd::write;

use super::lines::listen;
use super::{Case, case};

pub const CASES: &[Case] = &[
    case("stage04/outlives-its-clients", "ends-when-a-client-leaves"),
    case("stage04/half-close", "closes-at-rdhup"),
    case(
        "stage04/half-close-while-answers-wait",
        "closes-at-the-end-of-the-input",
    ),
    case(
        "stage04/client-that-never-reads",
        "keeps-answers-without-bound",
    ),
    case("stage04/client-that-never-reads", "waits-for-a-slow-reader"),
    case(
        "stage04/stuck-client-is-cheap",
        "copies-what-waits-at-every-turn",
    ),
    case(
        "stage04/streaming-client",
        "reads-one-client-until-it-is-empty",
    ),
    case("stage04/resets-at-any-moment", "panics-when-a-recv-fails"),
    case("stage04/resets-at-any-moment", "closes-all-at-one-reset"),
    case(
        "stage04/nothing-is-left-of-a-reset",
        "forgets-clients-that-reset",
    ),
    case("stage04/reset-during-an-answer", "panics-when-a-send-fails"),
    case("stage04/reset-during-an-answer", "dies-of-sigpipe"),
    case(
        "stage04/connects-and-leaves",
        "needs-the-address-of-its-clients",
    ),
    case("stage04/connects-and-leaves", "leaks-a-descriptor"),
    case("stage04/client-that-vanishes", "never-asks-a-silent-client"),
    case("stage04/no-leak", "leaks-a-descriptor"),
    case("stage04/no-leak", "leaks-memory"),
    case("stage04/more-than-one-read", "reads-once-per-edge"),
    case(
        "stage04/disconnect-in-a-batch",
        "leaves-the-batch-at-a-disconnect",
    ),
    case("stage04/many-at-once-in-the-queue", "accepts-once-per-edge"),
    case(
        "stage04/stopped-and-continued",
        "panics-when-a-wait-is-interrupted",
    ),
    case("stage04/idle-clients-cost-nothing", "always-waits-for-room"),
    case(
        "stage04/waiting-for-a-reader-costs-nothing",
        "watches-what-it-will-not-read",
    ),
    case(
        "stage04/waiting-for-a-reader-costs-nothing",
        "watches-for-an-end-that-it-knows",
    ),
    case(
        "stage04/thousands-of-idle-clients",
        "looks-at-all-clients-at-every-turn",
    ),
    case(
        "stage04/at-the-descriptor-limit",
        "spins-at-the-descriptor-limit",
    ),
    case(
        "stage04/at-the-descriptor-limit",
        "panics-at-the-descriptor-limit",
    ),
    case(
        "stage04/serves-on-after-the-limit",
        "accepts-no-more-after-the-limit",
    ),
    case("stage01/ends-on-a-signal", "handles-signals-only-when-idle"),
    case("stage04/sigterm", "dies-of-sigterm"),
    case(
        "stage04/sigterm-under-load",
        "handles-signals-only-when-idle",
    ),
    case("stage04/port-is-free-at-once", "does-not-reuse-the-address"),
    case("stage04/soak", "panics-when-a-recv-fails"),
    case("stage04/soak", "forgets-clients-that-reset"),
    case(
        "stage01/iterative-survives-resets",
        "panics-when-a-recv-fails",
    ),
    case(
        "stage01/ends-after-a-reset-while-it-sends",
        "panics-when-a-send-fails",
    ),
    case(
        "stage01/ends-after-a-reset-while-it-sends",
        "dies-of-sigpipe",
    ),
    case("stage01/stdout-closed", "prints-with-println"),
    case("stage04/stdout-unread", "prints-with-println"),
    case("stage04/stdout-closed", "prints-with-println"),
    case(
        "stage04/full-stdout-costs-nothing",
        "looks-at-stdout-every-20-ms",
    ),
    case(
        "stage04/full-stdout-costs-nothing",
        "keeps-what-nobody-can-read",
    ),
    case(
        "stage04/full-stdout-costs-nothing",
        "shows-nothing-after-a-full-stdout",
    ),
    case("stage01/stderr-closed", "logs-with-eprintln"),
    case("stage01/stderr-unread", "logs-with-eprintln"),
    case("stage04/stderr-closed", "logs-with-eprintln"),
    case("stage04/stderr-unread", "logs-with-eprintln"),
];

/// The loop without a fault. It passes the checks that the broken loops fail.
pub const NOT_BROKEN: &str = "not-broken";

/// A client with more unsent bytes than this is not read from.
const MOST_OWED: usize = 64 * 1024;
const LISTENER: u64 = u64::MAX;
const SIGNALS: u64 = u64::MAX - 1;
const STDOUT: u64 = u64::MAX - 2;
/// What may wait for stdout, in bytes.
const MOST_SHOWN: usize = 1024 * 1024;

/// Runs the server that is broken as `name` says; false when there is no such server.
pub fn serve(name: &str, options: &[String]) -> bool {
    let known = CASES.iter().find(|case| case.broken == name);
    let sound = name == NOT_BROKEN;
    if let Some(fault) = known.map(|case| case.broken).or(sound.then_some("")) {
        Server::new(fault, options).run();
    }
    false
}

struct Server {
    fault: &'static str,
    epoll: Epoll,
    listener: TcpListener,
    _signals: SignalFd, // kept open
    clients: HashMap<RawFd, Client>,
    /// Messages that stdout has not taken.
    shown: Vec<u8>,
    stdout_watched: bool,
    lost: Vec<Vec<u8>>,
}

struct Client {
    stream: TcpStream,
    line: Vec<u8>,
    owed: Vec<u8>,
    ended: bool,
    /// Set after an error: nothing more can be read or sent.
    dead: bool,
    watched: EpollFlags,
}

impl Server {
    fn new(fault: &'static str, options: &[String]) -> Self {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        if fault != "dies-of-sigterm" {
            signals.thread_block().unwrap();
        }
        let listener = match fault {
            "does-not-reuse-the-address" => listen_without_reuse(options),
            _ => listen(options),
        };
        listener.set_nonblocking(true).unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let edge = match fault {
            "accepts-once-per-edge" | "accepts-no-more-after-the-limit" => EpollFlags::EPOLLET,
            _ => EpollFlags::empty(),
        };
        let signals = SignalFd::new(&signals).unwrap();
        let watch = EpollEvent::new(EpollFlags::EPOLLIN | edge, LISTENER);
        epoll.add(&listener, watch).unwrap();
        let watch = EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS);
        epoll.add(&signals, watch).unwrap();
        Self {
            fault,
            epoll,
            listener,
            _signals: signals,
            clients: HashMap::new(),
            shown: Vec::new(),
            stdout_watched: false,
            lost: Vec::new(),
        }
    }

    fn is(&self, fault: &str) -> bool {
        self.fault == fault
    }

    fn run(&mut self) -> ! {
        let mut events = [EpollEvent::empty(); 128];
        loop {
            let looks = self.is("looks-at-stdout-every-20-ms") && !self.shown.is_empty();
            let timeout = match looks {
                true => EpollTimeout::from(20u8),
                false => EpollTimeout::NONE,
            };
            let count = match self.epoll.wait(&mut events, timeout) {
                Err(Errno::EINTR) if !self.is("panics-when-a-wait-is-interrupted") => 0,
                result => result.unwrap(),
            };
            for event in &events[..count] {
                match event.data() {
                    LISTENER => self.accept(),
                    SIGNALS if self.is("handles-signals-only-when-idle") && count > 1 => {}
                    SIGNALS if self.is("handles-signals-only-when-idle") => self.end_when_idle(),
                    SIGNALS => std::process::exit(0),
                    STDOUT => {} // it is tried below
                    client => {
                        let left = self.serve(client as RawFd, event.events());
                        if left && self.is("leaves-the-batch-at-a-disconnect") {
                            break;
                        }
                    }
                }
            }
            self.print();
            if self.is("looks-at-all-clients-at-every-turn") {
                let owing = |client: &&Client| client.stream.take_error().is_err();
                self.lost
                    .truncate(self.clients.values().filter(owing).count());
            }
            if self.is("copies-what-waits-at-every-turn") {
                for client in self.clients.values() {
                    (0..30).for_each(|_| drop(std::hint::black_box(client.owed.clone())));
                }
            }
        }
    }

    /// Writes what stdout takes without waiting, and watches it while some is left.
    fn print(&mut self) {
        let stdout = std::io::stdout();
        if self.is("shows-nothing-after-a-full-stdout") && self.shown.len() >= MOST_SHOWN {
            return;
        }
        while !self.shown.is_empty() {
            let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
            poll(&mut asked, PollTimeout::ZERO).unwrap();
            let ready = asked[0].revents().unwrap();
            if ready.contains(PollFlags::POLLERR) && !self.is("keeps-what-nobody-can-read") {
                self.shown.clear();
            } else if !ready.contains(PollFlags::POLLOUT) || ready.contains(PollFlags::POLLERR) {
                break;
            } else {
                let size = self.shown.len().min(4096);
                let count = write(&stdout, &self.shown[..size]).unwrap();
                self.shown.drain(..count);
            }
        }
        let waits = !self.shown.is_empty() && !self.is("looks-at-stdout-every-20-ms");
        if waits && !self.stdout_watched {
            let watch = EpollEvent::new(EpollFlags::EPOLLOUT, STDOUT);
            self.stdout_watched = self.epoll.add(&stdout, watch).is_ok();
        } else if !waits && self.stdout_watched {
            self.epoll.delete(&stdout).unwrap();
            self.stdout_watched = false;
        }
    }

    fn end_when_idle(&self) {
        if self.clients.is_empty() {
            std::process::exit(0);
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.cannot_accept(error),
            }
            if self.is("accepts-once-per-edge") {
                return;
            }
        }
    }

    fn cannot_accept(&self, error: std::io::Error) {
        match self.fault {
            "panics-at-the-descriptor-limit" => panic!("cannot accept: {error}"),
            "spins-at-the-descriptor-limit" => eprintln!("cannot accept: {error}"),
            "accepts-no-more-after-the-limit" => {}
            // The simple way, good enough when the fault is elsewhere.
            _ => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }

    fn admit(&mut self, stream: TcpStream) {
        stream.set_nonblocking(true).unwrap();
        let asks = !self.is("never-asks-a-silent-client");
        setsockopt(&stream, KeepAlive, &asks).unwrap();
        if self.is("needs-the-address-of-its-clients") {
            stream.peer_addr().unwrap();
        }
        if self.is("logs-with-eprintln") {
            eprintln!("Client connected to server");
        }
        let mut watched = EpollFlags::EPOLLIN;
        if matches!(
            self.fault,
            "reads-once-per-edge" | "leaves-the-batch-at-a-disconnect"
        ) {
            watched |= EpollFlags::EPOLLET;
        }
        if self.is("closes-at-rdhup") {
            watched |= EpollFlags::EPOLLRDHUP;
        }
        let fd = stream.as_raw_fd();
        let watch = EpollEvent::new(watched, fd as u64);
        self.epoll.add(&stream, watch).unwrap();
        let client = Client {
            stream,
            line: Vec::new(),
            owed: Vec::new(),
            ended: false,
            dead: false,
            watched,
        };
        self.clients.insert(fd, client);
    }

    /// True when the client has left.
    fn serve(&mut self, fd: RawFd, ready: EpollFlags) -> bool {
        let fault = self.fault;
        let Some(client) = self.clients.get_mut(&fd) else {
            return false;
        };
        if fault == "closes-at-rdhup" && ready.contains(EpollFlags::EPOLLRDHUP) {
            self.remove(fd);
            return true;
        }
        let reading = !client.ended && client.may_be_read(fault);
        if reading && ready != EpollFlags::EPOLLOUT {
            let greedy = fault == "reads-one-client-until-it-is-empty";
            while client.receive(fault, &mut self.shown) && greedy {}
            // A fast sender always has more to read, however the machine schedules the two.
            while greedy && client.owed.len() > 1000 && !client.ended && !client.dead {
                std::thread::sleep(std::time::Duration::from_millis(1));
                client.receive(fault, &mut self.shown);
            }
        }
        client.send(fault);
        let closes_early = client.ended && fault == "closes-at-the-end-of-the-input";
        if client.dead && fault == "forgets-clients-that-reset" {
            return false;
        }
        if client.dead && fault == "closes-all-at-one-reset" {
            self.clients.clear();
            return true;
        }
        if client.dead || closes_early || (client.ended && client.owed.is_empty()) {
            self.remove(fd);
            return true;
        }
        let interest = client.interest(fault);
        if interest != client.watched && !client.watched.contains(EpollFlags::EPOLLET) {
            let mut watch = EpollEvent::new(interest, fd as u64);
            self.epoll.modify(&client.stream, &mut watch).unwrap();
            client.watched = interest;
        }
        false
    }

    fn remove(&mut self, fd: RawFd) {
        let Some(client) = self.clients.remove(&fd) else {
            return;
        };
        match self.fault {
            "ends-when-a-client-leaves" => std::process::exit(1),
            "leaks-a-descriptor" => {
                self.epoll.delete(&client.stream).unwrap();
                let _ = client.stream.shutdown(Shutdown::Both);
                std::mem::forget(client.stream);
            }
            "leaks-memory" => self.lost.push(vec![1; 16 * 1024]),
            "logs-with-eprintln" => eprintln!("Client disconnected"),
            _ => {}
        }
    }
}

impl Client {
    fn may_be_read(&self, fault: &str) -> bool {
        let without_bound = matches!(
            fault,
            "keeps-answers-without-bound"
                | "copies-what-waits-at-every-turn"
                | "reads-one-client-until-it-is-empty"
        );
        without_bound || self.owed.len() <= MOST_OWED
    }

    fn interest(&self, fault: &str) -> EpollFlags {
        let mut interest = EpollFlags::empty();
        let reads = !self.ended && self.may_be_read(fault);
        let careless = fault == "watches-what-it-will-not-read";
        interest.set(EpollFlags::EPOLLIN, reads || careless);
        let waits = !self.owed.is_empty() || fault == "always-waits-for-room";
        interest.set(EpollFlags::EPOLLOUT, waits);
        let knows = matches!(
            fault,
            "watches-for-an-end-that-it-knows" | "closes-at-rdhup"
        );
        interest.set(EpollFlags::EPOLLRDHUP, knows);
        interest
    }

    /// Reads once. True when bytes came.
    fn receive(&mut self, fault: &str, shown: &mut Vec<u8>) -> bool {
        let mut chunk = [0; 10_000];
        let size = if fault == "reads-one-client-until-it-is-empty" {
            100 // slower than any sender
        } else {
            chunk.len()
        };
        let count = match self.stream.read(&mut chunk[..size]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if fault == "panics-when-a-recv-fails" => panic!("cannot recv: {error}"),
            Err(_) => {
                self.dead = true;
                return false;
            }
            Ok(count) => count,
        };
        for &byte in &chunk[..count] {
            self.line.push(byte);
            if byte == b'\n' || self.line.len() == 64 * 1024 {
                self.answer(fault, shown);
            }
        }
        if count == 0 {
            self.answer(fault, shown);
            self.ended = true;
        }
        count > 0
    }

    fn answer(&mut self, fault: &str, shown: &mut Vec<u8>) {
        self.owed.extend(harness::data::reversed(&self.line));
        if fault == "prints-with-println" {
            println!("[CLIENT MESSAGE] {}", self.line.escape_ascii());
        } else if shown.len() < MOST_SHOWN {
            shown.extend(b"[CLIENT MESSAGE] ");
            shown.extend(self.line.trim_ascii_end());
            shown.push(b'\n');
        }
        self.line.clear();
    }

    fn send(&mut self, fault: &str) {
        while !self.owed.is_empty() && !self.dead {
            let result = match fault {
                "dies-of-sigpipe" => send_with_sigpipe(&self.stream, &self.owed),
                _ => self.stream.write(&self.owed),
            };
            match result {
                Ok(count) => drop(self.owed.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if fault == "waits-for-a-slow-reader" {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                        continue;
                    }
                    return;
                }
                Err(error) if fault == "panics-when-a-send-fails" => panic!("{error}"),
                Err(_) => self.dead = true,
            }
        }
    }
}

/// Like a C program that does not handle SIGPIPE.
pub fn send_with_sigpipe(stream: &TcpStream, bytes: &[u8]) -> std::io::Result<usize> {
    use nix::sys::socket::{MsgFlags, send};
    // SAFETY: SIG_DFL installs no handler, so no code of ours runs in a signal handler.
    #[allow(unsafe_code)]
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigDfl) }.unwrap();
    Ok(send(stream.as_raw_fd(), bytes, MsgFlags::empty())?)
}

pub fn listen_without_reuse(options: &[String]) -> TcpListener {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, socket,
    };
    let port = super::lines::option(options, "--port").unwrap_or("0");
    let address = SockaddrIn::new(127, 0, 0, 1, port.parse().unwrap());
    let family = AddressFamily::Inet;
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &address).unwrap();
    listen(&socket, Backlog::new(128).unwrap()).unwrap();
    let listener = TcpListener::from(socket);
    super::lines::announce(&listener);
    listener
}
