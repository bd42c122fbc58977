//! A UDP socket that a check drives.

use std::io::ErrorKind;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::data::{self, time};
use crate::failure::{Failure, Outcome, Verdict};
use crate::patience::patience;
use crate::sockets::{Table, rows};
use crate::trace::Trace;

/// The largest datagram that UDP over IPv4 can carry, in bytes.
pub const MAX_DATAGRAM: usize = 65_507;

/// A socket connected to one address: it receives from nowhere else.
pub struct DatagramPeer {
    name: String,
    socket: UdpSocket,
    trace: Trace,
    deadline: Instant,
}

impl DatagramPeer {
    pub fn connect(
        name: &str,
        address: SocketAddr,
        trace: &Trace,
        deadline: Instant,
    ) -> Verdict<Self> {
        let any = if address.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        let socket = UdpSocket::bind(any)
            .and_then(|socket| socket.connect(address).map(|()| socket))
            .map_err(|error| Failure::grader("open a UDP socket", error))?;
        Ok(Self {
            name: name.to_owned(),
            socket,
            trace: trace.clone(),
            deadline,
        })
    }

    pub fn send(&self, bytes: &[u8]) -> Verdict {
        self.trace
            .step(format!("{} sends {}", self.name, show(bytes)));
        let result = self.socket.send(bytes);
        result.map(drop).map_err(|error| {
            Failure::behaviour(format!("{} cannot send a datagram: {error}", self.name))
        })
    }

    /// The next datagram, or `None` when none came within `patience`.
    pub fn receive(&self, patience: Duration) -> Verdict<Option<Vec<u8>>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = patience.min(left).max(Duration::from_millis(1));
        let set = self.socket.set_read_timeout(Some(timeout));
        set.map_err(|error| Failure::grader("set a timeout", error))?;
        let mut bytes = vec![0; MAX_DATAGRAM + 1];
        match self.socket.recv(&mut bytes) {
            Ok(count) => {
                bytes.truncate(count);
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => {
                let what = format!("{} cannot receive: {error}", self.name);
                Err(Failure::new(Outcome::Reset, what))
            }
        }
    }

    pub fn expect(&self, expected: &[u8], patience: Duration) -> Verdict {
        let begun = Instant::now();
        match self.receive(patience)? {
            Some(received) if received == expected => {
                self.trace
                    .step(format!("{} receives {}", self.name, show(expected)));
                Ok(())
            }
            Some(received) => {
                let whose = format!("{} received something else", self.name);
                Err(data::wrong(&whose, expected, &received))
            }
            None => {
                let waited = time(begun.elapsed());
                let what = format!("{} got no answer within {waited}", self.name);
                Err(Failure::new(Outcome::Timeout, what).expected(show(expected)))
            }
        }
    }

    pub fn ask(&self, bytes: &[u8], answer: &[u8], patience: Duration) -> Verdict {
        self.send(bytes)?;
        self.expect(answer, patience)
    }
}

/// Sends a datagram whose sender's address is forged. Only root may do that (`raw(7)`).
pub fn send_forged(from: SocketAddrV4, to: SocketAddrV4, bytes: &[u8]) -> nix::Result<()> {
    let (raw, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
    let socket = socket(AddressFamily::Inet, raw, flags, SockProtocol::Raw)?;
    // The header of IPv4 (20 bytes): the kernel fills in its length and checksum. Then the header
    // of UDP (8 bytes): a checksum of 0 means that there is none.
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    for word in [from.port(), to.port(), 8 + bytes.len() as u16, 0] {
        packet.extend(word.to_be_bytes());
    }
    packet.extend(bytes);
    let to = SockaddrIn::from(to);
    sendto(socket.as_raw_fd(), &packet, &to, MsgFlags::empty()).map(drop)
}

/// A UDP server inside a check, for a client under test.
pub struct DatagramServer {
    socket: UdpSocket,
    trace: Trace,
    deadline: Instant,
}

impl DatagramServer {
    pub fn bind(address: SocketAddr, trace: &Trace, deadline: Instant) -> Verdict<Self> {
        let socket = UdpSocket::bind(address)
            .map_err(|error| Failure::grader(format!("bind {address}"), error))?;
        let server = Self {
            socket,
            trace: trace.clone(),
            deadline,
        };
        server.trace.step(format!(
            "the check itself receives datagrams on {}",
            server.address()?
        ));
        Ok(server)
    }

    pub fn address(&self) -> Verdict<SocketAddr> {
        let address = self.socket.local_addr();
        address.map_err(|error| Failure::grader("getsockname", error))
    }

    /// From now on the kernel answers every datagram with "port unreachable".
    pub fn refuse_all(&self) -> Verdict {
        // A connected UDP socket receives from one address only. This one is its own.
        let result = self.socket.connect(self.address()?);
        result.map_err(|error| Failure::grader("connect a UDP socket", error))?;
        self.trace.step("the check makes this port unreachable");
        Ok(())
    }

    /// The next datagram and its sender, or `None` when none came within `patience`.
    pub fn receive(&self, patience: Duration) -> Verdict<Option<(Vec<u8>, SocketAddr)>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = patience.min(left).max(Duration::from_millis(1));
        let set = self.socket.set_read_timeout(Some(timeout));
        set.map_err(|error| Failure::grader("set a timeout", error))?;
        let mut bytes = vec![0; MAX_DATAGRAM + 1];
        loop {
            match self.socket.recv_from(&mut bytes) {
                Ok((count, sender)) => {
                    bytes.truncate(count);
                    let port = sender.port();
                    self.trace.step(format!(
                        "the check receives {} from port {port}",
                        show(&bytes)
                    ));
                    return Ok(Some((bytes, sender)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::grader("receive a datagram", error)),
            }
        }
    }

    /// Expects this datagram next, and returns its sender.
    pub fn expect(&self, expected: &[u8]) -> Verdict<SocketAddr> {
        let begun = Instant::now();
        match self.receive(patience())? {
            Some((received, sender)) if received == expected => Ok(sender),
            Some((received, _)) => Err(data::wrong(
                "the check received something else",
                expected,
                &received,
            )),
            None => {
                let what = format!(
                    "the check received no datagram within {}",
                    time(begun.elapsed())
                );
                Err(Failure::new(Outcome::Timeout, what).expected(show(expected)))
            }
        }
    }

    pub fn send(&self, bytes: &[u8], receiver: SocketAddr) {
        let port = receiver.port();
        self.trace
            .step(format!("the check sends {} to port {port}", show(bytes)));
        // The receiver may have ended already. The check notices that elsewhere.
        let _ = self.socket.send_to(bytes, receiver);
    }
}

fn show(datagram: &[u8]) -> String {
    match datagram {
        [] => "an empty datagram".to_owned(),
        bytes => data::show(bytes),
    }
}

/// The bytes that wait in the receive queue of the UDP socket at `address`.
pub fn unread(address: SocketAddr) -> u64 {
    let table = match address {
        SocketAddr::V4(_) => Table::Udp,
        SocketAddr::V6(_) => Table::Udp6,
    };
    let here = rows(table).filter(|row| row.local.port() == address.port());
    here.map(|row| row.receiving).sum()
}
