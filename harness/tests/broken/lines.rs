//! Broken servers of the line protocol (stages 1 and 4), with a thread for each client. A
//! single client can see these faults.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::exit;
use std::thread;

use super::{Case, case};

pub const CASES: &[Case] = &[
    case("stage01/listens", "closes-its-listener"),
    case("stage01/accepts", "never-accepts"),
    case("stage01/reverses-a-line", "reverses-the-newline"),
    case("stage04/reverses-a-line", "reverses-the-newline"),
    case("stage01/reverses-a-line", "sends-its-nul-too"),
    case("stage04/reverses-a-line", "sends-its-nul-too"),
    case("stage01/line-after-line", "shows-the-rest-of-the-last-line"),
    case("stage04/line-after-line", "shows-the-rest-of-the-last-line"),
    case("stage04/clients-at-the-same-time", "one-client-at-a-time"),
    case("stage04/silent-client", "one-client-at-a-time"),
    case("stage01/last-line-without-newline", "cuts-the-last-byte"),
    case("stage04/last-line-without-newline", "cuts-the-last-byte"),
    case("stage04/last-line-without-newline", "never-closes"),
    case(
        "stage01/several-lines-in-one-read",
        "takes-a-read-for-a-message",
    ),
    case(
        "stage04/several-lines-in-one-read",
        "takes-a-read-for-a-message",
    ),
    case(
        "stage01/line-in-several-reads",
        "takes-a-read-for-a-message",
    ),
    case(
        "stage04/line-in-several-reads",
        "takes-a-read-for-a-message",
    ),
    case("stage01/every-split-of-a-message", "forgets-half-a-line"),
    case("stage04/every-split-of-a-message", "forgets-half-a-line"),
    case("stage01/every-split-of-crlf", "knows-crlf-only-in-one-read"),
    case("stage04/every-split-of-crlf", "knows-crlf-only-in-one-read"),
    case("stage01/every-split-of-utf8", "decodes-each-read"),
    case("stage04/every-split-of-utf8", "decodes-each-read"),
    case(
        "stage01/many-lines-in-one-segment",
        "answers-one-line-per-read",
    ),
    case(
        "stage04/many-lines-in-one-segment",
        "answers-one-line-per-read",
    ),
    case("stage01/empty-lines", "skips-empty-lines"),
    case("stage04/empty-lines", "skips-empty-lines"),
    case("stage01/crlf", "tears-crlf-apart"),
    case("stage04/crlf", "tears-crlf-apart"),
    case("stage01/lone-carriage-return", "drops-every-cr"),
    case("stage04/lone-carriage-return", "drops-every-cr"),
    case("stage01/nul-and-any-byte", "stops-at-nul"),
    case("stage04/nul-and-any-byte", "stops-at-nul"),
    case("stage01/utf8-by-character", "reverses-bytes"),
    case("stage04/utf8-by-character", "reverses-bytes"),
    case("stage01/what-is-not-utf8", "replaces-what-is-not-utf8"),
    case("stage04/what-is-not-utf8", "replaces-what-is-not-utf8"),
    case(
        "stage01/lines-as-long-as-a-buffer",
        "has-room-for-9999-bytes",
    ),
    case(
        "stage04/lines-as-long-as-a-buffer",
        "has-room-for-9999-bytes",
    ),
    case("stage04/lines-as-long-as-a-buffer", "loses-a-byte-of-2048"),
    case("stage01/long-line-in-pieces", "waits-for-the-line-break"),
    case("stage04/long-line-in-pieces", "waits-for-the-line-break"),
    case("stage01/endless-line", "remembers-every-byte"),
    case("stage04/endless-line", "remembers-every-byte"),
    case("stage01/all-answers-to-a-late-reader", "sends-once"),
    case("stage04/all-answers-to-a-late-reader", "sends-once"),
    case("stage01/half-close-while-answers-wait", "sends-once"),
    case("stage01/ends-with-its-client", "ends-with-status-0"),
    case("stage01/ends-after-a-reset", "does-not-notice-a-reset"),
    case("stage01/iterative", "one-client-only"),
    case("stage01/iterative-survives-resets", "one-client-only"),
    case("stage01/nc-openbsd", "never-closes"),
    case("stage04/nc-openbsd", "never-closes"),
    case("stage01/nc-traditional", "cuts-the-last-byte"),
    case("stage04/nc-traditional", "cuts-the-last-byte"),
    case("stage01/ncat", "never-closes"),
    case("stage04/ncat", "never-closes"),
    case(
        "stage04/started-without-descriptors",
        "sends-its-log-to-a-client",
    ),
    case("stage04/output-lost", "panics-when-it-cannot-log"),
    case("stage04/output-at-the-file-limit", "dies-of-sigxfsz"),
    case("stage04/passing-errors-of-accept", "ends-when-accept-fails"),
    case(
        "stage04/interrupted-calls",
        "takes-an-interruption-for-the-end",
    ),
];

