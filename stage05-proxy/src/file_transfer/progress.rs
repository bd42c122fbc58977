//! What is shown on the terminal while a file is sent.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// One line on the terminal, which is overwritten a few times a second.
pub struct Progress {
    size: u64,
    next: Instant,
    on: bool,
}

impl Progress {
    pub fn new(size: u64) -> Progress {
        let next = Instant::now() + Duration::from_millis(200);
        let on = size > 0 && stderr().is_terminal();
        Progress { size, next, on }
    }

    pub fn show(&mut self, sent: u64) {
        if !self.on || self.next > Instant::now() {
            return;
        }
        self.next = Instant::now() + Duration::from_millis(200);
        let percent = (u128::from(sent) * 100 / u128::from(self.size)).min(100);
        let _ = write!(stderr(), "\r{percent:3} %  {sent} of {} bytes ", self.size);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.on {
            let _ = write!(stderr(), "\r\x1b[K"); // clears the line
        }
    }
}
