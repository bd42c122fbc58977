//! The proxy behind the broken proxies: sound, except for the one fault that it is given.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::mem::{forget, take};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use harness::peer::reset_on_close;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::sockopt::KeepAlive;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket,
};

use super::event_loop::{listen_without_reuse, send_with_sigpipe};
use super::lines::{listen, option};

const LINGER: Duration = Duration::from_secs(30);
const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const CLIENT: usize = 0;
const UPSTREAM: usize = 1;

pub struct Proxy {
    fault: &'static str,
    epoll: Epoll,
    listener: TcpListener,
    _signals: SignalFd, // kept open
    upstream: String,
    patience: Duration,
    pairs: HashMap<u64, Pair>,
    last_number: u64,
    accepted: usize,
    upstream_was_down: bool,
    /// Clients that were accepted, but whose upstream connection failed for lack of descriptors.
    held: Vec<TcpStream>,
    lost: Vec<Vec<u8>>,
}

/// One element for each side.
struct Pair {
    streams: [TcpStream; 2],
    /// The bytes that came from this side and are not yet sent to the other.
    waiting: [Vec<u8>; 2],
    ended: [bool; 2],
    /// Nothing more is sent from this side to the other.
    done: [bool; 2],
    hung_up: [bool; 2],
    watched: [Option<EpollFlags>; 2],
    connecting: bool,
    begun: Instant,
    /// Since when everything is sent, but the client has not ended its side.
    over: Option<Instant>,
    history: Vec<u8>,
    /// Something has come from the upstream.
    answered: bool,
    asked: bool,
    shown: bool,
}

