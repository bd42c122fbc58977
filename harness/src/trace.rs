//! The numbered steps of a check. A failure prints them, so that a reader can follow it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// How many steps are kept from the start and from the end, so that a check with 10,000
/// connections fills neither the screen nor the memory.
const FIRST: usize = 30;
const LAST: usize = 15;

/// A shared list: every peer of a check writes its steps into the same one.
#[derive(Clone)]
pub struct Trace {
    begun: Instant,
    steps: Arc<Mutex<Steps>>,
}

#[derive(Default)]
struct Steps {
    first: Vec<(Duration, String)>,
    last: VecDeque<(Duration, String)>,
    forgotten: usize,
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
        let mut steps = lock(&self.steps);
        let step = (self.begun.elapsed(), what.into());
        if steps.first.len() < FIRST {
            return steps.first.push(step);
        }
        if steps.last.len() == LAST {
            steps.last.pop_front();
            steps.forgotten += 1;
        }
        steps.last.push_back(step);
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let steps = lock(&self.steps);
        let number_of_last = steps.first.len() + steps.forgotten;
        for (index, step) in steps.first.iter().enumerate() {
            write_step(f, index, step)?;
        }
        if steps.forgotten > 0 {
            writeln!(f, "       ({} more steps)", steps.forgotten)?;
        }
        for (index, step) in (number_of_last..).zip(&steps.last) {
            write_step(f, index, step)?;
        }
        Ok(())
    }
}

fn write_step(f: &mut fmt::Formatter, index: usize, step: &(Duration, String)) -> fmt::Result {
    let (at, what) = step;
    writeln!(f, "  {:>3}. {:>7.3} s  {what}", index + 1, at.as_secs_f64())
}
