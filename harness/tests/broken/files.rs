//! Broken file transfers (stage 5): both programs, each sound except for one fault.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::exit;

use harness::peer::reset_on_close;
use nix::sys::signal::{SigHandler, Signal, signal};

use super::lines::{listen, option};
use super::{Case, case};

pub const CASES: &[Case] = &[
    case("stage05/file-arrives-whole", "file-stops-at-nul"),
    case("stage05/empty-file", "file-refuses-empty-files"),
    case("stage05/large-file", "file-sends-once"),
    case(
        "stage05/file-from-a-plain-client",
        "file-expects-its-size-first",
    ),
    case(
        "stage05/reset-leaves-the-old-file",
        "file-is-written-in-place",
    ),
    case(
        "stage05/reset-leaves-the-old-file",
        "file-part-stays-behind",
    ),
    case("stage05/reset-leaves-the-old-file", "file-fails-in-silence"),
    case(
        "stage05/killed-file-client-resets",
        "file-client-dies-in-order",
    ),
    case("stage05/killed-file-client", "file-client-dies-in-order"),
    case("stage05/killed-file-client", "file-is-written-in-place"),
    case(
        "stage05/killed-file-server-resets",
        "file-server-dies-in-order",
    ),
    case("stage05/file-server-keep", "file-server-ends-at-a-failure"),
    case("stage05/file-server-interrupted", "file-part-stays-behind"),
    case("stage05/file-server-under-nohup", "file-server-hangs-up"),
    case(
        "stage05/file-server-at-the-file-limit",
        "file-server-panics-at-the-limit",
    ),
    case("stage05/file-server-permissions", "file-part-is-public"),
    case(
        "stage05/file-server-passing-errors",
        "file-server-ends-when-accept-fails",
    ),
    case(
        "stage05/file-server-log-lost",
        "file-server-logs-with-eprintln",
    ),
    case(
        "stage05/file-server-silent-client",
        "file-server-waits-for-ever",
    ),
    case(
        "stage05/file-server-cannot-write",
        "file-server-learns-late",
    ),
    case("stage05/file-client-cannot-read", "file-client-panics"),
    case("stage05/file-client-without-a-server", "file-client-panics"),
    case(
        "stage05/file-client-connected-to-itself",
        "file-client-takes-itself-for-the-server",
    ),
    case(
        "stage05/file-server-gone-in-the-middle",
        "file-client-does-not-wait",
    ),
];

/// Runs the file-server or file-client that is broken as `name` says; false when there is
/// no such program.
pub fn run(name: &str, options: &[String]) -> bool {
    if !CASES.iter().any(|case| case.broken == name) {
        return false;
    }
    match option(options, "--out") {
        Some(out) => serve(name, options, out),
        None => send(name, options),
    }
    exit(0)
}

fn serve(fault: &str, options: &[String], out: &str) {
    if fault != "file-server-learns-late" && fs::write(part(out), b"").is_err() {
        fail(fault, &format!("cannot write {out}"));
    }
    let _ = fs::remove_file(part(out));
    let keep = options.iter().any(|option| option == "--keep");
    if fault == "file-server-hangs-up" {
        // SAFETY: the default action runs no code of ours.
        #[allow(unsafe_code)]
        unsafe { signal(Signal::SIGHUP, SigHandler::SigDfl) }.unwrap();
    }
    for client in listen(options).incoming() {
        let client = match client {
            Err(error) if fault == "file-server-ends-when-accept-fails" => panic!("{error}"),
            Err(_) => continue,
            Ok(client) => client,
        };
        let received = receive(fault, client, out);
        if !received && (!keep || fault == "file-server-ends-at-a-failure") {
            fail(fault, &format!("{out} was not received"));
        }
        if !keep {
            return;
        }
    }
}

fn part(out: &str) -> String {
    format!("{out}.part")
}

fn fail(fault: &str, why: &str) -> ! {
    if fault != "file-fails-in-silence" {
        eprintln!("{why}");
    }
    exit(1)
}

/// True when the whole file has arrived and has its final name.
fn receive(fault: &str, mut client: TcpStream, out: &str) -> bool {
    let path = match fault {
        "file-is-written-in-place" => out.to_owned(),
        _ => part(out),
    };
    let (mut file, mut chunk, mut total) = (File::create(&path).unwrap(), vec![0; 64 * 1024], 0);
    if fault == "file-expects-its-size-first" && client.read_exact(&mut chunk[..8]).is_err() {
        return false;
    }
    reset_on_close(&client, fault != "file-server-dies-in-order").unwrap();
    loop {
        match client.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                file.write_all(&chunk[..count]).unwrap();
                total += count;
            }
            Err(_) => {
                if !matches!(fault, "file-is-written-in-place" | "file-part-stays-behind") {
                    fs::remove_file(&path).unwrap();
                }
                return false;
            }
        }
    }
    if total == 0 && fault == "file-refuses-empty-files" {
        return false;
    }
    fs::rename(&path, out).unwrap();
    reset_on_close(&client, false).unwrap();
    true
}

fn send(fault: &str, options: &[String]) {
    let mut file = File::open(&options[0]).unwrap();
    let host = option(options, "--host").unwrap();
    let port = option(options, "--port").unwrap().parse().unwrap();
    let mut server = match TcpStream::connect::<(&str, u16)>((host, port)) {
        Err(error) if fault != "file-client-panics" => fail(fault, &error.to_string()),
        result => result.unwrap(),
    };
    reset_on_close(&server, fault != "file-client-dies-in-order").unwrap();
    let mut chunk = vec![0; 64 * 1024];
    if fault == "file-sends-once" {
        chunk.resize(8 << 20, 0);
        server.set_nonblocking(true).unwrap();
    }
    while let Ok(count @ 1..) = file.read(&mut chunk) {
        let bytes = match fault {
            "file-stops-at-nul" => chunk[..count].split(|&byte| byte == 0).next().unwrap(),
            _ => &chunk[..count],
        };
        let sent = match fault {
            "file-sends-once" => (&server).write(bytes).map(drop),
            _ => (&server).write_all(bytes),
        };
        if sent.is_err() && fault != "file-sends-once" {
            fail(fault, "the server is gone");
        }
    }
    server.set_nonblocking(false).unwrap();
    reset_on_close(&server, false).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    if fault != "file-client-does-not-wait" && server.read(&mut chunk).is_err() {
        fail(fault, "the server does not have the file");
    }
}
