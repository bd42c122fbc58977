//! The command line.

use clap::{ArgAction, Parser};

/// A TCP server for many clients on one thread: answers each line with the line reversed.
///
/// Talk to it from other terminals with `nc 127.0.0.1 8080`. Ctrl-C stops it.
#[derive(Parser)]
pub struct Args {
    /// Address to listen on: an IPv4 or IPv6 address, or a name
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
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
