//! Short connections: connect, read to the end of the stream, close. Again and again, several
//! at the same time.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, recv};

use super::wait;

const LISTENER: u64 = u64::MAX;
const PORTION: usize = 256 * 1024;

/// Answers up to this size are always compared; larger ones are only counted.
const COMPARED: usize = 64 * 1024;

pub struct Fetch<'a> {
    pub server: SocketAddr,
    /// The upstream, which sends `body` on each connection and closes it.
    pub listener: Option<&'a TcpListener>,
    /// What the client says first, if it has to.
    pub request: &'a [u8],
    /// How each answer must end.
    pub body: &'a [u8],
    pub at_once: usize,
}

struct Client {
    stream: TcpStream,
    received: usize,
    kept: Vec<u8>,
}

impl Fetch<'_> {
    /// Fetches until the time is over, at least once for each client. Returns the number of
    /// answers; all of them were complete.
    pub fn run(&self, time: Duration, verify: bool) -> Result<u64> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        if let Some(listener) = self.listener {
            epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        }
        let compare = verify || self.body.len() <= COMPARED;
        let mut clients = Vec::new();
        for number in 0..self.at_once {
            clients.push(self.connect(&epoll, number, Vec::new())?);
        }
        let end = Instant::now() + time;
        let mut events = vec![EpollEvent::empty(); 256];
        let mut buffer = vec![0; PORTION];
        let (mut fetched, mut running) = (0, self.at_once);
        while running > 0 {
            let count = wait(&epoll, &mut events, self.server)?;
            for event in &events[..count] {
                if event.data() == LISTENER {
                    self.give();
                    continue;
                }
                let number = event.data() as usize;
                let client = &mut clients[number];
                if client.receive(&mut buffer, compare)? {
                    continue;
                }
                self.check(client, compare)?;
                fetched += 1;
                if Instant::now() < end {
                    let kept = std::mem::take(&mut client.kept);
                    *client = self.connect(&epoll, number, kept)?; // closes the old one
                } else {
                    epoll.delete(&client.stream)?;
                    running -= 1;
                }
            }
        }
        Ok(fetched)
    }

    fn connect(&self, epoll: &Epoll, number: usize, mut kept: Vec<u8>) -> Result<Client> {
        let mut stream = TcpStream::connect(self.server).context("connect")?;
        if !self.request.is_empty() {
            stream.write_all(self.request).context("send")?;
        }
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
        kept.clear();
        Ok(Client {
            stream,
            received: 0,
            kept,
        })
    }

    /// The upstream's part.
    fn give(&self) {
        while let Some(Ok((mut stream, _))) = self.listener.map(TcpListener::accept) {
            let _ = stream.write_all(self.body); // on an error the client misses the bytes
        }
    }

    fn check(&self, client: &Client, compare: bool) -> Result<()> {
        let (got, wanted) = (client.received, self.body.len());
        // Before the body there may be a header.
        if got < wanted || (compare && !client.kept.ends_with(self.body)) {
            bail!("received {got} bytes, which do not end with the {wanted} bytes expected");
        }
        Ok(())
    }
}

impl Client {
    /// False at the end of the stream.
    fn receive(&mut self, buffer: &mut [u8], compare: bool) -> Result<bool> {
        let discard = if compare {
            MsgFlags::empty()
        } else {
            MsgFlags::MSG_TRUNC
        };
        loop {
            match recv(
                self.stream.as_raw_fd(),
                buffer,
                MsgFlags::MSG_DONTWAIT | discard,
            ) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.received += count;
                    if compare {
                        self.kept.extend_from_slice(&buffer[..count]);
                    }
                }
                Err(Errno::EAGAIN) => return Ok(true),
                Err(errno) => return Err(errno).context("recv"),
            }
        }
    }
}
