//! What a process of its own is asked to do (on its stdin), and what it answers (on its
//! stdout): JSON.

use std::ffi::OsString;
use std::path::PathBuf;

use harness::program::{FixedPorts, Ports, Program};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct Order {
    /// In namespaces of its own; else with the machine's network and processes around it.
    pub isolated: bool,
    /// A folder to work in, for this order alone.
    pub scratch: PathBuf,
    pub allowed: Allowed,
    pub task: Task,
}

/// What a program may use.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// How long a program may keep a check waiting for one answer
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub patience: u64,

    /// CPU time of a process
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub cpu_time: u64,

    /// Processes and threads of a program
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..))]
    pub processes: u64,

    /// The longest file that a program may write
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub file_size: u64,

    /// Address space of a process [default: unlimited]
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,

    /// How long a submission may take to build
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub build_time: u64,
}

/// The same in the units of `setrlimit(2)`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Allowed {
    pub patience: u64,
    pub cpu_time: u64,
    pub processes: u64,
    pub file_size: u64,
    pub memory: Option<u64>,
}

impl Allowed {
    pub fn new(limits: &Limits) -> Self {
        Self {
            patience: limits.patience,
            cpu_time: limits.cpu_time,
            processes: limits.processes,
            file_size: limits.file_size << 20,
            memory: limits.memory.map(|memory| memory << 20),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub enum Task {
    /// Nothing: to see whether namespaces can be had.
    Probe,
    /// A shell command in this folder, which it may write to, within so many seconds.
    Build {
        folder: PathBuf,
        command: String,
        seconds: u64,
    },
    Check {
        id: String,
        subject: Subject,
    },
}

/// A program to be graded.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Subject {
    /// Its words; one with a `/` in it that is not absolute is in the folder.
    pub command: Vec<OsString>,
    /// Each run has a copy of this folder as its working directory, else an empty one.
    pub folder: Option<PathBuf>,
    /// It takes the options of this workspace's programs.
    pub workspace_options: bool,
    /// The stage's other programs.
    pub companions: Vec<(String, Vec<OsString>)>,
    /// Its ports, where they are not the course's.
    pub ports: Option<(Vec<u16>, u16)>,
}

impl Subject {
    /// As the checks know it, without any limits.
    pub fn program(&self) -> Program {
        let ports = match self.workspace_options {
            true => Ports::Announced,
            false => Ports::Fixed,
        };
        let ports_given = self.ports.clone();
        let fixed = |(listeners, upstream)| FixedPorts {
            listeners,
            upstream,
        };
        Program {
            companions: self.companions.clone(),
            fixed_ports: ports_given.map(fixed),
            folder: self.folder.clone(),
            ..Program::new(self.command.clone(), ports)
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Namespaces cannot be had, for this reason.
    NotIsolated(String),
    Done,
    /// The words of the compiler.
    BuildFailed(String),
    Passed,
    /// What the check needs and is not here.
    Skipped(String),
    Failed(Failed),
    /// The grader itself has failed.
    Trouble(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Failed {
    /// `no answer in time`
    pub outcome: String,
    /// The program crashed, or ended when it should not.
    pub crashed: bool,
    /// What happened, in a line.
    pub what: String,
    /// The whole explanation.
    pub text: String,
}

impl Answer {
    /// A failure that is seen from outside the check.
    pub fn failed(outcome: &str, what: &str) -> Self {
        Answer::Failed(Failed {
            outcome: outcome.to_owned(),
            crashed: false,
            what: what.to_owned(),
            text: format!("{outcome}: {what}\n"),
        })
    }
}
