//! Stage 5: a TCP proxy.
//!
//! Each client gets a connection of its own to the upstream server, and what one
//! sends goes to the other. One thread serves all pairs: `proxy.rs` is the loop,
//! `pair.rs` one client with its upstream, `flow.rs` one direction between them.

mod cli;
mod flow;
mod pair;
mod proxy;
mod repeated;
mod show;
mod upstream;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use log::{debug, error};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::SockFlag;
use stage05_proxy::console;
use stage05_proxy::listen::open_listener;

use cli::Args;
use proxy::Proxy;
use upstream::Upstream;

fn main() -> ExitCode {
    let args = Args::parse();
    console::start_logger(args.verbose, args.quiet);
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let signals = catch_signals().context("cannot catch signals")?;
    raise_descriptor_limit();
    // Before the listener: who can connect can also be served.
    let upstream = Upstream::resolve(&args.upstream, args.connect_timeout)?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = open_listener(&args.host, args.port, args.backlog, flags)?;
    ensure!(
        !upstream.is_at(&listener),
        "--upstream {} is this proxy itself",
        args.upstream
    );
    let mut proxy = Proxy::new(listener, upstream, args.quiet).context("cannot set up epoll")?;
    proxy.run(&signals)
}

/// Makes SIGINT and SIGTERM readable from a descriptor: one more event in the loop,
/// instead of a handler that interrupts it anywhere (signalfd(2)).
fn catch_signals() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Blocked for good: a second signal finds us on our way out and changes nothing.
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// A client costs two descriptors. Many systems let a process have 1024 of them
/// until it asks for more (getrlimit(2)).
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| (soft, hard))
    });
    match raised {
        Ok((soft, hard)) => debug!("Descriptor limit raised to {hard}, it was {soft}"),
        Err(errno) => debug!("Descriptor limit stays as it is: {}", errno.desc()),
    }
}
