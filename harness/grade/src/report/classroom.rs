//! `--classroom`: the results for GitHub Classroom, a line for each tier: `core=…`.
//!
//! The action `classroom-resources/autograding-grading-reporter` gets such a result in a variable of
//! its environment. It prints the name of each test, and `line N` unless `line_no` is 0; it prints
//! the message of an `error`, but not of a `fail`. For its table some of its versions take all tests
//! of a result for equal, while Classroom adds up the scores: within a tier both come to the same.

use anyhow::{Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use harness::check::Tier;
use serde::Serialize;

use crate::result::{CheckResult, Graded, Status};

/// A string of the environment has at most 128 KiB, with its name (execve(2), "Limits on size of
/// arguments and environment").
const LONGEST: usize = 120_000;

/// How many characters of each message are kept: the first that makes a result short enough.
const MESSAGES: [usize; 5] = [2_000, 1_000, 500, 100, 0];

#[derive(Serialize)]
struct Classroom {
    version: u32,
    status: &'static str,
    max_score: u32,
    tests: Vec<Test>,
}

#[derive(Serialize)]
struct Test {
    name: String,
    status: &'static str,
    score: u32,
    message: String,
    line_no: u32,
    duration: f64,
}

/// Results with all checks, so that a program gets credit for those that pass. A tier that was not
/// asked for has an empty one: the reporter cannot read a variable that is not there.
pub fn results(graded: &Graded) -> Result<String> {
    let lines = Tier::ALL.map(|tier| Ok(format!("{tier}={}\n", encode(graded, tier)?)));
    lines.into_iter().collect()
}

fn encode(graded: &Graded, tier: Tier) -> Result<String> {
    for longest in MESSAGES {
        let json = serde_json::to_vec(&classroom(graded, tier, longest))?;
        let encoded = BASE64_STANDARD.encode(json);
        if encoded.len() <= LONGEST {
            return Ok(encoded);
        }
    }
    bail!("these are too many checks for GitHub Classroom; choose some with --only")
}

fn classroom(graded: &Graded, tier: Tier, longest: usize) -> Classroom {
    let name = tier.to_string();
    let counted = graded
        .checks
        .iter()
        .filter(|result| result.tier == name && result.status != Status::Skipped);
    let tests: Vec<Test> = counted.map(|result| test(result, longest)).collect();
    let worst = |status: &str| tests.iter().any(|test| test.status == status);
    Classroom {
        version: 1,
        status: match (worst("error"), worst("fail")) {
            (true, _) => "error",
            (false, true) => "fail",
            (false, false) => "pass",
        },
        max_score: graded.score_of(tier).points,
        tests,
    }
}

fn test(result: &CheckResult, longest: usize) -> Test {
    let outcome = result.outcome.as_ref();
    let outcome = outcome.map_or(String::new(), |outcome| format!(": {outcome}"));
    let message = result.text.as_deref().unwrap_or_default();
    Test {
        name: format!("{}{outcome}", result.title),
        status: match result.status {
            Status::Passed | Status::Skipped => "pass",
            Status::Failed | Status::Crashed | Status::Follows => "fail",
            Status::BuildFailed | Status::NotCarriedOut => "error",
        },
        score: result.score,
        message: message.chars().take(longest).collect(),
        line_no: 0,
        duration: result.seconds,
    }
}
