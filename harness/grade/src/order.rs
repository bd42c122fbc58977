//! The order that a process gets on its stdin, and the answer that it prints on its stdout,
//! both as JSON.

use std::ffi::OsString;
use std::path::PathBuf;

use harness::program::{FixedPorts, Ports, Program};
use serde::{Deserialize, Serialize};

use crate::view::View;

#[derive(Serialize, Deserialize)]
pub struct Order {
    /// Whether to run in new namespaces. If not, the task shares the machine's network and
    /// processes.
    pub isolated: bool,
    /// A folder to work in, used only for this order.
    pub scratch: PathBuf,
    /// What is hidden and what is shown of the machine's files.
    pub view: Vec<View>,
    pub allowed: Allowed,
    pub task: Task,
}

/// What a program may use.
#[derive(clap::Args, Clone, Debug, Hash)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// How long a check waits for each answer of the program
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub patience: u64,

    /// CPU time that one process may use, all its threads together
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub cpu_time: u64,

    /// How many processes and threads the program may have, together with its check. In a check
    /// with thousands of clients it may have two more for each of them
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..))]
    pub processes: u64,

    /// The largest file that the program may write
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub file_size: u64,

    /// Address space that one process may use [default: unlimited]
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,

    /// How much a submission may hold, as it is handed in and after its build
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub submission_size: u64,

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

impl Order {
    /// The folder of the checks, a mount where there are namespaces.
    pub fn place_of_checks(&self) -> PathBuf {
        self.scratch.join("check")
    }
}

#[derive(Serialize, Deserialize)]
pub enum Task {
    /// Does nothing: the answer shows whether namespaces are available.
    Probe,
    /// Runs a shell command in this folder, which it may write to, for at most `seconds`.
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
#[derive(Clone, Debug, Default, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// Its command line. A relative path with a `/` starts in the folder below.
    pub command: Vec<OsString>,
    /// Each run gets a copy of this folder as its working directory; without it, an empty one.
    pub folder: Option<PathBuf>,
    /// It takes the options of this workspace's programs.
    pub workspace_options: bool,
    /// The stage's other programs.
    pub companions: Vec<(String, Vec<OsString>)>,
    /// The ports that it listens on, and the port of its upstream.
    pub ports: Option<(Vec<u16>, u16)>,
}

impl Subject {
    /// The program as the checks see it, without limits.
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
    /// Namespaces are not available, for this reason.
    NotIsolated(String),
    Done,
    /// The output of the build.
    BuildFailed(String),
    Passed,
    /// What the check needs and does not find.
    Skipped(String),
    Failed(Failed),
    /// Not run: it follows from this check, which has failed.
    Follows(String),
    /// The grader itself has failed.
    Trouble(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Failed {
    /// `timed out`
    pub outcome: String,
    /// The program crashed, or ended when it should not have.
    pub crashed: bool,
    /// It did not listen in time, or nothing at all came from it.
    pub silent: bool,
    /// What happened, in one line.
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
            silent: false,
            what: what.to_owned(),
            text: format!("{outcome}: {what}\n"),
        })
    }
}
