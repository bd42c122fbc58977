use std::io::{Read, Write};
use std::net::{self, Ipv4Addr, TcpListener};
use std::time::Duration;

use nix::sys::epoll::EpollFlags;
use nix::sys::socket::bind;
use nix::sys::socket::sockopt::TcpNoDelay;

use super::*;
use crate::flow::{Progress, Sink, Source};
use crate::network::listener::Listener;
use crate::network::rig::{Edges, read, reset, resources, wait_until};
use crate::utils::buffer::BufferList;

fn upstream() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port that is bound, but does not listen.
fn refusing() -> (Listener, SocketAddr) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bound = Listener::bind(any, false, 0).unwrap();
    let address = bound.address();
    (bound, address)
}

fn begin(addresses: &[SocketAddr]) -> Attempt {
    Attempt::begin(addresses, Instant::now()).unwrap()
}

fn settle(mut attempt: Attempt, addresses: &[SocketAddr]) -> nix::Result<Settled> {
    let edges = Edges::of(&attempt);
    while !attempt.is_decided() {
        attempt.notice(edges.next());
    }
    attempt.settle(addresses, Instant::now())
}

fn connection(settled: nix::Result<Settled>) -> Connection {
    match settled {
        Ok(Settled::Connected(connection)) => connection,
        Ok(_) => panic!("not connected"),
        Err(errno) => panic!("not connected: {errno}"),
    }
}

#[test]
fn an_upstream_that_listens_is_reached() {
    let (listener, address) = upstream();
    let mut connection = connection(settle(begin(&[address]), &[address]));
    assert_eq!(getsockopt(&connection, TcpNoDelay), Ok(true));
    assert!(connection.writable() && !connection.readable() && !connection.is_dead());
    let mut resources = resources();
    let mut list = BufferList::new();
    list.room(3, &mut resources.chunks)[..3].copy_from_slice(b"abc");
    list.commit(3, &mut resources.chunks);
    let sent = connection.write_from(&mut list, &mut resources);
    assert_eq!(sent, Ok(Progress::Moved(3)));
    let mut bytes = [0; 3];
    listener.accept().unwrap().0.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"abc");
}

#[test]
fn without_an_event_nothing_is_decided() {
    let (_listener, address) = upstream();
    assert!(!begin(&[address]).is_decided());
}

/// One edge reports the connection, the bytes and the end: there is no second one.
#[test]
fn an_upstream_may_speak_first_and_leave() {
    let (listener, address) = upstream();
    let attempt = begin(&[address]);
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"hello").unwrap();
    peer.shutdown(net::Shutdown::Write).unwrap();
    wait_until(&attempt, EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP);
    let mut connection = connection(settle(attempt, &[address]));
    assert!(connection.readable());
    let hello = (Ok(Progress::Moved(5)), b"hello".to_vec());
    assert_eq!(read(&mut connection), hello);
    assert!(connection.readable());
    assert_eq!(read(&mut connection).0, Ok(Progress::Eof));
}

#[test]
fn an_upstream_may_speak_first_and_stay() {
    let (listener, address) = upstream();
    let attempt = begin(&[address]);
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"hello").unwrap();
    wait_until(&attempt, EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT);
    let mut connection = connection(settle(attempt, &[address]));
    assert!(connection.readable() && connection.writable());
    assert_eq!(read(&mut connection).1, b"hello");
}

#[test]
fn an_upstream_that_accepts_and_resets_was_reached() {
    let (listener, address) = upstream();
    let (other, next) = upstream();
    let addresses = [address, next];
    let attempt = begin(&addresses);
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"hello").unwrap();
    reset(peer);
    wait_until(&attempt, EpollFlags::EPOLLIN | EpollFlags::EPOLLERR);
    let mut connection = connection(settle(attempt, &addresses));
    assert!(connection.is_dead());
    assert_eq!(read(&mut connection).1, b"hello");
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "the next address is not tried");
}

/// The kernel may do this by chance: if the upstream is down, its port is a free one.
#[test]
fn a_connection_to_itself_is_a_refusal() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let fd = tcp_socket(any).unwrap();
    bind(fd.as_raw_fd(), &SockaddrStorage::from(any)).unwrap();
    let own = local_address(&fd).unwrap();
    let connecting = connect(fd.as_raw_fd(), &SockaddrStorage::from(own));
    assert_eq!(connecting, Err(Errno::EINPROGRESS));
    let mut attempt = Attempt {
        fd,
        next: 1,
        seen: Readiness::default(),
        deadline: Instant::now(),
    };
    wait_until(&attempt, EpollFlags::EPOLLOUT);
    attempt.seen.writable = true;
    let settled = attempt.settle(&[own], Instant::now());
    assert_eq!(settled.err(), Some(Errno::ECONNREFUSED));
}

#[test]
fn addresses_are_tried_in_turn() {
    let (_bound, bad) = refusing();
    let (listener, good) = upstream();
    // connect to a broadcast address fails immediately.
    let worse = SocketAddr::from((Ipv4Addr::BROADCAST, 80));
    let addresses = [worse, bad, bad, good];
    let mut attempt = begin(&addresses);
    for _ in 0..2 {
        attempt = match settle(attempt, &addresses) {
            Ok(Settled::Trying(attempt)) => attempt,
            _ => panic!("not refused"),
        };
        assert!(
            !attempt.is_decided(),
            "earlier events belong to another socket"
        );
    }
    let connection = connection(settle(attempt, &addresses));
    let (_, from) = listener.accept().unwrap();
    assert!(connection.writable() && !connection.is_dead());
    assert!(from.ip().is_loopback());
}

#[test]
fn the_next_address_has_its_own_deadline() {
    let (_silent, one) = upstream();
    let (_listener, other) = upstream();
    let addresses = [one, other];
    let later = Instant::now() + Duration::from_secs(1);
    // No event was noted, so the first address counts as silent.
    let Ok(Settled::Trying(attempt)) = begin(&addresses).settle(&addresses, later) else {
        panic!("the next address is not tried");
    };
    assert!(!attempt.is_decided() && attempt.deadline() == later);
    let timed_out = attempt.settle(&addresses, later);
    assert_eq!(timed_out.err(), Some(Errno::ETIMEDOUT));
}

#[test]
fn when_all_have_failed_the_last_error_is_returned() {
    let (_bound, bad) = refusing();
    let settled = settle(begin(&[bad]), &[bad]);
    assert_eq!(settled.err(), Some(Errno::ECONNREFUSED));
    let worse = SocketAddr::from((Ipv4Addr::BROADCAST, 80));
    let begun = Attempt::begin(&[worse], Instant::now());
    assert!(matches!(begun, Err(Errno::ENETUNREACH | Errno::EACCES)));
    let begun = Attempt::begin(&[], Instant::now());
    assert!(matches!(begun, Err(Errno::EADDRNOTAVAIL)));
}