/// Runs the server that is broken as `name` says; false when there is no such server.
pub fn serve(name: &str, options: &[String]) -> bool {
    if name == "sends-its-log-to-a-client" {
        // As a C program has it: before `main`, Rust opens /dev/null in the place of each of them.
        for number in 0..3 {
            let _ = nix::unistd::close(number);
        }
    }
    if let "closes-its-listener" | "never-accepts" = name {
        let listener = listen(options);
        let _kept = (name == "never-accepts").then_some(listener);
        loop {
            thread::park();
        }
    }
    let one_client: fn(&TcpStream) = match name {
        "reverses-the-newline" => |client| each_line(client, |line| line.reverse()),
        "shows-the-rest-of-the-last-line" => shows_the_rest_of_the_last_line,
        "cuts-the-last-byte" => |client| {
            each_line(client, |line| {
                line.pop();
                line.reverse();
                line.push(b'\n');
            });
        },
        "takes-a-read-for-a-message" => |client| {
            each_read(client, |mut client, bytes| {
                let _ = client.write_all(&reversed_as_a_whole(bytes));
            })
        },
        "forgets-half-a-line" => |client| {
            each_read(client, |mut client, bytes| {
                let end = bytes.iter().rposition(|&byte| byte == b'\n');
                let whole = &bytes[..end.map_or(0, |at| at + 1)];
                let _ = client.write_all(&harness::data::reversed(whole));
            })
        },
        "knows-crlf-only-in-one-read" => knows_crlf_only_in_one_read,
        "decodes-each-read" => decodes_each_read,
        "answers-one-line-per-read" => answers_one_line_a_read,
        "skips-empty-lines" => |client| {
            each_line(client, |line| match line.as_slice() {
                b"\n" => line.clear(),
                _ => reverse_text(line),
            })
        },
        "sends-its-log-to-a-client" | "panics-when-it-cannot-log" => |client| {
            println!("Client connected to server");
            each_line(client, |line| reverse_text(line));
        },
        "tears-crlf-apart"
        | "one-client-at-a-time"
        | "ends-when-accept-fails"
        | "dies-of-sigxfsz"
        | "takes-an-interruption-for-the-end" => {
            |client| each_line(client, |line| reverse_text(line))
        }
        "drops-every-cr" => |client| {
            each_line(client, |line| {
                let ending: &[u8] = if line.ends_with(b"\r\n") {
                    b"\r\n"
                } else {
                    b"\n"
                };
                let ending = if line.ends_with(b"\n") { ending } else { b"" };
                line.retain(|byte| !b"\r\n".contains(byte));
                line.reverse();
                line.extend(ending);
            })
        },
        "stops-at-nul" => |client| {
            each_line(client, |line| {
                if let Some(at) = line.iter().position(|&byte| byte == 0) {
                    line.truncate(at);
                    line.push(b'\n');
                }
                reverse_text(line);
            })
        },
        "reverses-bytes" => |client| each_line(client, |line| reverse_before_the_ending(line)),
        "replaces-what-is-not-utf8" => |client| {
            each_line(client, |line| {
                let text = String::from_utf8_lossy(line).trim_end().to_owned();
                *line = text.chars().rev().chain(['\n']).collect::<String>().into();
            })
        },
        // As `send(client, answer, strlen(answer) + 1, 0)` does.
        "sends-its-nul-too" => |client| {
            each_line(client, |line| {
                reverse_text(line);
                line.push(0);
            })
        },
        "loses-a-byte-of-2048" => |client| {
            each_line(client, |line| {
                if line.len() == 2_048 {
                    line.remove(0);
                }
                reverse_text(line);
            })
        },
        "has-room-for-9999-bytes" => |client| {
            each_line(client, |line| {
                if line.len() > 10_000 {
                    line.truncate(9_999);
                    line.push(b'\n');
                }
                reverse_text(line);
            })
        },
        "waits-for-the-line-break" => |client| each_line(client, |line| reverse_text(line)),
        "remembers-every-byte" => remembers_every_byte,
        "sends-once" => |client| {
            each_read(client, |mut client, bytes| {
                let _ = client.set_nonblocking(true);
                let _ = client.write(&harness::data::reversed(bytes));
                let _ = client.set_nonblocking(false);
            })
        },
        "never-closes" => |client| {
            each_line(client, |line| reverse_text(line));
            thread::park();
        },
        "ends-with-status-0" => |client| {
            each_line(client, |line| reverse_text(line));
            exit(0);
        },
        "does-not-notice-a-reset" => knows_only_one_end,
        "one-client-only" => |client| {
            each_line(client, |line| reverse_text(line));
            exit(1);
        },
        _ => return false,
    };
    for client in listen(options).incoming() {
        let client = match client {
            Err(error) if name == "ends-when-accept-fails" => panic!("cannot accept: {error}"),
            Err(_) => continue,
            Ok(client) => client,
        };
        let serve_it = move || {
            one_client(&client);
            let _ = client.shutdown(Shutdown::Both);
        };
        if matches!(name, "one-client-at-a-time" | "one-client-only") {
            serve_it();
        } else {
            thread::spawn(serve_it);
        }
    }
    true
}

