//! The event loop: epoll, the timers, and the queue of sessions and listeners with work to do.
//!
//! It owns the epoll descriptor and the descriptor that wakes it from outside. It alone calls
//! `epoll_wait`, the only place where this thread sleeps. In each turn core takes three lists from
//! it: the events, the timers that are due, and the queue. It does not know what a token means, and
//! it reads and writes no socket.

use std::collections::BTreeSet;
use std::io::stdout;
use std::mem;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::signalfd::SignalFd;

use super::token::Token;
use crate::network::socket::Readiness;
use crate::vec::XpsVec;

/// At most this many events are taken from the kernel per turn. The next wait returns the rest.
const EVENTS: usize = 256;

/// What wakes the loop from outside.
pub enum Wake {
    /// SIGINT and SIGTERM, for the one core that runs on the main thread.
    Signals(SignalFd),
    /// The number of signals that have arrived. Only the main thread can read them, because only
    /// one signalfd gets each signal. It adds them up here for a worker.
    Told(Arc<EventFd>),
}

/// See the [module](self).
pub struct EventLoop {
    epoll: Epoll,
    events: XpsVec<EpollEvent>,
    wake: Wake,
    /// The queue for the next turn, and the one for this turn. They are two lists, so that a
    /// session that is queued again during this turn waits until the others have been served.
    next_round: XpsVec<Token>,
    round: XpsVec<Token>,
    /// Sorted by time. A timer that is no longer needed but still listed causes one useless
    /// wake-up.
    timers: BTreeSet<(Instant, Token)>,
    now: Instant,
    /// Whether stdout is in the epoll set, see [`watch_stdout`](EventLoop::watch_stdout).
    stdout_watched: bool,
}

impl EventLoop {
    /// Makes a loop. An event of `wake` carries `token`.
    pub fn new(wake: Wake, token: Token) -> nix::Result<EventLoop> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let interest = EpollEvent::new(EpollFlags::EPOLLIN, token.to_bits());
        match &wake {
            Wake::Signals(signals) => epoll.add(signals, interest)?,
            Wake::Told(count) => epoll.add(count.as_ref(), interest)?,
        }
        Ok(EventLoop {
            epoll,
            events: (0..EVENTS).map(|_| EpollEvent::empty()).collect(),
            wake,
            next_round: XpsVec::new(),
            round: XpsVec::new(),
            timers: BTreeSet::new(),
            now: Instant::now(),
            stdout_watched: false,
        })
    }

    /// Registers a socket for all its events, **edge-triggered**: epoll reports a change once and
    /// does not repeat it. The receiver must remember the event and keep reading or writing until
    /// `EAGAIN`, or until a recv or send moves less than it was asked to: both prove that nothing
    /// more can be moved now. Closing the descriptor ends the registration (epoll(7)).
    pub fn register(&self, fd: impl AsFd, token: Token) -> nix::Result<()> {
        let interest = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLPRI
            | EpollFlags::EPOLLET;
        self.epoll
            .add(fd, EpollEvent::new(interest, token.to_bits()))
    }

    /// Watches stdout for room while it is `full`, and only then. Unlike the sockets it is watched
    /// level-triggered, because it may have become ready before it is watched.
    pub fn watch_stdout(&mut self, full: bool, token: Token) {
        if full == self.stdout_watched {
            return;
        }
        if full {
            let interest = EpollEvent::new(EpollFlags::EPOLLOUT, token.to_bits());
            // A file cannot be watched (EPERM), but it is never full.
            self.stdout_watched = self.epoll.add(stdout(), interest).is_ok();
        } else {
            let _ = self.epoll.delete(stdout()); // it is in the set: this cannot fail
            self.stdout_watched = false;
        }
    }

    /// Sleeps until there is an event or a timer is due; returns immediately if the queue is not
    /// empty. Returns the number of events, see [`event`](EventLoop::event).
    pub fn wait(&mut self) -> nix::Result<usize> {
        let timeout = self.timeout();
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Err(Errno::EINTR) => Ok(0), // the process was stopped and continued (signal(7))
            result => result,
        };
        self.now = Instant::now();
        count
    }

    fn timeout(&self) -> EpollTimeout {
        if !self.next_round.is_empty() {
            return EpollTimeout::ZERO;
        }
        let Some((at, _)) = self.timers.first() else {
            return EpollTimeout::NONE;
        };
        let left = at.saturating_duration_since(Instant::now());
        // Rounded up: after waking a little too early the loop would find nothing due, and spin.
        let millis = left.as_micros().div_ceil(1000);
        EpollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX))
            .unwrap_or(EpollTimeout::NONE)
    }

    /// The event with this index; [`wait`](EventLoop::wait) returned how many there are.
    pub fn event(&self, index: usize) -> (Token, Readiness) {
        let event = self.events[index];
        (Token::from_bits(event.data()), event.events().into())
    }

    /// The time when the last wait ended. It is the time of everything that happens in this turn.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Puts `token` in the queue for the next round. The caller makes sure that it is there only
    /// once.
    pub fn queue(&mut self, token: Token) {
        self.next_round.push(token);
    }

    /// Starts a round with the tokens queued so far. Returns their number, see
    /// [`in_round`](EventLoop::in_round).
    pub fn begin_round(&mut self) -> usize {
        mem::swap(&mut self.round, &mut self.next_round);
        self.next_round.clear();
        self.round.len()
    }

    /// The token with this index in the current round.
    pub fn in_round(&self, index: usize) -> Token {
        self.round[index]
    }

    /// Sets a timer. Setting the same timer twice has no further effect.
    pub fn arm(&mut self, at: Instant, token: Token) {
        self.timers.insert((at, token));
    }

    /// Removes a timer, if it is still set.
    pub fn disarm(&mut self, at: Instant, token: Token) {
        self.timers.remove(&(at, token));
    }

    /// Removes one timer that is due, and returns its token.
    pub fn expired(&mut self) -> Option<Token> {
        let first = self.timers.first()?;
        if first.0 > self.now {
            return None;
        }
        self.timers.pop_first().map(|(_, token)| token)
    }

    /// The number of signals that have arrived since the last call.
    pub fn signals(&mut self) -> usize {
        match &self.wake {
            Wake::Signals(signals) => count_signals(signals),
            Wake::Told(count) => count.read().unwrap_or(0) as usize,
        }
    }
}

