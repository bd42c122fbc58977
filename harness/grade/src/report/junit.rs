//! `--junit`: a suite for each submission, a case for each check. JUnit has no points,
//! so they are properties of the case.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use crate::result::{CheckResult, Graded, Status};

pub fn report(all: &[Graded], begun: SystemTime) -> Result<String> {
    let begun = DateTime::<Utc>::from(begun);
    let mut report = Report::new("grade");
    report.set_timestamp(begun);
    report.set_time(Duration::from_secs_f64(
        all.iter().map(Graded::seconds).sum(),
    ));
    for graded in all {
        let mut suite = TestSuite::new(format!("{}: {}", graded.name, graded.stage));
        suite.set_timestamp(begun);
        suite.set_time(Duration::from_secs_f64(graded.seconds()));
        suite.add_property(Property::new("score", graded.score().score.to_string()));
        suite.add_property(Property::new("points", graded.score().points.to_string()));
        if let Some(words) = &graded.build_failure {
            suite.set_system_out(words.as_str());
        }
        suite.add_test_cases(graded.checks.iter().map(|result| case(graded, result)));
        report.add_test_suite(suite);
    }
    report.to_string().context("cannot write JUnit XML")
}

fn case(graded: &Graded, result: &CheckResult) -> TestCase {
    let mut case = TestCase::new(result.id.as_str(), status(result));
    case.set_classname(format!("{}.{}", graded.name, result.tier));
    case.set_time(Duration::from_secs_f64(result.seconds));
    case.add_property(Property::new("score", result.score.to_string()));
    case.add_property(Property::new("points", result.points.to_string()));
    case.add_property(Property::new("title", result.title.as_str()));
    case
}

/// Wrong behaviour is a failure. A crash, a failed build, and a check that could not be
/// carried out are errors.
fn status(result: &CheckResult) -> TestCaseStatus {
    let what = result.what.clone().unwrap_or_default();
    let kind = match result.status {
        Status::Passed => return TestCaseStatus::success(),
        Status::Skipped | Status::Follows => {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_message(what);
            return skipped;
        }
        Status::Failed => NonSuccessKind::Failure,
        Status::Crashed | Status::BuildFailed | Status::NotCarriedOut => NonSuccessKind::Error,
    };
    let outcome = result.outcome.clone().unwrap_or_default();
    let mut failed = TestCaseStatus::non_success(kind);
    failed.set_message(format!("{outcome}: {what}"));
    failed.set_type(outcome);
    if result.status != Status::BuildFailed {
        failed.set_description(result.text.clone().unwrap_or_default());
    }
    failed
}
