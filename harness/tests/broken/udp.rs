//! Broken UDP programs (stage 3).

use std::io::{BufRead, Write, stdin, stdout};
use std::net::{SocketAddr, UdpSocket};
use std::process::exit;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::Case;
use super::client::{address, option};

pub const CASES: &[Case] = &[
    Case {
        check: "stage03/listens",
        broken: "udp-without-a-socket",
    },
    Case {
        check: "stage03/reverses-a-datagram",
        broken: "udp-that-reverses-the-newline",
    },
    Case {
        check: "stage03/own-answers",
        broken: "udp-with-one-address-for-all-threads",
    },
    Case {
        check: "stage03/exact-lengths",
        broken: "udp-with-a-small-buffer",
    },
    Case {
        check: "stage03/exact-lengths",
        broken: "udp-with-a-byte-too-many",
    },
    Case {
        check: "stage03/empty-datagram",
        broken: "udp-that-ends-at-0-bytes",
    },
    Case {
        check: "stage03/line-endings",
        broken: "udp-that-adds-a-newline",
    },
    Case {
        check: "stage03/any-bytes",
        broken: "udp-that-stops-at-nul",
    },
    Case {
        check: "stage03/any-bytes",
        broken: "udp-that-reverses-by-byte",
    },
    Case {
        check: "stage03/clients-gone",
        broken: "udp-that-unwraps-a-refusal",
    },
    Case {
        check: "stage03/send-fails",
        broken: "udp-that-unwraps-a-send",
    },
    Case {
        check: "stage03/own-address",
        broken: "udp-that-answers-itself",
    },
    Case {
        check: "stage03/messages-shown-whole",
        broken: "udp-that-prints-in-pieces",
    },
    Case {
        check: "stage03/messages-shown-escaped",
        broken: "udp-that-prints-raw",
    },
    Case {
        check: "stage03/stdout-gone",
        broken: "udp-that-unwraps-stdout",
    },
    Case {
        check: "stage03/stopped-for-a-while",
        broken: "udp-that-unwraps-an-interruption",
    },
    Case {
        check: "stage03/port-in-use",
        broken: "udp-that-shares-its-port",
    },
    Case {
        check: "stage03/privileged-port",
        broken: "udp-that-shares-its-port",
    },
    Case {
        check: "stage03/usage",
        broken: "udp-that-reverses-the-newline",
    },
    Case {
        check: "stage03/ipv6",
        broken: "udp-that-reverses-the-newline",
    },
    Case {
        check: "stage03/netcat-openbsd",
        broken: "udp-that-reverses-the-newline",
    },
    Case {
        check: "stage03/netcat-traditional",
        broken: "udp-that-reverses-the-newline",
    },
    Case {
        check: "stage03/ncat",
        broken: "udp-that-reverses-the-newline",
    },
    Case {
        check: "stage03/threads-bounded-in-a-flood",
        broken: "udp-with-threads-without-bound",
    },
    Case {
        check: "stage03/no-more-threads",
        broken: "udp-with-threads-without-bound",
    },
    Case {
        check: "stage03/per-datagram-no-more-threads",
        broken: "udp-with-threads-without-bound",
    },
    Case {
        check: "stage03/idle",
        broken: "udp-that-never-sleeps",
    },
    Case {
        check: "stage03/several-threads",
        broken: "udp-with-one-thread",
    },
    Case {
        check: "stage03/threads-option",
        broken: "udp-that-reverses-the-newline",
    },
    Case {
        check: "stage03/threads-option-no-more-threads",
        broken: "udp-with-threads-without-bound",
    },
    Case {
        check: "stage03/per-datagram",
        broken: "udp-with-a-small-buffer",
    },
    Case {
        check: "stage03/per-datagram",
        broken: "udp-with-one-thread",
    },
    Case {
        check: "stage03/max-threads",
        broken: "udp-with-threads-without-bound",
    },
    Case {
        check: "stage03/udp-client-a-line-is-a-datagram",
        broken: "udp-client-without-line-endings",
    },
    Case {
        check: "stage03/udp-client-sends-again",
        broken: "udp-client-that-waits-for-ever",
    },
    Case {
        check: "stage03/udp-client-sends-again",
        broken: "udp-client-that-tries-once",
    },
    Case {
        check: "stage03/udp-client-gives-up",
        broken: "udp-client-that-tries-once",
    },
    Case {
        check: "stage03/udp-client-gives-up",
        broken: "udp-client-with-status-0",
    },
    Case {
        check: "stage03/udp-client-late-answer",
        broken: "udp-client-with-one-socket",
    },
    Case {
        check: "stage03/udp-client-stranger",
        broken: "udp-client-that-trusts-strangers",
    },
    Case {
        check: "stage03/udp-client-long-lines",
        broken: "udp-client-that-cuts-lines",
    },
    Case {
        check: "stage03/udp-client-long-lines",
        broken: "udp-client-with-status-0",
    },
    Case {
        check: "stage03/udp-client-nobody-there",
        broken: "udp-client-with-status-0",
    },
    Case {
        check: "stage03/udp-client-stopped-for-a-while",
        broken: "udp-client-that-unwraps",
    },
    Case {
        check: "stage03/udp-client-stdout-reader-gone",
        broken: "udp-client-that-unwraps",
    },
];

