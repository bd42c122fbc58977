//! Broken clients (stage 2).

use std::io::{BufRead, Read, Write, stdin, stdout};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, exit};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::SigSet;

use super::Case;

pub const CASES: &[Case] = &[
    Case {
        check: "stage02/shows-each-answer",
        broken: "shows-the-typed-line",
    },
    Case {
        check: "stage02/shows-each-answer",
        broken: "shows-the-rest-of-the-last-answer",
    },
    Case {
        check: "stage02/connection-refused",
        broken: "ends-silently-with-status-0",
    },
    Case {
        check: "stage02/server-closes-unanswered",
        broken: "ends-silently-with-status-0",
    },
    Case {
        check: "stage02/log-lost",
        broken: "logs-its-connection-with-eprintln",
    },
    Case {
        check: "stage02/end-of-input",
        broken: "sends-garbage-at-the-end",
    },
    Case {
        check: "stage02/end-of-input",
        broken: "closes-at-the-end-of-input",
    },
    Case {
        check: "stage02/answers-cut-anywhere",
        broken: "ends-a-line-after-each-read",
    },
    Case {
        check: "stage02/lines-faster-than-answers",
        broken: "takes-a-read-for-an-answer",
    },
    Case {
        check: "stage02/large-file",
        broken: "sends-all-before-it-receives",
    },
    Case {
        check: "stage02/slow-server",
        broken: "drops-what-the-socket-does-not-take",
    },
    Case {
        check: "stage02/answers-in-bulk",
        broken: "waits-in-send",
    },
    Case {
        check: "stage02/late-reader",
        broken: "drops-what-stdout-does-not-take",
    },
    Case {
        check: "stage02/last-line-without-newline",
        broken: "adds-a-newline",
    },
    Case {
        check: "stage02/any-bytes",
        broken: "decodes-as-text",
    },
    Case {
        check: "stage02/idle",
        broken: "never-sleeps",
    },
    Case {
        check: "stage02/answer-in-pieces",
        broken: "takes-a-read-for-an-answer",
    },
    Case {
        check: "stage02/prompt",
        broken: "sends-garbage-at-the-end",
    },
    Case {
        check: "stage02/control-bytes",
        broken: "prints-what-comes",
    },
    Case {
        check: "stage02/ctrl-d",
        broken: "prints-what-comes",
    },
    Case {
        check: "stage02/ctrl-d",
        broken: "closes-at-the-end-of-input",
    },
    Case {
        check: "stage02/reason-of-a-refusal",
        broken: "ends-silently-with-status-0",
    },
    Case {
        check: "stage02/connected-to-itself",
        broken: "takes-itself-for-the-server",
    },
    Case {
        check: "stage02/server-gone-at-the-prompt",
        broken: "takes-a-read-for-an-answer",
    },
    Case {
        check: "stage02/server-closes-early",
        broken: "ends-silently-with-status-0",
    },
    Case {
        check: "stage02/server-closes-early",
        broken: "forgets-the-last-answer",
    },
    Case {
        check: "stage02/server-resets",
        broken: "unwraps-what-it-sends",
    },
    Case {
        check: "stage02/stdout-reader-gone",
        broken: "unwraps-everything",
    },
    Case {
        check: "stage02/unknown-host",
        broken: "unwraps-everything",
    },
    Case {
        check: "stage02/usage",
        broken: "ends-silently-with-status-0",
    },
    Case {
        check: "stage02/stopped-while-it-waits",
        broken: "takes-an-interruption-for-the-end",
    },
    Case {
        check: "stage02/stopped-while-it-carries",
        broken: "takes-an-interruption-for-the-end",
    },
    Case {
        check: "stage02/ends-on-a-signal",
        broken: "blocks-its-signals",
    },
    Case {
        check: "stage02/host-name",
        broken: "knows-127.0.0.1-only",
    },
    Case {
        check: "stage02/ipv6",
        broken: "knows-127.0.0.1-only",
    },
    Case {
        check: "stage02/multi-client-all-at-once",
        broken: "clients-one-after-the-other",
    },
    Case {
        check: "stage02/multi-client-wrong-answer",
        broken: "clients-that-check-nothing",
    },
    Case {
        check: "stage02/multi-client-wrong-answer",
        broken: "clients-that-are-not-named",
    },
    Case {
        check: "stage02/multi-client-server-closes",
        broken: "clients-that-check-nothing",
    },
    Case {
        check: "stage02/multi-client-connection-refused",
        broken: "clients-that-check-nothing",
    },
    Case {
        check: "stage02/multi-client-no-more-processes",
        broken: "clients-that-report-every-failed-start",
    },
    Case {
        check: "stage02/multi-client-sigchld-ignored",
        broken: "clients-that-cannot-be-waited-for",
    },
    Case {
        check: "stage02/multi-client-killed",
        broken: "clients-that-outlive-it",
    },
    Case {
        check: "stage02/multi-client-whole-lines",
        broken: "clients-that-write-in-pieces",
    },
];

