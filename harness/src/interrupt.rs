//! Ctrl-C, SIGTERM and SIGHUP for a tool that has to end what it has started: the signal is
//! noted, and whoever works or waits looks at the note.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What [`check`] and [`sleep`] return once there was a signal.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// From now on these signals are noted; `again` is called for each after the first. To be
/// called before there are threads: each inherits the mask in which the signals are blocked.
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

/// An error once there was a signal.
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
