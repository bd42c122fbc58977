//! Pipes between real sockets, with kernel pipes for bulky flows: all bytes arrive in order, and a
//! flow that needs no kernel pipe keeps none.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, send};
use proptest::collection::vec as vec_of;
use proptest::prelude::*;

use super::*;
use crate::flow::kernel_pipe::CAPACITY;
use crate::network::connection::Connection;
use crate::network::rig::{Edges, connected, resources};

/// A pipe from one connection to another, and the remote ends of both.
struct Rig {
    resources: Resources,
    pipe: Pipe,
    source: Connection,
    sink: Connection,
    edges: [Edges; 2],
    sender: TcpStream,
    receiver: TcpStream,
    began: Instant,
}

/// How long a test may take: a test that loses bytes must fail, not wait for them.
const PATIENCE: Duration = Duration::from_secs(60);

impl Rig {
    fn new() -> Rig {
        let (source, sender) = connected();
        let (sink, receiver) = connected();
        receiver.set_nonblocking(true).unwrap();
        let edges = [Edges::of(&source), Edges::of(&sink)];
        Rig {
            resources: resources(),
            pipe: Pipe::opaque(64 * 1024, State::Open),
            source: Connection::new(source),
            sink: Connection::new(sink),
            edges,
            sender,
            receiver,
            began: Instant::now(),
        }
    }

    /// Lets the pipe do all that it can do now.
    fn run(&mut self) {
        assert!(
            self.began.elapsed() < PATIENCE,
            "bytes or their end are lost"
        );
        for (edges, end) in self.edges.iter().zip([&mut self.source, &mut self.sink]) {
            if let Some(seen) = edges.now() {
                end.notice(seen);
            }
        }
        while self.pipe.can_fill(&self.source) || self.pipe.can_drain(&self.sink) {
            self.pipe.fill(&mut self.source, &mut self.resources);
            self.pipe.drain(&mut self.sink, &mut self.resources);
        }
    }

    /// Sends `bytes` and runs the pipe. Returns what has arrived.
    fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut arrived = Vec::new();
        self.sender.write_all(bytes).unwrap();
        while arrived.len() < bytes.len() {
            self.run();
            self.receive(&mut arrived, usize::MAX);
        }
        arrived
    }

    fn receive(&mut self, into: &mut Vec<u8>, most: usize) {
        let mut chunk = vec![0; most.min(1 << 20)];
        if let Ok(count) = self.receiver.read(&mut chunk) {
            into.extend_from_slice(&chunk[..count]);
        }
    }

    /// Makes the flow bulky. It has a kernel pipe only while bytes are held.
    fn make_bulky(&mut self) {
        let large = bytes(4 * LARGE);
        while self.pipe.bulk < BULKY {
            assert_eq!(self.pass(&large), large);
        }
    }

    fn is_in_kernel(&self) -> bool {
        matches!(self.pipe.held, Held::InKernel(_))
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n * 7 + n / 251) as u8).collect()
}

#[test]
fn a_bulky_flow_has_a_kernel_pipe_while_bytes_wait() {
    let mut rig = Rig::new();
    rig.make_bulky();
    assert!(
        !rig.is_in_kernel(),
        "a flow that waits holds no kernel pipe"
    );
    assert_eq!(rig.resources.kernel_pipes.lent(), 0);

    // The receiver does not read, so the pipe sends until all buffers are full.
    let large = bytes(1 << 20);
    let mut sent = 0;
    rig.sender.set_nonblocking(true).unwrap();
    while let Ok(count) = rig.sender.write(&large[sent % 1000..]) {
        sent += count;
        rig.run();
    }
    assert!(rig.is_in_kernel() && rig.pipe.held() > 0);
    assert!(rig.pipe.held() <= CAPACITY + 64 * 1024);
    assert_eq!(rig.resources.chunks.lent(), 0);
}

#[test]
fn small_messages_are_copied_again() {
    let mut rig = Rig::new();
    rig.make_bulky();
    for _ in 0..2 * BULKY {
        assert_eq!(rig.pass(b"small"), b"small");
    }
    assert_eq!(rig.pipe.bulk, 0);
}

