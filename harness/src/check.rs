//! What a check is: data that names and explains it, and a function that runs it.

use std::fmt;
use std::time::Duration;

use crate::trial::Trial;

/// Whose contract a check belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Stage01,
    Stage02,
    Stage03,
    Stage04,
    Stage05,
    Phase1,
}

impl Stage {
    pub const ALL: [Stage; 6] = [
        Stage::Stage01,
        Stage::Stage02,
        Stage::Stage03,
        Stage::Stage04,
        Stage::Stage05,
        Stage::Phase1,
    ];

    /// As it is given on a command line: `4`, `phase1`.
    pub fn number(self) -> &'static str {
        match self {
            Stage::Stage01 => "1",
            Stage::Stage02 => "2",
            Stage::Stage03 => "3",
            Stage::Stage04 => "4",
            Stage::Stage05 => "5",
            Stage::Phase1 => "phase1",
        }
    }
}

/// `stage 4`, `phase 1`
impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Stage::Phase1 => write!(f, "phase 1"),
            stage => write!(f, "stage {}", stage.number()),
        }
    }
}

/// How much a check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// What the course asks of the stage.
    Core,
    /// What a real server must withstand.
    Robust,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Tier::Core => "core",
            Tier::Robust => "robust",
        })
    }
}

/// What a check cannot do without. Where it is missing the check is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A program on the PATH (`nc.openbsd`, `curl`).
    Tool(&'static str),
    /// A second binary of the stage (`multi-client`).
    Companion(&'static str),
    /// An option of this workspace's own programs (`--iterative`).
    Option(&'static str),
    /// An IPv6 loopback address.
    Ipv6,
    /// To be root, so that a program can be run as somebody else.
    Root,
    /// A network namespace of its own, where every port is free: [`crate::own_network`].
    OwnNetwork,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Need::Tool(name) | Need::Option(name) => write!(f, "{name}"),
            Need::Companion(name) => write!(f, "the program {name}"),
            Need::Ipv6 => write!(f, "IPv6"),
            Need::Root => write!(f, "root"),
            Need::OwnNetwork => write!(f, "a network namespace"),
        }
    }
}

pub type Verdict<T = ()> = Result<T, Failure>;

pub struct Check {
    pub stage: Stage,
    /// `stage04/half-close`: the stage, then the behaviour.
    pub id: &'static str,
    /// What must hold, as a sentence.
    pub title: &'static str,
    /// Why it matters, in one sentence for a student.
    pub why: &'static str,
    /// What to look at when it fails.
    pub hint: &'static str,
    /// Where the book explains it, from the top of the repository.
    pub chapter: &'static str,
    pub tier: Tier,
    pub points: u32,
    /// After this long the check has failed, whatever it is waiting for.
    pub timeout: Duration,
    pub needs: &'static [Need],
    pub body: fn(&Trial) -> Verdict,
}

/// What kind of thing went wrong. A crash is never just "connection closed".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    WrongData,
    ShortData,
    Timeout,
    Reset,
    /// The program ended, with this status, when it should have gone on.
    Exited(i32),
    /// The program was ended by this signal.
    Killed(String),
    /// It did not start, or not in the way it should.
    NotStarted,
    /// It used more than it may (memory, descriptors, CPU time, log).
    Resources,
    /// It did something else than it should.
    Behaviour,
    /// The check itself could not be carried out: not the program's fault.
    Grader,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Outcome::WrongData => write!(f, "wrong data"),
            Outcome::ShortData => write!(f, "data missing"),
            Outcome::Timeout => write!(f, "no answer in time"),
            Outcome::Reset => write!(f, "connection reset"),
            Outcome::Exited(101) => write!(f, "the program panicked (exit status 101)"),
            Outcome::Exited(status) => write!(f, "the program ended with exit status {status}"),
            Outcome::Killed(signal) => write!(f, "the program was killed by {signal}"),
            Outcome::NotStarted => write!(f, "the program did not start"),
            Outcome::Resources => write!(f, "too much used"),
            Outcome::Behaviour => write!(f, "unexpected behaviour"),
            Outcome::Grader => write!(f, "the check could not be carried out"),
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
}

impl Failure {
    pub fn new(outcome: Outcome, what: impl Into<String>) -> Self {
        Self {
            outcome,
            what: what.into(),
            expected: None,
            received: None,
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
