//! Failures that a flood of datagrams can repeat 10,000 times a second.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::warn;

const PAUSE: Duration = Duration::from_secs(1);

/// Says one failure of a kind a second; the next one tells how many went unsaid.
#[derive(Default)]
pub struct Failures(Mutex<Told>);

#[derive(Default)]
struct Told {
    last: Option<Instant>,
    unsaid: u64,
}

impl Failures {
    pub fn warn(&self, failure: impl Display) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| last.elapsed() < PAUSE) {
            told.unsaid += 1;
            return;
        }
        match told.unsaid {
            0 => warn!("{failure}"),
            unsaid => warn!("{failure} (and {unsaid} times before)"),
        }
        *told = Told {
            last: Some(Instant::now()),
            unsaid: 0,
        };
    }
}
