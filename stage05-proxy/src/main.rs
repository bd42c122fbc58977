//! Stage 5: a TCP proxy.
//!
//! Each client gets a connection of its own to the upstream server, and what one
//! sends goes to the other. One thread serves all pairs: `proxy.rs` is the loop,
//! `pair.rs` one client with its upstream, `flow.rs` one direction between them.

mod cli;
mod console;
mod flow;
mod listen;
mod pair;
mod proxy;
mod repeated;
mod show;
mod upstream;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use log::{debug, error, info};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::SockFlag;

use cli::Args;
use listen::open_listener;
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
    let signals = receive_signals().context("cannot set up signals")?;
    raise_descriptor_limit();
    let upstream = Upstream::resolve(&args.upstream, args.connect_timeout)?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = open_listener(&args.host, args.port, args.backlog, flags)?;
    ensure!(
        !upstream.is_at(&listener),
        "--upstream {} is this proxy itself",
        args.upstream
    );
    let mut proxy = Proxy::new(listener, upstream, args.quiet).context("cannot set up epoll")?;
    proxy.run(&signals)?;
    info!("Server stopped");
    Ok(())
}

/// SIGINT and SIGTERM become readable on a descriptor, one more in the epoll set,
/// in place of interrupting us anywhere (signalfd(2)).
fn receive_signals() -> nix::Result<SignalFd> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// A client needs two descriptors, and the usual soft limit is 1024 in all. We may
/// raise it up to the hard one (getrlimit(2)).
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(hard)
    });
    match raised {
        Ok(limit) => debug!("Up to {limit} descriptors"),
        Err(errno) => debug!("Descriptor limit not raised: {}", errno.desc()),
    }
}