/// Runs the client that is broken as `name` says; false when there is no such client.
pub fn run(name: &str, options: &[String]) -> bool {
    if let Some(manner) = name.strip_prefix("clients-") {
        return run_many(manner, options);
    }
    match name {
        // Without any fault: to try out the checks.
        "client-without-faults" => relay(connect(options), Manner::default()),
        "logs-its-connection-with-eprintln" => {
            let server = connect(options);
            eprintln!("Connected to tcp server");
            relay(server, Manner::default());
        }
        "shows-the-typed-line" => line_by_line(&connect(options), |server, line| {
            receive_once(server);
            print(&[b"[SERVER MESSAGE] ", line].concat());
        }),
        // As `printf` does with a buffer that is not ended by a NUL.
        "shows-the-rest-of-the-last-answer" => {
            let mut buffer = Vec::new();
            line_by_line(&connect(options), |server, _| {
                let answer = receive_once(server);
                if buffer.len() < answer.len() {
                    buffer.resize(answer.len(), 0);
                }
                buffer[..answer.len()].copy_from_slice(&answer);
                print(&[b"[SERVER MESSAGE] ", buffer.as_slice()].concat());
            });
        }
        "takes-a-read-for-an-answer" => line_by_line(&connect(options), |server, _| {
            let answer = receive_once(server);
            print(&[b"[SERVER MESSAGE] ", answer.trim_ascii_end(), b"\n"].concat());
        }),
        "ends-silently-with-status-0" => {
            let Ok(server) = TcpStream::connect(address(options)) else {
                exit(0)
            };
            relay(
                server,
                Manner {
                    failed: 0,
                    ..Manner::default()
                },
            );
        }
        "sends-garbage-at-the-end" => {
            let farewell = b"\0\0\0\0";
            relay(
                connect(options),
                Manner {
                    farewell,
                    ..Manner::default()
                },
            );
        }
        "adds-a-newline" => {
            let farewell = b"\n";
            relay(
                connect(options),
                Manner {
                    farewell,
                    ..Manner::default()
                },
            );
        }
        "closes-at-the-end-of-input" => {
            let mut server = connect(options);
            let _ = std::io::copy(&mut stdin(), &mut server);
        }
        "sends-all-before-it-receives" => {
            let mut server = connect(options);
            let _ = std::io::copy(&mut stdin(), &mut server);
            let _ = server.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut server, &mut stdout());
            exit(0);
        }
        "waits-in-send" => {
            // Like a client with `poll` and a blocking `send`: 64 KiB out, then 64 KiB in.
            let mut server = connect(options);
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = stdin().read(&mut chunk) {
                let _ = server.write_all(&chunk[..count]);
                let _ = server.set_nonblocking(true);
                if let Ok(count) = server.read(&mut chunk) {
                    print(&chunk[..count]);
                }
                let _ = server.set_nonblocking(false);
            }
            let _ = server.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut server, &mut stdout());
            exit(0);
        }
        "drops-what-the-socket-does-not-take" => {
            let send = |mut server: &TcpStream, bytes: &[u8]| {
                let _ = server.set_nonblocking(true);
                let _ = server.write(bytes);
                let _ = server.set_nonblocking(false);
            };
            relay(
                connect(options),
                Manner {
                    send,
                    ..Manner::default()
                },
            );
        }
        "drops-what-stdout-does-not-take" => {
            let _ = fcntl(stdout().as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
            let print = |bytes: &[u8]| {
                let _ = nix::unistd::write(stdout(), bytes);
            };
            relay(
                connect(options),
                Manner {
                    print,
                    ..Manner::default()
                },
            );
        }
        "ends-a-line-after-each-read" => {
            let print = |bytes: &[u8]| print(&[bytes.trim_ascii_end(), b"\n"].concat());
            relay(
                connect(options),
                Manner {
                    print,
                    ..Manner::default()
                },
            );
        }
        "decodes-as-text" => {
            let print = |bytes: &[u8]| print(String::from_utf8_lossy(bytes).as_bytes());
            relay(
                connect(options),
                Manner {
                    print,
                    ..Manner::default()
                },
            );
        }
        "never-sleeps" => {
            thread::spawn(|| {
                loop {
                    std::hint::spin_loop()
                }
            });
            relay(connect(options), Manner::default());
        }
        // A fault only when stdout is a terminal, or when there is no server.
        "prints-what-comes" | "takes-itself-for-the-server" => {
            relay(connect(options), Manner::default())
        }
        "forgets-the-last-answer" => {
            // As if it printed an answer only when the next line is typed.
            let print = |_: &[u8]| {};
            relay(
                connect(options),
                Manner {
                    print,
                    ..Manner::default()
                },
            );
        }
        "unwraps-everything" => {
            let server = TcpStream::connect(address(options)).unwrap();
            let send = |mut server: &TcpStream, bytes: &[u8]| server.write_all(bytes).unwrap();
            let print = |bytes: &[u8]| {
                stdout().write_all(bytes).unwrap();
                stdout().flush().unwrap();
            };
            relay(
                server,
                Manner {
                    send,
                    print,
                    ..Manner::default()
                },
            );
        }
        "unwraps-what-it-sends" => {
            let mut server = connect(options);
            std::io::copy(&mut stdin(), &mut server).unwrap();
        }
        "takes-an-interruption-for-the-end" => {
            let server = connect(options);
            // The kernel does not restart a `recv` with a timeout after a signal (signal(7)).
            let an_hour = Some(Duration::from_secs(3600));
            server.set_read_timeout(an_hour).unwrap();
            let receiving = server.try_clone().unwrap();
            thread::spawn(move || {
                let mut chunk = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = (&receiving).read(&mut chunk) {
                    print(&chunk[..count]);
                }
                exit(0);
            });
            let _ = std::io::copy(&mut stdin(), &mut &server);
            let _ = server.shutdown(Shutdown::Write);
            loop {
                thread::park();
            }
        }
        "blocks-its-signals" => {
            SigSet::all().thread_block().unwrap();
            relay(connect(options), Manner::default());
        }
        "knows-127.0.0.1-only" => {
            let port = option(options, "--port").unwrap_or("8080").parse().unwrap();
            let address: std::net::Ipv4Addr = option(options, "--host").unwrap().parse().unwrap();
            relay(
                TcpStream::connect((address, port)).unwrap(),
                Manner::default(),
            );
        }
        _ => return false,
    }
    true
}

