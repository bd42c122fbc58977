//! Broken modular servers (phase 1): the four roles, with a thread for each client, and the
//! places where each role can be wrong.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use harness::peer::reset_on_close;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};

use super::lines::option;
use super::{Case, case};

pub const CASES: &[Case] = &[
    case("phase1/roles-side-by-side", "one-role-for-all"),
    case("phase1/preset-6", "always-preset-13"),
    case("phase1/preset-7", "always-preset-13"),
    case("phase1/preset-8", "always-preset-13"),
    case("phase1/preset-9", "always-preset-13"),
    case("phase1/preset-10", "always-preset-13"),
    case("phase1/preset-11", "always-preset-13"),
    case("phase1/preset-12", "always-preset-13"),
    case("phase1/preset-13", "always-preset-12"),
    case("phase1/browser-through-the-proxy", "loses-a-chunk"),
    case("phase1/curl-through-the-proxy", "loses-a-chunk"),
    case("phase1/echo", "echoes-whole-lines"),
    case("phase1/echo-half-close", "forgets-what-it-owes"),
    case("phase1/echo-bulk", "loses-a-chunk"),
    case(
        "phase1/echo-to-a-client-that-never-reads",
        "reads-without-bound",
    ),
    case("phase1/echo-far-ahead", "stands-still-after-a-full-buffer"),
    case("phase1/echo-resets", "ends-when-a-send-fails"),
    case(
        "phase1/any-pipe-threshold",
        "drops-what-is-over-the-threshold",
    ),
    case("phase1/warnings-are-counted", "warns-each-time"),
    case("phase1/proxy-bulk-both-ways", "loses-a-chunk"),
    case(
        "phase1/proxy-upstream-never-reads-thousands",
        "loses-a-chunk",
    ),
    case(
        "phase1/proxy-upstream-never-reads-thousands",
        "leaks-one-descriptor-in-ten",
    ),
    case(
        "phase1/half-close-while-connecting",
        "forgets-what-came-early",
    ),
    case("phase1/file-in-full", "sends-the-first-100-kb"),
    case(
        "phase1/file-whatever-the-client-says",
        "closes-with-unread-input",
    ),
    case("phase1/file-to-a-slow-reader", "reads-the-whole-file"),
    case(
        "phase1/file-to-a-slow-reader-that-speaks-late",
        "closes-with-unread-input",
    ),
    case(
        "phase1/proxy-upstream-talks-to-the-dead",
        "keeps-reading-for-a-dead-client",
    ),
    case("phase1/file-of-more-than-4-gib", "sends-the-first-100-kb"),
    case(
        "phase1/file-replaced-while-sent",
        "opens-the-file-for-each-piece",
    ),
    case("phase1/file-truncated-while-sent", "fills-up-with-zeros"),
    case(
        "phase1/file-truncated-while-sent",
        "ends-in-order-when-a-file-shrinks",
    ),
    case(
        "phase1/file-from-any-directory",
        "looks-in-the-working-directory",
    ),
    case("phase1/file-that-cannot-be-sent", "sends-what-it-can-read"),
    case("phase1/file-that-cannot-be-sent", "ends-without-the-file"),
    case("phase1/file-outside-the-public-folder", "joins-the-path"),
    case(
        "phase1/file-outside-the-public-folder",
        "compares-the-text-of-paths",
    ),
    case(
        "phase1/file-swapped-in-a-race",
        "checks-the-name-then-opens-it",
    ),
    case("phase1/fifo-blocks-nobody", "waits-for-a-fifo"),
    case("phase1/idle-in-every-role", "looks-again-and-again"),
    case("phase1/idle-in-every-role", "keeps-the-timer-of-a-connect"),
    case(
        "phase1/thousands-idle-at-an-echo",
        "a-thread-for-each-client",
    ),
    case(
        "phase1/thousands-idle-in-a-proxy",
        "a-thread-for-each-client",
    ),
    case(
        "phase1/nothing-is-left-of-them",
        "leaks-one-descriptor-in-ten",
    ),
    case(
        "phase1/at-the-limit-in-every-role",
        "ends-without-descriptors",
    ),
    case("phase1/bulk-at-the-descriptor-limit", "loses-a-chunk"),
    case(
        "phase1/stuck-bulk-leaves-room",
        "takes-descriptors-for-bulk",
    ),
    case("phase1/bulk-leaves-nothing", "leaks-one-descriptor-in-ten"),
    case("phase1/urgent-data", "takes-urgent-data-for-data"),
    case("phase1/soak", "loses-a-chunk"),
    case("phase1/soak", "leaks-one-descriptor-in-ten"),
    case(
        "phase1/sigterm-when-nothing-is-owed",
        "waits-for-its-clients",
    ),
    case("phase1/sigterm-when-nothing-is-owed", "dies-of-a-signal"),
    case("phase1/sigterm-while-answers-are-owed", "ends-at-once"),
    case("phase1/sigterm-mid-file", "ends-at-once"),
    case("phase1/sigterm-and-a-proxied-pair", "ends-at-once"),
    case("phase1/sigterm-while-connecting", "waits-for-its-clients"),
    case(
        "phase1/sigterm-and-a-client-that-never-reads",
        "ends-at-once",
    ),
    case("phase1/second-signal", "ignores-a-second-signal"),
    case("phase1/second-signal", "does-not-reset-at-a-second-signal"),
    case("phase1/sigterm-and-clients-in-the-queue", "ends-at-once"),
    case("phase1/sigterm-in-every-role-under-load", "loses-a-chunk"),
    case("phase1/usage-error", "panics-on-a-typing-error"),
    case("phase1/port-in-use", "panics-when-it-cannot-listen-there"),
    case(
        "phase1/privileged-port",
        "panics-when-it-cannot-listen-there",
    ),
    case("phase1/all-listeners-or-none", "serves-what-it-can"),
    case(
        "phase1/address-of-another-machine",
        "panics-when-it-cannot-listen-there",
    ),
    case(
        "phase1/upstream-without-address",
        "resolves-when-it-connects",
    ),
    case("phase1/ipv6", "knows-only-ipv4"),
    case("phase1/says-what-it-serves", "does-not-log-its-roles"),
    case("phase1/log-levels", "ignores-xps-debug"),
    case("phase1/quiet", "does-not-log-its-roles"),
    case("phase1/idle-timeout", "cuts-off-the-active-too"),
    case("phase1/workers", "has-no-workers"),
    case("phase1/workers-and-a-taken-port", "shares-its-port"),
];

