//! What the kernel does with real sockets, and how a connection interprets it.

use std::io::{Read, Write};
use std::net::{self, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollFlags;

use super::*;
use crate::network::rig::{Edges, connected, read, reset, resources, wait_until};
use crate::utils::buffer::CHUNK;

const MOVED_3: Outcome = Ok(Progress::Moved(3));
const EOF: (Outcome, Vec<u8>) = (Ok(Progress::Eof), Vec::new());
const BLOCKED: (Outcome, Vec<u8>) = (Ok(Progress::Blocked), Vec::new());

fn pair() -> (Connection, TcpStream) {
    let (ours, peer) = connected();
    (Connection::new(ours), peer)
}

fn got(bytes: &[u8]) -> (Outcome, Vec<u8>) {
    (Ok(Progress::Moved(bytes.len())), bytes.to_vec())
}

fn write(connection: &mut Connection, bytes: &[u8]) -> Outcome {
    let mut resources = resources();
    let mut list = BufferList::new();
    list.room(bytes.len(), &mut resources.chunks)[..bytes.len()].copy_from_slice(bytes);
    list.commit(bytes.len(), &mut resources.chunks);
    let outcome = connection.write_from(&mut list, &mut resources);
    let taken = match outcome {
        Ok(Progress::Moved(count)) => count,
        _ => 0,
    };
    assert_eq!(list.len(), bytes.len() - taken);
    outcome
}

fn can_read(connection: &Connection) -> bool {
    connection.readable()
}

fn can_write(connection: &Connection) -> bool {
    connection.writable()
}

#[test]
fn a_new_connection_can_write_and_waits_for_something_to_read() {
    let (mut connection, mut peer) = pair();
    assert!(can_write(&connection) && !can_read(&connection) && !connection.gone());
    assert_eq!(write(&mut connection, b"abc"), MOVED_3);
    let mut bytes = [0; 3];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"abc");
}

#[test]
fn a_short_read_is_the_last_until_the_next_edge() {
    let (mut connection, mut peer) = pair();
    let edges = Edges::of(&connection);
    edges.next(); // writable
    peer.write_all(b"abc").unwrap();
    connection.notice(edges.next());
    assert_eq!(read(&mut connection), got(b"abc"));
    assert!(!can_read(&connection), "a second recv is not needed");
    peer.shutdown(net::Shutdown::Write).unwrap();
    connection.notice(edges.next());
    assert!(can_read(&connection));
    assert_eq!(read(&mut connection), EOF);
    assert!(connection.is_ended() && !connection.is_dead() && !can_read(&connection));
}

#[test]
fn a_full_read_is_not_the_last() {
    let (mut connection, mut peer) = pair();
    peer.write_all(&[7; 2 * LEAST_READ]).unwrap();
    wait_until(&connection, EpollFlags::EPOLLIN);
    connection.notice(Edges::of(&connection).next());
    let mut resources = resources();
    let mut list = BufferList::new();
    list.room(CHUNK, &mut resources.chunks);
    list.commit(CHUNK - LEAST_READ, &mut resources.chunks);
    let first = connection.read_into(&mut list, &mut resources);
    assert_eq!(first, Ok(Progress::Moved(LEAST_READ)));
    assert!(can_read(&connection));
    assert_eq!(read(&mut connection), got(&[7; LEAST_READ]));
    assert!(!can_read(&connection));
}

#[test]
fn data_and_fin_in_one_edge_are_both_read() {
    let (mut connection, mut peer) = pair();
    peer.write_all(b"abc").unwrap();
    peer.shutdown(net::Shutdown::Write).unwrap();
    wait_until(&connection, EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP);
    let edges = Edges::of(&connection);
    connection.notice(edges.next());
    assert_eq!(read(&mut connection), got(b"abc"));
    assert_eq!(edges.now(), None, "no second edge reports the FIN");
    assert!(can_read(&connection));
    assert_eq!(read(&mut connection), EOF);
    assert!(can_write(&connection), "a half-closed peer still reads");
}

#[test]
fn a_hang_up_is_not_an_error() {
    let (mut connection, mut peer) = pair();
    connection.shut(&mut resources());
    assert_eq!(peer.read(&mut [0; 9]).unwrap(), 0);
    peer.write_all(b"abc").unwrap();
    peer.shutdown(net::Shutdown::Write).unwrap();
    wait_until(&connection, EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP);
    connection.notice(Edges::of(&connection).next());
    assert!(!connection.gone());
    assert_eq!(read(&mut connection), got(b"abc"));
    assert_eq!(read(&mut connection), EOF);
    assert!(!connection.is_dead());
}

#[test]
fn an_error_alone_is_something_to_read() {
    let (mut connection, _peer) = pair();
    connection.notice(Readiness {
        failed: true,
        ..Readiness::default()
    });
    assert!(can_read(&connection) && connection.gone());
}