pub fn option<'o>(options: &'o [String], name: &str) -> Option<&'o str> {
    let at = options.iter().position(|option| option == name)?;
    options.get(at + 1).map(String::as_str)
}

pub fn address(options: &[String]) -> String {
    let host = option(options, "--host").unwrap_or("127.0.0.1");
    let port = option(options, "--port").unwrap_or("8080");
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

fn connect(options: &[String]) -> TcpStream {
    TcpStream::connect(address(options)).unwrap_or_else(|error| {
        eprintln!("Failed to connect to tcp server: {error}");
        exit(1)
    })
}

fn print(bytes: &[u8]) {
    let mut stdout = stdout();
    if stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .is_err()
    {
        exit(0);
    }
}

/// The classic client: type, send, receive once, print.
fn line_by_line(mut server: &TcpStream, mut show: impl FnMut(&TcpStream, &[u8])) {
    let mut line = Vec::new();
    while matches!(stdin().lock().read_until(b'\n', &mut line), Ok(1..)) {
        let _ = server.write_all(&line);
        show(server, &line);
        line.clear();
    }
    exit(0);
}

fn receive_once(mut server: &TcpStream) -> Vec<u8> {
    let mut answer = vec![0; 10_000];
    match server.read(&mut answer) {
        Ok(count @ 1..) => answer.truncate(count),
        _ => {
            eprintln!("Server closed the connection");
            exit(1);
        }
    }
    answer
}

/// How [`relay`] behaves.
struct Manner {
    send: fn(&TcpStream, &[u8]),
    print: fn(&[u8]),
    /// What is sent after the last byte of stdin.
    farewell: &'static [u8],
    /// The exit status when the server leaves first.
    failed: i32,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            send: |mut server, bytes| drop(server.write_all(bytes)),
            print,
            farewell: b"",
            failed: 1,
        }
    }
}