impl Proxy {
    pub fn new(fault: &'static str, options: &[String]) -> Self {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        if fault != "dies-of-sigterm" {
            signals.thread_block().unwrap();
        }
        let upstream = option(options, "--upstream").unwrap_or("127.0.0.1:3000");
        if fault != "resolves-with-the-first-client" {
            upstream.to_socket_addrs().unwrap();
        }
        let listener = match fault {
            "does-not-reuse-the-address" => listen_without_reuse(options),
            _ => listen(options),
        };
        listener.set_nonblocking(true).unwrap();
        // The listen queue that std asks for is too short for some checks.
        nix::sys::socket::listen(&listener, Backlog::MAXALLOWABLE).unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let edge = match fault {
            "accepts-once-per-edge"
            | "accepts-no-more-after-the-limit"
            | "stops-accepting-at-a-failed-connect" => EpollFlags::EPOLLET,
            _ => EpollFlags::empty(),
        };
        let signals = SignalFd::new(&signals).unwrap();
        let readable = |token, more| EpollEvent::new(EpollFlags::EPOLLIN | more, token);
        epoll.add(&listener, readable(LISTENER, edge)).unwrap();
        epoll
            .add(&signals, readable(SIGNALS, EpollFlags::empty()))
            .unwrap();
        let seconds = option(options, "--connect-timeout").unwrap_or("5");
        Self {
            fault,
            epoll,
            listener,
            _signals: signals,
            upstream: upstream.to_owned(),
            patience: Duration::from_secs(seconds.parse().unwrap()),
            pairs: HashMap::new(),
            last_number: 0,
            accepted: 0,
            upstream_was_down: false,
            held: Vec::new(),
            lost: Vec::new(),
        }
    }

    fn is(&self, fault: &str) -> bool {
        self.fault == fault
    }

    pub fn run(&mut self) -> ! {
        let mut events = [EpollEvent::empty(); 128];
        loop {
            let waits = |pair: &Pair| pair.connecting || pair.over.is_some();
            let waits = self.pairs.values().any(waits) || !self.held.is_empty();
            let timeout = match waits {
                _ if self.is("looks-at-stdout-every-20-ms") => EpollTimeout::from(20u8),
                true => EpollTimeout::from(200u8),
                false => EpollTimeout::NONE,
            };
            let count = match self.epoll.wait(&mut events, timeout) {
                Err(Errno::EINTR) if !self.is("panics-when-a-wait-is-interrupted") => 0,
                result => result.unwrap(),
            };
            for event in &events[..count] {
                match event.data() {
                    LISTENER => self.accept(),
                    SIGNALS if self.is("handles-signals-only-when-idle") => {
                        if self.pairs.is_empty() {
                            std::process::exit(0);
                        }
                    }
                    SIGNALS => std::process::exit(0),
                    token => self.serve(token / 2, (token % 2) as usize, event.events()),
                }
            }
            self.after_a_turn();
        }
    }

    fn after_a_turn(&mut self) {
        if !self.is("waits-for-the-kernel-to-give-up") {
            let late = |pair: &Pair| pair.connecting && pair.begun.elapsed() > self.patience;
            let late: Vec<u64> = self
                .pairs
                .iter()
                .filter(|(_, pair)| late(pair))
                .map(|(n, _)| *n)
                .collect();
            late.into_iter().for_each(|number| self.remove(number));
        }
        let lingered = |pair: &Pair| pair.over.is_some_and(|over| over.elapsed() > LINGER);
        let over: Vec<u64> = self
            .pairs
            .iter()
            .filter(|(_, pair)| lingered(pair))
            .map(|(n, _)| *n)
            .collect();
        over.into_iter().for_each(|number| self.remove(number));
        if let Some(client) = self.held.pop() {
            self.admit(client);
        }
        if self.is("looks-at-all-pairs-at-every-turn") {
            let broken = |pair: &&Pair| pair.streams.iter().any(|it| it.take_error().is_err());
            self.lost
                .truncate(self.pairs.values().filter(broken).count());
        }
        if self.is("copies-what-waits-at-every-turn") {
            for pair in self.pairs.values() {
                (0..30).for_each(|_| drop(std::hint::black_box(pair.waiting.clone())));
            }
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((client, _)) => {
                    let admitted = self.admit(client);
                    if !admitted && self.is("stops-accepting-at-a-failed-connect") {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.out_of_descriptors(&error),
            }
            if self.is("accepts-once-per-edge") || !self.held.is_empty() {
                return;
            }
        }
    }

    fn out_of_descriptors(&self, error: &std::io::Error) {
        match self.fault {
            "panics-at-the-descriptor-limit" => panic!("no descriptors: {error}"),
            "spins-at-the-descriptor-limit" => eprintln!("no descriptors: {error}"),
            "accepts-no-more-after-the-limit" => {}
            // The simple way, good enough when the fault is elsewhere.
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }

    /// False when the upstream cannot be reached.
    fn admit(&mut self, client: TcpStream) -> bool {
        let asks = !self.is("never-asks-a-silent-client");
        setsockopt(&client, KeepAlive, &asks).unwrap();
        if self.is("needs-the-address-of-its-clients") {
            client.peer_addr().unwrap();
        }
        if self.is("logs-with-eprintln") {
            eprintln!("Client connected to server, with some more words so that stderr fills up");
        }
        self.accepted += 1;
        if self.is("has-room-for-ten-pairs") && self.accepted > 10 {
            return true;
        }
        client.set_nonblocking(true).unwrap();
        let (upstream, connecting) = match self.connect() {
            Ok(connected) => connected,
            Err(Errno::EMFILE) => {
                self.out_of_descriptors(&Errno::EMFILE.into());
                self.held.push(client);
                return true;
            }
            Err(errno) => {
                self.no_upstream(client, errno);
                return false;
            }
        };
        self.last_number += 1;
        let number = match self.fault {
            "counts-its-pairs-in-a-byte" => self.last_number % 255 + 1,
            _ => self.last_number,
        };
        let pair = Pair {
            streams: [client, upstream],
            waiting: Default::default(),
            ended: [false; 2],
            done: [false; 2],
            hung_up: [false; 2],
            watched: [None; 2],
            connecting,
            begun: Instant::now(),
            over: None,
            history: Vec::new(),
            answered: false,
            asked: false,
            shown: false,
        };
        self.pairs.insert(number, pair);
        self.settle(number);
        true
    }

    /// The connection to the upstream, and whether it is still being made.
    fn connect(&self) -> nix::Result<(TcpStream, bool)> {
        if self.is("remembers-that-the-upstream-was-down") && self.upstream_was_down {
            return Err(Errno::ECONNREFUSED);
        }
        let addresses = self.upstream.to_socket_addrs().unwrap();
        let mut target = addresses.into_iter().next().unwrap();
        if self.is("tries-one-address-only") && self.upstream.starts_with("localhost") {
            target = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], target.port()));
        }
        if matches!(
            self.fault,
            "blocks-while-it-connects" | "stops-accepting-at-a-failed-connect"
        ) {
            let stream = TcpStream::connect(target)
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
            stream.set_nonblocking(true).unwrap();
            return Ok((stream, false));
        }
        let family = match target {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, SockType::Stream, flags, None)?;
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(target)) {
            Ok(()) => Ok((socket.into(), false)),
            Err(Errno::EINPROGRESS) => Ok((socket.into(), true)),
            Err(errno) => Err(errno),
        }
    }

    fn no_upstream(&mut self, client: TcpStream, errno: Errno) {
        self.upstream_was_down = true;
        match self.fault {
            "panics-when-the-upstream-is-down" => panic!("no upstream: {errno}"),
            "forgets-clients-without-an-upstream" => forget(client),
            "warns-for-each-client" => eprintln!("cannot reach {}", self.upstream),
            _ => {}
        }
    }

    fn serve(&mut self, number: u64, side: usize, ready: EpollFlags) {
        let fault = self.fault;
        let Some(pair) = self.pairs.get_mut(&number) else {
            return;
        };
        if pair.connecting {
            if side == UPSTREAM {
                self.connected(number);
            }
            return;
        }
        let gone = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        if ready.intersects(gone) && fault == "closes-on-hangup" {
            return self.remove(number);
        }
        if ready.intersects(gone) && fault == "passes-a-reset-on-at-once" {
            reset_on_close(&pair.streams[1 - side], true).unwrap();
            return self.remove(number);
        }
        let interest = pair.interest(side, fault).unwrap_or(EpollFlags::empty());
        let able = if ready.intersects(gone) {
            interest
        } else {
            interest & ready
        };
        if able.contains(EpollFlags::EPOLLOUT) {
            pair.send(1 - side, fault);
        }
        if able.contains(EpollFlags::EPOLLIN) {
            while pair.receive(side, fault) && fault == "moves-one-pair-until-it-is-empty" {}
            if fault == "answers-the-last-client" && side == UPSTREAM {
                self.give_to_the_last_client(number);
            }
        } else if ready.intersects(gone) && interest.is_empty() {
            pair.hang_up(side);
        }
        self.pass_on_ends(number);
        self.settle(number);
    }

    fn connected(&mut self, number: u64) {
        let fault = self.fault;
        let Some(pair) = self.pairs.get_mut(&number) else {
            return;
        };
        pair.connecting = false;
        let error = pair.streams[UPSTREAM].take_error().unwrap();
        let refused = |error: &std::io::Error| {
            error.raw_os_error() != Some(Errno::ECONNRESET as i32)
                || fault == "takes-a-reset-for-a-refusal"
        };
        let upstream = &pair.streams[UPSTREAM];
        let ends = (upstream.local_addr(), upstream.peer_addr());
        let itself = matches!(ends, (Ok(ours), Ok(theirs)) if ours == theirs);
        let mut failure = error.filter(refused);
        if itself && fault != "takes-itself-for-the-upstream" {
            failure = Some(Errno::ECONNREFUSED.into());
        }
        match failure {
            None => self.settle(number),
            Some(error) => {
                let Some(pair) = self.pairs.remove(&number) else {
                    return;
                };
                let [client, _] = pair.streams;
                let errno = error.raw_os_error().unwrap_or_default();
                self.no_upstream(client, Errno::from_raw(errno));
            }
        }
    }

    fn give_to_the_last_client(&mut self, number: u64) {
        let Some(pair) = self.pairs.get_mut(&number) else {
            return;
        };
        let bytes = take(&mut pair.waiting[UPSTREAM]);
        if let Some(last) = self.pairs.get_mut(&self.last_number) {
            let _ = last.streams[CLIENT].write_all(&bytes);
        }
    }

    /// Shuts down the other side of each stream that has ended and is fully sent.
    fn pass_on_ends(&mut self, number: u64) {
        let fault = self.fault;
        let Some(pair) = self.pairs.get_mut(&number) else {
            return;
        };
        let closes = match fault {
            "closes-at-the-end-of-the-client" => pair.ended[CLIENT],
            "closes-at-the-end-of-the-upstream" | "reads-on-and-drops-it-at-the-end" => {
                pair.ended[UPSTREAM]
            }
            "ends-after-the-first-answer" => pair.asked && pair.waiting[UPSTREAM].is_empty(),
            _ => false,
        };
        if closes {
            return self.remove(number);
        }
        for side in [CLIENT, UPSTREAM] {
            let keeps = match fault {
                "keeps-the-client-open" => side == UPSTREAM,
                "keeps-the-upstream-open" => side == CLIENT,
                _ => false,
            };
            if pair.ended[side] && !pair.done[side] && pair.waiting[side].is_empty() && !keeps {
                pair.done[side] = true;
                let _ = pair.streams[1 - side].shutdown(Shutdown::Write);
            }
        }
        if pair.done == [true, true] {
            let lingers = match fault {
                "closes-with-unread-input" => false,
                "closes-when-its-upstream-resets" => !pair.hung_up[UPSTREAM],
                _ => pair.answered,
            };
            if pair.ended[CLIENT] || !lingers {
                return self.remove(number);
            }
            pair.over.get_or_insert_with(Instant::now);
        }
    }

    fn settle(&mut self, number: u64) {
        let fault = self.fault;
        let Some(pair) = self.pairs.get_mut(&number) else {
            return;
        };
        for side in [CLIENT, UPSTREAM] {
            let wanted = pair.interest(side, fault);
            if wanted == pair.watched[side] {
                continue;
            }
            let event = |interest| EpollEvent::new(interest, number * 2 + side as u64);
            let stream = &pair.streams[side];
            match (pair.watched[side], wanted) {
                (None, Some(interest)) => self.epoll.add(stream, event(interest)).unwrap(),
                (Some(_), Some(interest)) => {
                    self.epoll.modify(stream, &mut event(interest)).unwrap();
                }
                (_, None) => self.epoll.delete(stream).unwrap(),
            }
            pair.watched[side] = wanted;
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(pair) = self.pairs.remove(&number) else {
            return;
        };
        match self.fault {
            "ends-with-its-first-client" => std::process::exit(0),
            "leaks-memory" => self.lost.push(vec![1; 16 * 1024]),
            "leaks-a-descriptor" => {
                let [_, upstream] = pair.streams;
                let _ = self.epoll.delete(&upstream);
                let _ = upstream.shutdown(Shutdown::Both);
                forget(upstream);
            }
            "forgets-pairs-that-reset" if pair.hung_up != [false, false] => {
                for stream in pair.streams {
                    let _ = self.epoll.delete(&stream);
                    let _ = stream.shutdown(Shutdown::Both);
                    forget(stream);
                }
            }
            _ => {}
        }
    }
}

