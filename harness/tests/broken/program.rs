//! Sound servers of the line protocol (stages 1 and 4) in broken programs. The faults are in
//! the command line, and in what the program prints.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::exit;

use super::lines::{announce, listen, option};
use super::{Case, case};

pub const CASES: &[Case] = &[
    case("stage01/shows-messages", "prints-what-it-gets"),
    case("stage04/shows-messages", "prints-what-it-gets"),
    case("stage01/log-lines", "logs-nothing-but-its-address"),
    case("stage04/log-lines", "logs-nothing-but-its-address"),
    case("stage04/logs-epoll-wait", "logs-nothing-but-its-address"),
    case("stage01/quiet", "prints-although-quiet"),
    case("stage04/quiet", "prints-although-quiet"),
    case("stage01/port-in-use", "panics-when-it-cannot-listen"),
    case("stage04/port-in-use", "panics-when-it-cannot-listen"),
    case("stage04/port-in-use", "does-not-say-why"),
    case("stage01/privileged-port", "panics-when-it-cannot-listen"),
    case("stage04/privileged-port", "panics-when-it-cannot-listen"),
    case("stage04/privileged-port", "does-not-say-why"),
    case("stage01/address-of-another-machine", "does-not-say-why"),
    case("stage04/address-of-another-machine", "does-not-say-why"),
    case("stage01/ipv6", "always-takes-127.0.0.1"),
    case("stage04/ipv6", "always-takes-127.0.0.1"),
    case("stage01/host-by-name", "refuses-host-names"),
    case("stage04/host-by-name", "refuses-host-names"),
    case(
        "stage01/usage-error",
        "ends-with-status-1-on-a-typing-error",
    ),
    case(
        "stage04/usage-error",
        "ends-with-status-1-on-a-typing-error",
    ),
    case("stage01/backlog", "ignores-its-options"),
    case("stage04/raises-its-descriptor-limit", "ignores-its-options"),
    case("stage04/long-queue", "ignores-its-options"),
];

/// Runs the server that is broken as `name` says; false when there is no such server.
pub fn serve(name: &str, options: &[String]) -> bool {
    let listener = match name {
        "prints-what-it-gets"
        | "prints-although-quiet"
        | "logs-nothing-but-its-address"
        | "ignores-its-options"
        | "panics-when-it-cannot-listen" => listen(options),
        "does-not-say-why" => says_not_why(options),
        "always-takes-127.0.0.1" => listen(&[]),
        "refuses-host-names" => knows_no_names(options),
        "ends-with-status-1-on-a-typing-error" => {
            match option(options, "--port").map(str::parse::<u16>) {
                Some(Ok(_)) => listen(options),
                _ => {
                    eprintln!("wrong usage: {options:?}");
                    exit(1)
                }
            }
        }
        _ => return false,
    };
    let prints = matches!(name, "prints-what-it-gets" | "prints-although-quiet");
    let serve_it = move |mut client: TcpStream| {
        let (mut line, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
        while let Ok(count @ 1..) = client.read(&mut chunk) {
            for &byte in &chunk[..count] {
                line.push(byte);
                if byte == b'\n' {
                    if prints {
                        let _ = std::io::stdout().write_all(b"[CLIENT MESSAGE] ");
                        let _ = std::io::stdout().write_all(&line);
                    }
                    let _ = client.write_all(&harness::data::reversed(&line));
                    line.clear();
                }
            }
        }
        let _ = client.write_all(&harness::data::reversed(&line));
    };
    for client in listener.incoming().flatten() {
        std::thread::spawn(move || serve_it(client));
    }
    true
}

fn says_not_why(options: &[String]) -> TcpListener {
    let port = option(options, "--port").unwrap_or("0");
    let host = option(options, "--host").unwrap_or("127.0.0.1");
    let Ok(listener) = TcpListener::bind((host, port.parse().unwrap())) else {
        eprintln!("something went wrong");
        exit(1)
    };
    announce(&listener);
    listener
}

fn knows_no_names(options: &[String]) -> TcpListener {
    let host = option(options, "--host").unwrap_or("127.0.0.1");
    if host.parse::<std::net::IpAddr>().is_err() {
        eprintln!("`{host}` is not an address");
        exit(1)
    }
    listen(options)
}
