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
    after_help = "Exit status: 0 when all core checks passed (with --only: all selected \
                  checks), 1 when some failed, 2 for a wrong command line, 3 when the grader \
                  itself failed, 130 when it was interrupted.\n\nMore in the book: \
                  docs/src/instructors/grading.md"
)]
pub struct Arguments {
    /// The stage whose checks to run: 1 to 5, or phase1
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<Stage>,

    /// Grade each sub-folder of this folder: one for each student
    #[arg(long, value_name = "FOLDER", conflicts_with = "program")]
    pub all: Option<PathBuf>,

    /// List the checks with their tiers and points, and run none of them
    #[arg(long)]
    pub list: bool,

    /// Run only the check with this id, or all checks whose id contains this text; may be
    /// repeated
    #[arg(long, value_name = "ID", action = ArgAction::Append)]
    pub only: Vec<String>,

    /// Run only one tier; may be repeated. Core: what the course asks for; solid: what any
    /// program that is left running must do; robust: what a real program must withstand
    #[arg(long, action = ArgAction::Append)]
    pub tier: Vec<TierName>,

    /// How many checks to run at the same time, each in its own network [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// Continue an interrupted run: skip the checks that already have a result
    #[arg(long)]
    pub resume: bool,

    /// Save each result to this file as soon as it is known [default: with --all,
    /// FOLDER/grade-results.jsonl]
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,

    /// Run the program in a copy of this folder; each check gets a fresh copy
    #[arg(long, value_name = "FOLDER", conflicts_with = "all")]
    pub folder: Option<PathBuf>,

    /// The program takes the same options as this workspace's own and logs its address as
    /// they do: also run the checks that need this
    #[arg(long)]
    pub workspace_options: bool,

    /// Print the results as JSON on stdout; the table then goes to stderr
    #[arg(long)]
    pub json: bool,

    /// Write the results to this file as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// Write the results.json of a Gradescope autograder to this file, again after each check
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    pub gradescope: Option<PathBuf>,

    /// Append a summary in Markdown to this file, for example to $GITHUB_STEP_SUMMARY
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,

    /// Append the results for GitHub Classroom to this file, for example to $GITHUB_OUTPUT: a
    /// line for each tier, core=…, solid=…, robust=…
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    pub classroom: Option<PathBuf>,

    /// Pass this variable of your environment to builds and programs; may be repeated. If its
    /// value is a folder, they can read it
    #[arg(long, value_name = "NAME", action = ArgAction::Append)]
    pub env: Vec<String>,

    /// The program and its arguments. {port}, {port1} to {port4} and {upstream} are replaced
    /// by port numbers. A program without them must use the course's ports: 8080 (phase1:
    /// 8001 to 8004), and 3000 for the upstream
    #[arg(last = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,

    #[command(flatten)]
    pub limits: Limits,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TierName {
    Core,
    Solid,
    Robust,
}

impl From<TierName> for Tier {
    fn from(name: TierName) -> Tier {
        match name {
            TierName::Core => Tier::Core,
            TierName::Solid => Tier::Solid,
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