#[test]
fn data_before_a_reset_is_read() {
    let (mut connection, mut peer) = pair();
    peer.write_all(b"abc").unwrap();
    reset(peer);
    wait_until(&connection, EpollFlags::EPOLLIN | EpollFlags::EPOLLERR);
    connection.notice(Edges::of(&connection).next());
    assert!(connection.gone() && !can_write(&connection));
    assert_eq!(read(&mut connection), got(b"abc"));
    assert!(can_read(&connection) && !connection.is_ended());
    assert_eq!(read(&mut connection), (Err(Errno::ECONNRESET), Vec::new()));
    assert!(connection.is_ended() && connection.is_dead());
}

/// The kernel reports an error once: after a send that fails, recv reports an orderly end.
#[test]
fn an_error_that_send_returned_is_remembered() {
    let (mut connection, mut peer) = pair();
    peer.write_all(b"abc").unwrap();
    reset(peer);
    wait_until(&connection, EpollFlags::EPOLLIN | EpollFlags::EPOLLERR);
    assert_eq!(write(&mut connection, b"x"), Err(Errno::ECONNRESET));
    assert!(connection.gone() && !connection.is_ended());
    assert!(can_read(&connection), "there is something left to read");
    assert_eq!(read(&mut connection), got(b"abc"));
    assert!(can_read(&connection));
    assert_eq!(read(&mut connection), EOF);
    assert!(connection.is_dead());
}

#[test]
fn an_error_that_recv_returned_ends_the_sink_as_well() {
    let (mut connection, peer) = pair();
    reset(peer);
    wait_until(&connection, EpollFlags::EPOLLERR);
    assert_eq!(read(&mut connection).0, Err(Errno::ECONNRESET));
    assert!(connection.gone() && connection.is_ended());
}

/// No more recv is called, so only the event reports it.
#[test]
fn a_reset_after_the_half_close_is_seen() {
    let (mut connection, peer) = pair();
    let edges = Edges::of(&connection);
    edges.next(); // writable
    peer.shutdown(net::Shutdown::Write).unwrap();
    connection.notice(edges.next());
    assert_eq!(read(&mut connection), EOF);
    assert!(!connection.gone());
    reset(peer);
    connection.notice(edges.next());
    assert!(connection.gone() && !can_write(&connection) && !can_read(&connection));
}

/// Reads, waiting for an edge whenever the connection is not readable.
fn read_by_edges(connection: &mut Connection, edges: &Edges, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        if can_read(connection) {
            bytes.extend(read(connection).1);
        } else {
            connection.notice(edges.next());
        }
    }
    bytes
}

fn send_urgent(peer: &mut TcpStream) {
    peer.write_all(b"abc").unwrap();
    assert_eq!(send(peer.as_raw_fd(), b"!", MsgFlags::MSG_OOB), Ok(1));
    peer.write_all(b"def").unwrap();
}

#[test]
fn what_follows_urgent_data_is_read() {
    let (mut connection, mut peer) = pair();
    send_urgent(&mut peer);
    wait_until(&connection, EpollFlags::EPOLLIN | EpollFlags::EPOLLPRI);
    let edges = Edges::of(&connection);
    assert_eq!(read_by_edges(&mut connection, &edges, 6), b"abcdef");
}

#[test]
fn the_end_after_urgent_data_is_read() {
    let (mut connection, mut peer) = pair();
    send_urgent(&mut peer);
    peer.shutdown(net::Shutdown::Write).unwrap();
    let all = EpollFlags::EPOLLIN | EpollFlags::EPOLLPRI | EpollFlags::EPOLLRDHUP;
    wait_until(&connection, all);
    let edges = Edges::of(&connection);
    assert_eq!(read_by_edges(&mut connection, &edges, 6), b"abcdef");
    assert_eq!(read(&mut connection), EOF);
}

#[test]
fn a_full_socket_is_not_written_to_until_the_peer_reads() {
    let (mut connection, mut peer) = pair();
    let edges = Edges::of(&connection);
    connection.notice(edges.next());
    let mut sent = 0;
    while can_write(&connection) {
        match write(&mut connection, &[7; CHUNK]) {
            Ok(Progress::Moved(count)) => {
                sent += count;
                assert_eq!(can_write(&connection), count == CHUNK);
            }
            outcome => assert_eq!(outcome, Ok(Progress::Blocked)),
        }
        assert!(sent < 1 << 30, "the socket is never full");
    }
    // After a short send as after EAGAIN: an edge comes when there is room.
    let mut bytes = vec![0; sent];
    peer.read_exact(&mut bytes).unwrap();
    assert!(bytes.iter().all(|&byte| byte == 7));
    while !can_write(&connection) {
        connection.notice(edges.next());
    }
    assert_eq!(write(&mut connection, b"abc"), MOVED_3);
}