/// Relays in both directions at the same time, with a thread for each.
fn relay(server: TcpStream, manner: Manner) {
    let sending = server.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = stdin().read(&mut chunk) {
            (manner.send)(&sending, &chunk[..count]);
        }
        (manner.send)(&sending, manner.farewell);
        let _ = sending.shutdown(Shutdown::Write);
    });
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = (&server).read(&mut chunk) {
        (manner.print)(&chunk[..count]);
    }
    if !sender.is_finished() {
        if manner.failed != 0 {
            eprintln!("Server closed the connection");
        }
        exit(manner.failed);
    }
    match sender.join() {
        Ok(()) => exit(0),
        Err(_) => exit(101),
    }
}

/// Broken forms of multi-client. They use threads instead of processes, because the checks
/// cannot tell the difference.
fn run_many(manner: &str, options: &[String]) -> bool {
    if manner == "that-outlive-it" {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["serve", "clients-without-faults"]);
        exit(i32::from(!child.args(options).status().unwrap().success()));
    }
    let clients = option(options, "--clients").unwrap_or("3").parse().unwrap();
    let messages = option(options, "--messages")
        .unwrap_or("1")
        .parse()
        .unwrap();
    let text = option(options, "--text").unwrap_or("hello").to_owned();
    let address = address(options);
    let one = move |number: usize, say: fn(&str)| -> Option<()> {
        let server = TcpStream::connect(&address).ok()?;
        let line = format!("{text}\n").into_bytes();
        for _ in 0..messages {
            (&server).write_all(&line).ok()?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\n") {
                let mut byte = [0];
                (&server).read_exact(&mut byte).ok()?;
                answer.push(byte[0]);
            }
            let right = answer == harness::data::reversed(&line);
            let answer = String::from_utf8_lossy(&answer);
            if right {
                say(&format!("[Client {number}] [SERVER MESSAGE] {answer}"));
            } else {
                return None;
            }
        }
        Some(())
    };
    let (at_once, status, say): (bool, i32, fn(&str)) = match manner {
        "without-faults" => (true, 1, |line| print(line.as_bytes())),
        "one-after-the-other" => (false, 1, |line| print(line.as_bytes())),
        "that-check-nothing" => (true, 0, |line| print(line.as_bytes())),
        "that-are-not-named" => (true, 1, |line| print(line.as_bytes())),
        "that-cannot-be-waited-for" => (true, 1, |line| print(line.as_bytes())),
        "that-report-every-failed-start" => (true, 1, |line| print(line.as_bytes())),
        "that-write-in-pieces" => (true, 1, |line| {
            for piece in line.as_bytes().chunks(100) {
                let _ = nix::unistd::write(stdout(), piece);
                thread::sleep(Duration::from_micros(50));
            }
        }),
        _ => return false,
    };
    let mut failed = false;
    if at_once {
        let all: Vec<_> = (1..=clients)
            .map(|number| {
                let one = one.clone();
                let client = thread::Builder::new();
                client.spawn(move || one(number, say)).ok()
            })
            .collect();
        for (number, client) in (1..).zip(all) {
            let ended = client.and_then(|client| client.join().ok());
            if ended.flatten().is_none() {
                failed = true;
                if manner != "that-are-not-named" {
                    eprintln!("Client {number} failed");
                }
            }
        }
    } else {
        (1..=clients).for_each(|number| failed |= one(number, say).is_none());
    }
    if manner == "that-cannot-be-waited-for" {
        failed |= Command::new("true").status().is_err(); // this one is a real child process
    }
    exit(if failed { status } else { 0 });
}
