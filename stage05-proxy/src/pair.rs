//! A client and its connection to the upstream: two sockets, and a flow of bytes
//! from each to the other.
//!
//! A flow ends by itself: when its source has ended and all bytes are sent, the end
//! is passed on with `shutdown`; or when its sink breaks. The pair is over when both
//! flows are. So a half-close goes through, and after a reset on one side the other
//! still gets what had been read before (unless it is sending itself: to close a socket
//! with unread bytes is to reset it).

use std::os::fd::{AsRawFd, OwnedFd};

use log::debug;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};

use crate::flow::Flow;
use crate::given::messages::Messages;
use crate::given::request::request_line;
use crate::upstream::connect_result;

/// How much of a stream is moved before the other clients get their turn.
const MAX_CHUNKS: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Client = 0,
    Upstream = 1,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Client, Side::Upstream];

    fn other(self) -> Side {
        Side::BOTH[1 - self as usize]
    }
}

/// The arrays have one element for each [`Side`].
pub struct Pair {
    sockets: [OwnedFd; 2],
    /// The flow that comes from this side and goes to the other.
    flows: [Flow; 2],
    /// What epoll watches the socket for; `None` while it is not in the set.
    watched: [Option<EpollFlags>; 2],
    /// HUP or ERR came from this side when nothing was wanted from it.
    hung_up: [bool; 2],
    /// The upstream address that is being tried, until the pair is connected.
    pub connecting: Option<usize>,
    /// A request of this client has been shown.
    request_shown: bool,
}

impl Pair {
    pub fn new(client: OwnedFd, upstream: OwnedFd, address: usize) -> Pair {
        Pair {
            sockets: [client, upstream],
            flows: Default::default(),
            watched: [None; 2],
            hung_up: [false; 2],
            connecting: Some(address),
            request_shown: false,
        }
    }

    /// The upstream's socket has become writable, or failed: is it connected?
    pub fn finish_connect(&mut self) -> nix::Result<()> {
        connect_result(&self.sockets[Side::Upstream as usize])?;
        self.connecting = None;
        Ok(())
    }

    /// Gives the client back and closes the socket to the upstream.
    pub fn into_client(self) -> OwnedFd {
        let [client, _] = self.sockets;
        client
    }

    /// Does what `events` has made possible on this side.
    pub fn serve(
        &mut self,
        side: Side,
        events: EpollFlags,
        chunk: &mut [u8],
        messages: &mut Messages,
    ) {
        let interest = self.interest(side).unwrap_or(EpollFlags::empty());
        // After HUP or ERR there may still be bytes to read: recv and send will tell.
        let failed = events.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        let ready = if failed { interest } else { interest & events };

        if ready.contains(EpollFlags::EPOLLOUT) {
            self.flows[side.other() as usize].resume(&self.sockets[side as usize]);
        }
        if ready.contains(EpollFlags::EPOLLIN) {
            self.transfer(side, chunk, messages);
        }
        if failed && interest.is_empty() {
            self.hang_up(side);
        }
        for side in Side::BOTH {
            self.pass_on_end(side);
        }
    }

    /// Moves bytes from this side to the other. A chunk that came full says that there
    /// is more, and to go on at once saves many turns of the loop; but not for ever,
    /// for the others wait.
    fn transfer(&mut self, side: Side, chunk: &mut [u8], messages: &mut Messages) {
        for _ in 0..MAX_CHUNKS {
            let count = self.receive(side, chunk);
            if side == Side::Client
                && let Some(line) = request_line(&chunk[..count])
            {
                messages.add(line);
                self.request_shown = true;
            }
            if count < chunk.len() || !self.flows[side as usize].wants_bytes() {
                break;
            }
        }
    }

