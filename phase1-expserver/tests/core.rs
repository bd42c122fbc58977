//! A core in this process: situations that are hard to arrange from outside (an upstream with two
//! addresses), and leaks, which debug builds check at the end of a core.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Linger, ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};
use phase1_expserver::config::{Config, Limits, Role, Route, Service};
use phase1_expserver::core::event_loop::Wake;
use phase1_expserver::core::{Core, Ended};
use phase1_expserver::network::listener::Listener;
use phase1_expserver::vec::XpsVec;

/// How long a test waits for bytes before it fails.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

/// A core that serves one role until a signal ends it.
struct Running {
    address: SocketAddr,
    signals: Arc<EventFd>,
    core: JoinHandle<anyhow::Result<Ended>>,
}

impl Running {
    fn new(role: Role, change: impl FnOnce(&mut Limits)) -> Running {
        let mut limits = Limits {
            backlog: 16,
            pipe_threshold: 64 * 1024,
            connect: Duration::from_secs(5),
            idle: None,
            drain: Duration::from_secs(5),
            linger: Duration::from_secs(2),
        };
        change(&mut limits);
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), false, 0).unwrap();
        listener.listen(limits.backlog).unwrap();
        let address = listener.address();
        let service = Service {
            host: String::new(),
            port: address.port(),
            role,
        };
        let config = Arc::new(Config {
            services: XpsVec::from_iter([service]),
            public: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/public")),
            workers: 1,
            limits,
            quiet: true,
        });
        let signals = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
        let wake = Wake::Told(Arc::clone(&signals));
        let core = Core::new(config, XpsVec::from_iter([listener]), wake).unwrap();
        let core = thread::spawn(move || core.run());
        Running {
            address,
            signals,
            core,
        }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(PATIENCE).unwrap();
        client
    }

    /// Sends the core this many signals, and waits for its end. Panics if the core does (a leak).
    fn end(self, times: u64) -> Ended {
        self.signals.write(times).unwrap();
        self.core.join().unwrap().unwrap()
    }
}

fn to(addresses: impl IntoIterator<Item = SocketAddr>) -> Role {
    Role::Proxy(Route {
        host: "upstream".to_owned(),
        port: 1,
        addresses: XpsVec::from_iter(addresses),
    })
}

fn everything(client: &mut TcpStream) -> Vec<u8> {
    client.set_read_timeout(PATIENCE).unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    bytes
}

/// An address that refuses connections, as long as the returned socket is kept.
fn refusing() -> (TcpListener, SocketAddr) {
    let (near, address) = listening();
    let client = TcpStream::connect(address).unwrap();
    let taken = client.local_addr().unwrap();
    // The client's own port is bound, and no socket listens on it.
    std::mem::forget(client);
    (near, taken)
}

fn reset(stream: TcpStream) {
    let at_once = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, Linger, &at_once).unwrap();
}

fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // The timeout applies to `accept` as well (socket(7)).
    setsockopt(&listener, ReceiveTimeout, &TimeVal::seconds(10)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn the_second_address_of_an_upstream_is_tried_and_gets_what_the_client_has_sent() {
    let (_kept, nobody) = refusing();
    let (upstream, somebody) = listening();
    let server = Running::new(to([nobody, nobody, somebody]), |_| {});
    let mut client = server.connect();
    client.write_all(b"early").unwrap();
    client.shutdown(Shutdown::Write).unwrap();

    let (mut seen, _) = upstream.accept().unwrap();
    assert_eq!(everything(&mut seen), b"early");
    seen.write_all(b"answer").unwrap();
    drop(seen);
    assert_eq!(everything(&mut client), b"answer");
    assert_eq!(server.end(1), Ended::Clean);
}

/// A listener whose queue is full, so that what comes is not even answered.
fn black_hole() -> (Listener, XpsVec<TcpStream>, SocketAddr) {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), false, 0).unwrap();
    listener.listen(1).unwrap();
    let address = listener.address();
    let mut waiting = XpsVec::new();
    while let Ok(client) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        waiting.push(client);
    }
    (listener, waiting, address)
}

#[test]
fn an_address_that_does_not_answer_leaves_time_for_the_next() {
    let (_listener, _waiting, silent) = black_hole();
    let (upstream, somebody) = listening();
    let server = Running::new(to([silent, somebody]), |limits| {
        limits.connect = Duration::from_millis(500);
    });
    let mut client = server.connect();
    let answering = thread::spawn(move || {
        let (mut seen, _) = upstream.accept().unwrap();
        seen.write_all(b"answer").unwrap();
    });
    assert_eq!(everything(&mut client), b"answer");
    answering.join().unwrap();
    drop(client);
    assert_eq!(server.end(1), Ended::Clean);
}

