//! Streams through a proxy. One end sends as fast as it can; the other end counts the bytes,
//! and compares each of them when it has to verify.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, recv};

use super::{PATIENCE, noise, wait};

/// The size of each `send` and each `recv`, in bytes.
const PORTION: usize = 256 * 1024;

/// The stream repeats after this many bytes. It is not a power of two, so that the loss of a
/// page or of a portion is noticed.
const PERIOD: usize = (1 << 20) - 57;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the upstream to the client.
    Down,
    /// From the client to the upstream.
    Up,
}

struct Flow {
    sender: TcpStream,
    receiver: TcpStream,
    sent: usize,
    received: usize,
}

/// Opens `connections` through the proxy at `server`, sends for `time`, and reads to
/// the end. Returns the bytes that arrived, which are all that were sent.
pub fn run(
    server: SocketAddr,
    listener: &TcpListener,
    connections: usize,
    direction: Direction,
    time: Duration,
    verify: bool,
) -> Result<u64> {
    let stream = noise(PERIOD);
    let stream = [&stream[..], &stream[..PORTION]].concat(); // a portion may begin anywhere
    let mut flows = Vec::new();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for number in 0..connections {
        let flow = Flow::open(server, listener, direction)?;
        let number = 2 * number as u64;
        epoll.add(&flow.receiver, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
        epoll.add(
            &flow.sender,
            EpollEvent::new(EpollFlags::EPOLLOUT, number + 1),
        )?;
        flows.push(flow);
    }

    let end = Instant::now() + time;
    let mut events = vec![EpollEvent::empty(); 256];
    let mut buffer = vec![0; PORTION];
    let mut running = connections;
    while running > 0 {
        let count = wait(&epoll, &mut events, server)?;
        let over = Instant::now() >= end;
        for event in &events[..count] {
            let flow = &mut flows[event.data() as usize / 2];
            match event.data() % 2 {
                1 if over && flow.sent > 0 => {
                    epoll.delete(&flow.sender)?;
                    flow.sender.shutdown(Shutdown::Write)?;
                }
                1 => flow.send(&stream)?,
                _ if flow.receive(&mut buffer, verify.then_some(&stream[..]))? => {}
                _ => {
                    epoll.delete(&flow.receiver)?;
                    running -= 1;
                }
            }
        }
    }
    Ok(flows.iter().map(|flow| flow.received as u64).sum())
}

impl Flow {
    fn open(server: SocketAddr, listener: &TcpListener, direction: Direction) -> Result<Self> {
        let client = TcpStream::connect(server).context("connect")?;
        let mut asked = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::try_from(PATIENCE)?)?;
        let (upstream, _) = listener
            .accept()
            .context("the proxy did not connect to its upstream")?;
        client.set_nonblocking(true)?;
        upstream.set_nonblocking(true)?;
        let (sender, receiver) = match direction {
            Direction::Down => (upstream, client),
            Direction::Up => (client, upstream),
        };
        Ok(Self {
            sender,
            receiver,
            sent: 0,
            received: 0,
        })
    }

    fn send(&mut self, stream: &[u8]) -> Result<()> {
        let offset = self.sent % PERIOD;
        match self.sender.write(&stream[offset..offset + PORTION]) {
            Ok(count) => self.sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("send"),
        }
        Ok(())
    }

    /// False when the stream has ended and nothing was lost. Without `expected` the kernel
    /// discards the bytes instead of copying them (`MSG_TRUNC`, `tcp(7)`).
    fn receive(&mut self, buffer: &mut [u8], expected: Option<&[u8]>) -> Result<bool> {
        let flags = match expected {
            Some(_) => MsgFlags::empty(),
            None => MsgFlags::MSG_TRUNC,
        };
        let count = match recv(self.receiver.as_raw_fd(), buffer, flags) {
            Err(Errno::EAGAIN) => return Ok(true),
            other => other.context("recv")?,
        };
        if let Some(stream) = expected {
            let offset = self.received % PERIOD;
            if buffer[..count] != stream[offset..offset + count] {
                bail!("wrong bytes after {} of a stream", self.received);
            }
        }
        self.received += count;
        if count == 0 && self.received != self.sent {
            bail!(
                "{} of {} bytes were lost",
                self.sent - self.received,
                self.sent
            );
        }
        Ok(count > 0)
    }
}
