//! The loop: one thread, one epoll set, and whoever is ready is served. It is
//! level-triggered, as in stage 4: what is not done now is reported again.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use log::{debug, info, warn};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{SockFlag, accept4};
use stage05_proxy::given::messages::Messages;
use stage05_proxy::given::show::show_message;

use crate::flow::CHUNK;
use crate::pair::{Pair, Side};
use crate::requests::{request_line, show_totals};
use crate::upstream::Upstream;
use stage05_proxy::given::repeated::Repeated;

/// The tokens that come back with epoll's events. Those of a pair are its number,
/// which is not given twice, doubled, and the side: an event for a pair that ended
/// earlier in the same batch finds nothing, never another pair.
const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;

fn tokens(number: u64) -> [u64; 2] {
    Side::BOTH.map(|side| number * 2 + side as u64)
}

/// After so many new clients it is the turn of those that we have.
const ACCEPTS_PER_TURN: usize = 64;
/// How long no client is accepted after descriptors ran out, unless one leaves.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How long a client whose pair is over may take to end its side.
const LINGER: Duration = Duration::from_secs(2);
/// When to offer stdout again what it did not take.
const FLUSH_AGAIN: Duration = Duration::from_millis(100);

pub struct Proxy {
    epoll: Epoll,
    listener: OwnedFd,
    signals: SignalFd,
    upstream: Upstream,
    /// By number: found in one step, however many there are.
    pairs: HashMap<u64, Pair>,
    last_number: u64,
    /// Until when the upstream may answer the pair of this number. All get the same
    /// time, so the next to be given up is in front.
    deadlines: VecDeque<(Instant, u64)>,
    /// Pairs that are over but for the client's own end, and how long it is waited for.
    lingering: VecDeque<(Instant, u64)>,
    /// Accepted, but there was no descriptor for their connection to the upstream.
    held: Vec<OwnedFd>,
    /// Descriptors have run out: no client is accepted until then.
    accept_again: Option<Instant>,
    /// They ran out, and since then some client has been waiting.
    starved: bool,
    /// With the upstream down, every client would be a line in the log.
    unreachable: Repeated,
    exhausted: Repeated,
    quiet: bool,
    messages: Messages,
    /// False while stdout does not take them all.
    all_written: bool,
    /// What one `recv` brings. One for all pairs: it is passed on before the next.
    chunk: Vec<u8>,
}