/// Runs the server that is broken as `name` says; false when there is no such server.
pub fn serve(name: &str, options: &[String]) -> bool {
    let Some(case) = CASES.iter().find(|case| case.broken == name) else {
        return false;
    };
    assert!(name != "panics-on-a-typing-error", "what is {options:?}?");
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    if name != "dies-of-a-signal" {
        signals.thread_block().unwrap();
    }
    let server: &'static Server = Box::leak(Box::new(Server::new(case.broken, options)));
    server.listen(&services(case.broken, options));
    if name == "looks-again-and-again" {
        thread::spawn(|| {
            loop {
                thread::sleep(Duration::from_micros(50));
            }
        });
    }
    loop {
        server.hear(signals.wait().unwrap());
    }
}

/// The addresses to listen on, each with its role.
fn services(fault: &str, options: &[String]) -> Vec<(String, String)> {
    let mut listeners = options.iter().zip(options.iter().skip(1));
    let mut services = Vec::new();
    for (_, service) in listeners.by_ref().filter(|(name, _)| *name == "--listen") {
        let Some((place, role)) = service.split_once('=') else {
            panic!("no role in {service}");
        };
        let (host, port) = place.rsplit_once(':').unwrap_or(("127.0.0.1", place));
        let host = if fault == "knows-only-ipv4" {
            "127.0.0.1"
        } else {
            host
        };
        let place = format!("{host}:{}", port.parse::<u16>().unwrap());
        services.push((place, role.to_owned()));
    }
    if services.is_empty() {
        let (proxy, file) = ("proxy:127.0.0.1:3000", "file:sample.txt");
        let roles = match fault {
            "always-preset-12" => [proxy, file, "file:../temp/file.txt", "echo"],
            _ => [proxy, file, "reverse", "echo"],
        };
        let places = (8001..).map(|port| format!("127.0.0.1:{port}"));
        services = places.zip(roles.map(str::to_owned)).collect();
    }
    if fault == "one-role-for-all" {
        let first = services[0].1.clone();
        services
            .iter_mut()
            .for_each(|(_, role)| *role = first.clone());
    }
    services
}