/// If a pipe changed from memory to a kernel pipe while it holds bytes, later bytes could overtake
/// them, or they would be lost.
#[test]
fn memory_and_kernel_pipe_change_only_while_nothing_is_held() {
    let mut rig = Rig::new();
    for piece in [b"first, ", b"second."] {
        rig.sender.write_all(piece).unwrap();
        while rig.pipe.fill(&mut rig.source, &mut rig.resources) == 0 {
            rig.source.notice(rig.edges[0].next());
        }
        rig.pipe.bulk = BULKY; // bulky from now on
    }
    assert!(!rig.is_in_kernel());
    assert_eq!(rig.pipe.held(), 14);
    let mut arrived = Vec::new();
    while arrived.len() < 14 {
        rig.run();
        rig.receive(&mut arrived, usize::MAX);
    }
    assert_eq!(arrived, b"first, second.");
}

#[test]
fn only_opaque_bytes_go_through_the_kernel() {
    let mut rig = Rig::new();
    rig.pipe = Pipe::new(64 * 1024, State::Open);
    rig.make_bulky();
    rig.sender.write_all(&bytes(4 * LARGE)).unwrap();
    while rig.pipe.fill(&mut rig.source, &mut rig.resources) == 0 {
        rig.source.notice(rig.edges[0].next());
    }
    assert!(!rig.is_in_kernel());
    rig.pipe.on(Event::SinkGone, &mut rig.resources);
}

#[test]
fn the_end_is_what_recv_says() {
    let mut rig = Rig::new();
    rig.make_bulky();
    let large = bytes(4 * LARGE);
    rig.sender.write_all(&large).unwrap();
    rig.sender.shutdown(Shutdown::Write).unwrap();
    let mut arrived = Vec::new();
    while rig.pipe.state() != State::Shut {
        rig.run();
        rig.receive(&mut arrived, usize::MAX);
    }
    rig.receiver.set_nonblocking(false).unwrap();
    rig.receiver.read_to_end(&mut arrived).unwrap();
    assert_eq!(arrived, large);
    assert!(rig.source.is_ended() && !rig.source.is_dead());
}

/// splice stops at the mark of urgent data, and if the stream has ended it reports the end there.
#[test]
fn urgent_data_in_a_bulky_flow_loses_nothing() {
    for ends in [false, true] {
        let mut rig = Rig::new();
        rig.make_bulky();
        let large = bytes(4 * LARGE);
        rig.sender.write_all(&large).unwrap();
        send(rig.sender.as_raw_fd(), b"!", MsgFlags::MSG_OOB).unwrap();
        rig.sender.write_all(&large).unwrap();
        if ends {
            rig.sender.shutdown(Shutdown::Write).unwrap();
        }
        let mut arrived = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while arrived.len() < 2 * large.len() {
            rig.run();
            rig.receive(&mut arrived, usize::MAX);
            assert!(Instant::now() < deadline, "{} bytes", arrived.len());
        }
        // The urgent byte is not part of the stream.
        assert_eq!(arrived, [large.clone(), large].concat());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Send(usize),
    Receive(usize),
}

fn a_step() -> impl Strategy<Value = Step> {
    let sizes = prop_oneof![1..100usize, 1..300_000usize];
    (any::<bool>(), sizes).prop_map(|(send, size)| {
        if send {
            Step::Send(size)
        } else {
            Step::Receive(size)
        }
    })
}

proptest! {
    // Each attempt to shrink a failing case may last until its timeout.
    #![proptest_config(ProptestConfig { max_shrink_time: 1000, ..ProptestConfig::default() })]

    /// What was sent arrives, for pieces of all sizes, whether the sender or the receiver is
    /// faster.
    #[test]
    fn a_flow_is_the_same_stream_whatever_holds_it(steps in vec_of(a_step(), 1..60)) {
        let mut rig = Rig::new();
        rig.sender.set_nonblocking(true).unwrap();
        let mut sent = Vec::new();
        let mut arrived = Vec::new();
        let mut left = VecDeque::from(steps);
        while let Some(step) = left.pop_front() {
            match step {
                Step::Send(size) => {
                    let piece = bytes(size);
                    let count = rig.sender.write(&piece).unwrap_or(0);
                    sent.extend_from_slice(&piece[..count]);
                }
                Step::Receive(size) => rig.receive(&mut arrived, size),
            }
            rig.run();
        }
        rig.sender.shutdown(Shutdown::Write).unwrap();
        while rig.pipe.state() != State::Shut {
            rig.run();
            rig.receive(&mut arrived, usize::MAX);
        }
        rig.receiver.set_nonblocking(false).unwrap();
        rig.receiver.read_to_end(&mut arrived).unwrap();
        prop_assert!(arrived == sent, "{} bytes sent, {} arrived", sent.len(), arrived.len());
        prop_assert_eq!((rig.resources.chunks.lent(), rig.resources.kernel_pipes.lent()), (0, 0));
    }
}
