//! How a session ends: what its two ends are still given when both directions are over.

use std::time::{Duration, Instant};

use super::{End, Next, Peer, ROUNDS, Session, Surroundings};
use crate::config::Config;
use crate::core::pipe::{Event, Progress, Source, State, Tools};

/// How often it is asked whether the last bytes have arrived, while that is all there is to wait
/// for: the kernel does not tell.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What an end is still given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// Nothing: it can be closed.
    Close,
    /// The time to take what was sent to it and to close its side.
    UntilItCloses,
    /// The time to take what was sent to it.
    UntilDelivered,
}

/// What an end is given when both directions are over. `into`: how the direction towards it has
/// ended. `over`: it has ended its side too, or has failed. `ending`: so does the server.
///
/// A socket that is closed while bytes are unread, or that bytes come for later, resets the
/// connection, and a reset destroys what is still on its way to the other side (**lingering
/// close**). What the other kernel has acknowledged is safe.
pub fn farewell(end: End, into: State, over: bool, ending: bool) -> Farewell {
    match (end, into, over, ending) {
        (_, State::Failed, _, _) | (_, _, true, _) => Farewell::Close,
        (End::Client, _, false, false) => Farewell::UntilItCloses,
        (End::Client, _, false, true) => Farewell::UntilDelivered,
        // Nobody wants what it still sends: to read that would be to download it for nothing.
        (End::Upstream, _, false, _) => Farewell::UntilDelivered,
    }
}

impl Session {
    /// Both directions are over: see what the ends are still given, for how long.
    pub(super) fn part(&mut self, around: &mut Surroundings) -> Next {
        let now = around.tools.now;
        if self.farewell(End::Client, around.ending) != Farewell::Close {
            self.forget_input(&mut around.tools);
        }
        let until = now + around.config.limits.linger;
        let until = *self.farewell_over.get_or_insert(until);
        let looks =
            [End::Client, End::Upstream].map(|end| match self.farewell(end, around.ending) {
                Farewell::Close => None,
                Farewell::UntilItCloses => Some(until),
                Farewell::UntilDelivered => Some(until.min(now + ASK_AGAIN)),
            });
        self.look_again = looks.into_iter().flatten().min();
        match self.look_again {
            Some(_) if until <= now => Next::Bury,
            Some(_) if self.client.readable() => Next::Again,
            Some(_) => Next::Wait,
            None => Next::Bury,
        }
    }

    fn farewell(&self, end: End, ending: bool) -> Farewell {
        let (into, connection) = match (end, &self.peer) {
            (End::Client, Peer::Itself) => (&self.up, &self.client),
            (End::Client, _) => (&self.down, &self.client),
            (End::Upstream, Peer::Upstream(server)) => (&self.up, server),
            (End::Upstream, _) => return Farewell::Close,
        };
        let over = connection.is_ended() || connection.is_dead();
        match farewell(end, into.state(), over, ending) {
            Farewell::UntilDelivered if connection.is_delivered() => Farewell::Close,
            farewell => farewell,
        }
    }

    fn forget_input(&mut self, tools: &mut Tools) {
        for _ in 0..ROUNDS {
            if !self.client.readable()
                || !matches!(self.client.discard(tools), Ok(Progress::Moved(_)))
            {
                return;
            }
        }
    }

    /// When to look at the clock, even if nothing happens.
    pub fn deadline(&self, config: &Config) -> Option<Instant> {
        match &self.peer {
            Peer::Connecting(attempt) => Some(attempt.deadline()),
            _ => self.look_again.or_else(|| self.idle_at(config)),
        }
    }

    pub(super) fn idle_at(&self, config: &Config) -> Option<Instant> {
        config.limits.idle.map(|idle| self.last_moved + idle)
    }

    /// The server is ending: what the client has sent so far is answered, as if it had half-closed
    /// now. Not for a proxied client: who knows what its upstream owes it?
    pub fn last_call(&mut self) {
        let answered_here = matches!(self.peer, Peer::Itself | Peer::Framer(_));
        if answered_here && self.up.state() == State::Open {
            self.client.last_call();
        }
    }

    /// Ends both directions, whatever is left. True when that loses something.
    pub fn cut(&mut self, tools: &mut Tools) -> bool {
        let loses = !self.up.settled() || !self.down.settled();
        self.up.on(Event::SinkGone, tools);
        self.down.on(Event::SinkGone, tools);
        loses
    }

    /// Gives back what is not its own, before core drops it and so closes its sockets.
    pub fn bury(&mut self, tools: &mut Tools) {
        self.cut(tools);
        if let Peer::Framer(framer) = &mut self.peer {
            framer.stop(tools);
        }
    }
}