struct Server {
    fault: &'static str,
    public: PathBuf,
    threshold: usize,
    connect: Duration,
    cut_off: Option<Instant>,
    opening: Mutex<()>,
    upstream_failed: AtomicBool,
    clients: AtomicUsize,
    admitted: AtomicUsize,
    ending: AtomicBool,
}

impl Server {
    fn new(fault: &'static str, options: &[String]) -> Self {
        let seconds = |name| option(options, name).map(|text| text.parse().unwrap());
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../phase1-expserver/public");
        Self {
            fault,
            public: option(options, "--public").unwrap_or(sample).into(),
            threshold: option(options, "--pipe-threshold").map_or(65536, |it| it.parse().unwrap()),
            connect: Duration::from_secs(seconds("--connect-timeout").unwrap_or(5)),
            cut_off: seconds("--idle-timeout")
                .map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            opening: Mutex::new(()),
            upstream_failed: AtomicBool::new(false),
            clients: AtomicUsize::new(0),
            admitted: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
        }
    }

    fn is(&self, fault: &str) -> bool {
        self.fault == fault
    }

    fn listen(&'static self, services: &[(String, String)]) {
        for (place, role) in services {
            let address = place.to_socket_addrs().unwrap().next().unwrap();
            let upstream = role.strip_prefix("proxy:");
            if !self.is("resolves-when-it-connects")
                && upstream.is_some_and(|upstream| upstream.to_socket_addrs().is_err())
            {
                eprintln!("cannot resolve {role}");
                exit(1);
            }
            let listener = match self.bind(address) {
                Err(error) if self.is("serves-what-it-can") => {
                    eprintln!("cannot listen on {address}: {error}");
                    continue;
                }
                Err(error) if !self.is("panics-when-it-cannot-listen-there") => {
                    eprintln!("cannot listen on {address}: {error}");
                    exit(1);
                }
                listener => listener.unwrap(),
            };
            let address = listener.local_addr().unwrap();
            let said = match self.fault {
                "does-not-log-its-roles" => "somehow".to_owned(),
                _ => role.replacen(':', " ", 1),
            };
            eprintln!("listening on tcp://{address} ({said})");
            let role = role.clone();
            thread::spawn(move || self.accept(&listener, &role));
        }
    }

