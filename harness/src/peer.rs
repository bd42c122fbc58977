//! One end of a TCP connection that a check drives. Every wait has a time limit, and EOF,
//! reset, timeout and missing data are four different failures.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};
use nix::{setsockopt_impl, sockopt_impl};

use crate::data::{Pattern, show, show_difference, time, wrong};
use crate::failure::{Failure, Outcome, Verdict};
use crate::hint;
use crate::patience::{LOOK, patience};
use crate::queues::queues;
use crate::trace::Trace;

/// A program that takes no byte for this long counts as not reading.
const STUCK: Duration = Duration::from_millis(300);

/// When nothing more comes for this long, a failure shows what has come.
const MOMENT: Duration = Duration::from_millis(100);

/// We send more only while at most this many bytes wait for the program ([`Peer::stay_near`]).
const AHEAD: u64 = 4 << 20;

/// After this many bytes we look at how many wait.
const LOOK_AFTER: u64 = 1 << 20;

sockopt_impl!(
    /// The socket is writable only while fewer bytes than this wait to be sent. nix does not have
    /// this option.
    NotSentLowWater,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_NOTSENT_LOWAT,
    u32
);

/// Bytes that one end has written and the other has not read. A byte that was received
/// but not yet acknowledged may be counted twice. No byte is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnTheWay {
    pub to_the_program: u64,
    pub to_us: u64,
}

pub struct Peer {
    name: String,
    stream: TcpStream,
    trace: Trace,
    deadline: Instant,
    patience: Duration,
    /// Bytes written since we last looked at how many wait.
    unseen: AtomicU64,
}

impl Peer {
    pub fn connect(
        name: &str,
        address: SocketAddr,
        trace: &Trace,
        deadline: Instant,
    ) -> Verdict<Self> {
        let left = deadline.saturating_duration_since(Instant::now()).max(LOOK);
        let stream =
            TcpStream::connect_timeout(&address, left.min(patience())).map_err(|error| {
                let what = format!("{name} cannot connect to {address}: {error}");
                let failure = Failure::new(Outcome::Behaviour, what);
                match error.kind() {
                    ErrorKind::ConnectionRefused => failure.hint(hint::REFUSED),
                    _ => failure,
                }
            })?;
        let peer = Self::new(name, stream, trace, deadline)?;
        peer.step(format_args!("connects to {address}"));
        Ok(peer)
    }

    /// A connection that was made or accepted elsewhere.
    pub fn new(name: &str, stream: TcpStream, trace: &Trace, deadline: Instant) -> Verdict<Self> {
        stream
            .set_nodelay(true)
            .map_err(|error| Failure::grader("TCP_NODELAY", error))?;
        let (name, trace) = (name.to_owned(), trace.clone());
        Ok(Self {
            name,
            stream,
            trace,
            deadline,
            patience: patience(),
            unseen: AtomicU64::new(0),
        })
    }

