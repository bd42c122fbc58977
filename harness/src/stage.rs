//! The stages: whose contract a check belongs to.

use std::fmt;
use std::str::FromStr;

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

    /// The first part of the ids of its checks: `stage04`, `phase1`.
    pub fn folder(self) -> &'static str {
        match self {
            Stage::Stage01 => "stage01",
            Stage::Stage02 => "stage02",
            Stage::Stage03 => "stage03",
            Stage::Stage04 => "stage04",
            Stage::Stage05 => "stage05",
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

/// `4`, `stage4`, `stage04`, `phase1`.
impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Stage, String> {
        let number = text.trim_start_matches("stage").trim_start_matches('0');
        let found = Stage::ALL
            .into_iter()
            .find(|stage| stage.number() == number);
        found.ok_or_else(|| {
            let phase1 = matches!(number.parse(), Ok(6..=13));
            let hint = if phase1 {
                "; the course's stages 6 to 13 are graded together as phase1"
            } else {
                ""
            };
            format!("use 1 to 5, or phase1{hint}")
        })
    }
}
