//! Ctrl-C, SIGTERM and SIGHUP for a tool that has to end the programs that it started. A thread
//! records the signal, and long work and long waits look for it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What [`check`] and [`sleep`] return after a signal.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// From now on these signals are recorded, and `again` is called for each after the first. Call
/// this before there are other threads, because only later threads inherit the blocked signals.
pub fn catch(again: fn()) -> std::io::Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect();
    signals.thread_block()?;
    let note = move || {
        while signals.wait().is_ok() {
            if INTERRUPTED.swap(true, Ordering::Relaxed) {
                again();
            }
        }
    };
    thread::Builder::new().spawn(note).map(drop)
}

pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Fails after a signal.
pub fn check() -> Result<(), Interrupted> {
    if is_interrupted() {
        return Err(Interrupted);
    }
    Ok(())
}

/// Sleeps for this long, or until there is a signal.
pub fn sleep(time: Duration) -> Result<(), Interrupted> {
    let end = Instant::now() + time;
    while let left = end.saturating_duration_since(Instant::now())
        && !left.is_zero()
    {
        check()?;
        thread::sleep(left.min(Duration::from_millis(100)));
    }
    Ok(())
}