#[test]
fn what_was_sent_is_delivered_once_it_is_acknowledged() {
    let (mut connection, mut peer) = pair();
    assert!(connection.is_delivered());
    let mut sent = 0;
    while can_write(&connection) {
        if let Ok(Progress::Moved(count)) = write(&mut connection, &[7; CHUNK]) {
            sent += count;
        }
    }
    // What is in flight is acknowledged soon, but there is still the rest, which cannot be sent. It
    // takes longer if the machine is short of TCP memory: then the kernel drops segments, and waits
    // longer before each retransmission.
    let begin = Instant::now();
    while getsockopt(&connection, TcpInfo).unwrap()[UNACKED] > 0 {
        assert!(begin.elapsed() < Duration::from_secs(60));
        assert!(!connection.is_delivered());
    }
    assert!(!connection.is_delivered(), "the peer reads nothing");
    peer.read_exact(&mut vec![0; sent]).unwrap();
    // The peer has received everything, but its acknowledgement may still be on its way.
    peer.write_all(b"abc").unwrap();
    wait_until(&connection, EpollFlags::EPOLLIN);
    assert!(connection.is_delivered());
}

#[test]
fn what_is_discarded_is_read() {
    let (mut connection, mut peer) = pair();
    peer.write_all(b"abc").unwrap();
    peer.shutdown(net::Shutdown::Write).unwrap();
    wait_until(&connection, EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP);
    connection.notice(Edges::of(&connection).next());
    let mut resources = resources();
    assert_eq!(connection.discard(&mut resources), MOVED_3);
    assert_eq!(connection.discard(&mut resources), Ok(Progress::Eof));
    assert!(connection.is_ended());
    assert_eq!(resources.chunks.lent(), 0);
}

#[test]
fn on_last_call_eagain_is_the_end() {
    let (mut connection, mut peer) = pair();
    let edges = Edges::of(&connection);
    connection.notice(edges.next());
    peer.write_all(b"abc").unwrap();
    connection.notice(edges.next());
    connection.last_call();
    assert_eq!(read(&mut connection), got(b"abc"));
    assert!(
        can_read(&connection),
        "no edge reports that nothing arrives"
    );
    assert_eq!(read(&mut connection), EOF);
    // The peer has not ended its side: a lingering close reads on.
    assert!(!can_read(&connection) && !connection.is_ended());
    peer.write_all(b"def").unwrap();
    connection.notice(edges.next());
    assert_eq!(read(&mut connection), got(b"def"));
    assert!(!can_read(&connection));
}

#[test]
fn without_last_call_eagain_is_not_the_end() {
    let (mut connection, mut peer) = pair();
    let urgent = Readiness {
        urgent: true,
        ..Readiness::default()
    };
    peer.write_all(b"abc").unwrap();
    wait_until(&connection, EpollFlags::EPOLLIN);
    connection.notice(urgent);
    assert_eq!(read(&mut connection), got(b"abc"));
    assert!(
        can_read(&connection),
        "only EAGAIN shows that everything has been read"
    );
    assert_eq!(read(&mut connection), BLOCKED);
    assert!(!can_read(&connection));
}

/// The end comes with a later read, as if nothing had been read early.
#[test]
fn what_was_read_early_comes_first() {
    let (mut connection, mut peer) = pair();
    let mut resources = resources();
    let bytes = vec![7; 3 * LEAST_READ];
    peer.write_all(&bytes).unwrap();
    peer.shutdown(net::Shutdown::Write).unwrap();
    wait_until(&connection, EpollFlags::EPOLLRDHUP);
    assert_eq!(connection.read_early(&mut resources), bytes.len());
    assert!(!connection.splices() && !connection.is_ended());
    let mut list = BufferList::new();
    let outcome = connection.read_into(&mut list, &mut resources);
    assert_eq!(outcome, Ok(Progress::Moved(bytes.len())));
    assert_eq!(list.len(), bytes.len());
    list.clear(&mut resources.chunks);
    assert!(can_read(&connection));
    assert_eq!(read(&mut connection), EOF);
    assert_eq!(resources.chunks.lent(), 0);
}

#[test]
fn what_was_read_early_is_limited_and_given_back() {
    let (mut connection, mut peer) = pair();
    let mut resources = resources();
    peer.set_nonblocking(true).unwrap();
    while peer.write(&[7; 65536]).is_ok() {}
    let buffer = getsockopt(&connection, RcvBuf).unwrap();
    let most = buffer / 2 + CHUNK;
    let mut early = 0;
    for _ in 0..8 {
        early += connection.read_early(&mut resources);
        assert!(early <= most, "{early} bytes of {buffer}");
    }
    assert!(early > 0 && !connection.is_unanswered());
    connection.release(&mut resources);
    assert_eq!(resources.chunks.lent(), 0);
}
