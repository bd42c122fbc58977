//! A client and its connection to the upstream: two sockets, and a flow of bytes from each to
//! the other.
//!
//! The two flows end independently. When the source of a flow has ended and all its bytes are
//! sent, `shutdown` passes the end on to the sink. When the sink breaks, the flow is over, too.
//! The pair is over when both flows are. So a half-close goes through the proxy. And when one
//! side resets its connection, the other side still gets what had arrived before.

use std::os::fd::{AsRawFd, OwnedFd};

use log::debug;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};

use crate::flow::Flow;
use crate::given::messages::Messages;
use crate::given::request::request_line;
use crate::upstream::connect_result;

/// How many chunks of one stream are moved in a turn, so that the other pairs do not starve.
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
    /// What epoll watches the socket for. `None` while it is not in the epoll set.
    watched: [Option<EpollFlags>; 2],
    /// epoll reported HUP or ERR for this side when we wanted nothing from it.
    hung_up: [bool; 2],
    /// The index of the upstream address that is being tried, until the pair is connected.
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

    /// epoll has reported the upstream's socket. Finds out whether it is connected.
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
        // After HUP or ERR there may still be bytes to read. recv and send find out.
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

    /// Moves bytes from this side to the other. If a chunk came full, there are probably more
    /// bytes. To move them now saves turns of the loop.
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

    /// Calls `recv` on this side and `send` on the other side, once each. Returns how many bytes
    /// came.
    fn receive(&mut self, side: Side, chunk: &mut [u8]) -> usize {
        let flow = &mut self.flows[side as usize];
        let source = self.sockets[side as usize].as_raw_fd();
        match recv(source, chunk, MsgFlags::empty()) {
            Ok(0) => flow.source_ended = true,
            Ok(count) => {
                flow.push(&chunk[..count], &self.sockets[side.other() as usize]);
                return count;
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {} // epoll reports it again
            Err(errno) => {
                debug!("{side:?} lost: {}", errno.desc());
                flow.source_ended = true;
                self.flows[side.other() as usize].break_off();
            }
        }
        0
    }

    /// This side is gone while we want nothing from it. If its stream has not ended, its last
    /// bytes are still in our socket. They are read when the other side has room.
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
            // Fails only if the socket is gone, and epoll reports that.
            let sink = self.sockets[side.other() as usize].as_raw_fd();
            let _ = shutdown(sink, Shutdown::Write);
        } // otherwise both sockets are closed now, which ends the stream as well
    }

    pub fn is_over(&self) -> bool {
        self.flows.iter().all(|flow| flow.sink_closed)
    }

    /// The pair is over, but the client has not ended its side and may still be reading its
    /// answer. If we closed its socket while bytes are unread, or if more bytes came later, the
    /// kernel would send a reset. A reset destroys what is on its way to the client.
    pub fn awaits_client(&self) -> bool {
        let [request, answer] = &self.flows;
        self.is_over() && !request.source_ended && answer.total > 0
    }

    /// Adds the message about a pair that is over, if no request of its client was shown.
    pub fn show_totals(&self, messages: &mut Messages) {
        if !self.request_shown {
            let [client, upstream] = self.flows.each_ref().map(|flow| flow.total);
            let totals = format!("{client} bytes from client, {upstream} bytes from upstream");
            messages.add(totals.as_bytes());
        }
    }

    /// Tells epoll what to watch for now, if that has changed. It does not change while
    /// bytes pass through without waiting, so a message costs no `epoll_ctl`.
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

    /// What to watch this side for. `None` takes it out of the epoll set.
    fn interest(&self, side: Side) -> Option<EpollFlags> {
        if self.connecting.is_some() {
            // Until the pair is connected, the client's bytes wait in its socket.
            return (side == Side::Upstream).then_some(EpollFlags::EPOLLOUT);
        }
        let (outgoing, incoming) = (side as usize, side.other() as usize);
        let mut interest = EpollFlags::empty();
        interest.set(EpollFlags::EPOLLIN, self.flows[outgoing].wants_bytes());
        interest.set(EpollFlags::EPOLLOUT, self.flows[incoming].wants_room());
        // epoll reports HUP and ERR in every turn, even if we do not ask for them. So a socket that
        // has hung up must leave the set when we want nothing from it. Otherwise it would wake us
        // again and again.
        (!interest.is_empty() || !self.hung_up[side as usize]).then_some(interest)
    }
}
