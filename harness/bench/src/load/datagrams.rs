//! Ping-pong over UDP: each socket waits for the answer to its datagram.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use harness::interrupt;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// A datagram that has no answer after this time counts as lost, and is sent again.
const LOST: u16 = 500; // ms

struct Client {
    socket: UdpSocket,
    question: Vec<u8>,
    answer: Vec<u8>,
    waiting: bool,
}

pub struct Datagrams {
    epoll: Epoll,
    clients: Vec<Client>,
    /// Datagrams that got no answer.
    pub lost: u64,
}

impl Datagrams {
    pub fn new(server: SocketAddr, sockets: usize) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut clients = Vec::new();
        for number in 0..sockets {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(server)?;
            epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
            let question = format!("socket {number:06} says hello there\n").into_bytes();
            let mut answer = question.clone();
            answer.pop(); // the newline stays where it is
            answer.reverse();
            clients.push(Client {
                socket,
                question,
                answer,
                waiting: false,
            });
        }
        Ok(Self {
            epoll,
            clients,
            lost: 0,
        })
    }

    /// Returns how many answers came. Each has been compared.
    pub fn run(&mut self, time: Duration) -> Result<u64> {
        let end = Instant::now() + time;
        let mut events = vec![EpollEvent::empty(); 256];
        let mut buffer = [0; 4096];
        let mut answers = 0;
        for client in &mut self.clients {
            client.ask()?;
        }
        while self.clients.iter().any(|client| client.waiting) {
            interrupt::check()?;
            let count = match self.epoll.wait(&mut events, EpollTimeout::from(LOST)) {
                Err(nix::Error::EINTR) => continue,
                other => other?,
            };
            if count == 0 {
                self.ask_again()?;
            }
            let over = Instant::now() >= end;
            for event in &events[..count] {
                let client = &mut self.clients[event.data() as usize];
                let length = client.socket.recv(&mut buffer)?;
                client.check(&buffer[..length])?;
                answers += 1;
                if !over {
                    client.ask()?;
                }
            }
        }
        Ok(answers)
    }

    fn ask_again(&mut self) -> Result<()> {
        for client in self.clients.iter_mut().filter(|client| client.waiting) {
            self.lost += 1;
            client.ask()?;
        }
        if self.lost > 1000 {
            bail!("{} datagrams were lost", self.lost);
        }
        Ok(())
    }
}

impl Client {
    fn ask(&mut self) -> Result<()> {
        self.waiting = true;
        self.socket.send(&self.question)?;
        Ok(())
    }

    fn check(&mut self, answer: &[u8]) -> Result<()> {
        self.waiting = false;
        match answer.trim_ascii_end() == self.answer {
            true => Ok(()),
            false => bail!("wrong answer: {:?}", String::from_utf8_lossy(answer)),
        }
    }
}
