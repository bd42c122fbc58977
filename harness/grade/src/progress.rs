//! The progress bar, shown only when stderr is a terminal.

use std::sync::{Mutex, MutexGuard};

use harness::host::is_capable_terminal;
use harness::lock::lock;
use indicatif::{ProgressBar, ProgressStyle};

pub struct Progress {
    bar: Mutex<ProgressBar>,
}

impl Progress {
    pub fn hidden() -> Self {
        Self {
            bar: Mutex::new(ProgressBar::hidden()),
        }
    }

    pub fn begin(&self, count: usize, verb: &str) {
        let style =
            ProgressStyle::with_template("{bar:24} {pos}/{len} {prefix}, {elapsed}  {wide_msg}");
        let bar = ProgressBar::new(count as u64).with_prefix(verb.to_owned());
        if count > 0
            && is_capable_terminal()
            && let Ok(style) = style
        {
            *self.bar() = bar.with_style(style);
        }
    }

    pub fn say(&self, what: &str) {
        self.bar().set_message(what.to_owned());
    }

    pub fn step(&self, what: &str) {
        let bar = self.bar();
        bar.set_message(what.to_owned());
        bar.inc(1);
    }

    pub fn end(&self) {
        self.bar().finish_and_clear();
    }

    fn bar(&self) -> MutexGuard<'_, ProgressBar> {
        lock(&self.bar)
    }
}
