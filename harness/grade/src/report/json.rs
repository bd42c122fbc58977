//! `--json`: everything, for programs.

use anyhow::Result;
use harness::check::Tier;
use serde::Serialize;

use crate::result::{CheckResult, Graded, Score};

#[derive(Serialize)]
struct Results<'r> {
    version: u32,
    submissions: Vec<Submission<'r>>,
}

#[derive(Serialize)]
struct Submission<'r> {
    name: &'r str,
    stage: &'static str,
    core: Score,
    solid: Score,
    robust: Score,
    total: Score,
    seconds: f64,
    build_failure: Option<&'r str>,
    left_out: Option<&'r str>,
    checks: &'r [CheckResult],
}

pub fn results(all: &[Graded]) -> Result<String> {
    let results = Results {
        version: 1,
        submissions: all.iter().map(Submission::new).collect(),
    };
    Ok(serde_json::to_string_pretty(&results)? + "\n")
}

impl<'r> Submission<'r> {
    fn new(graded: &'r Graded) -> Self {
        Self {
            name: &graded.name,
            stage: graded.stage.number(),
            core: graded.score_of(Tier::Core),
            solid: graded.score_of(Tier::Solid),
            robust: graded.score_of(Tier::Robust),
            total: graded.score(),
            seconds: graded.seconds(),
            build_failure: graded.build_failure.as_deref(),
            left_out: graded.left_out.as_deref(),
            checks: &graded.checks,
        }
    }
}
