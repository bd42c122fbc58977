//! How a session ends: what happens when one direction has failed, and how long its two ends are
//! kept when both directions are over.

use std::time::Duration;

use log::debug;

use super::{Backend, End, Next, ROUNDS, Session, Shared};
use crate::flow::{Event, Progress, Resources, Source, State};
use crate::network::connection::Connection;

/// How long to wait before asking the kernel again whether the last bytes have arrived: it reports
/// no event for that.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// How long the socket of an end is kept when both directions are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linger {
    /// Not at all: it is closed.
    Close,
    /// Until its peer has received everything and has closed its side. What the peer still sends is
    /// read and discarded.
    UntilItCloses,
    /// Until its peer has received everything.
    UntilDelivered,
}

/// Decides how long the socket of an end is kept.
///
/// - `into`: the state of the pipe that leads to this end.
/// - `over`: the peer of this end has closed its side, or the connection has failed.
/// - `unwanted`: the input from this end is useless, because the server is ending or the upstream
///   has failed in the middle of an upload. Such input may go on for a long time.
///
/// Why not close immediately? When a socket is closed with unread bytes, or when bytes arrive
/// later, the kernel sends a reset, and a reset destroys the bytes that are still on their way to
/// the peer. Bytes that the peer's kernel has acknowledged are safe. Waiting for that is called a
/// **lingering close**.
pub fn linger_rule(end: End, into: State, over: bool, unwanted: bool) -> Linger {
    match (end, into, over, unwanted) {
        (_, State::Failed, _, _) | (_, _, true, _) => Linger::Close,
        (End::Client, _, false, false) => Linger::UntilItCloses,
        (End::Client, _, false, true) => Linger::UntilDelivered,
        // What an upstream still sends is not read, because nobody needs it.
        (End::Upstream, _, false, _) => Linger::UntilDelivered,
    }
}

impl Session {
    /// Both directions are over: decides whether the two ends are kept, and until when.
    pub(super) fn linger(&mut self, shared: &mut Shared) -> Next {
        let now = shared.resources.now;
        if self.linger_of(End::Client, shared) != Linger::Close {
            discard_input(&mut self.client, &mut shared.resources);
        }
        let longer = now + shared.config.limits.linger;
        let mut until = *self.linger_until.get_or_insert(longer);
        if until <= now && self.more_was_delivered() {
            until = longer; // a slow reader: closing now could reset it
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

    /// One direction has failed, the other one goes on. Reads and discards what the source of the
    /// failed direction still sends: a program that is blocked in `send` may never read what we
    /// still have for it. Cuts off the session if its client is gone and nothing useful is left to
    /// do.
    pub(super) fn after_failure(&mut self, shared: &mut Shared) {
        if self.discards_input_of(End::Client) {
            discard_input(&mut self.client, &mut shared.resources);
        }
        let discards = self.discards_input_of(End::Upstream);
        let pointless = match &mut self.backend {
            // The client is gone, and has sent nothing that could be delivered.
            Backend::Connecting(_) => self.client.is_dead() && self.up.held() == 0,
            // The client is gone, and the upstream may go on sending without end. The session is
            // kept only as long as the upstream also reads what the client has sent.
            Backend::Upstream(server) if discards && server.readable() => {
                discard_input(server, &mut shared.resources);
                let at = self.last_moved + shared.config.limits.linger;
                self.client.is_dead() && self.has_stalled(at, shared.resources.now)
            }
            _ => false,
        };
        if pointless {
            self.cut(&mut shared.resources);
            debug!("Session ended early: its client is gone");
        }
    }

    /// Whether a step would read something and discard it.
    pub(super) fn has_input_to_discard(&self) -> bool {
        let from_upstream = matches!(&self.backend, Backend::Upstream(server) if server.readable());
        self.discards_input_of(End::Client) && self.client.readable()
            || self.discards_input_of(End::Upstream) && from_upstream
    }

    /// Whether the input from this end is discarded. That is so if the direction from this end has
    /// failed and the direction to it goes on.
    fn discards_input_of(&self, end: End) -> bool {
        let (from, towards) = match end {
            End::Client => (&self.up, &self.down),
            End::Upstream => (&self.down, &self.up),
        };
        from.state() == State::Failed && !towards.settled()
    }

    /// The server is ending: answers what the client has sent so far, as if the client had
    /// half-closed now. Does nothing for a proxied client, because only its upstream knows what is
    /// still to come.
    pub fn last_call(&mut self) {
        let answered_here = match self.backend {
            Backend::Echo | Backend::Framer(_) => true,
            Backend::Connecting(_) | Backend::Upstream(_) => false,
            Backend::File(_) | Backend::Unavailable => false, // `up` has failed
        };
        if answered_here && self.up.state() == State::Open {
            self.client.last_call();
        }
    }

    /// Ends both directions now. True if one of them was not over. A peer that has not received
    /// everything gets a reset. Otherwise it would think that it has everything.
    pub fn cut(&mut self, resources: &mut Resources) -> bool {
        let loses = !self.is_over();
        let (into_client, more) = match &self.backend {
            Backend::Echo => (&self.up, false),
            Backend::File(_) => (&self.down, true),
            Backend::Upstream(server) => (&self.down, server.readable()),
            Backend::Connecting(_) | Backend::Framer(_) | Backend::Unavailable => {
                (&self.down, false)
            }
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

    /// Returns borrowed memory and kernel pipes. Core calls it before it drops the session, which
    /// closes the sockets.
    pub fn release(&mut self, resources: &mut Resources) {
        self.cut(resources);
        self.client.release(resources);
        match &mut self.backend {
            Backend::Framer(framer) => framer.stop(resources),
            Backend::Upstream(server) => server.release(resources),
            _ => {}
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