impl Pair {
    /// The events that epoll reports for a side.
    fn interest(&self, side: usize, fault: &str) -> Option<EpollFlags> {
        if self.connecting {
            let careless = fault == "watches-clients-while-it-connects";
            return match side {
                UPSTREAM => Some(EpollFlags::EPOLLOUT),
                _ => careless.then_some(EpollFlags::EPOLLIN),
            };
        }
        let mut interest = EpollFlags::empty();
        let deaf = self.done[side] && fault == "stops-reading-when-the-other-side-is-gone";
        let reads = !self.ended[side] && !deaf && self.may_be_read(side, fault);
        interest.set(EpollFlags::EPOLLIN, reads);
        let writes = !self.waiting[1 - side].is_empty() || fault == "always-waits-for-room";
        interest.set(EpollFlags::EPOLLOUT, writes);
        let knows = fault == "watches-for-ends-that-it-knows";
        interest.set(EpollFlags::EPOLLRDHUP, knows);
        let watched =
            !interest.is_empty() || !self.hung_up[side] || fault == "watches-dead-sockets";
        watched.then_some(interest)
    }

    fn may_be_read(&self, side: usize, fault: &str) -> bool {
        match fault {
            "keeps-bytes-without-bound"
            | "copies-what-waits-at-every-turn"
            | "reads-on-and-drops-it-at-the-end" => true,
            "reads-the-upstream-only-after-a-request" if side == UPSTREAM => self.asked,
            "waits-for-a-line" => !self.waiting[side].contains(&b'\n'),
            _ => self.waiting[side].is_empty(),
        }
    }

