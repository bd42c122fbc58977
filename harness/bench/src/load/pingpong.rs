//! Clients that each send a line of 32 bytes and wait for the answer before they send the
//! next. They talk to a server directly, or through a proxy to an upstream that echoes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use super::wait;

const LINE: usize = 32;

/// The kinds of sockets in epoll: the upper half of an event's number.
const CLIENT: u64 = 0;
const LISTENER: u64 = 1;
const UPSTREAM: u64 = 2;

/// How many connections are opened before the first answer is waited for.
const STEP: usize = 64;

/// An attempt that takes longer was repeated: the kernel sends a lost SYN again after 1 s.
const RETRIED: Duration = Duration::from_millis(900);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Same,
    Reversed,
}

struct Client {
    stream: TcpStream,
    question: [u8; LINE],
    answer: [u8; LINE],
    /// How much of the answer has come.
    got: usize,
}

impl Client {
    fn new(stream: TcpStream, number: usize, kind: Answer) -> Self {
        let mut question = [b'\n'; LINE];
        let text = format!("client {number:06} says hello there!");
        question[..LINE - 1].copy_from_slice(text.as_bytes());
        let mut answer = question;
        if kind == Answer::Reversed {
            answer[..LINE - 1].reverse();
        }
        Self {
            stream,
            question,
            answer,
            got: 0,
        }
    }

    fn ask(&mut self) -> Result<()> {
        self.stream.write_all(&self.question).context("send")
    }

    /// True when the answer is complete.
    fn hear(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let count = match self.stream.read(buffer) {
            Ok(0) => bail!("the server closed a connection"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            other => other.context("recv")?,
        };
        let expected = &self.answer[self.got..];
        if !expected.starts_with(&buffer[..count]) {
            bail!(
                "wrong answer: {:?}",
                String::from_utf8_lossy(&buffer[..count])
            );
        }
        self.got = (self.got + count) % LINE;
        Ok(count > 0 && self.got == 0)
    }
}

/// How the server coped with many connections that were opened at once.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// Until the last one was established.
    pub elapsed: Duration,
    pub refused: usize,
    pub retried: usize,
}

pub struct PingPong {
    epoll: Epoll,
    server: SocketAddr,
    kind: Answer,
    listener: Option<TcpListener>,
    upstreams: Vec<Option<TcpStream>>, // by descriptor
    clients: Vec<Client>,
    /// How many clients ask again after each answer: the first ones in the list.
    active: usize,
    /// Questions without an answer.
    open: usize,
    events: Vec<EpollEvent>,
    buffer: Vec<u8>,
}