    /// Changes how long each step may take.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn step(&self, what: std::fmt::Arguments) {
        self.trace.step(format!("{} {what}", self.name));
    }

    fn failure(&self, outcome: Outcome, what: std::fmt::Arguments) -> Failure {
        Failure::new(outcome, format!("{} {what}", self.name))
    }

    // --- sending ---

    pub fn send(&self, bytes: &[u8]) -> Verdict {
        self.step(format_args!("sends {}", show(bytes)));
        self.write_all(bytes)
    }

    /// Sends a byte out of band (`MSG_OOB`, `tcp(7)`).
    pub fn send_urgent(&self, byte: u8) -> Verdict {
        self.step(format_args!("sends an urgent byte"));
        let sent = nix::sys::socket::send(self.stream.as_raw_fd(), &[byte], MsgFlags::MSG_OOB);
        match sent {
            Ok(_) => Ok(()),
            Err(errno) => {
                let what = format_args!("cannot send urgent data: {}", errno.desc());
                Err(self.failure(Outcome::Reset, what))
            }
        }
    }

    /// Sends the first `length` bytes of a pattern.
    pub fn send_pattern(&self, pattern: Pattern, length: u64) -> Verdict {
        match length {
            u64::MAX => self.step(format_args!("sends bytes without end")),
            _ => self.step(format_args!("sends {length} bytes")),
        }
        let mut sent = 0;
        while sent < length {
            let piece = pattern.at(sent);
            let count = (piece.len() as u64).min(length - sent);
            self.write_all(&piece[..count as usize])?;
            sent += count;
        }
        Ok(())
    }

    fn write_all(&self, mut bytes: &[u8]) -> Verdict {
        while !bytes.is_empty() {
            let piece = &bytes[..bytes.len().min(LOOK_AFTER as usize)];
            let begun = Instant::now();
            let count = self.write(piece, self.patience)?;
            if count == 0 {
                return Err(self.nothing_taken(begun));
            }
            bytes = &bytes[count..];
            if self.unseen.fetch_add(count as u64, Ordering::Relaxed) > LOOK_AFTER {
                self.unseen.store(0, Ordering::Relaxed);
                self.stay_near()?;
            }
        }
        Ok(())
    }

    /// Waits while more than [`AHEAD`] of the bytes that were sent are unread. Without this, a
    /// fault of newer kernels (seen: Linux 6.18) could stop a connection for good.
    ///
    /// When the receive buffer is full and cannot grow any more (`tcp_rmem`, 32 MiB), such a
    /// kernel may drop a segment for which there was room, and close the window in front of it.
    /// From then on it refuses every segment beyond the window, acknowledgements included
    /// (`TcpExtBeyondWindow`). The program's answers then count as lost, and a program that reads
    /// only as fast as it can send its answers never reads again. That is not its fault.
    fn stay_near(&self) -> Verdict {
        let (mut before, mut since) = (u64::MAX, Instant::now());
        loop {
            let waiting = self.on_the_way().map_or(0, |it| it.to_the_program);
            if waiting <= AHEAD {
                return Ok(());
            }
            if waiting != before {
                (before, since) = (waiting, Instant::now());
            }
            if since.elapsed() >= self.patience || Instant::now() >= self.deadline {
                return Err(self.nothing_taken(since));
            }
            thread::sleep(LOOK);
        }
    }

    fn nothing_taken(&self, since: Instant) -> Failure {
        let waited = self.waited(since);
        let what = format_args!("cannot send: no byte was read for {waited}");
        self.failure(Outcome::Timeout, what)
    }

    /// How long a step has really waited.
    fn waited(&self, since: Instant) -> String {
        let waited = time(since.elapsed());
        match Instant::now() < self.deadline {
            true => waited,
            false => format!("{waited} (until the time limit of the check)"),
        }
    }

    /// One write. Returns 0 if no byte could be written in time.
    fn write(&self, bytes: &[u8], patience: Duration) -> Verdict<usize> {
        self.set_timeout(patience, TcpStream::set_write_timeout)?;
        match (&self.stream).write(bytes) {
            Ok(count) => Ok(count),
            Err(error) if is_timeout(&error) => Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => self.write(bytes, patience),
            Err(error) => Err(self.failure(Outcome::Reset, format_args!("cannot send: {error}"))),
        }
    }

    /// Sends `piece` again and again without reading, until no more bytes can be sent or
    /// `limit` bytes are sent. Returns how many were sent.
    pub fn send_until_stuck(&self, piece: &[u8], limit: u64) -> Verdict<u64> {
        self.step(format_args!(
            "sends {} again and again, up to {limit} bytes, and reads nothing",
            show(piece)
        ));
        let mut sent = 0;
        while sent < limit {
            let from = (sent % piece.len() as u64) as usize;
            match self.write(&piece[from..], STUCK)? {
                0 => break,
                count => sent += count as u64,
            }
        }
        self.step(format_args!("has sent {sent} bytes"));
        Ok(sent)
    }

    /// From now on, each send leaves as a segment of its own, as soon as the receive window lets it:
    /// the kernel takes the next one only when nothing waits to be sent.
    pub fn send_one_by_one(&self) -> Verdict {
        setsockopt(&self.stream, NotSentLowWater, &1)
            .map_err(|errno| Failure::grader("TCP_NOTSENT_LOWAT", errno))
    }

    /// Ends the sending direction (`shutdown(2)`). The other direction stays open.
    pub fn half_close(&self) -> Verdict {
        self.step(format_args!("half-closes: it has nothing more to send"));
        let result = self.stream.shutdown(Shutdown::Write);
        result.map_err(|error| {
            self.failure(Outcome::Reset, format_args!("cannot half-close: {error}"))
        })
    }

    /// Ends the connection immediately, with a reset.
    pub fn reset(self) -> Verdict {
        self.step(format_args!("resets its connection"));
        self.reset_when_dropped()
    }

    /// From now on closing the connection resets it (`SO_LINGER` 0, `socket(7)`).
    pub fn reset_when_dropped(&self) -> Verdict {
        reset_on_close(&self.stream, true).map_err(|errno| Failure::grader("SO_LINGER", errno))
    }

    /// Leaves as a machine does that has lost its power: the program gets no FIN and no reset.
    /// Unlike such a machine, our kernel answers the program's next packet with a reset. The check
    /// must need [`Need::NetworkSettings`](crate::check::Need::NetworkSettings), because only root
    /// may do this.
    pub fn vanish(self) -> Verdict {
        self.step(format_args!("vanishes, without a packet"));
        setsockopt(&self.stream, sockopt::TcpRepair, &1)
            .map_err(|errno| Failure::grader("TCP_REPAIR", errno))
    }

    pub fn close(self) {
        self.step(format_args!("closes its connection"));
    }

    /// Waits until the program has read everything that was sent, so that the next
    /// bytes reach it in a separate read.
    pub fn until_all_is_read(&self) -> Verdict {
        let begun = Instant::now();
        let deadline = self.deadline.min(begun + self.patience);
        while Instant::now() < deadline {
            if self.on_the_way().is_some_and(|it| it.to_the_program == 0) {
                return Ok(());
            }
            if self.stream.peer_addr().is_err() {
                let what =
                    "is not connected any more, and the program has not read all that was sent";
                return Err(self.failure(Outcome::Reset, format_args!("{what}")));
            }
            thread::sleep(LOOK);
        }
        let what = format_args!(
            "waited for {}, but the program has not read all that was sent",
            self.waited(begun)
        );
        Err(self.failure(Outcome::Timeout, what))
    }

    /// The bytes of this connection that the kernel holds at the moment.
    pub fn on_the_way(&self) -> Option<OnTheWay> {
        let ours = self.stream.local_addr().ok()?;
        let theirs = self.stream.peer_addr().ok()?;
        let (here, there) = (queues(ours, theirs)?, queues(theirs, ours)?);
        Some(OnTheWay {
            to_the_program: here.sending + there.receiving,
            to_us: there.sending + here.receiving,
        })
    }

    // --- receiving ---

    /// Receives exactly `expected`, and reads no further.
    pub fn expect(&self, expected: &[u8]) -> Verdict {
        self.expect_one_of(&[expected])
    }

    /// Receives exactly one of `answers`, which have the same length, and reads no further. A
    /// failure names the first of them.
    pub fn expect_one_of(&self, answers: &[&[u8]]) -> Verdict {
        let expected = answers.first().copied().unwrap_or_default();
        let mut possible = answers.to_vec();
        let mut received = vec![0; expected.len()];
        let mut count = 0;
        while count < expected.len() {
            let more = self.receive(&mut received[count..]).map_err(|failure| {
                failure
                    .expected(show(expected))
                    .received(show(&received[..count]))
            })?;
            let end = count + more;
            possible.retain(|answer| answer.get(count..end) == Some(&received[count..end]));
            if possible.is_empty() {
                let at = Instant::now();
                received.truncate(end);
                received.extend(self.what_else_comes());
                let whose = format!("{} received something else", self.name);
                let failure = wrong(&whose, expected, &received);
                return Err(Failure { at, ..failure });
            }
            if more == 0 {
                let what = format_args!(
                    "got the end of the stream after {count} of {} bytes",
                    expected.len()
                );
                let failure = self.failure(Outcome::ShortData, what);
                return Err(failure
                    .expected(show(expected))
                    .received(show(&received[..count])));
            }
            count = end;
        }
        self.step(format_args!("receives {}", show(&received)));
        Ok(())
    }

    /// Receives as many bytes as `sent` has, the same ones in whatever order.
    pub fn expect_in_any_order(&self, sent: &[u8]) -> Verdict {
        let mut received = vec![0; sent.len()];
        let mut count = 0;
        while count < sent.len() {
            let more = self.receive(&mut received[count..]).map_err(|failure| {
                let what = format!(
                    "{}: {count} of {} bytes have come back",
                    failure.what,
                    sent.len()
                );
                Failure { what, ..failure }
            })?;
            if more == 0 {
                let what = format_args!(
                    "got the end of the stream after {count} of {} bytes",
                    sent.len()
                );
                return Err(self.failure(Outcome::ShortData, what));
            }
            count += more;
        }
        let sorted = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes.sort_unstable();
            bytes
        };
        if sorted(&received) != sorted(sent) {
            let what = format_args!("received {count} bytes, but not those that it sent");
            return Err(self
                .failure(Outcome::WrongData, what)
                .expected(show(sent))
                .received(show(&received)));
        }
        self.step(format_args!("receives all its {count} bytes"));
        Ok(())
    }

    /// What comes beyond what was expected, until nothing more comes for a moment.
    fn what_else_comes(&self) -> Vec<u8> {
        let (mut more, mut chunk) = (Vec::new(), [0; 256]);
        let set = self.stream.set_read_timeout(Some(MOMENT));
        while set.is_ok()
            && more.len() < 1024
            && let Ok(count @ 1..) = (&self.stream).read(&mut chunk)
        {
            more.extend_from_slice(&chunk[..count]);
        }
        more
    }

    /// Receives the first `length` bytes of a pattern.
    pub fn expect_pattern(&self, pattern: Pattern, length: u64) -> Verdict {
        let mut chunk = vec![0; 64 * 1024];
        let mut done = 0;
        while done < length {
            let expected = pattern.at(done);
            let most = expected
                .len()
                .min(chunk.len())
                .min((length - done) as usize);
            let count = self.receive(&mut chunk[..most])?;
            if count == 0 {
                let what = format_args!("got the end of the stream after {done} of {length} bytes");
                return Err(self.failure(Outcome::ShortData, what));
            }
            if chunk[..count] != expected[..count] {
                let difference = show_difference(&expected[..count], &chunk[..count]);
                let what =
                    format_args!("received other bytes after the first {done}: {difference}");
                return Err(self.failure(Outcome::WrongData, what));
            }
            done += count as u64;
        }
        self.step(format_args!("receives {length} bytes as expected"));
        Ok(())
    }

    /// Sends `bytes` while it receives `expected`.
    pub fn exchange(&self, bytes: &[u8], expected: &[u8]) -> Verdict {
        both(|| self.send(bytes), || self.expect(expected))?;
        self.expect_no_more_yet(expected)
    }

    /// Sends a line and receives its answer.
    pub fn ask(&self, line: &[u8], answer: &[u8]) -> Verdict {
        self.ask_for_one_of(line, &[answer])
    }

    /// Sends a line and receives one of these answers, which have the same length.
    pub fn ask_for_one_of(&self, line: &[u8], answers: &[&[u8]]) -> Verdict {
        self.send(line)?;
        self.expect_one_of(answers)?;
        self.expect_no_more_yet(answers.first().copied().unwrap_or_default())
    }

    /// Expects that no byte came together with the answer, behind it.
    fn expect_no_more_yet(&self, answer: &[u8]) -> Verdict {
        let mut chunk = [0; 1024];
        let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        // The end of the stream, or an error, is not a byte.
        match nix::sys::socket::recv(self.stream.as_raw_fd(), &mut chunk, look) {
            Ok(count @ 1..) => {
                let received = [answer, &chunk[..count]].concat();
                let whose = format!("{} received more than the answer", self.name);
                Err(wrong(&whose, answer, &received))
            }
            _ => Ok(()),
        }
    }

    /// Expects the orderly end of the stream next: no reset, and no more bytes.
    pub fn expect_end(&self) -> Verdict {
        let mut chunk = [0; 1024];
        match self.receive(&mut chunk)? {
            0 => {
                self.step(format_args!("gets the end of the stream"));
                Ok(())
            }
            count => {
                let what = format_args!("received bytes instead of the end of the stream");
                let failure = self
                    .failure(Outcome::WrongData, what)
                    .expected("the end of the stream")
                    .received(show(&chunk[..count]));
                Err(match chunk[0] {
                    0 => failure.hint(hint::NUL),
                    _ => failure,
                })
            }
        }
    }

    /// Discards what still comes until the connection ends, whether in order or by a reset.
    pub fn expect_gone(&self) -> Verdict {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match self.receive(&mut chunk) {
                Ok(0) => break,
                Ok(_) => {}
                Err(failure) if failure.outcome == Outcome::Reset => break,
                Err(failure) => return Err(failure),
            }
        }
        self.step(format_args!("sees that the connection has ended"));
        Ok(())
    }

    /// Discards what still comes until a reset. An orderly end would look as if nothing were
    /// missing.
    pub fn expect_reset(&self) -> Verdict {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match self.receive(&mut chunk) {
                Ok(0) => {
                    let what = "got an orderly end of the stream, although bytes are missing";
                    let failure = self.failure(Outcome::ShortData, format_args!("{what}"));
                    return Err(failure.expected("a connection reset"));
                }
                Ok(_) => {}
                Err(failure) if failure.outcome == Outcome::Reset => break,
                Err(failure) => return Err(failure),
            }
        }
        self.step(format_args!("sees that the connection was reset"));
        Ok(())
    }

    /// Receives everything up to the end of the stream, at most `limit` bytes.
    pub fn receive_to_end(&self, limit: usize) -> Verdict<Vec<u8>> {
        let (mut bytes, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
        while bytes.len() <= limit {
            match self.receive(&mut chunk)? {
                0 => {
                    self.step(format_args!("receives {} and then the end", show(&bytes)));
                    return Ok(bytes);
                }
                count => bytes.extend_from_slice(&chunk[..count]),
            }
        }
        let what = format_args!("received more than {limit} bytes, and the stream has not ended");
        Err(self.failure(Outcome::WrongData, what))
    }

    /// One read: 0 at the end of the stream.
    pub fn receive(&self, chunk: &mut [u8]) -> Verdict<usize> {
        self.set_timeout(self.patience, TcpStream::set_read_timeout)?;
        let begun = Instant::now();
        match (&self.stream).read(chunk) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => self.receive(chunk),
            Err(error) if is_timeout(&error) => {
                let waited = self.waited(begun);
                let what = format_args!("waited for {waited}, but no more bytes came");
                Err(self.failure(Outcome::Timeout, what))
            }
            Err(error) => {
                Err(self.failure(Outcome::Reset, format_args!("cannot receive: {error}")))
            }
        }
    }

    /// The timeout of the next call: the patience, but never past the deadline.
    fn set_timeout(
        &self,
        patience: Duration,
        set: fn(&TcpStream, Option<Duration>) -> std::io::Result<()>,
    ) -> Verdict {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let what = format_args!("has no time left: the time limit of the check is over");
            return Err(self.failure(Outcome::Timeout, what));
        }
        let result = set(&self.stream, Some(patience.min(left)));
        result.map_err(|error| Failure::grader("set a timeout", error))
    }
}

