use std::io::{Read, Write};

use super::*;
use crate::flow::{Progress, Sink, Source};
use crate::network::connection::Connection;
use crate::network::rig::{Edges, connected};

/// The kernel limits the pieces in a pipe: a byte that came alone takes as much room as 4096 bytes
/// that came together.
#[test]
fn a_pipe_full_of_small_pieces_loses_nothing() {
    let (socket, mut peer) = connected();
    let mut source = Connection::new(socket);
    let sent: Vec<u8> = (0..3000).map(|n| n as u8).collect();
    for byte in &sent {
        peer.write_all(&[*byte]).unwrap();
    }
    source.notice(Edges::of(&source).next());
    let (sink, mut receiver) = connected();
    let mut sink = Connection::new(sink);
    let mut pipe = KernelPipe::new().unwrap();
    let mut was_full = false;
    while source.readable() || !pipe.is_empty() {
        while source.readable() && !pipe.is_full() {
            source.splice_into(&mut pipe).unwrap();
        }
        was_full |= pipe.is_full();
        assert!(
            !pipe.is_full() || source.readable(),
            "the rest is still in the socket"
        );
        while !pipe.is_empty() {
            sink.splice_from(&mut pipe).unwrap();
        }
    }
    assert!(was_full);
    let mut arrived = vec![0; sent.len()];
    receiver.read_exact(&mut arrived).unwrap();
    assert_eq!(arrived, sent);
}

#[test]
fn a_socket_is_empty_if_an_empty_pipe_gets_nothing() {
    let (socket, mut peer) = connected();
    let mut source = Connection::new(socket);
    let mut pipe = KernelPipe::new().unwrap();
    peer.write_all(b"abc").unwrap();
    source.notice(Edges::of(&source).next());
    assert_eq!(source.splice_into(&mut pipe), Ok(Progress::Moved(3)));
    assert!(source.readable(), "a short splice shows nothing");
    assert_eq!(source.splice_into(&mut pipe), Ok(Progress::Moved(0)));
    assert!(source.readable() && pipe.is_full(), "the pipe may be full");
    let (sink, _receiver) = connected();
    let drained = Connection::new(sink).splice_from(&mut pipe);
    assert_eq!((drained, pipe.is_full()), (Ok(Progress::Moved(3)), false));
    assert_eq!(source.splice_into(&mut pipe), Ok(Progress::Blocked));
    assert!(!source.readable());
}

#[test]
fn the_pool_keeps_some_and_only_empty_ones() {
    let mut pool = KernelPipes::default();
    let pipes: Vec<_> = (0..KEPT + 3).map(|_| pool.lend().unwrap()).collect();
    assert_eq!(pool.lent(), KEPT + 3);
    let (socket, mut peer) = connected();
    peer.write_all(b"abc").unwrap();
    for mut pipe in pipes {
        if pool.lent() == KEPT + 3 {
            while pipe.fill_from(&socket) == Err(Errno::EAGAIN) {} // leaves bytes in the first one
        }
        pool.take_back(pipe);
    }
    assert_eq!((pool.lent(), pool.unused.len()), (0, KEPT));
    assert!(pool.unused.iter().all(KernelPipe::is_empty));
    pool.close_idle(); // closes none: they were in use since the last call
    assert!(pool.any_unused());
    pool.close_idle();
    assert!(!pool.any_unused());
    let pipe = pool.lend().unwrap();
    pool.take_back(pipe);
    assert!(pool.close_unused() && !pool.close_unused());
}
