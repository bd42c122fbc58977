//! What happens to each new result: the progress bar on the terminal, and the file from
//! which an interrupted run continues.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use harness::host::is_capable_terminal;
use harness::lock::lock;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::report::complain;
use crate::result::{CheckResult, Status};
use crate::submission::Submission;

pub struct Progress {
    file: Option<Mutex<File>>,
    done: HashMap<Key, CheckResult>,
    bar: Mutex<ProgressBar>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    key: Key,
    #[serde(flatten)]
    result: CheckResult,
}

#[derive(PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key {
    submission: String,
    stage: String,
    /// A hash of the student's files, so that a changed submission is graded again.
    fingerprint: String,
    #[serde(skip)]
    check: String,
}

impl Key {
    fn new(submission: &Submission, fingerprint: u64, check: &str) -> Self {
        Self {
            submission: submission.name.clone(),
            stage: submission.stage.number().to_owned(),
            fingerprint: format!("{fingerprint:016x}"),
            check: check.to_owned(),
        }
    }
}

impl Progress {
    /// Without `resume` the file starts empty.
    pub fn open(path: Option<&Path>, resume: bool) -> Result<Self> {
        let mut done = HashMap::new();
        let file = match path {
            Some(path) => {
                let earlier = match resume {
                    true => fs::read_to_string(path).unwrap_or_default(),
                    false => String::new(),
                };
                done = read(&earlier);
                // A run that was killed may have left half a line.
                let whole = earlier.rfind('\n').map_or(0, |end| end + 1);
                let what = || format!("cannot write {}", path.display());
                fs::write(path, &earlier[..whole]).with_context(what)?;
                let file = OpenOptions::new().append(true).open(path);
                Some(Mutex::new(file.with_context(what)?))
            }
            None => None,
        };
        Ok(Self {
            file,
            done,
            bar: Mutex::new(ProgressBar::hidden()),
        })
    }

    /// The result of an earlier run.
    pub fn done(
        &self,
        submission: &Submission,
        fingerprint: u64,
        check: &str,
    ) -> Option<CheckResult> {
        let done = self.done.get(&Key::new(submission, fingerprint, check));
        done.filter(|result| result.status != Status::NotCarriedOut)
            .cloned()
    }

    pub fn add(&self, submission: &Submission, fingerprint: u64, result: &CheckResult) {
        self.step(&format!("{} {}", submission.name, result.id));
        let line = Line {
            key: Key::new(submission, fingerprint, &result.id),
            result: result.clone(),
        };
        let (Some(file), Ok(mut text)) = (&self.file, serde_json::to_vec(&line)) else {
            return;
        };
        text.push(b'\n');
        let mut file = lock(file);
        if let Err(error) = file.write_all(&text) {
            complain(format_args!("cannot save a result: {error}"));
        }
    }

    // --- the progress bar, shown only when stderr is a terminal ---

    pub fn begin(&self, count: usize, verb: &str) {
        let style =
            ProgressStyle::with_template("{bar:24} {pos}/{len} {prefix}, {elapsed}  {wide_msg}");
        let bar = ProgressBar::new(count as u64).with_prefix(verb.to_owned());
        if count > 0
            && is_capable_terminal()
            && let Ok(style) = style
        {
            *self.bar() = bar.with_style(style);
        }
    }

    pub fn step(&self, what: &str) {
        let bar = self.bar();
        bar.set_message(what.to_owned());
        bar.inc(1);
    }

    pub fn end(&self) {
        self.bar().finish_and_clear();
    }

    fn bar(&self) -> std::sync::MutexGuard<'_, ProgressBar> {
        lock(&self.bar)
    }
}

/// Leaves out lines that are not complete, such as the last line of a killed run.
fn read(text: &str) -> HashMap<Key, CheckResult> {
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let keyed = lines.map(|line| {
        let check = line.result.id.clone();
        (Key { check, ..line.key }, line.result)
    });
    keyed.collect()
}
