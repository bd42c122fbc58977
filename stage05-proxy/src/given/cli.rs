//! The command line.

use std::time::Duration;

use clap::{ArgAction, Parser};

/// A TCP proxy: connects each client to the upstream server and passes the bytes on in both
/// directions, unchanged.
///
/// Start an upstream with `python3 -m http.server 3000 --bind 127.0.0.1`, then the proxy, then open
/// http://127.0.0.1:8080 in a browser. Ctrl-C stops the proxy.
#[derive(Parser)]
pub struct Args {
    /// Address to listen on: an IPv4 or IPv6 address, or a name
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// The server behind the proxy, an address or a name with its port
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "HOST:PORT")]
    pub upstream: String,
    /// How many seconds connecting to the upstream may take, for all its addresses together;
    /// after that the client's connection is closed
    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = parse_seconds)]
    pub connect_timeout: Duration,
    /// How many clients may wait in the kernel's queue to be accepted
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(i32).range(1..=4096))]
    pub backlog: i32,
    /// Log more: -v debug, -vv trace
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Log warnings only, and do not print what clients send
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("expected a number of seconds from 0.001 to 86400".to_owned()),
    }
}
