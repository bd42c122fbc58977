//! How a session ends: what its two ends are still given when both directions are over.

use std::time::Duration;

use log::debug;

use super::{Backend, End, Next, ROUNDS, Session, Shared};
use crate::flow::{Event, Progress, Resources, Source, State};
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
    pub(super) fn linger(&mut self, shared: &mut Shared) -> Next {
        let now = shared.resources.now;
        if self.linger_of(End::Client, shared) != Linger::Close {
            discard_input(&mut self.client, &mut shared.resources);
        }
        let longer = now + shared.config.limits.linger;
        let mut until = *self.linger_until.get_or_insert(longer);
        if until <= now && self.more_was_delivered() {
            until = longer; // a slow reader, and what it still says must not reset it
            self.linger_until = Some(until);
        }
        let looks = [End::Client, End::Upstream].map(|end| match self.linger_of(end, shared) {
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

    fn linger_of(&self, end: End, shared: &Shared) -> Linger {
        let upload_failed =
            matches!(self.backend, Backend::Upstream(_)) && self.up.state() == State::Failed;
        let (into, connection) = match (end, &self.backend) {
            (End::Client, Backend::Echo) => (&self.up, &self.client),
            (End::Client, _) => (&self.down, &self.client),
            (End::Upstream, Backend::Upstream(server)) => (&self.up, server),
            (End::Upstream, _) => return Linger::Close,
        };
        let over = connection.is_ended() || connection.is_dead();
        match linger_rule(end, into.state(), over, shared.ending || upload_failed) {
            Linger::UntilDelivered if connection.is_delivered() => Linger::Close,
            linger => linger,
        }
    }

    /// One direction has failed and the other one goes on. Reads and discards what the source of the
    /// failed one still sends: a program that is blocked in `send` may never read what it is owed.
    /// Cuts the session when there is no client left to serve.
    pub(super) fn after_failure(&mut self, shared: &mut Shared) {
        if self.discards_input_of(End::Client) {
            discard_input(&mut self.client, &mut shared.resources);
        }
        let discards = self.discards_input_of(End::Upstream);
        let pointless = match &mut self.backend {
            // The client has gone, and has left nothing that could be delivered.
            Backend::Connecting(_) => self.client.is_dead() && self.up.held() == 0,
            // The upstream sends to a client that has gone, maybe for ever. As long as it also reads
            // what the client has sent, the session goes on.
            Backend::Upstream(server) if discards && server.readable() => {
                discard_input(server, &mut shared.resources);
                let at = self.last_moved + shared.config.limits.linger;
                self.client.is_dead() && self.has_stalled(at, shared.resources.now)
            }
            _ => false,
        };
        if pointless {
            self.cut(&mut shared.resources);
            debug!("A client is given up");
        }
    }

    /// Whether a step would read something only to forget it.
    pub(super) fn has_input_to_discard(&self) -> bool {
        let from_upstream = matches!(&self.backend, Backend::Upstream(server) if server.readable());
        self.discards_input_of(End::Client) && self.client.readable()
            || self.discards_input_of(End::Upstream) && from_upstream
    }

    /// Whether the direction from this end has failed, and the one towards it goes on.
    fn discards_input_of(&self, end: End) -> bool {
        let (from, towards) = match end {
            End::Client => (&self.up, &self.down),
            End::Upstream => (&self.down, &self.up),
        };
        from.state() == State::Failed && !towards.settled()
    }

    /// The server is ending: what the client has sent so far is answered, as if it had half-closed
    /// now. Not for a proxied client: who knows what its upstream owes it?
    pub fn last_call(&mut self) {
        let answered_here = matches!(self.backend, Backend::Echo | Backend::Framer(_));
        if answered_here && self.up.state() == State::Open {
            self.client.last_call();
        }
    }

    /// Ends both directions, whatever is left. True when one of them was not over. An end that is
    /// owed something is reset, so that it does not take what it has got for all.
    pub fn cut(&mut self, resources: &mut Resources) -> bool {
        let loses = !self.is_over();
        let (into_client, more) = match &self.backend {
            Backend::Echo => (&self.up, false),
            Backend::File(_) => (&self.down, true),
            Backend::Upstream(server) => (&self.down, server.readable()),
            _ => (&self.down, false),
        };
        if into_client.held() > 0 || more && !into_client.settled() {
            self.client.reset_at_close();
        }
        if let Backend::Upstream(server) = &self.backend
            && self.up.held() > 0
        {
            server.reset_at_close();
        }
        self.up.on(Event::SinkGone, resources);
        self.down.on(Event::SinkGone, resources);
        loses
    }

    /// Gives back what is not its own, before core drops it and so closes its sockets.
    pub fn release(&mut self, resources: &mut Resources) {
        self.cut(resources);
        if let Backend::Framer(framer) = &mut self.backend {
            framer.stop(resources);
        }
    }
}

fn discard_input(connection: &mut Connection, resources: &mut Resources) {
    for _ in 0..ROUNDS {
        if !connection.readable()
            || !matches!(connection.discard(resources), Ok(Progress::Moved(_)))
        {
            return;
        }
    }
}
