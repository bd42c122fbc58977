//! `--gradescope`: the `results.json` of an autograder.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::result::{CheckResult, Graded, Status};

#[derive(Serialize)]
struct Results {
    score: u32,
    /// In seconds.
    execution_time: u64,
    output: String,
    output_format: &'static str,
    visibility: &'static str,
    stdout_visibility: &'static str,
    tests: Vec<Test>,
}

#[derive(Serialize)]
struct Test {
    score: u32,
    max_score: u32,
    status: &'static str,
    name: String,
    number: String,
    output: String,
    output_format: &'static str,
    tags: Vec<String>,
    visibility: &'static str,
}

pub fn results(graded: &Graded, elapsed: Duration) -> Result<String> {
    let counted = graded
        .checks
        .iter()
        .filter(|result| result.status != Status::Skipped);
    let output = match &graded.build_failure {
        Some(words) => format!("The program could not be built:\n{words}"),
        None => format!("{}: {} points", graded.stage, graded.score()),
    };
    let results = Results {
        score: graded.score().score,
        execution_time: elapsed.as_secs(),
        output,
        output_format: "text",
        visibility: "visible",
        // The grader's stdout has nothing that the tests do not have.
        stdout_visibility: "hidden",
        tests: (1..)
            .zip(counted)
            .map(|(number, result)| test(number, result))
            .collect(),
    };
    Ok(serde_json::to_string_pretty(&results)? + "\n")
}

fn test(number: usize, result: &CheckResult) -> Test {
    Test {
        score: result.score,
        max_score: result.points,
        status: match result.status {
            Status::Passed | Status::Skipped => "passed",
            // Gradescope has no word for it. `max_score` is 0, and `output` says why.
            Status::NotCarriedOut => "failed",
            Status::Failed | Status::Crashed | Status::BuildFailed | Status::Follows => "failed",
        },
        name: result.title.clone(),
        number: number.to_string(),
        output: result.text.clone().unwrap_or_default(),
        output_format: "text",
        tags: vec![result.tier.clone(), result.id.clone()],
        visibility: "visible",
    }
}
