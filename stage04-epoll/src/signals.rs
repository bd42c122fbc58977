//! Signals as events.

use anyhow::{Result, anyhow};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Makes SIGINT and SIGTERM readable from a descriptor (signalfd(2)). They become one more
/// event in the loop. A signal handler would interrupt the loop at any place.
pub fn catch_signals() -> Result<SignalFd> {
    let cannot = |errno: Errno| anyhow!("cannot catch signals: {}", errno.desc());
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // They stay blocked, so that a second signal cannot kill us while we stop.
    signals.thread_block().map_err(cannot)?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    SignalFd::with_flags(&signals, flags).map_err(cannot)
}

/// The name of the signal that has come.
pub fn caught(signals: &SignalFd) -> Option<&'static str> {
    let info = signals.read_signal().ok().flatten()?;
    Some(Signal::try_from(info.ssi_signo as i32).map_or("a signal", Signal::as_str))
}