/// The value of the option `name`. For the modular server, host, port and upstream are parts
/// of the one value of `--listen`.
pub fn option<'a>(options: &'a [String], name: &str) -> Option<&'a str> {
    let value = |name| {
        let at = options.iter().position(|option| option == name)?;
        options.get(at + 1).map(String::as_str)
    };
    let service = value("--listen").and_then(|service| service.split_once('='));
    let place = service.and_then(|(place, _)| place.rsplit_once(':'));
    match (name, place, service) {
        ("--host", Some((host, _)), _) => Some(host),
        ("--port", Some((_, port)), _) => Some(port),
        ("--upstream", _, Some((_, role))) => role.strip_prefix("proxy:"),
        _ => value(name),
    }
}

/// Listens as the options say and logs the address, as the servers under test do.
pub fn listen(options: &[String]) -> TcpListener {
    let port = option(options, "--port").unwrap_or("0");
    let host = option(options, "--host").unwrap_or("127.0.0.1");
    let listener = TcpListener::bind((host, port.parse().unwrap())).unwrap();
    announce(&listener);
    listener
}

pub fn announce(listener: &TcpListener) {
    let address = listener.local_addr().unwrap();
    eprintln!("Server listening on port {} ({address})", address.port());
}

/// Answers each line with what `change` turns it into.
fn each_line(mut client: &TcpStream, change: impl Fn(&mut Vec<u8>)) {
    let (mut line, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(count @ 1..) = client.read(&mut chunk) {
        let mut answers = Vec::new();
        for &byte in &chunk[..count] {
            line.push(byte);
            if byte == b'\n' {
                change(&mut line);
                answers.append(&mut line);
            }
        }
        let _ = client.write_all(&answers);
    }
    if !line.is_empty() {
        change(&mut line);
        let _ = client.write_all(&line);
    }
}

/// Calls `answer` with what each read brings.
fn each_read(mut client: &TcpStream, answer: impl Fn(&TcpStream, &[u8])) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = client.read(&mut chunk) {
        answer(client, &chunk[..count]);
    }
}

