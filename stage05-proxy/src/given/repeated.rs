//! A warning that could come 20,000 times a second, such as that the upstream is
//! down: said at once, then once a second with the number of times that it stands for.

use std::time::{Duration, Instant};

use log::warn;

const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Repeated {
    text: String,
    /// How many times it was added since it was last said.
    unsaid: usize,
    not_before: Option<Instant>,
}

impl Repeated {
    /// Notes it once more. The text is made only if it will be said.
    pub fn add(&mut self, text: impl FnOnce() -> String) {
        if self.unsaid == 0 {
            self.text = text();
        }
        self.unsaid += 1;
    }

    /// When [`Repeated::say`] has something to say.
    pub fn due(&self) -> Option<Instant> {
        (self.unsaid > 0).then(|| self.not_before.unwrap_or_else(Instant::now))
    }

    pub fn say(&mut self) {
        if self.due().is_none_or(|due| due > Instant::now()) {
            return;
        }
        match self.unsaid {
            1 => warn!("{}", self.text),
            times => warn!("{} ({times} times)", self.text),
        }
        self.unsaid = 0;
        self.not_before = Some(Instant::now() + INTERVAL);
    }
}
