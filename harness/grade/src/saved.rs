//! The file of results: each result is saved as soon as it is known, and `--resume` continues
//! from there.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, Utc};
use harness::lock::lock;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::report::complain;
use crate::result::{CheckResult, Status};
use crate::submission::Submission;

pub struct Saved {
    file: Option<Mutex<Writer>>,
    done: HashMap<Key, CheckResult>,
}

struct Writer {
    path: PathBuf,
    /// Locked, so that two graders do not write the same file.
    file: Flock<File>,
    /// Whether a result could not be saved.
    failed: bool,
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

impl Saved {
    /// Without `resume` the file starts empty. The results of an earlier run are not lost: their
    /// file gets another name.
    pub fn open(path: Option<&Path>, resume: bool) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self {
                file: None,
                done: HashMap::new(),
            });
        };
        let what = || {
            format!(
                "cannot write the results to {}; --results FILE chooses another file",
                path.display()
            )
        };
        let mut file = open(path).with_context(what)?;
        let mut done = HashMap::new();
        // Not a pipe or a device, which has nothing to continue from.
        if file.metadata().with_context(what)?.is_file() {
            if resume {
                done = take_over(&mut file).with_context(what)?;
            } else if let Some(aside) = keep_aside(path, &file).with_context(what)? {
                complain(format_args!(
                    "note: the results of an earlier run are now in {}; with --resume the \
                     grader continues such a run",
                    aside.display()
                ));
                file = open(path).with_context(what)?;
            }
        }
        let writer = Writer {
            path: path.to_owned(),
            file,
            failed: false,
        };
        Ok(Self {
            file: Some(Mutex::new(writer)),
            done,
        })
    }

    /// The verdict of an earlier run. What had no verdict then may have one now.
    pub fn done(
        &self,
        submission: &Submission,
        fingerprint: u64,
        check: &str,
    ) -> Option<CheckResult> {
        let done = self.done.get(&Key::new(submission, fingerprint, check));
        done.filter(|result| {
            use Status::{Crashed, Failed, Follows, Passed};
            matches!(result.status, Passed | Failed | Crashed | Follows)
        })
        .cloned()
    }

    pub fn add(&self, submission: &Submission, fingerprint: u64, result: &CheckResult) {
        let line = Line {
            key: Key::new(submission, fingerprint, &result.id),
            result: result.clone(),
        };
        let (Some(file), Ok(text)) = (&self.file, serde_json::to_vec(&line)) else {
            return;
        };
        lock(file).add(text);
    }

    /// Fails if a result could not be saved.
    pub fn expect_complete(&self) -> Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let writer = lock(file);
        let path = writer.path.display();
        ensure!(!writer.failed, "not all results are saved in {path}");
        Ok(())
    }
}

impl Writer {
    fn add(&mut self, mut line: Vec<u8>) {
        line.push(b'\n');
        if self.failed {
            line.insert(0, b'\n'); // ends what was written of the line before
        }
        if let Err(error) = self.file.write_all(&line) {
            if !self.failed {
                let path = self.path.display();
                complain(format_args!("cannot save a result in {path}: {error}"));
            }
            self.failed = true;
        }
    }
}

fn open(path: &Path) -> Result<Flock<File>> {
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).open(path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(file),
        Err((_, Errno::EWOULDBLOCK)) => {
            bail!("another `cargo grade` is writing it: wait until it has ended")
        }
        Err((_, errno)) => Err(io::Error::from(errno)).context("cannot lock it"),
    }
}

/// Reads the results of an earlier run, and cuts off half a line that it has left at the end.
fn take_over(file: &mut File) -> io::Result<HashMap<Key, CheckResult>> {
    let mut earlier = Vec::new();
    file.read_to_end(&mut earlier)?;
    let whole = earlier.iter().rposition(|byte| *byte == b'\n');
    let whole = whole.map_or(0, |end| end + 1);
    file.set_len(whole as u64)?;
    Ok(read(&earlier[..whole]))
}

/// Leaves out lines that are not complete.
fn read(text: &[u8]) -> HashMap<Key, CheckResult> {
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    let keyed = lines.map(|line| {
        let check = line.result.id.clone();
        (Key { check, ..line.key }, line.result)
    });
    keyed.collect()
}

/// Gives a file that is not empty a name with its date: `grade-results-2026-11-28T09-30-00Z.jsonl`.
fn keep_aside(path: &Path, file: &File) -> Result<Option<PathBuf>> {
    let metadata = file.metadata()?;
    if metadata.len() == 0 {
        return Ok(None);
    }
    let path = fs::canonicalize(path)?; // a symbolic link stays
    let date = DateTime::<Utc>::from(metadata.modified().unwrap_or_else(|_| SystemTime::now()));
    let date = date.format("%Y-%m-%dT%H-%M-%SZ");
    let (stem, extension) = (path.file_stem(), path.extension());
    for number in 1..1000 {
        let again = match number {
            1 => String::new(),
            number => format!("-{number}"),
        };
        let mut name = stem.unwrap_or_default().to_owned();
        name.push(format!("-{date}{again}"));
        if let Some(extension) = extension {
            name.push(".");
            name.push(extension);
        }
        let aside = path.with_file_name(name);
        if !aside.exists() {
            fs::rename(&path, &aside)?;
            return Ok(Some(aside));
        }
    }
    bail!("too many earlier results are kept beside it")
}
