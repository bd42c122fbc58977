//! A UDP socket that a check drives.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::check::{Failure, Outcome, Verdict};
use crate::data::{show, show_difference};
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
            .step(format!("{} sends a datagram {}", self.name, show(bytes)));
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
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => {
                let what = format!("{} cannot receive: {error}", self.name);
                Err(Failure::new(Outcome::Reset, what))
            }
        }
    }

    pub fn expect(&self, expected: &[u8], patience: Duration) -> Verdict {
        match self.receive(patience)? {
            Some(received) if received == expected => {
                self.trace
                    .step(format!("{} received {}", self.name, show(expected)));
                Ok(())
            }
            Some(received) => {
                let difference = show_difference(expected, &received);
                let what = format!(
                    "{} received {} bytes, {} were expected: {difference}",
                    self.name,
                    received.len(),
                    expected.len()
                );
                let failure = Failure::new(Outcome::WrongData, what);
                Err(failure.expected(show(expected)).received(show(&received)))
            }
            None => {
                let what = format!("{} got no answer within {patience:.1?}", self.name);
                Err(Failure::new(Outcome::Timeout, what).expected(show(expected)))
            }
        }
    }

    pub fn ask(&self, bytes: &[u8], answer: &[u8], patience: Duration) -> Verdict {
        self.send(bytes)?;
        self.expect(answer, patience)
    }
}
