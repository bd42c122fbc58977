//! The verdict of a check: success, or a failure that explains itself.

use std::fmt;
use std::time::Instant;

pub type Verdict<T = ()> = Result<T, Failure>;

/// What kind of failure it is. A crash is never reported as just "connection closed".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    WrongData,
    ShortData,
    Timeout,
    Reset,
    /// The program ended with this status, although it should have gone on.
    Exited(i32),
    /// This signal ended the program.
    Killed(String),
    /// It did not start, or not in the way it should.
    NotStarted,
    /// It used more than it may (memory, descriptors, CPU time, log).
    Resources,
    /// It did something other than it should.
    Behaviour,
    /// The check itself could not be carried out, which is not the program's fault.
    Grader,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Outcome::WrongData => write!(f, "wrong data"),
            Outcome::ShortData => write!(f, "missing data"),
            Outcome::Timeout => write!(f, "timed out"),
            Outcome::Reset => write!(f, "connection reset"),
            Outcome::Exited(101) => write!(f, "the program panicked (exit status 101)"),
            Outcome::Exited(status) => write!(f, "the program ended with exit status {status}"),
            Outcome::Killed(signal) => write!(f, "the program was killed by {signal}"),
            Outcome::NotStarted => write!(f, "the program did not start"),
            Outcome::Resources => write!(f, "too many resources used"),
            Outcome::Behaviour => write!(f, "unexpected behaviour"),
            Outcome::Grader => write!(f, "the check could not be carried out"),
        }
    }
}

impl Outcome {
    /// The program has ended because of a fault, not because it was asked to.
    pub fn is_crash(&self) -> bool {
        match self {
            Outcome::Exited(status) => *status != 0,
            Outcome::Killed(signal) => !matches!(signal.as_str(), "SIGTERM" | "SIGINT" | "SIGHUP"),
            _ => false,
        }
    }
}

/// Why a check failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub outcome: Outcome,
    pub what: String,
    pub expected: Option<String>,
    pub received: Option<String>,
    /// What to look at, where that can be seen from what happened.
    pub hint: Option<&'static str>,
    /// When it was seen: what a program did later is not the cause.
    pub at: Instant,
}

impl Failure {
    pub fn new(outcome: Outcome, what: impl Into<String>) -> Self {
        Self {
            outcome,
            what: what.into(),
            expected: None,
            received: None,
            hint: None,
            at: Instant::now(),
        }
    }

    /// A fault of the machine or of the check, never of the program under test.
    pub fn grader(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(Outcome::Grader, format!("{what}: {why}"))
    }

    pub fn behaviour(what: impl Into<String>) -> Self {
        Self::new(Outcome::Behaviour, what)
    }

    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub fn received(mut self, received: impl Into<String>) -> Self {
        self.received = Some(received.into());
        self
    }

    pub fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.outcome, self.what)?;
        if let Some(expected) = &self.expected {
            write!(f, "\n  expected: {expected}")?;
        }
        if let Some(received) = &self.received {
            write!(f, "\n  received: {received}")?;
        }
        Ok(())
    }
}

/// Fails with `what` unless `condition` holds.
pub fn ensure(condition: bool, outcome: Outcome, what: impl FnOnce() -> String) -> Verdict {
    if condition {
        Ok(())
    } else {
        Err(Failure::new(outcome, what()))
    }
}
