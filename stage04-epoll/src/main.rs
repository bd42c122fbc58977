//! Stage 4: a TCP server for many clients on one thread.
//!
//! All sockets are non-blocking, so no call waits for one client. The thread sleeps in one
//! place only, in `epoll_wait`, and there the kernel says which sockets are ready. The work
//! of one turn depends on those, not on how many clients there are.
//!
//! `server.rs` is the event loop, `client.rs` one client, and `signals.rs` makes signals
//! readable from a descriptor. You may skip the folder `given`: this stage needs it, but does
//! not teach it.

mod client;
mod given;
mod server;
mod signals;

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;
use log::error;
use nix::sys::socket::SockFlag;

use given::cli::Args;
use given::limit::raise_descriptor_limit;
use given::listen::open_listener;
use given::logger::start_logger;
use server::Server;
use signals::catch_signals;

fn main() -> ExitCode {
    let args = Args::parse();
    start_logger(args.verbose, args.quiet);
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    raise_descriptor_limit();
    let signals = catch_signals()?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = open_listener(&args.host, args.port, args.backlog, flags)?;
    let mut server = Server::new(listener, signals, args.quiet)
        .map_err(|e| anyhow!("cannot set up epoll: {}", e.desc()))?;
    server.run()
}