    /// One `recv` from this side and one `send` to the other: how many bytes came.
    fn receive(&mut self, side: Side, chunk: &mut [u8]) -> usize {
        let flow = &mut self.flows[side as usize];
        let source = self.sockets[side as usize].as_raw_fd();
        match recv(source, chunk, MsgFlags::empty()) {
            Ok(0) => flow.source_ended = true,
            Ok(count) => {
                flow.push(&chunk[..count], &self.sockets[side.other() as usize]);
                return count;
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {} // it will be reported again
            Err(errno) => {
                debug!("{side:?} lost: {}", errno.desc());
                flow.source_ended = true;
                self.flows[side.other() as usize].break_off();
            }
        }
        0
    }

    /// Nothing was wanted from this side, but it is gone. If it had not ended before,
    /// it may still have bytes for us: they are read when the other side has room.
    fn hang_up(&mut self, side: Side) {
        self.hung_up[side as usize] = true;
        if self.flows[side as usize].source_ended {
            self.flows[side.other() as usize].break_off();
        }
    }

    fn pass_on_end(&mut self, side: Side) {
        let flow = &mut self.flows[side as usize];
        if !flow.must_end() {
            return;
        }
        flow.sink_closed = true;
        if !self.is_over() || self.awaits_client() {
            // Fails only for a socket that is gone, and epoll tells of that.
            let sink = self.sockets[side.other() as usize].as_raw_fd();
            let _ = shutdown(sink, Shutdown::Write);
        } // else both sockets are closed now, which says it too
    }

    pub fn is_over(&self) -> bool {
        self.flows.iter().all(|flow| flow.sink_closed)
    }

    /// Over, but the client has not ended its side, and may not have read all of its answer
    /// yet. A socket that is closed while bytes are unread, or that bytes come for later,
    /// resets the connection, and a reset destroys what is still on its way to the client.
    pub fn awaits_client(&self) -> bool {
        let [request, answer] = &self.flows;
        self.is_over() && !request.source_ended && answer.total > 0
    }

    /// Adds the message for a connection that is over, if none of its requests was shown.
    pub fn show_totals(&self, messages: &mut Messages) {
        if !self.request_shown {
            let [client, upstream] = self.flows.each_ref().map(|flow| flow.total);
            let totals = format!("{client} bytes from client, {upstream} bytes from upstream");
            messages.add(totals.as_bytes());
        }
    }

    /// Tells epoll what is wanted now, if that has changed: with bytes that just pass
    /// through it never does, and a message costs no `epoll_ctl`.
    pub fn watch(&mut self, epoll: &Epoll, tokens: [u64; 2]) -> nix::Result<()> {
        for side in Side::BOTH {
            let (socket, wanted) = (&self.sockets[side as usize], self.interest(side));
            let event = |interest| EpollEvent::new(interest, tokens[side as usize]);
            match (self.watched[side as usize], wanted) {
                (before, now) if before == now => continue,
                (None, Some(interest)) => epoll.add(socket, event(interest))?,
                (Some(_), Some(interest)) => epoll.modify(socket, &mut event(interest))?,
                (_, None) => epoll.delete(socket)?,
            }
            self.watched[side as usize] = wanted;
        }
        Ok(())
    }

    /// What this side is to be watched for; `None`: it is to be left out of the set.
    fn interest(&self, side: Side) -> Option<EpollFlags> {
        if self.connecting.is_some() {
            // Meanwhile the client's bytes wait in its socket.
            return (side == Side::Upstream).then_some(EpollFlags::EPOLLOUT);
        }
        let (outgoing, incoming) = (side as usize, side.other() as usize);
        let mut interest = EpollFlags::empty();
        interest.set(EpollFlags::EPOLLIN, self.flows[outgoing].wants_bytes());
        interest.set(EpollFlags::EPOLLOUT, self.flows[incoming].wants_room());
        // HUP and ERR are reported whether asked for or not, and they stay: a socket
        // that has hung up and from which nothing is wanted would wake us for ever.
        (!interest.is_empty() || !self.hung_up[side as usize]).then_some(interest)
    }
}
