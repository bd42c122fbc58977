//! Rate limiting for warnings, which may come 20,000 times a second. The first one is logged
//! immediately. Those that follow within a second are counted, and logged as one line.
//!
//! Each core owns one. It sets no timer itself: the core asks [`due`](Repeats::due) when to call
//! [`flush`](Repeats::flush), so that the last count is logged even if no further warning comes.

use std::time::{Duration, Instant};

use log::warn;

use crate::vec::XpsVec;

const PAUSE: Duration = Duration::from_secs(1);

/// See the [module](self).
pub struct Repeats {
    /// The target of the log lines.
    target: &'static str,
    said: XpsVec<Said>,
}

struct Said {
    text: String,
    at: Instant,
    /// How many times it has come again since then.
    more: usize,
}

impl Repeats {
    pub fn new(target: &'static str) -> Repeats {
        let said = XpsVec::new();
        Repeats { target, said }
    }

    /// Logs `text` as a warning, or counts it if the same text was logged less than a second ago.
    /// It must not contain what differs each time, such as the client's address: then it would
    /// never be the same text.
    pub fn warn(&mut self, text: String, now: Instant) {
        match self.said.iter_mut().find(|said| said.text == text) {
            Some(said) => said.more += 1,
            None => {
                warn!(target: self.target, "{text}");
                self.said.push(Said {
                    text,
                    at: now,
                    more: 0,
                });
            }
        }
    }

    /// When [`flush`](Repeats::flush) has something to do next, if anything.
    pub fn due(&self) -> Option<Instant> {
        self.said.iter().map(|said| said.at + PAUSE).min()
    }

    /// Logs all counts, even if their second is not over.
    pub fn flush_all(&mut self) {
        let last = self.said.iter().map(|said| said.at + PAUSE).max();
        if let Some(last) = last {
            self.flush(last);
        }
    }

    /// Logs the counts whose second is over.
    pub fn flush(&mut self, now: Instant) {
        let mut index = 0;
        while let Some(said) = self.said.get_mut(index) {
            if said.at + PAUSE > now {
                index += 1;
            } else if said.more == 0 {
                self.said.swap_splice(index..index + 1); // quiet for a second: forget it
            } else {
                warn!(target: self.target, "{} ({} more of these)", said.text, said.more);
                (said.at, said.more) = (now, 0);
                index += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_warning_is_counted_and_told_once_a_second() {
        let mut repeats = Repeats::new("tests");
        let start = Instant::now();
        assert_eq!(repeats.due(), None);
        for _ in 0..1000 {
            repeats.warn("refused".to_owned(), start);
        }
        repeats.warn("timed out".to_owned(), start + PAUSE / 2);
        assert_eq!(repeats.due(), Some(start + PAUSE));
        assert_eq!(repeats.said[0].more, 999);

        repeats.flush(start + PAUSE / 2);
        assert_eq!(repeats.said[0].more, 999, "not yet");
        repeats.flush(start + PAUSE);
        assert_eq!(repeats.said[0].more, 0, "told");
        assert_eq!(repeats.due(), Some(start + PAUSE * 3 / 2), "the other one");
        repeats.flush(start + PAUSE * 2);
        assert_eq!((repeats.due(), repeats.said.len()), (None, 0));
    }
}