/// Sets whether closing this socket resets the connection and discards what was not sent
/// (`SO_LINGER` 0, `socket(7)`).
pub fn reset_on_close(socket: &impl AsFd, on: bool) -> nix::Result<()> {
    let at_once = nix::libc::linger {
        l_onoff: on.into(),
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(socket, sockopt::Linger, &at_once)
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Does two things at the same time. If both fail, the failure of the second is reported,
/// because what was received explains more than what could not be sent.
pub fn both(first: impl FnOnce() -> Verdict + Send, second: impl FnOnce() -> Verdict) -> Verdict {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        let first = first
            .join()
            .unwrap_or_else(|_| Err(Failure::grader("a thread", "panicked")));
        second.and(first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_connection_that_is_reset_is_not_waited_for() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let begun = Instant::now();
        let deadline = begun + Duration::from_secs(60);
        let peer = Peer::connect("the sender", address, &Trace::default(), deadline).unwrap();
        let peer = peer.with_patience(Duration::from_secs(50));
        peer.send(b"unread").unwrap();
        let (stream, _) = listener.accept().unwrap();
        while stream.peek(&mut [0; 6]).unwrap() < 6 {}
        drop(stream); // with unread bytes: the kernel sends a reset
        let failure = peer.until_all_is_read().unwrap_err();
        assert_eq!(failure.outcome, Outcome::Reset);
        assert!(begun.elapsed() < Duration::from_secs(40));
    }

    #[test]
    fn a_sender_does_not_run_away_from_its_reader() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let reader = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let patience = Duration::from_secs(40);
            stream.set_read_timeout(Some(patience)).unwrap();
            // Reading makes the receive buffer grow.
            stream.read_exact(&mut vec![0; 200 << 20]).unwrap();
            stream
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        let peer = Peer::connect("the sender", address, &Trace::default(), deadline).unwrap();
        let peer = peer.with_patience(Duration::from_secs(3));
        let sent = peer.send_pattern(Pattern::new(1), 1 << 30);
        assert_eq!(sent.unwrap_err().outcome, Outcome::Timeout);
        let stream = reader.join().unwrap();
        let waiting = peer.on_the_way().unwrap().to_the_program;
        assert!(waiting <= AHEAD + 2 * LOOK_AFTER, "{waiting} bytes");
        drop(stream);
    }
}
