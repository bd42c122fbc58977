//! The numbered steps of a check, so that a failure tells a story.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Kept steps; a check of 10,000 connections does not fill the screen.
const FIRST: usize = 30;
const LAST: usize = 15;

/// A shared list: every peer of a check writes its steps into the same one.
#[derive(Clone)]
pub struct Trace {
    begun: Instant,
    steps: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            steps: Arc::default(),
        }
    }
}

impl Trace {
    pub fn step(&self, what: impl Into<String>) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push((self.begun.elapsed(), what.into()));
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let last = steps.len().saturating_sub(LAST).max(FIRST);
        for (index, (at, what)) in steps.iter().enumerate() {
            if index < FIRST || index >= last {
                writeln!(f, "  {:>3}. {:>7.3} s  {what}", index + 1, at.as_secs_f64())?;
            } else if index == FIRST {
                writeln!(f, "       ({} more steps)", last - FIRST)?;
            }
        }
        Ok(())
    }
}