#[test]
fn a_client_whose_upstream_has_no_address_left_is_closed_in_order() {
    let (_kept, nobody) = refusing();
    let server = Running::new(to([nobody, nobody]), |_| {});
    let mut client = server.connect();
    client.write_all(b"never read by anybody").unwrap();
    assert_eq!(everything(&mut client), b"");
    assert_eq!(server.end(1), Ended::Clean);
}

/// If the server read and discarded it to its end, it would seem to have arrived.
#[test]
fn an_upload_fails_when_its_upstream_does() {
    let (upstream, address) = listening();
    let server = Running::new(to([address]), |limits| {
        limits.linger = Duration::from_secs(10);
    });
    let mut client = server.connect();
    client.write_all(b"begin").unwrap();
    let (mut seen, _) = upstream.accept().unwrap();
    seen.read_exact(&mut [0; 5]).unwrap();
    seen.write_all(b"no").unwrap();
    reset(seen);
    client.read_exact(&mut [0; 2]).unwrap(); // it still gets its answer
    let chunk = vec![0; 1 << 20];
    let failed = (0..200).any(|_| client.write_all(&chunk).is_err());
    assert!(failed, "200 MiB were accepted without a receiver");
    assert_eq!(server.end(1), Ended::Clean);
}

#[test]
fn what_was_sent_before_the_end_is_answered() {
    for (role, answer) in [(Role::Echo, "hello"), (Role::Reverse, "olleh")] {
        let server = Running::new(role, |_| {});
        let mut client = server.connect();
        client.write_all(b"ping\n").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        client.write_all(b"hello").unwrap(); // no line ending: no answer before the end
        assert_eq!(server.end(1), Ended::Clean);
        let answered = everything(&mut client);
        assert!(answered.ends_with(answer.as_bytes()), "{answered:?}");
    }
}

#[test]
fn the_second_signal_ends_it_immediately() {
    let (upstream, address) = listening();
    let server = Running::new(to([address]), |_| {});
    let client = server.connect();
    let (seen, _) = upstream.accept().unwrap();
    assert_eq!(server.end(2), Ended::Forced);
    drop((client, seen));
}

#[test]
fn a_session_that_outlasts_the_drain_timeout_is_cut_off() {
    let (upstream, address) = listening();
    let server = Running::new(to([address]), |limits| {
        limits.drain = Duration::from_millis(50);
    });
    let mut client = server.connect();
    client.write_all(b"hello").unwrap();
    let (mut seen, _) = upstream.accept().unwrap();
    seen.read_exact(&mut [0; 5]).unwrap();
    assert_eq!(server.end(1), Ended::Clean);
    assert_eq!(everything(&mut client), b"");
}

#[test]
fn a_client_that_never_reads_leaves_nothing_behind() {
    for role in [Role::Echo, Role::Reverse] {
        let server = Running::new(role, |limits| limits.drain = Duration::from_millis(50));
        let mut client = server.connect();
        let stuck = Some(Duration::from_millis(300));
        client.set_write_timeout(stuck).unwrap();
        let lines = "a line\n".repeat(10_000);
        while client.write_all(lines.as_bytes()).is_ok() {}
        assert_eq!(server.end(1), Ended::Clean);
    }
}

/// The kernel's buffers hold megabytes, and it reports no event when they go out.
#[test]
fn a_client_that_reads_slowly_is_not_idle() {
    const SIZE: usize = 6 << 20;
    let (upstream, address) = listening();
    let server = Running::new(to([address]), |limits| {
        // The receiving kernel announces room only when a sixteenth of its buffer is free. With a
        // small buffer and at this pace it does so several times a second.
        limits.idle = Some(Duration::from_millis(1500));
    });
    let mut client = server.connect();
    let (mut seen, _) = upstream.accept().unwrap();
    let sending = thread::spawn(move || seen.write_all(&vec![b'x'; SIZE]));
    let mut chunk = [0; 32 * 1024];
    let mut count = 0;
    while count < SIZE {
        let read = client.read(&mut chunk).unwrap();
        assert_ne!(read, 0, "cut off after {count} bytes");
        count += read;
        thread::sleep(Duration::from_millis(20)); // reads slowly
    }
    sending.join().unwrap().unwrap();
    drop(client);
    assert_eq!(server.end(1), Ended::Clean);
}

#[test]
fn what_is_cut_off_does_not_look_complete() {
    let soon = Duration::from_millis(100);
    for idle in [Some(soon * 10), None] {
        let (upstream, address) = listening();
        let server = Running::new(to([address]), |limits| {
            limits.idle = idle;
            limits.drain = soon;
        });
        let mut client = server.connect();
        let (mut seen, _) = upstream.accept().unwrap();
        let patience = idle.is_none().then_some(soon * 5);
        seen.set_write_timeout(patience).unwrap();
        // Writes until it is cut off, or, without an idle timeout, until the write times out.
        while seen.write_all(&[b'x'; 1 << 16]).is_ok() {}
        assert_eq!(server.end(1), Ended::Clean);
        let end = client.read_to_end(&mut Vec::new());
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