fn reverse_text(line: &mut [u8]) {
    let end = line.len() - usize::from(line.ends_with(b"\n"));
    line[..end].reverse();
}

fn reverse_before_the_ending(line: &mut [u8]) {
    let ending = if line.ends_with(b"\r\n") { 2 } else { 1 };
    let end = line.len().saturating_sub(ending);
    line[..end].reverse();
}

fn reversed_as_a_whole(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    reverse_text(&mut bytes);
    bytes
}

/// The buffer is not cleared, so each answer is as long as the longest message so far.
fn shows_the_rest_of_the_last_line(mut client: &TcpStream) {
    let mut buffer = Vec::new();
    let mut chunk = [0; 10_000];
    while let Ok(count @ 1..) = client.read(&mut chunk) {
        if buffer.len() < count {
            buffer.resize(count, 0);
        }
        buffer[..count].copy_from_slice(&chunk[..count]);
        let _ = client.write_all(&reversed_as_a_whole(&buffer));
    }
}

/// A `\r` at the end of a read is taken for data.
fn knows_crlf_only_in_one_read(mut client: &TcpStream) {
    let (mut line, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(count @ 1..) = client.read(&mut chunk) {
        for part in chunk[..count].split_inclusive(|&byte| byte == b'\n') {
            let ending: &[u8] = match part {
                [.., b'\r', b'\n'] => b"\r\n",
                [.., b'\n'] => b"\n",
                _ => b"",
            };
            line.extend(&part[..part.len() - ending.len()]);
            if !ending.is_empty() {
                line.reverse();
                line.extend(ending);
                let _ = client.write_all(&line);
                line.clear();
            }
        }
    }
}

fn decodes_each_read(mut client: &TcpStream) {
    let (mut text, mut chunk) = (String::new(), vec![0; 64 * 1024]);
    while let Ok(count @ 1..) = client.read(&mut chunk) {
        text += &String::from_utf8_lossy(&chunk[..count]);
        while let Some((line, rest)) = text.split_once('\n') {
            let (line, ending) = match line.strip_suffix('\r') {
                Some(line) => (line, "\r\n"),
                None => (line, "\n"),
            };
            let answer = line.chars().rev().collect::<String>() + ending;
            let _ = client.write_all(answer.as_bytes());
            text = rest.to_owned();
        }
    }
}

fn answers_one_line_a_read(mut client: &TcpStream) {
    let (mut kept, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(count @ 1..) = client.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..count]);
        if let Some(at) = kept.iter().position(|&byte| byte == b'\n') {
            let rest = kept.split_off(at + 1);
            let _ = client.write_all(&reversed_as_a_whole(&kept));
            kept = rest;
        }
    }
}

/// Answers correctly, but keeps all bytes in memory.
fn remembers_every_byte(mut client: &TcpStream) {
    let (mut all, mut line, mut chunk) = (Vec::new(), Vec::new(), vec![0; 64 * 1024]);
    while let Ok(count @ 1..) = client.read(&mut chunk) {
        all.extend_from_slice(&chunk[..count]);
        for &byte in &chunk[..count] {
            line.push(byte);
            if byte == b'\n' || line.len() == 64 * 1024 {
                let _ = client.write_all(&reversed_as_a_whole(&line));
                line.clear();
            }
        }
    }
}

fn knows_only_one_end(mut client: &TcpStream) {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match client.read(&mut chunk) {
            Ok(0) => exit(1),
            Ok(count) => drop(client.write_all(&reversed_as_a_whole(&chunk[..count]))),
            Err(_) => thread::park(),
        }
    }
}
