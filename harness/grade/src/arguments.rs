//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Parser, ValueEnum};
use harness::check::Tier;
use harness::stage::Stage;

use crate::order::Limits;

/// Grades a server or a client, written in any language, with the checks of this
/// workspace
#[derive(Parser, Debug)]
#[command(
    name = "grade",
    bin_name = "cargo grade",
    disable_version_flag = true,
    override_usage = "cargo grade --stage STAGE [OPTIONS] -- PROGRAM [ARGUMENT]...\n       \
                      cargo grade --all FOLDER [--stage STAGE] [OPTIONS]\n       \
                      cargo grade --stage STAGE --list",
    after_help = "Exit status: 0 when all core checks have passed (with --only: all that it \
                  names), 1 when some have failed, 2 for a wrong command line, 3 when the grader \
                  itself has failed.\n\nThe book tells more: docs/src/instructors/grading.md"
)]
pub struct Arguments {
    /// The stage whose checks are run: 1 to 5, or phase1
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<Stage>,

    /// Grade each sub-folder of this one: one for each student
    #[arg(long, value_name = "FOLDER", conflicts_with = "program")]
    pub all: Option<PathBuf>,

    /// Show the checks, their tiers and points, and run nothing
    #[arg(long)]
    pub list: bool,

    /// Run the check with this id, or those with this in their id; may be repeated
    #[arg(long, value_name = "ID", action = ArgAction::Append)]
    pub only: Vec<String>,

    /// Run the checks of one tier: what the course asks, or what a real server must withstand
    #[arg(long)]
    pub tier: Option<TierName>,

    /// How many checks run at once, each in a network of its own [default: one a CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// Go on where an earlier run with --all has stopped: skip what is done
    #[arg(long)]
    pub resume: bool,

    /// Where results are kept as they come [default: with --all, FOLDER/grade-results.jsonl]
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,

    /// Run the program in a copy of this folder, a fresh one for each check
    #[arg(long, value_name = "FOLDER", conflicts_with = "all")]
    pub folder: Option<PathBuf>,

    /// The program takes the options of this workspace's own and logs its address: run the
    /// checks that need them as well
    #[arg(long)]
    pub workspace_options: bool,

    /// Print the results as JSON; the table then goes to stderr
    #[arg(long)]
    pub json: bool,

    /// Write the results for a JUnit reader
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// Write results.json as Gradescope reads it, after every check
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    pub gradescope: Option<PathBuf>,

    /// Append a summary in Markdown, as for $GITHUB_STEP_SUMMARY
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,

    /// Append GitHub Classroom's `result=`, as for $GITHUB_OUTPUT
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    pub classroom: Option<PathBuf>,

    /// The program and its arguments. {port}, {port1} to {port4} and {upstream} are
    /// replaced; without them the course's ports are used: 8080, 8001 to 8004, 3000
    #[arg(last = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,

    #[command(flatten)]
    pub limits: Limits,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TierName {
    Core,
    Robust,
}

impl From<TierName> for Tier {
    fn from(name: TierName) -> Tier {
        match name {
            TierName::Core => Tier::Core,
            TierName::Robust => Tier::Robust,
        }
    }
}

impl Arguments {
    pub(super) fn results_file(&self) -> Option<PathBuf> {
        let beside = |all: &Path| all.join("grade-results.jsonl");
        self.results
            .clone()
            .or_else(|| self.all.as_deref().map(beside))
    }
}