    fn bind(&self, address: SocketAddr) -> std::io::Result<TcpListener> {
        if !self.is("shares-its-port") {
            return TcpListener::bind(address);
        }
        let kind = SockType::Stream;
        let fd: OwnedFd = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&fd, sockopt::ReusePort, &true)?;
        bind(
            std::os::fd::AsRawFd::as_raw_fd(&fd),
            &SockaddrStorage::from(address),
        )?;
        listen(&fd, Backlog::new(128)?)?;
        Ok(fd.into())
    }

    fn accept(&'static self, listener: &TcpListener, role: &str) {
        loop {
            let client = match listener.accept() {
                Ok((client, _)) => client,
                Err(_) if self.is("ends-without-descriptors") => exit(1),
                Err(_) => {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                }
            };
            if self.ending.load(Ordering::Relaxed) {
                continue;
            }
            let (role, number) = (
                role.to_owned(),
                self.admitted.fetch_add(1, Ordering::Relaxed),
            );
            self.clients.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || {
                self.serve(&client, &role);
                if self.is("leaks-one-descriptor-in-ten") && number % 10 == 0 {
                    let _ = client.shutdown(Shutdown::Both);
                    std::mem::forget(client);
                }
                self.clients.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    fn serve(&'static self, client: &TcpStream, role: &str) {
        let _ = client.set_nodelay(true);
        let _more: Vec<TcpStream> = match self.fault {
            "takes-descriptors-for-bulk" => (0..2).map(|_| client.try_clone().unwrap()).collect(),
            _ => Vec::new(),
        };
        if self.is("takes-urgent-data-for-data") {
            setsockopt(client, sockopt::OobInline, &true).unwrap();
        }
        if let Some(at) = self.cut_off {
            let left = at.saturating_duration_since(Instant::now());
            let client = client.try_clone().unwrap();
            thread::spawn(move || {
                thread::sleep(left);
                let _ = client.shutdown(Shutdown::Both);
            });
        }
        match role.split_once(':') {
            Some(("proxy", upstream)) => self.proxy(client, upstream),
            Some(("file", name)) => self.file(client, name),
            _ if role == "reverse" => self.reverse(client),
            _ => self.echo(client),
        }
    }

    /// The other threads continue until the program ends.
    fn hear(&'static self, _signal: Signal) {
        let second = self.ending.swap(true, Ordering::Relaxed);
        eprintln!("Stopping");
        match self.fault {
            "waits-for-its-clients" => {}
            "does-not-reset-at-a-second-signal" if second => exit(1),
            "ignores-a-second-signal" if second => exit(0),
            "ignores-a-second-signal" | "does-not-reset-at-a-second-signal" => return,
            _ => exit(0),
        }
        thread::spawn(|| {
            while self.clients.load(Ordering::Relaxed) > 0 {
                thread::sleep(Duration::from_millis(10));
            }
            exit(0)
        });
    }
}

// ---- roles -------------------------------------------------------------------------------

impl Server {
    fn reverse(&self, mut client: &TcpStream) {
        let (mut line, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
        while let Ok(count @ 1..) = client.read(&mut chunk) {
            let mut answers = Vec::new();
            for &byte in &chunk[..count] {
                line.push(byte);
                if byte == b'\n' || line.len() == 64 * 1024 {
                    answers.extend(harness::data::reversed(&std::mem::take(&mut line)));
                }
            }
            if client.write_all(&answers).is_err() {
                return;
            }
        }
        let _ = client.write_all(&harness::data::reversed(&line));
    }

    fn echo(&'static self, client: &TcpStream) {
        if self.is("echoes-whole-lines") {
            let mut lines = std::io::BufReader::new(client);
            let (mut line, mut client) = (Vec::new(), client);
            while let Ok(1..) = std::io::BufRead::read_until(&mut lines, b'\n', &mut line) {
                let _ = client.write_all(&line);
                line.clear();
            }
            return;
        }
        self.carry(client, client);
    }

    fn proxy(&'static self, client: &TcpStream, upstream: &str) {
        let given_up = self.is("tries-the-upstream-once");
        if given_up && self.upstream_failed.load(Ordering::Relaxed) {
            return;
        }
        if self.is("never-waits-for-an-upstream") {
            eprintln!("timed out");
            return;
        }
        let address = upstream.to_socket_addrs().ok().and_then(|mut it| it.next());
        let address = address.unwrap_or((Ipv4Addr::LOCALHOST, 9).into());
        let server = match TcpStream::connect_timeout(&address, self.connect) {
            Ok(server) => server,
            Err(error) => {
                self.upstream_failed.store(true, Ordering::Relaxed);
                eprintln!("cannot reach upstream {upstream}: {error} (more of these)");
                return;
            }
        };
        if self.is("keeps-the-timer-of-a-connect") {
            let time = self.connect;
            thread::spawn(move || thread::sleep(time));
        }
        if self.is("forgets-what-came-early") {
            let _ = (&*client).read(&mut [0; 1000]);
        }
        let (other, back) = (client.try_clone(), server.try_clone());
        let (Ok(other), Ok(back)) = (other, back) else {
            return;
        };
        let up = thread::spawn(move || self.carry(&other, &back));
        self.carry(&server, client);
        let _ = up.join();
    }

    /// Copies from one end to the other, until the first one ends.
    fn carry(&'static self, mut from: &TcpStream, mut to: &TcpStream) {
        if self.is("reads-without-bound") || self.is("forgets-what-it-owes") {
            return self.carry_by_way_of_memory(from, to);
        }
        let (mut chunk, mut total) = (vec![0; 64 * 1024], 0);
        while let Ok(mut count @ 1..) = from.read(&mut chunk) {
            let before = total;
            total += count;
            if self.is("loses-a-chunk") && before / 200_000 != total / 200_000 {
                continue;
            }
            if self.is("drops-what-is-over-the-threshold") {
                count = count.min(self.threshold);
            }
            if self.is("stands-still-after-a-full-buffer") {
                let _ = to.set_write_timeout(Some(Duration::from_millis(300)));
            }
            let written = to.write_all(&chunk[..count]);
            while self.is("stands-still-after-a-full-buffer")
                && matches!(&written, Err(error) if error.kind() == ErrorKind::WouldBlock)
            {
                thread::park();
            }
            if written.is_err() {
                if self.is("ends-when-a-send-fails") {
                    exit(101);
                }
                if self.is("keeps-reading-for-a-dead-client") {
                    while let Ok(1..) = from.read(&mut chunk) {}
                }
                let _ = from.shutdown(Shutdown::Both);
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Reads everything without bound, and sends it when the receiver has room.
    fn carry_by_way_of_memory(&self, mut from: &TcpStream, mut to: &TcpStream) {
        let queue = Arc::new((Mutex::new((VecDeque::new(), false)), Condvar::new()));
        thread::scope(|scope| {
            let shared = Arc::clone(&queue);
            scope.spawn(move || {
                loop {
                    let mut state = shared.0.lock().unwrap();
                    while state.0.is_empty() && !state.1 {
                        state = shared.1.wait(state).unwrap();
                    }
                    let Some(bytes): Option<Vec<u8>> = state.0.pop_front() else {
                        let _ = to.shutdown(Shutdown::Write);
                        return;
                    };
                    drop(state);
                    if to.write_all(&bytes).is_err() {
                        let _ = from.shutdown(Shutdown::Both);
                        return;
                    }
                }
            });
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut chunk) {
                queue.0.lock().unwrap().0.push_back(chunk[..count].to_vec());
                queue.1.notify_one();
            }
            let mut state = queue.0.lock().unwrap();
            state.1 = true;
            if self.is("forgets-what-it-owes") {
                state.0.clear();
            }
            queue.1.notify_one();
        });
    }
}

// ---- files -------------------------------------------------------------------------------

impl Server {
    fn file(&self, mut client: &TcpStream, name: &str) {
        let Some(path) = self.find(name) else {
            eprintln!("cannot send the file {}: no such file", name.escape_debug());
            if self.is("ends-without-the-file") {
                exit(1);
            }
            return;
        };
        let _opening = self.opening.lock().unwrap();
        let Ok(file) = File::open(&path) else {
            return;
        };
        drop(_opening);
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if self.is("reads-the-whole-file") {
            let _ = client.write_all(&fs::read(&path).unwrap());
        }
        let length = match self.fault {
            "reads-the-whole-file" => 0,
            "sends-the-first-100-kb" => length.min(100_000),
            _ => length,
        };
        let (mut at, mut chunk) = (0, vec![0; 64 * 1024]);
        while at < length {
            let most = (length - at).min(chunk.len() as u64) as usize;
            let count = match self.fault {
                "opens-the-file-for-each-piece" => {
                    File::open(&path).and_then(|file| file.read_at(&mut chunk[..most], at))
                }
                _ => file.read_at(&mut chunk[..most], at),
            };
            let count = match count {
                Ok(0) if self.is("fills-up-with-zeros") => most,
                Ok(0) if self.is("ends-in-order-when-a-file-shrinks") => break,
                Ok(0) | Err(_) => return reset_on_close(client, true).unwrap(),
                Ok(count) => count,
            };
            if client.write_all(&chunk[..count]).is_err() {
                return;
            }
            at += count as u64;
        }
        if !self.is("closes-with-unread-input") {
            let _ = client.shutdown(Shutdown::Write);
            while let Ok(1..) = client.read(&mut chunk) {}
        }
    }

    /// The path of the file with this name, if it may be sent.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let public = match self.fault {
            "looks-in-the-working-directory" => Path::new("public"),
            _ => &self.public,
        };
        let path = public.join(name);
        let real = path.canonicalize().ok()?;
        let metadata = fs::metadata(&path).ok()?;
        let everyones = metadata.permissions().mode() & 0o004 != 0;
        if self.is("waits-for-a-fifo") {
            return Some(path);
        }
        if !metadata.is_file() || (!everyones && !self.is("sends-what-it-can-read")) {
            return None;
        }
        let root = public.canonicalize().ok()?;
        let inside = match self.fault {
            "joins-the-path" => true,
            "compares-the-text-of-paths" => real.to_str()?.starts_with(root.to_str()?),
            _ => real.starts_with(&root),
        };
        if self.is("checks-the-name-then-opens-it") {
            thread::sleep(Duration::from_millis(1));
        }
        inside.then_some(path)
    }
}