impl Proxy {
    pub fn new(
        listener: OwnedFd,
        signals: SignalFd,
        upstream: Upstream,
        quiet: bool,
    ) -> nix::Result<Proxy> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        Ok(Proxy {
            epoll,
            listener,
            signals,
            upstream,
            pairs: HashMap::new(),
            last_number: 0,
            deadlines: VecDeque::new(),
            lingering: VecDeque::new(),
            held: Vec::new(),
            accept_again: None,
            starved: false,
            unreachable: Repeated::default(),
            exhausted: Repeated::default(),
            quiet,
            messages: Messages::for_stdout(),
            all_written: true,
            chunk: vec![0; CHUNK],
        })
    }

    /// Serves until a signal asks to stop.
    pub fn run(&mut self) -> Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        loop {
            debug!("Epoll wait");
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0, // stopped and continued (signal(7))
                Err(errno) => bail!("cannot wait for events: {}", errno.desc()),
            };
            for event in &events[..count] {
                match event.data() {
                    LISTENER => self.accept_clients(),
                    SIGNALS => {
                        self.stop();
                        return Ok(());
                    }
                    token => self.serve(token, event.events()),
                }
            }
            self.do_what_is_due();
        }
    }

    fn stop(&mut self) {
        self.messages.flush();
        let signal = match self.signals.read_signal() {
            Ok(Some(info)) => {
                Signal::try_from(info.ssi_signo as i32).map_or("a signal", Signal::as_str)
            }
            _ => "a signal",
        };
        info!("Server ends on {signal}, clients: {}", self.pairs.len());
    }

    /// How long to wait: until the next thing is due, for ever when nothing is.
    fn timeout(&self) -> EpollTimeout {
        let now = Instant::now();
        let due = [
            self.deadlines.front().map(|&(deadline, _)| deadline),
            self.lingering.front().map(|&(until, _)| until),
            self.accept_again,
            self.unreachable.due(),
            self.exhausted.due(),
            (!self.all_written).then(|| now + FLUSH_AGAIN),
        ];
        let Some(next) = due.into_iter().flatten().min() else {
            return EpollTimeout::NONE;
        };
        // Whole milliseconds, rounded up: else the last part of one would be a spin.
        let wait = next.saturating_duration_since(now) + Duration::from_millis(1);
        EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
    }

    fn accept_clients(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.next_client() {
                Ok(client) => self.connect(client, 0, Errno::EHOSTUNREACH),
                Err(Errno::EAGAIN) => {
                    self.starved = false; // nobody is waiting any more
                    return;
                }
                Err(errno) if is_passing(errno) => {
                    debug!("A client left before it was accepted: {}", errno.desc());
                }
                Err(errno) => self.pause_accepting(errno),
            }
            if self.accept_again.is_some() {
                return;
            }
        }
    }

    /// One that was held, else the next from the backlog.
    fn next_client(&mut self) -> nix::Result<OwnedFd> {
        if let Some(client) = self.held.pop() {
            return Ok(client);
        }
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let client = accept4(self.listener.as_raw_fd(), flags)?;
        info!("Client connected to server");
        // SAFETY: accept4 has just opened this descriptor, nobody else has it.
        #[allow(unsafe_code)]
        Ok(unsafe { OwnedFd::from_raw_fd(client) })
    }

    /// Begins to connect a client to the upstream, to its address number `from` or a
    /// later one; `failure` is that of the address before.
    fn connect(&mut self, client: OwnedFd, from: usize, failure: Errno) {
        // EPOLLOUT, or the deadline, will tell how it went.
        match self.upstream.begin(from, failure) {
            Ok(attempt) => {
                self.last_number += 1;
                let deadline = Instant::now() + self.upstream.patience;
                self.deadlines.push_back((deadline, self.last_number));
                let pair = Pair::new(client, attempt);
                self.pairs.insert(self.last_number, pair);
                self.settle(self.last_number);
            }
            // It waits, connected, as others wait in the backlog.
            Err(errno) if is_exhaustion(errno) => {
                self.held.push(client);
                self.pause_accepting(errno);
            }
            Err(errno) => {
                let name = &self.upstream.name;
                let hint = match (errno, name.rsplit_once(':')) {
                    (Errno::ECONNREFUSED, Some((_, port))) => {
                        format!(" (start one: `python3 -m http.server {port}`)")
                    }
                    _ => String::new(),
                };
                self.unreachable
                    .add(|| format!("cannot reach upstream {name}: {}{hint}", errno.desc()));
                info!("Client disconnected");
                self.descriptors_are_free();
            }
        }
    }

    /// A listener that cannot accept stays readable, and would wake us at once, for
    /// ever: stop asking for it.
    fn pause_accepting(&mut self, errno: Errno) {
        if !self.starved {
            let (why, connected) = (errno.desc(), self.pairs.len());
            self.exhausted.add(|| {
                format!("cannot accept a client: {why} ({connected} connected, others wait)")
            });
        }
        self.starved = true;
        self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
        self.watch_listener(EpollFlags::empty());
    }

    fn watch_listener(&self, interest: EpollFlags) {
        let mut event = EpollEvent::new(interest, LISTENER);
        if let Err(errno) = self.epoll.modify(&self.listener, &mut event) {
            warn!("cannot watch the listener: {}", errno.desc());
        }
    }

    /// Lets a pair do what an event on one of its sides has made possible.
    fn serve(&mut self, token: u64, events: EpollFlags) {
        let (number, side) = (token / 2, Side::BOTH[(token % 2) as usize]);
        let Some(pair) = self.pairs.get_mut(&number) else {
            return; // it ended earlier in this batch
        };
        if pair.connecting().is_some() {
            if let Err(errno) = pair.finish_connect() {
                return self.connect_failed(number, errno);
            }
        } else if let Some(count) = pair.serve(side, events, &mut self.chunk)
            && !self.quiet
            && let Some(line) = request_line(&self.chunk[..count])
        {
            self.messages.add(|shown| show_message(line, shown));
            pair.request_shown = true;
        }
        self.settle(number);
    }

    /// The address that was tried is no good: on to the next, as a new pair.
    fn connect_failed(&mut self, number: u64, failure: Errno) {
        if let Some(pair) = self.pairs.remove(&number) {
            let next = pair.connecting().map_or(0, |address| address + 1);
            self.connect(pair.into_client(), next, failure);
        }
    }

    /// Something was done for a pair: either it is over now, or epoll is told what it
    /// wants next.
    fn settle(&mut self, number: u64) {
        let Some(pair) = self.pairs.get_mut(&number) else {
            return;
        };
        if pair.is_over() {
            if !pair.lingers() {
                return self.close(number);
            }
            if !mem::replace(&mut pair.lingering, true) {
                let until = Instant::now() + LINGER;
                self.lingering.push_back((until, number));
            }
        }
        if let Err(errno) = pair.watch(&self.epoll, tokens(number)) {
            warn!("cannot watch a connection: {}", errno.desc());
            self.close(number);
        }
    }

    /// Closes both sockets of a pair, which takes them out of the epoll set as well.
    fn close(&mut self, number: u64) {
        let Some(pair) = self.pairs.remove(&number) else {
            return;
        };
        info!("Client disconnected");
        if !self.quiet && !pair.request_shown {
            let totals = Side::BOTH.map(|side| pair.total(side));
            self.messages.add(|shown| show_totals(totals, shown));
        }
        self.descriptors_are_free();
    }

    fn descriptors_are_free(&mut self) {
        if self.accept_again.is_some() {
            self.accept_again = Some(Instant::now()); // the pause ends with this batch
        }
    }

    /// What no event tells of, once after each batch.
    fn do_what_is_due(&mut self) {
        self.give_up_late_connects();
        self.close_late_clients();
        if self
            .accept_again
            .is_some_and(|until| until <= Instant::now())
        {
            self.accept_again = None;
            self.watch_listener(EpollFlags::EPOLLIN);
            self.accept_clients(); // the held ones have no event of their own
        }
        self.unreachable.say();
        self.exhausted.say();
        self.all_written = self.messages.flush();
    }

    fn close_late_clients(&mut self) {
        while let Some(&(until, number)) = self.lingering.front() {
            if until > Instant::now() {
                return;
            }
            self.lingering.pop_front();
            self.close(number); // if it is still there
        }
    }

    fn give_up_late_connects(&mut self) {
        while let Some(&(deadline, number)) = self.deadlines.front() {
            let pair = self.pairs.get(&number);
            let pending = pair.is_some_and(|pair| pair.connecting().is_some());
            if pending && deadline > Instant::now() {
                return; // and all behind it are due later
            }
            self.deadlines.pop_front();
            if pending {
                self.connect_failed(number, Errno::ETIMEDOUT);
            }
        }
    }
}

/// There is nothing left of something that all clients share: accept(2), socket(2).
fn is_exhaustion(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM
    )
}

/// The trouble of one client that waited, or of its network: the next one may do
/// (accept(2), "Error handling").
fn is_passing(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ECONNABORTED
            | Errno::EPROTO
            | Errno::EINTR
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
    )
}
