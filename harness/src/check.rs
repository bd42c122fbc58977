//! What a check is: data that names and explains it, and a function that runs it.

use std::fmt;
use std::time::Duration;

use crate::failure::Verdict;
use crate::stage::Stage;
use crate::trial::Trial;

/// How demanding a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// What the course asks of the stage.
    Core,
    /// What any program that is left running must at least do.
    Solid,
    /// What a real program must withstand.
    Robust,
}

impl Tier {
    pub const ALL: [Tier; 3] = [Tier::Core, Tier::Solid, Tier::Robust];

    /// What a check of this tier is worth. A fault that ordinary use meets weighs more than many
    /// that only a hostile client finds, so that points put programs into a teacher's order.
    pub fn points(self) -> u32 {
        match self {
            Tier::Core => 10,
            Tier::Solid => 5,
            Tier::Robust => 1,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Tier::Core => "core",
            Tier::Solid => "solid",
            Tier::Robust => "robust",
        })
    }
}

/// What a check needs. If it is missing, the check is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A program on the PATH (`nc.openbsd`, `curl`).
    Tool(&'static str),
    /// Descriptors for this many sockets in the check at the same time, in its short and in its full
    /// form. A check that opens more than 200 sockets says so here; the programs that it starts need
    /// no more than that themselves.
    Sockets { short: usize, full: usize },
    /// A second binary of the stage (`multi-client`).
    Companion(&'static str),
    /// An option of this workspace's own programs (`--iterative`).
    Option(&'static str),
    /// The tool `strace`, and the right to trace a program.
    Strace,
    /// An IPv6 loopback address.
    Ipv6,
    /// Root, to run a program as another user.
    Root,
    /// A network namespace of its own, where every port is free: [`crate::own_network`].
    OwnNetwork,
    /// The right to change settings of that network (`sysctl(8)`, net.ipv4).
    NetworkSettings,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Need::Tool(name) | Need::Option(name) => write!(f, "{name}"),
            Need::Companion(name) => write!(f, "the program {name}"),
            Need::Strace => write!(f, "strace, with the right to trace programs"),
            Need::Sockets { .. } => write!(f, "a higher limit of descriptors (ulimit -Hn)"),
            Need::Ipv6 => write!(f, "IPv6"),
            Need::Root => write!(f, "root"),
            Need::OwnNetwork => write!(f, "a network namespace"),
            Need::NetworkSettings => write!(f, "the right to change settings of its network"),
        }
    }
}

#[derive(Clone, Copy)]
pub struct Check {
    pub stage: Stage,
    /// The role of the program, in a stage with several roles: `proxy-`.
    pub role: &'static str,
    /// The behaviour: `half-close`.
    pub name: &'static str,
    /// What must hold, as a sentence.
    pub title: &'static str,
    /// Why it matters, in one sentence for a student.
    pub why: &'static str,
    /// What to look at when it fails.
    pub hint: &'static str,
    /// Where the book explains it, from the top of the repository.
    pub chapter: &'static str,
    pub tier: Tier,
    /// The check fails after this time, whatever it is waiting for.
    pub timeout: Duration,
    pub needs: &'static [Need],
    pub body: fn(&Trial) -> Verdict,
}

impl Check {
    /// `stage04/half-close`: the stage, then the behaviour.
    pub fn id(&self) -> String {
        format!("{}/{}{}", self.stage.folder(), self.role, self.name)
    }

    /// How many sockets it says that it needs: [`Need::Sockets`].
    pub fn sockets(&self, full_size: bool) -> usize {
        let count = |need: &Need| match *need {
            Need::Sockets { short, full } => Some(if full_size { full } else { short }),
            _ => None,
        };
        self.needs.iter().find_map(count).unwrap_or(0)
    }

    /// The same check as a part of another stage.
    pub const fn taken_over(self, stage: Stage) -> Check {
        Check { stage, ..self }
    }
}

/// The same checks as a part of another stage.
pub fn taken_over(checks: &[Check], stage: Stage) -> Vec<Check> {
    let checks = checks.iter();
    checks.map(|check| check.taken_over(stage)).collect()
}