    /// Reads once, and sends what came. True when bytes came.
    fn receive(&mut self, side: usize, fault: &str) -> bool {
        let mut chunk = [0; 64 * 1024];
        let size = match fault {
            "moves-one-pair-until-it-is-empty" => 100, // slower than any sender
            _ => chunk.len(),
        };
        let count = match self.streams[side].read(&mut chunk[..size]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if fault == "panics-when-a-recv-fails" => panic!("cannot recv: {error}"),
            Err(_) => {
                self.hung_up[side] = true;
                if fault == "keeps-the-other-side-after-a-reset" {
                    self.done[side] = true;
                } else {
                    self.ended[side] = true;
                    self.give_up(1 - side);
                }
                return false;
            }
            Ok(0) => {
                self.ended[side] = true;
                return false;
            }
            Ok(count) => count,
        };
        self.answered |= side == UPSTREAM;
        if self.done[side] {
            return true; // discarded: the other side is closed
        }
        self.tell(side, &chunk[..count], fault);
        let mut bytes = &chunk[..count];
        if fault == "stops-at-nul" {
            bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        }
        if fault == "remembers-every-byte" {
            self.history.extend_from_slice(bytes);
        }
        self.waiting[side].extend_from_slice(bytes);
        if fault == "has-one-buffer-for-both-directions" && !self.waiting[1 - side].is_empty() {
            self.waiting[1 - side].clear();
        }
        let elsewhere = fault == "answers-the-last-client" && side == UPSTREAM;
        if !elsewhere {
            self.send(side, fault);
        }
        true
    }

