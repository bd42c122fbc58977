//! Broken servers of the line protocol (stages 1 and 4).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use super::Case;

pub const CASES: &[Case] = &[
    Case {
        check: "stage01/reverses-a-line",
        broken: "reverses-the-newline",
    },
    Case {
        check: "stage04/reverses-a-line",
        broken: "reverses-the-newline",
    },
    Case {
        check: "stage01/last-line-without-newline",
        broken: "cuts-the-last-byte",
    },
    Case {
        check: "stage04/last-line-without-newline",
        broken: "cuts-the-last-byte",
    },
    Case {
        check: "stage01/however-it-is-cut",
        broken: "takes-a-read-for-a-message",
    },
    Case {
        check: "stage04/however-it-is-cut",
        broken: "takes-a-read-for-a-message",
    },
    Case {
        check: "stage01/all-answers-to-a-late-reader",
        broken: "sends-once",
    },
    Case {
        check: "stage04/all-answers-to-a-late-reader",
        broken: "sends-once",
    },
    Case {
        check: "stage01/ends-with-its-client",
        broken: "ends-with-status-0",
    },
];

/// Serves in the way `name` is broken; false when there is no such way.
pub fn serve(name: &str, _options: &[String]) -> bool {
    let one_client: fn(&TcpStream) = match name {
        "reverses-the-newline" => |client| each_line(client, |line| line.reverse()),
        "cuts-the-last-byte" => |client| {
            each_line(client, |line| {
                line.pop();
                line.reverse();
                line.push(b'\n');
            });
        },
        "takes-a-read-for-a-message" => |client| {
            each_read(client, |client, bytes| {
                let _ = (&*client).write_all(&reversed_as_a_whole(bytes));
            })
        },
        "sends-once" => |client| {
            each_read(client, |client, bytes| {
                let _ = client.set_nonblocking(true);
                let _ = (&*client).write(&harness::data::reversed(bytes));
                let _ = client.set_nonblocking(false);
            })
        },
        "ends-with-status-0" => |client| {
            each_line(client, |line| reverse_text(line));
            std::process::exit(0);
        },
        _ => return false,
    };
    for client in listen().incoming().flatten() {
        std::thread::spawn(move || {
            one_client(&client);
            let _ = client.shutdown(Shutdown::Both);
        });
    }
    true
}

/// Listens on a free port and says so, as the servers under test do.
pub fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    eprintln!("Server listening on port {} ({address})", address.port());
    listener
}

/// Answers each line with what `change` makes of it.
fn each_line(mut client: &TcpStream, change: impl Fn(&mut Vec<u8>)) {
    let mut line = Vec::new();
    let mut byte = [0];
    while matches!(client.read(&mut byte), Ok(1)) {
        line.push(byte[0]);
        if byte[0] == b'\n' {
            change(&mut line);
            let _ = client.write_all(&line);
            line.clear();
        }
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

fn reversed_as_a_whole(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    reverse_text(&mut bytes);
    bytes
}
