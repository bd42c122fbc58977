//! Ctrl-C ends the measurement, and thereby everything that it has started.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT, SIGTERM and SIGHUP are noted; a second one ends at once.
pub fn listen() -> Result<()> {
    let note = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(note).context("cannot handle SIGINT")
}

/// An error once there was a signal.
pub fn check() -> Result<()> {
    match INTERRUPTED.load(Ordering::Relaxed) {
        true => bail!("interrupted"),
        false => Ok(()),
    }
}

pub fn sleep(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while let left = end.saturating_duration_since(Instant::now())
        && !left.is_zero()
    {
        check()?;
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
    Ok(())
}
