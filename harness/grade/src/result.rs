//! The results of the checks, and their points.

use std::fmt;

use harness::check::{Check, Tier};
use harness::foreign;
use harness::stage::Stage;
use serde::{Deserialize, Serialize};

use crate::order::Answer;

/// All results of one program.
#[derive(Clone)]
pub struct Graded {
    /// The student, or the program when there is only one.
    pub name: String,
    pub stage: Stage,
    /// Why it could not be built: the output of the build.
    pub build_failure: Option<String>,
    /// Which of its files were left out, if any.
    pub left_out: Option<String>,
    pub checks: Vec<CheckResult>,
    /// The checks that have no result yet, or were not run because of an interrupt. Their points
    /// count as not reached.
    pub not_done: Vec<&'static Check>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckResult {
    pub id: String,
    pub title: String,
    /// `core`, `solid` or `robust`
    pub tier: String,
    pub status: Status,
    pub score: u32,
    pub points: u32,
    /// `timed out`
    pub outcome: Option<String>,
    /// What happened, in one line. For a skipped check: what it needs.
    pub what: Option<String>,
    /// The whole explanation.
    pub text: Option<String>,
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Passed,
    Failed,
    /// The program crashed, or ended when it should not have.
    Crashed,
    BuildFailed,
    /// Something that the check needs is missing: it does not count.
    Skipped,
    /// It was not run, because a check that it follows from has failed: it has no points.
    Follows,
    /// The grader or the machine is at fault: it does not count either.
    NotCarriedOut,
}

/// The points reached, and the points possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    pub score: u32,
    pub points: u32,
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.points {
            0 => f.pad("-"),
            _ => f.pad(&format!("{}/{}", self.score, self.points)),
        }
    }
}

impl CheckResult {
    pub fn new(check: &Check, answer: Answer, seconds: f64) -> Self {
        let (status, outcome, what, text) = match answer {
            Answer::Passed | Answer::Done => (Status::Passed, None, None, None),
            Answer::Skipped(need) => (Status::Skipped, None, Some(format!("needs {need}")), None),
            Answer::Failed(failed) => {
                let status = if failed.crashed {
                    Status::Crashed
                } else {
                    Status::Failed
                };
                (
                    status,
                    Some(failed.outcome),
                    Some(failed.what),
                    Some(failed.text),
                )
            }
            Answer::Follows(base) => (
                Status::Follows,
                Some(format!("follows from {base}")),
                Some(format!("not run: it follows from {base}")),
                Some(format!(
                    "not run: it follows from {base}, which has failed. Begin there.\n"
                )),
            ),
            Answer::BuildFailed(text) => {
                let outcome = Some("build failed".to_owned());
                (
                    Status::BuildFailed,
                    outcome,
                    text.lines().last().map(str::to_owned),
                    Some(text),
                )
            }
            Answer::Trouble(text) | Answer::NotIsolated(text) => {
                let outcome = Some("the check could not be carried out".to_owned());
                (
                    Status::NotCarriedOut,
                    outcome,
                    text.lines().next().map(str::to_owned),
                    Some(text),
                )
            }
        };
        Self {
            id: check.id(),
            title: check.title.to_owned(),
            tier: check.tier.to_string(),
            status,
            score: if status == Status::Passed {
                check.tier.points()
            } else {
                0
            },
            points: match status {
                Status::Skipped | Status::NotCarriedOut => 0,
                _ => check.tier.points(),
            },
            outcome: outcome.map(foreign::line),
            what: what.map(foreign::line),
            text: text.map(foreign::text),
            seconds,
        }
    }

    pub fn is_core(&self) -> bool {
        self.tier == Tier::Core.to_string()
    }

    /// Whether it counts, and has no points.
    pub fn has_failed(&self) -> bool {
        use Status::{BuildFailed, Crashed, Failed, Follows};
        matches!(self.status, Failed | Crashed | BuildFailed | Follows)
    }
}

impl Graded {
    pub fn score_of(&self, tier: Tier) -> Score {
        let name = tier.to_string();
        let mut score = Score::of(self.checks.iter().filter(|result| result.tier == name));
        let not_done = self.not_done.iter().filter(|check| check.tier == tier);
        score.points += not_done.map(|check| check.tier.points()).sum::<u32>();
        score
    }

    pub fn score(&self) -> Score {
        let add = |sum: Score, tier: Score| Score {
            score: sum.score + tier.score,
            points: sum.points + tier.points,
        };
        let tiers = Tier::ALL.map(|tier| self.score_of(tier));
        tiers.into_iter().fold(Score::default(), add)
    }

    pub fn failed(&self) -> impl Iterator<Item = &CheckResult> {
        self.checks.iter().filter(|result| result.has_failed())
    }

    pub fn skipped(&self) -> impl Iterator<Item = &CheckResult> {
        self.with_status(Status::Skipped)
    }

    pub fn not_carried_out(&self) -> impl Iterator<Item = &CheckResult> {
        self.with_status(Status::NotCarriedOut)
    }

    fn with_status(&self, status: Status) -> impl Iterator<Item = &CheckResult> {
        self.checks
            .iter()
            .filter(move |result| result.status == status)
    }

    pub fn seconds(&self) -> f64 {
        self.checks.iter().map(|result| result.seconds).sum()
    }
}

impl Score {
    pub fn of<'r>(results: impl IntoIterator<Item = &'r CheckResult>) -> Self {
        let add = |sum: Score, result: &CheckResult| Score {
            score: sum.score + result.score,
            points: sum.points + result.points,
        };
        results.into_iter().fold(Score::default(), add)
    }
}