impl PingPong {
    /// With a `listener`, this is also the upstream that the server connects to.
    pub fn new(server: SocketAddr, listener: Option<TcpListener>, kind: Answer) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        if let Some(listener) = &listener {
            epoll.add(listener, event(LISTENER, 0))?;
        }
        Ok(Self {
            epoll,
            server,
            kind,
            listener,
            upstreams: Vec::new(),
            clients: Vec::new(),
            active: 0,
            open: 0,
            events: vec![EpollEvent::empty(); 256],
            buffer: vec![0; 4096],
        })
    }

    /// Adds clients. Each has received one answer when this returns.
    pub fn add_clients(&mut self, count: usize) -> Result<()> {
        let wanted = self.clients.len() + count;
        while self.clients.len() < wanted {
            let first = self.clients.len();
            for number in first..wanted.min(first + STEP) {
                let stream = TcpStream::connect(self.server).context("connect")?;
                self.add(stream, number)?;
                self.ask(number)?;
            }
            self.finish()?;
        }
        Ok(())
    }

    fn add(&mut self, stream: TcpStream, number: usize) -> Result<()> {
        stream.set_nonblocking(true)?;
        self.epoll.add(&stream, event(CLIENT, number))?;
        self.clients.push(Client::new(stream, number, self.kind));
        Ok(())
    }

    fn ask(&mut self, number: usize) -> Result<()> {
        self.open += 1;
        self.clients[number].ask()
    }

    /// The first `active` clients ask until the time is over. Returns how many answers came.
    /// Each has been compared.
    pub fn run(&mut self, active: usize, time: Duration) -> Result<u64> {
        self.active = active;
        let end = Instant::now() + time;
        for number in 0..active {
            self.ask(number)?;
        }
        let mut answers = 0;
        while Instant::now() < end {
            answers += self.turn()?;
        }
        self.active = 0;
        Ok(answers + self.finish()?)
    }

    /// Every client gets one more answer.
    pub fn ask_all(&mut self) -> Result<()> {
        for number in 0..self.clients.len() {
            self.ask(number)?;
        }
        self.finish().map(drop)
    }

    /// Waits for the answers that are missing.
    fn finish(&mut self) -> Result<u64> {
        let mut answers = 0;
        while self.open > 0 {
            answers += self.turn()?;
        }
        Ok(answers)
    }

    /// Waits once, and handles all events.
    fn turn(&mut self) -> Result<u64> {
        let mut answers = 0;
        let count = wait(&self.epoll, &mut self.events, self.server)?;
        for turn in 0..count {
            let data = self.events[turn].data();
            let number = (data & u64::from(u32::MAX)) as usize;
            match data >> 32 {
                CLIENT => {
                    if self.clients[number].hear(&mut self.buffer)? {
                        answers += 1;
                        self.open -= 1;
                        if number < self.active {
                            self.ask(number)?;
                        }
                    }
                }
                LISTENER => self.accept()?,
                _ => self.echo(number),
            }
        }
        Ok(answers)
    }

    fn accept(&mut self) -> Result<()> {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(TcpListener::accept) {
            let number = stream.as_raw_fd() as usize;
            self.epoll.add(&stream, event(UPSTREAM, number))?;
            if self.upstreams.len() <= number {
                self.upstreams.resize_with(number + 1, || None);
            }
            self.upstreams[number] = Some(stream);
        }
        Ok(())
    }

    /// The upstream's part. If a connection fails here, its client notices that an answer is
    /// missing.
    fn echo(&mut self, number: usize) {
        let Some(stream) = &mut self.upstreams[number] else {
            return;
        };
        let done = match stream.read(&mut self.buffer) {
            Ok(count) if count > 0 => stream.write_all(&self.buffer[..count]).is_ok(),
            _ => false,
        };
        if !done {
            self.upstreams[number] = None;
        }
    }

    /// Connects many clients without waiting for any of them.
    pub fn burst(&mut self, count: usize) -> Result<Burst> {
        let start = Instant::now();
        let waiting = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut streams = Vec::new();
        for number in 0..count {
            let stream = begin_to_connect(self.server)?;
            waiting.add(
                &stream,
                EpollEvent::new(EpollFlags::EPOLLOUT, number as u64),
            )?;
            streams.push((stream, Instant::now()));
        }
        let (mut refused, mut retried, mut settled) = (0, 0, 0);
        while settled < count {
            let ready = wait(&waiting, &mut self.events, self.server)?;
            for event in &self.events[..ready] {
                let (stream, begun) = &streams[event.data() as usize];
                waiting.delete(stream)?;
                settled += 1;
                refused += usize::from(stream.take_error()?.is_some());
                retried += usize::from(begun.elapsed() > RETRIED);
            }
        }
        let elapsed = start.elapsed();
        for (number, (stream, _)) in streams.into_iter().enumerate() {
            self.add(stream, number)?;
        }
        Ok(Burst {
            elapsed,
            refused,
            retried,
        })
    }
}

fn event(kind: u64, number: usize) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, kind << 32 | number as u64)
}

fn begin_to_connect(server: SocketAddr) -> Result<TcpStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).context("socket")?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(server)) {
        Ok(()) | Err(nix::Error::EINPROGRESS) => Ok(socket.into()),
        Err(errno) => bail!("connect: {errno}"),
    }
}