/// Runs the program that is broken as `name` says; false when there is no such program.
pub fn serve(name: &str, options: &[String]) -> bool {
    if let Some(manner) = name.strip_prefix("udp-client-") {
        return be_client(manner, options);
    }
    match name {
        "udp-without-a-socket" => {
            drop(bind());
            loop {
                thread::park();
            }
        }
        "udp-that-unwraps-a-send" => each_datagram(|socket, text, client| {
            socket.send_to(&reversed(text), client).unwrap();
        }),
        "udp-with-one-thread" | "udp-that-answers-itself" => {
            each_datagram(|socket, text, client| {
                let _ = socket.send_to(&reversed(text), client);
            })
        }
        "udp-that-reverses-the-newline" => each_datagram(|socket, text, client| {
            let answer: Vec<u8> = text.iter().rev().copied().collect();
            let _ = socket.send_to(&answer, client);
        }),
        "udp-with-one-address-for-all-threads" => {
            let (socket, last) = (Arc::new(bind()), Arc::new(Mutex::new(None)));
            each_of(&socket.try_clone().unwrap(), |text, client| {
                *last.lock().unwrap() = Some(client);
                let (socket, last) = (Arc::clone(&socket), Arc::clone(&last));
                let answer = reversed(text);
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(1));
                    let _ = socket.send_to(&answer, last.lock().unwrap().unwrap());
                });
            });
        }
        "udp-with-a-small-buffer" => each_datagram(|socket, text, client| {
            let _ = socket.send_to(&reversed(&text[..text.len().min(10_000)]), client);
        }),
        "udp-with-a-byte-too-many" => each_datagram(|socket, text, client| {
            let mut answer = reversed(text);
            if answer.len() == 10_000 {
                answer.push(0);
            }
            let _ = socket.send_to(&answer, client);
        }),
        "udp-that-ends-at-0-bytes" => each_datagram(|socket, text, client| {
            if text.is_empty() {
                exit(0);
            }
            let _ = socket.send_to(&reversed(text), client);
        }),
        "udp-that-adds-a-newline" => each_datagram(|socket, text, client| {
            let mut answer = reversed(text.trim_ascii_end());
            answer.push(b'\n');
            let _ = socket.send_to(&answer, client);
        }),
        "udp-that-stops-at-nul" => each_datagram(|socket, text, client| {
            let end = text.iter().position(|&byte| byte == 0);
            let _ = socket.send_to(&reversed(&text[..end.unwrap_or(text.len())]), client);
        }),
        "udp-that-reverses-by-byte" => each_datagram(|socket, text, client| {
            let _ = socket.send_to(&harness::data::reversed(text), client);
        }),
        "udp-that-unwraps-a-refusal" => each_datagram(|socket, text, client| {
            socket.connect(client).unwrap(); // so that a refusal by one client becomes our error
            let _ = socket.send(&reversed(text));
            thread::sleep(Duration::from_millis(1));
            if let Some(error) = socket.take_error().unwrap() {
                panic!("{error}");
            }
        }),
        "udp-that-prints-in-pieces" => in_threads(|socket, text, client| {
            let line = format!("[CLIENT MESSAGE] {}", String::from_utf8_lossy(text));
            for piece in line.as_bytes().chunks(100) {
                let _ = nix::unistd::write(stdout(), piece);
                thread::sleep(Duration::from_micros(50));
            }
            let _ = socket.send_to(&reversed(text), client);
        }),
        "udp-that-prints-raw" => each_datagram(|socket, text, client| {
            let _ = stdout().write_all(&[b"[CLIENT MESSAGE] ", text].concat());
            let _ = socket.send_to(&reversed(text), client);
        }),
        "udp-that-unwraps-stdout" => each_datagram(|socket, text, client| {
            let line = [b"[CLIENT MESSAGE] ", text].concat();
            stdout().write_all(&line).unwrap();
            let _ = socket.send_to(&reversed(text), client);
        }),
        "udp-that-unwraps-an-interruption" => {
            let (socket, mut buffer) = (bind(), vec![0; 65_536]);
            // The kernel does not restart a `recvfrom` with a timeout after a signal (signal(7)).
            let an_hour = Some(Duration::from_secs(3600));
            socket.set_read_timeout(an_hour).unwrap();
            loop {
                let (count, client) = socket.recv_from(&mut buffer).unwrap();
                let _ = socket.send_to(&reversed(&buffer[..count]), client);
            }
        }
        "udp-that-shares-its-port" => share_the_port(options),
        "udp-with-threads-without-bound" => in_threads(|socket, text, client| {
            thread::sleep(Duration::from_millis(100));
            let _ = socket.send_to(&reversed(text), client);
        }),
        "udp-that-never-sleeps" => {
            let (socket, mut buffer) = (bind(), vec![0; 65_536]);
            socket.set_nonblocking(true).unwrap();
            loop {
                if let Ok((count, client)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&reversed(&buffer[..count]), client);
                }
            }
        }
        _ => return false,
    }
    true
}