/// Reads all signals that have arrived, and returns their number.
pub fn count_signals(signals: &SignalFd) -> usize {
    std::iter::from_fn(|| signals.read_signal().ok().flatten()).count()
}

impl From<EpollFlags> for Readiness {
    fn from(flags: EpollFlags) -> Readiness {
        Readiness {
            readable: flags.contains(EpollFlags::EPOLLIN),
            writable: flags.contains(EpollFlags::EPOLLOUT),
            closing: flags.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP),
            failed: flags.contains(EpollFlags::EPOLLERR),
            urgent: flags.contains(EpollFlags::EPOLLPRI),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::token::Kind;
    use nix::sys::eventfd::EfdFlags;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use nix::unistd::{read, write};

    fn quiet_loop() -> EventLoop {
        let count = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
        EventLoop::new(Wake::Told(Arc::new(count)), Token::plain(Kind::Wake)).unwrap()
    }

    #[test]
    fn an_event_is_reported_once_per_change() {
        let mut events = quiet_loop();
        let flags = SockFlag::SOCK_NONBLOCK;
        let (near, far) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap();
        let token = Token::plain(Kind::Client);
        events.register(&near, token).unwrap();
        events.arm(Instant::now(), Token::plain(Kind::Retry)); // so that `wait` does not sleep

        assert_eq!(events.wait(), Ok(1));
        let writable = Readiness {
            writable: true,
            ..Default::default()
        };
        assert_eq!(events.event(0), (token, writable));
        assert_eq!(events.wait(), Ok(0));

        write(&far, b"x").unwrap();
        assert_eq!(events.wait(), Ok(1));
        assert!(events.event(0).1.readable && !events.event(0).1.closing);
        assert_eq!(events.wait(), Ok(0), "not read, and not reported again");

        read(&near, &mut [0; 8]).unwrap();
        drop(far);
        assert_eq!(events.wait(), Ok(1));
        assert!(events.event(0).1.closing);
    }

    #[test]
    fn a_token_queued_during_a_round_waits_for_the_next() {
        let mut events = quiet_loop();
        let a = Token::from_bits(1);
        let b = Token::from_bits(2);
        events.queue(a);
        assert_eq!(
            events.wait(),
            Ok(0),
            "no sleep while the queue is not empty"
        );
        assert_eq!(events.begin_round(), 1);
        events.queue(b);
        assert_eq!(events.in_round(0), a);
        assert_eq!(events.begin_round(), 1);
        assert_eq!(events.in_round(0), b);
        assert_eq!(events.begin_round(), 0);
    }

    #[test]
    fn timers_come_in_order_of_time_and_not_before_it() {
        let mut events = quiet_loop();
        let start = Instant::now();
        let token = Token::from_bits;
        events.arm(start + Duration::from_millis(30), token(3));
        events.arm(start + Duration::from_millis(10), token(2));
        events.arm(start + Duration::from_millis(10), token(1));
        events.arm(start + Duration::from_millis(5), token(4));
        events.disarm(start + Duration::from_millis(5), token(4));
        events.arm(start + Duration::from_millis(10), token(2)); // again: no second entry

        let mut seen = Vec::new();
        let mut waits = 0;
        while seen.len() < 3 {
            events.wait().unwrap();
            waits += 1;
            while let Some(token) = events.expired() {
                seen.push((
                    token.to_bits(),
                    events.now() >= start + Duration::from_millis(10),
                ));
            }
        }
        assert_eq!(seen, [(1, true), (2, true), (3, true)]);
        assert!(
            waits <= 3,
            "{waits} waits: woken too early, again and again"
        );
        assert!(events.now() >= start + Duration::from_millis(30));
        assert_eq!(events.timers.len(), 0);
    }

    #[test]
    fn a_worker_is_told_how_many_signals_came() {
        let mut events = quiet_loop();
        assert_eq!(events.signals(), 0);
        let Wake::Told(count) = &events.wake else {
            unreachable!()
        };
        count.write(1).unwrap();
        count.write(1).unwrap();
        assert_eq!(events.wait(), Ok(1));
        assert_eq!(events.event(0).0, Token::plain(Kind::Wake));
        assert_eq!(events.signals(), 2);
        assert_eq!(events.signals(), 0);
    }
}
