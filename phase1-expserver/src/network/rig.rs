//! For tests: a real connection over the loopback interface, and the events that epoll reports for
//! it.

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{setsockopt, sockopt};

use super::socket::Readiness;
use crate::flow::{Outcome, Resources, Source};
use crate::utils::buffer::BufferList;
use crate::utils::logger::Transcript;

/// How long a test waits for an event, in milliseconds.
const PATIENCE: u16 = 5000;

/// Our end of a connection, non-blocking, and the peer's.
pub fn connected() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    peer.set_nodelay(true).unwrap();
    (ours.into(), peer)
}

/// Closes `peer` by a reset.
pub fn reset(peer: TcpStream) {
    let at_once = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&peer, sockopt::Linger, &at_once).unwrap();
}

/// Waits until all of `flags` are set at the same time. It reads nothing.
pub fn wait_until(fd: impl AsFd, flags: EpollFlags) {
    let edges = Edges::of(fd);
    while !edges
        .take(EpollTimeout::from(PATIENCE))
        .expect("the flags never came")
        .contains(flags)
    {}
}

/// A descriptor, registered as the event loop does it: once, for all edges.
pub struct Edges(Epoll);

impl Edges {
    pub fn of(fd: impl AsFd) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let all = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLPRI
            | EpollFlags::EPOLLET;
        epoll.add(fd, EpollEvent::new(all, 0)).unwrap();
        Edges(epoll)
    }

    /// The edge that has been reported already, if there is one.
    pub fn now(&self) -> Option<Readiness> {
        self.take(EpollTimeout::ZERO).map(Readiness::from)
    }

    /// The next edge.
    pub fn next(&self) -> Readiness {
        let flags = self.take(EpollTimeout::from(PATIENCE));
        flags.expect("no edge came").into()
    }

    fn take(&self, timeout: EpollTimeout) -> Option<EpollFlags> {
        let mut events = [EpollEvent::empty()];
        let count = self.0.wait(&mut events, timeout).unwrap();
        (count == 1).then(|| events[0].events())
    }
}

pub fn resources() -> Resources {
    Resources::new(Transcript::default())
}

/// One read: its outcome, and the bytes.
pub fn read(source: &mut impl Source) -> (Outcome, Vec<u8>) {
    let mut resources = resources();
    let mut list = BufferList::new();
    let outcome = source.read_into(&mut list, &mut resources);
    let bytes = list.front().to_vec();
    list.clear(&mut resources.chunks);
    assert_eq!(resources.chunks.lent(), 0);
    (outcome, bytes)
}