/// Receives on a free port and logs it, as the servers under test do.
fn bind() -> UdpSocket {
    announced(UdpSocket::bind("127.0.0.1:0").unwrap())
}

fn announced(socket: UdpSocket) -> UdpSocket {
    let address = socket.local_addr().unwrap();
    eprintln!("Server listening on port {} ({address})", address.port());
    socket
}

fn each_datagram(answer: impl Fn(&UdpSocket, &[u8], SocketAddr)) {
    let socket = bind();
    each_of(&socket, |text, client| answer(&socket, text, client));
}

fn each_of(socket: &UdpSocket, answer: impl Fn(&[u8], SocketAddr)) {
    let mut buffer = vec![0; 65_536];
    loop {
        if let Ok((count, client)) = socket.recv_from(&mut buffer) {
            answer(&buffer[..count], client);
        }
    }
}

/// A thread for each datagram. `thread::spawn` panics when no more threads can be made.
fn in_threads(answer: fn(&UdpSocket, &[u8], SocketAddr)) {
    let socket = Arc::new(bind());
    each_of(&Arc::clone(&socket), |text, client| {
        let (socket, text) = (Arc::clone(&socket), text.to_vec());
        thread::spawn(move || answer(&socket, &text, client));
    });
}

fn share_the_port(options: &[String]) {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
    };
    use std::os::fd::AsRawFd;
    let (datagrams, flags) = (SockType::Datagram, SockFlag::empty());
    let shared = socket(AddressFamily::Inet, datagrams, flags, None).unwrap();
    setsockopt(&shared, sockopt::ReuseAddr, &true).unwrap();
    let port = option(options, "--port").unwrap().parse().unwrap();
    let address = SockaddrIn::new(127, 0, 0, 1, port);
    bind(shared.as_raw_fd(), &address).unwrap();
    let socket = announced(UdpSocket::from(shared));
    each_of(&socket, |text, client| {
        let _ = socket.send_to(&reversed(text), client);
    });
}

/// The correct answer: UTF-8 is reversed by character, and the line ending stays in place.
fn reversed(text: &[u8]) -> Vec<u8> {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let body = match body.strip_suffix(b"\r") {
        Some(shorter) if body.len() < text.len() => shorter,
        _ => body,
    };
    let mut answer = match std::str::from_utf8(body) {
        Ok(body) => body.chars().rev().collect::<String>().into_bytes(),
        Err(_) => body.iter().rev().copied().collect(),
    };
    answer.extend_from_slice(&text[body.len()..]);
    answer
}

/// Broken forms of udp-client.
fn be_client(manner: &str, options: &[String]) -> bool {
    if !matches!(
        manner,
        "without-faults"
            | "without-line-endings"
            | "that-waits-for-ever"
            | "that-tries-once"
            | "with-status-0"
            | "with-one-socket"
            | "that-trusts-strangers"
            | "that-cuts-lines"
            | "that-unwraps"
    ) {
        return false;
    }
    let seconds = option(options, "--timeout").unwrap_or("2").parse().unwrap();
    let retries: u32 = option(options, "--retries").unwrap_or("2").parse().unwrap();
    let server: SocketAddr = address(options).parse().unwrap();
    let open = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        if manner != "that-waits-for-ever" {
            let timeout = Some(Duration::from_secs_f64(seconds));
            socket.set_read_timeout(timeout).unwrap();
        }
        if manner != "that-trusts-strangers" {
            socket.connect(server).unwrap();
        }
        socket
    };
    let tries = if manner == "that-tries-once" {
        1
    } else {
        retries + 1
    };
    let (mut socket, mut line, mut buffer) = (open(), Vec::new(), vec![0; 65_536]);
    let mut failed = false;
    while matches!(stdin().lock().read_until(b'\n', &mut line), Ok(1..)) {
        match manner {
            "without-line-endings" => line.truncate(line.trim_ascii_end().len()),
            "that-cuts-lines" => line.truncate(65_507),
            _ => {}
        }
        if manner != "with-one-socket" {
            socket = open();
        }
        let mut answer = None;
        for _ in 0..tries {
            let sent = match manner {
                "that-trusts-strangers" => socket.send_to(&line, server),
                _ => socket.send(&line),
            };
            if sent.is_err() {
                break;
            }
            match socket.recv(&mut buffer) {
                Ok(count) => {
                    answer = Some(&buffer[..count]);
                    break;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) if manner == "that-unwraps" => panic!("{error}"),
                Err(error) => {
                    eprintln!("Connection refused, or another error: {error}");
                    break;
                }
            }
        }
        match answer {
            Some(answer) => stdout().write_all(answer).unwrap(),
            None => {
                eprintln!("No answer, or too long");
                failed = true;
            }
        }
        stdout().flush().unwrap();
        line.clear();
    }
    exit(i32::from(failed && manner != "with-status-0"));
}
