//! How a session ends: what its two ends are still given when both directions are over.

use std::time::{Duration, Instant};

use super::{Context, End, Next, Peer, ROUNDS, Session};
use crate::config::Config;
use crate::flow::{Event, Progress, Source, State, Tools};
use crate::network::connection::Connection;

/// How often it is asked whether the last bytes have arrived, while that is all there is to wait
/// for: the kernel does not tell.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// How long the socket of an end is kept when both directions are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linger {
    /// Not at all: it can be closed.
    Close,
    /// Until it has taken what was sent to it and closed its side. What it still sends is read and
    /// forgotten.
    UntilItCloses,
    /// Until it has taken what was sent to it.
    UntilDelivered,
}

/// How long an end is kept. `into`: how the direction towards it has ended. `over`: it has ended its
/// side too, or has failed. `unwanted`: there is no use in what it might still send, and no end to
/// it in sight: the server is ending, or the upstream has failed under an upload.
///
/// A socket that is closed while bytes are unread, or that bytes come for later, resets the
/// connection, and a reset destroys what is still on its way to the other side (**lingering
/// close**). What the other kernel has acknowledged is safe.
pub fn linger_rule(end: End, into: State, over: bool, unwanted: bool) -> Linger {
    match (end, into, over, unwanted) {
        (_, State::Failed, _, _) | (_, _, true, _) => Linger::Close,
        (End::Client, _, false, false) => Linger::UntilItCloses,
        (End::Client, _, false, true) => Linger::UntilDelivered,
        // Nobody wants what it still sends: to read that would be to download it for nothing.
        (End::Upstream, _, false, _) => Linger::UntilDelivered,
    }
}

impl Session {
    /// Both directions are over: see whether the ends are still to be kept, and until when.
    pub(super) fn linger(&mut self, context: &mut Context) -> Next {
        let now = context.tools.now;
        if self.linger_of(End::Client, context) != Linger::Close {
            forget_input(&mut self.client, &mut context.tools);
        }
        let longer = now + context.config.limits.linger;
        let mut until = *self.linger_until.get_or_insert(longer);
        if until <= now && self.more_was_delivered() {
            until = longer; // a slow reader, and what it still says must not reset it
            self.linger_until = Some(until);
        }
        let looks = [End::Client, End::Upstream].map(|end| match self.linger_of(end, context) {
            Linger::Close => None,
            Linger::UntilItCloses => Some(until),
            Linger::UntilDelivered => Some(until.min(now + ASK_AGAIN)),
        });
        self.look_again = looks.into_iter().flatten().min();
        match self.look_again {
            Some(_) if until <= now => Next::Destroy,
            Some(_) if self.client.readable() => Next::Again,
            Some(_) => Next::Wait,
            None => Next::Destroy,
        }
    }

    fn linger_of(&self, end: End, context: &Context) -> Linger {
        let upload_failed =
            matches!(self.peer, Peer::Upstream(_)) && self.up.state() == State::Failed;
        let (into, connection) = match (end, &self.peer) {
            (End::Client, Peer::Itself) => (&self.up, &self.client),
            (End::Client, _) => (&self.down, &self.client),
            (End::Upstream, Peer::Upstream(server)) => (&self.up, server),
            (End::Upstream, _) => return Linger::Close,
        };
        let over = connection.is_ended() || connection.is_dead();
        match linger_rule(end, into.state(), over, context.ending || upload_failed) {
            Linger::UntilDelivered if connection.is_delivered() => Linger::Close,
            linger => linger,
        }
    }

    /// Reads and forgets what nobody wants of an end that is still owed something: who cannot send
    /// may not read either, and would wait for ever for room that nobody makes. True when the upstream
    /// talks to a client that has died: it may do so for ever.
    pub(super) fn forget_unwanted(&mut self, tools: &mut Tools) -> bool {
        if self.is_heard_in_vain(End::Client) {
            forget_input(&mut self.client, tools);
        }
        if self.is_heard_in_vain(End::Upstream)
            && let Peer::Upstream(server) = &mut self.peer
            && server.readable()
        {
            forget_input(server, tools);
            return self.client.is_dead();
        }
        false
    }

    /// Whether a step would read something only to forget it.
    pub(super) fn has_unwanted(&self) -> bool {
        let from_upstream = matches!(&self.peer, Peer::Upstream(server) if server.readable());
        self.is_heard_in_vain(End::Client) && self.client.readable()
            || self.is_heard_in_vain(End::Upstream) && from_upstream
    }

    /// Whether the direction from this end has failed, and the one towards it goes on.
    fn is_heard_in_vain(&self, end: End) -> bool {
        let (from, towards) = match end {
            End::Client => (&self.up, &self.down),
            End::Upstream => (&self.down, &self.up),
        };
        from.state() == State::Failed && !towards.settled()
    }

    /// A file that cannot be read to its end: the client must not take what it has got for all.
    pub(super) fn break_off_file(&mut self, tools: &mut Tools) {
        if matches!(&self.peer, Peer::File(file) if file.has_failed()) && !self.down.settled() {
            self.client.reset_at_close();
            self.cut(tools);
        }
    }

    /// When to look at the clock, even if nothing happens.
    pub fn deadline(&self, config: &Config) -> Option<Instant> {
        match &self.peer {
            Peer::Connecting(attempt) => Some(attempt.deadline()),
            _ => self.look_again.or_else(|| self.idle_at(config)),
        }
    }

    fn idle_at(&self, config: &Config) -> Option<Instant> {
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

    /// Ends both directions, whatever is left. True when one of them was not over. An end that is
    /// owed something is reset, so that it does not take what it has got for all.
    pub fn cut(&mut self, tools: &mut Tools) -> bool {
        let loses = !self.is_over();
        let (into_client, more) = match &self.peer {
            Peer::Itself => (&self.up, false),
            Peer::File(file) => (&self.down, file.readable()),
            Peer::Upstream(server) => (&self.down, server.readable()),
            _ => (&self.down, false),
        };
        if into_client.held() > 0 || more && !into_client.settled() {
            self.client.reset_at_close();
        }
        if let Peer::Upstream(server) = &self.peer
            && self.up.held() > 0
        {
            server.reset_at_close();
        }
        self.up.on(Event::SinkGone, tools);
        self.down.on(Event::SinkGone, tools);
        loses
    }

    /// Gives back what is not its own, before core drops it and so closes its sockets.
    pub fn release(&mut self, tools: &mut Tools) {
        self.cut(tools);
        if let Peer::Framer(framer) = &mut self.peer {
            framer.stop(tools);
        }
    }
}

fn forget_input(connection: &mut Connection, tools: &mut Tools) {
    for _ in 0..ROUNDS {
        if !connection.readable() || !matches!(connection.discard(tools), Ok(Progress::Moved(_))) {
            return;
        }
    }
}
