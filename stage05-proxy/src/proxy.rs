//! The event loop: one thread and one epoll set for all pairs. epoll is level-triggered, as in
//! stage 4: it reports again in the next turn what was not done in this one.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use log::{debug, info, warn};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;

use crate::flow::CHUNK;
use crate::given::accepting::{Listener, is_exhaustion};
use crate::given::messages::Messages;
use crate::given::repeated::Repeated;
use crate::given::signals::caught;
use crate::pair::{Pair, Side};
use crate::upstream::Upstream;

/// Each event brings back a token. A pair has two tokens: twice its number, plus the side. No
/// number is used twice. So an event for a pair that ended earlier in the same batch finds no
/// pair.
const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const STDOUT: u64 = u64::MAX;

fn tokens(number: u64) -> [u64; 2] {
    Side::BOTH.map(|side| number * 2 + side as u64)
}

/// At most this many clients are accepted per turn, so that connected ones do not starve.
const ACCEPTS_PER_TURN: usize = 64;
/// How long the proxy waits for the client's end of the stream, when all else of a pair is over.
const LINGER: Duration = Duration::from_secs(30);

pub struct Proxy {
    epoll: Epoll,
    listener: Listener,
    signals: SignalFd,
    upstream: Upstream,
    /// By number. Finding a pair takes the same time, whether there are few or many.
    pairs: HashMap<u64, Pair>,
    last_number: u64,
    /// When to give up a connect, and for which pair. All get the same time, so the earliest
    /// deadline is at the front.
    connect_deadlines: VecDeque<(Instant, u64)>,
    /// When to stop waiting for a client to end its side.
    linger_deadlines: VecDeque<(Instant, u64)>,
    /// Limits the warnings while the upstream is down. Otherwise each client would cause one.
    unreachable: Repeated,
    messages: Messages,
    /// stdout is in the epoll set, see [`Proxy::watch_stdout`].
    stdout_watched: bool,
    /// One buffer for all pairs: what one `recv` brings is passed on before the next.
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
        epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        Ok(Proxy {
            listener: Listener::watched(listener, &epoll, LISTENER)?,
            epoll,
            signals,
            upstream,
            pairs: HashMap::new(),
            last_number: 0,
            connect_deadlines: VecDeque::new(),
            linger_deadlines: VecDeque::new(),
            unreachable: Repeated::default(),
            messages: Messages::for_stdout(quiet),
            stdout_watched: false,
            chunk: vec![0; CHUNK],
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
                    token => self.serve(token, event.events()),
                }
            }
            self.do_what_is_due();
        }
        Ok(())
    }

    fn signalled(&mut self) -> bool {
        let Some(signal) = caught(&self.signals) else {
            return false;
        };
        self.messages.resume(); // the last ones, if stdout takes them
        let count = self.pairs.len();
        let s = if count == 1 { "" } else { "s" };
        info!("Stopping on {signal} ({count} client{s} connected)");
        true
    }

    /// How long to sleep when nothing happens: until the next thing is due, or without limit.
    fn timeout(&self) -> EpollTimeout {
        let front = |queue: &VecDeque<(Instant, u64)>| queue.front().map(|&(due, _)| due);
        let due = [
            front(&self.connect_deadlines),
            front(&self.linger_deadlines),
            self.listener.paused_until(),
            self.unreachable.due(),
        ];
        let Some(next) = due.into_iter().flatten().min() else {
            return EpollTimeout::NONE;
        };
        // Rounded up to whole milliseconds. With a timeout of 0 the loop would spin.
        let wait = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
    }

    fn accept_clients(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok(client) => {
                    info!("Client connected to server");
                    self.connect(client, 0, Errno::EHOSTUNREACH);
                }
                Err(Errno::EAGAIN) => return,
                Err(errno) => self.listener.pause(&self.epoll, errno, self.pairs.len()),
            }
        }
    }

    /// Begins to connect a client to the upstream: to the address with index `from`, or to a
    /// later one. `failure` says why the address before did not work.
    fn connect(&mut self, client: OwnedFd, from: usize, failure: Errno) {
        match self.upstream.begin(from, failure) {
            Ok((socket, address)) => {
                // Either epoll reports how it went, or the deadline passes.
                self.last_number += 1;
                let number = self.last_number;
                let deadline = Instant::now() + self.upstream.patience;
                self.connect_deadlines.push_back((deadline, number));
                self.pairs
                    .insert(number, Pair::new(client, socket, address));
                self.settle(number);
            }
            Err(errno) => {
                drop(client); // closes it
                info!("Client disconnected");
                if is_exhaustion(errno) {
                    self.listener.pause(&self.epoll, errno, self.pairs.len());
                } else {
                    self.unreachable.warn(|| self.upstream.cannot_reach(errno));
                    self.listener.end_pause();
                }
            }
        }
    }

    /// Lets a pair do what an event on one of its sides has made possible.
    fn serve(&mut self, token: u64, events: EpollFlags) {
        let (number, side) = (token / 2, Side::BOTH[(token % 2) as usize]);
        let Some(pair) = self.pairs.get_mut(&number) else {
            return; // it ended earlier in this batch
        };
        if pair.connecting.is_some() {
            if let Err(errno) = pair.finish_connect() {
                return self.connect_failed(number, errno);
            }
        } else {
            let awaited_before = pair.awaits_client();
            pair.serve(side, events, &mut self.chunk, &mut self.messages);
            if pair.awaits_client() && !awaited_before {
                let deadline = Instant::now() + LINGER;
                self.linger_deadlines.push_back((deadline, number));
            }
        }
        self.settle(number);
    }

    /// The address that was tried does not work. Tries the next one, as a new pair.
    fn connect_failed(&mut self, number: u64, failure: Errno) {
        if let Some(pair) = self.pairs.remove(&number) {
            let next = pair.connecting.map_or(0, |address| address + 1);
            self.connect(pair.into_client(), next, failure);
        }
    }

    /// To be called after something was done for a pair: closes it if it is over, otherwise
    /// watches for what it needs next.
    fn settle(&mut self, number: u64) {
        let Some(pair) = self.pairs.get_mut(&number) else {
            return;
        };
        if pair.is_over() && !pair.awaits_client() {
            return self.close(number);
        }
        if let Err(errno) = pair.watch(&self.epoll, tokens(number)) {
            warn!("cannot watch a connection: {}", errno.desc());
            self.close(number);
        }
    }

    /// Closes both sockets of a pair, which takes them out of the epoll set as well.
    fn close(&mut self, number: u64) {
        if let Some(pair) = self.pairs.remove(&number) {
            info!("Client disconnected");
            pair.show_totals(&mut self.messages);
            self.listener.end_pause();
        }
    }

    /// Does the work that no event announces, once per turn.
    fn do_what_is_due(&mut self) {
        self.give_up_late_connects();
        self.close_late_clients();
        self.listener.resume(&self.epoll);
        self.unreachable.flush();
        self.messages.flush();
        self.watch_stdout();
    }

    fn give_up_late_connects(&mut self) {
        while let Some(&(deadline, number)) = self.connect_deadlines.front() {
            let pair = self.pairs.get(&number);
            let connecting = pair.is_some_and(|pair| pair.connecting.is_some());
            if connecting && deadline > Instant::now() {
                return; // all behind it are due later
            }
            self.connect_deadlines.pop_front();
            if connecting {
                self.connect_failed(number, Errno::ETIMEDOUT);
            }
        }
    }

    fn close_late_clients(&mut self) {
        while let Some(&(deadline, number)) = self.linger_deadlines.front() {
            if self.pairs.contains_key(&number) && deadline > Instant::now() {
                return;
            }
            self.linger_deadlines.pop_front();
            self.close(number); // if it is still there
        }
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
}
