//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Write the servers of this course yourself: a starter, tasks, hints, and checks that turn
/// green
#[derive(Parser, Debug)]
#[command(
    name = "learn",
    bin_name = "cargo learn",
    disable_version_flag = true,
    disable_help_subcommand = true,
    after_help = "A stage is 1 to 5, vec, or 6 to 13; its second task is, for example, 4.2. \
                  Without a command: where you are, and what is next."
)]
pub struct Arguments {
    /// Your folder, if it is not my/ at the top of the repository
    #[arg(long, value_name = "FOLDER", global = true)]
    pub into: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the starter of a stage in your folder
    Start {
        stage: String,
        /// Write it in any language, without a starter: the command that runs your program. In
        /// it, {port} and {upstream} are replaced by port numbers; without {port}, it listens on
        /// the course's port
        #[arg(long, value_name = "COMMAND")]
        run: Option<String>,
        /// The shell command that builds your program
        #[arg(long, value_name = "COMMAND", requires = "run")]
        build: Option<String>,
    },
    /// Build and check at each save, and show what failed or what is next
    Watch {
        /// The stage [default: the one that you work on]
        stage: Option<String>,
    },
    /// Build and check once: the current task, a stage (4), or a task (4.2)
    Check {
        /// A stage or a task [default: the task that is next]
        task: Option<String>,
    },
    /// Show the next of the three hints to a task
    Hint {
        /// The task, for example 4.2 [default: the task that is next]
        task: Option<String>,
    },
    /// Show your code beside the reference, for a task that is green
    Diff {
        /// The task, for example 4.2 [default: the last that is green]
        task: Option<String>,
        /// Also for a task that is not green yet
        #[arg(long)]
        show: bool,
    },
    /// Put the reference's code for a task into your files; yours is kept as a backup
    Solution {
        /// The task, for example 4.2
        task: String,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
    },
    /// Put a task, or a whole stage, back to the starter; yours is kept as a backup
    Reset {
        /// The task, for example 4.2, or the stage
        task: String,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
    },
    /// Write an assignment to hand out: the starter, the tasks and the checks, no solution
    Export {
        stage: String,
        /// The new folder
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
    /// Run one check of the student's program, in the network that this command was started in
    #[command(hide = true)]
    RunApart { stage: String, id: String },
}
