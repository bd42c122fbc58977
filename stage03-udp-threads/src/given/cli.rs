//! The command lines of the server and the client.

use std::time::Duration;

use clap::{ArgAction, Parser};

/// A UDP server with threads: answers each datagram with its text reversed.
///
/// Talk to it from another terminal with `cargo run -p stage03-udp-threads --bin
/// udp-client`, or with `printf 'hello\n' | nc -u -w1 127.0.0.1 8080`. Ctrl-C ends it.
#[derive(Parser)]
pub struct Args {
    /// Address to receive on: an IPv4 or IPv6 address, or a name
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port to receive on; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// How many threads share the socket [default: the number of CPUs]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub threads: Option<u32>,
    /// Start one thread per datagram instead, to see what that costs
    #[arg(long, conflicts_with = "threads")]
    pub per_datagram: bool,
    /// With --per-datagram: how many threads may run at the same time
    #[arg(
        long,
        default_value_t = 64,
        requires = "per_datagram",
        value_parser = clap::value_parser!(u32).range(1..=4096)
    )]
    pub max_threads: u32,
    /// Log more: -v debug, -vv trace
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Log warnings only, and do not print what clients send
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// A UDP client: sends each line that you type as one datagram, and shows the answer.
///
/// A datagram or its answer may be lost: without an answer, the client sends the line
/// again. If a line gets no answer at all, the client ends with exit status 1.
#[derive(Parser)]
#[command(name = "udp-client")]
pub struct ClientArgs {
    /// Address of the server: an IPv4 or IPv6 address, or a name
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port of the server
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// How long to wait for an answer, for example 0.5
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub timeout: Duration,
    /// How many times to resend a line that gets no answer
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub retries: u32,
    /// Log more: -v debug, -vv trace
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Log warnings only
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("it must be a number of seconds from 0.001 to 86400".into()),
    }
}