    fn tell(&mut self, side: usize, bytes: &[u8], fault: &str) {
        match (side, fault) {
            (UPSTREAM, "ends-after-the-first-answer") => self.asked = true,
            (CLIENT, "reads-the-upstream-only-after-a-request") => self.asked = true,
            (CLIENT, "prints-what-it-gets" | "prints-although-quiet") => {
                println!("[CLIENT MESSAGE] {}", String::from_utf8_lossy(bytes));
            }
            (CLIENT, "shows-the-first-request-only") if !self.shown => {
                let line = bytes
                    .split(|&byte| byte == b'\r')
                    .next()
                    .unwrap_or_default();
                println!("[CLIENT MESSAGE] {}", line.escape_ascii());
                self.shown = true;
            }
            _ => {}
        }
    }

    /// Sends the bytes that came from this side to the other.
    fn send(&mut self, side: usize, fault: &str) {
        if fault == "waits-for-a-line" && !self.waiting[side].contains(&b'\n') {
            return;
        }
        while !self.waiting[side].is_empty() && !self.done[side] {
            let (waiting, sink) = (&self.waiting[side], &self.streams[1 - side]);
            let result = match fault {
                "dies-of-sigpipe" => send_with_sigpipe(sink, waiting),
                _ => (&*sink).write(waiting),
            };
            match result {
                Ok(_) if fault == "sends-once" => self.waiting[side].clear(),
                Ok(count) => drop(self.waiting[side].drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => match fault {
                    "waits-for-a-slow-reader" => std::thread::sleep(Duration::from_millis(1)),
                    _ => return,
                },
                Err(error) if fault == "panics-when-a-send-fails" => panic!("{error}"),
                Err(error) => {
                    self.hung_up[1 - side] |= error.kind() == ErrorKind::ConnectionReset;
                    self.give_up(side);
                }
            }
        }
    }

    /// Sends nothing more from this side to the other.
    fn give_up(&mut self, side: usize) {
        self.done[side] = true;
        self.waiting[side].clear();
    }

    fn hang_up(&mut self, side: usize) {
        self.hung_up[side] = true;
        if self.ended[side] {
            self.give_up(1 - side);
        }
    }
}
