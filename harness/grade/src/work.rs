//! A submission while it is graded: its copy, its ports, its build, its results.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::check::Check;
use harness::folder::{copy_tree, give, is_open_to_all};
use harness::foreign;
use harness::interrupt::is_interrupted;
use harness::lock::lock;
use harness::{checks, ports, suite};

use crate::nobody::{NOBODY, can_be_nobody};
use crate::order::{Answer, Subject, Task};
use crate::result::{CheckResult, Graded};
use crate::saved::Saved;
use crate::submission::Submission;
use crate::workplace::Workplace;

/// A task ends itself at its deadline. One that is late by this much is ended from outside.
const GRACE: Duration = Duration::from_secs(20);

pub struct Work {
    submission: Submission,
    /// The program as it is run here.
    subject: Subject,
    checks: Vec<&'static Check>,
    /// A hash of the student's files: when it changes, earlier results do not count.
    fingerprint: u64,
    state: Mutex<State>,
}

struct State {
    /// Why there is nothing to check.
    build_failure: Option<String>,
    /// One for each check; those of an earlier run are there from the start.
    results: Vec<Option<CheckResult>>,
}

impl Work {
    pub fn new(submission: Submission, checks: Vec<&'static Check>, saved: &Saved) -> Self {
        let source = submission.source.as_deref();
        let fingerprint = source.map_or(0, |source| fingerprint(source).unwrap_or_default());
        let done = |check: &&Check| saved.done(&submission, fingerprint, &check.id());
        let results: Vec<_> = checks.iter().map(done).collect();
        let state = State {
            build_failure: None,
            results,
        };
        Self {
            subject: submission.subject.clone().unwrap_or_default(),
            submission,
            checks,
            fingerprint,
            state: Mutex::new(state),
        }
    }

    pub fn name(&self) -> &str {
        &self.submission.name
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The numbers of the checks that have no result yet.
    pub fn open_checks(&self) -> Vec<usize> {
        let state = self.lock();
        let open = (0..self.checks.len()).filter(|&check| state.results[check].is_none());
        open.collect()
    }

    /// Makes the copy in which the submission is built and run. If the submission is wrong,
    /// that becomes its result; an `Err` means that the machine has a problem.
    pub fn prepare(&mut self, workplace: &Workplace, saved: &Saved) -> Result<()> {
        if self.open_checks().is_empty() {
            return Ok(());
        }
        if let Err(why) = &self.submission.subject {
            self.give_up(&format!("nothing to grade: {why}"), saved);
            return Ok(());
        }
        let copy = workplace.new_folder()?;
        if let Some(source) = self.submission.source.clone() {
            if let Err(error) = copy_tree(&source, &copy) {
                self.give_up(&format!("cannot copy {}: {error}", source.display()), saved);
                return Ok(());
            }
            self.subject.folder = Some(copy.clone());
        } else if can_be_nobody() {
            for word in &mut self.subject.command {
                bring_into_reach(word, &copy).context("cannot copy the program")?;
            }
        }
        let owner = if self.submission.build.is_some() {
            NOBODY
        } else {
            0
        };
        give_away(&copy, owner)?;
        if !self.subject.workspace_options {
            let (command, stage) = (&mut self.subject.command, self.submission.stage);
            let ports = ports::choose(command, stage, workplace.is_isolated());
            let ports = ports.map_err(anyhow::Error::msg)?;
            self.subject.ports = Some((ports.listeners, ports.upstream));
        }
        Ok(())
    }

    pub fn is_to_be_built(&self) -> bool {
        self.submission.build.is_some() && !self.open_checks().is_empty()
    }

    pub fn build(&self, workplace: &Workplace, seconds: u64, saved: &Saved) {
        let (Some(folder), Some(command)) = (&self.subject.folder, &self.submission.build) else {
            return;
        };
        let task = Task::Build {
            folder: folder.clone(),
            command: command.clone(),
            seconds,
        };
        let answer = workplace.carry_out(task, Duration::from_secs(seconds) + GRACE);
        // From here on another user owns the files, so that one run cannot change the next.
        let owned = give_away(folder, 0);
        match answer.and_then(|answer| owned.map(|()| answer)) {
            _ if is_interrupted() => {}
            Ok(Answer::Done) => {}
            Ok(Answer::BuildFailed(words)) => self.give_up(&words, saved),
            // It was killed, or took too long to end.
            Ok(Answer::Failed(failed)) => {
                self.give_up(&format!("`{command}`:\n({})", failed.what), saved)
            }
            Ok(Answer::Trouble(words)) => self.put_off(&words, saved),
            Ok(_) => self.put_off("the build has no result", saved),
            Err(error) => self.put_off(&format!("{error:#}"), saved),
        }
    }

    /// There is nothing to check, and that is the student's fault.
    fn give_up(&self, why: &str, saved: &Saved) {
        self.answer_all(|| Answer::BuildFailed(why.to_owned()), saved);
        self.lock().build_failure = Some(foreign::text(why));
    }

    /// There is nothing to check, and that is the fault of the grader or of the machine.
    fn put_off(&self, why: &str, saved: &Saved) {
        let why = format!("the grader could not build the program: {why}");
        self.answer_all(|| Answer::Trouble(why.clone()), saved);
    }

    /// Gives all open checks the same answer, except those that could not run anyway.
    fn answer_all(&self, answer: impl Fn() -> Answer, saved: &Saved) {
        let program = self.subject.program();
        for number in self.open_checks() {
            let check = self.checks[number];
            let answer = match suite::missing(check, &program) {
                Some(need) => Answer::Skipped(need.to_string()),
                None => answer(),
            };
            self.record(number, CheckResult::new(check, answer, 0.0), saved);
        }
    }

    /// The numbers of the checks that this one follows from.
    fn bases(&self, number: usize) -> impl Iterator<Item = usize> {
        let follows = move |base: &usize| checks::follows(self.checks[number], self.checks[*base]);
        (0..self.checks.len()).filter(follows)
    }

    /// A check belongs to a later wave than those that it follows from.
    pub fn wave(&self, number: usize) -> usize {
        let after = |base| self.wave(base) + 1;
        self.bases(number).map(after).max().unwrap_or(0)
    }

    /// The failed check from which this one follows.
    fn cause(&self, number: usize) -> Option<String> {
        let has_failed = |base: &usize| {
            let state = self.lock();
            state.results[*base]
                .as_ref()
                .is_some_and(CheckResult::has_failed)
        };
        let base = self.bases(number).find(has_failed)?;
        self.cause(base).or_else(|| Some(self.checks[base].id()))
    }

    pub fn check(&self, number: usize, workplace: &Workplace) -> CheckResult {
        let check = self.checks[number];
        if let (Some(base), None) = (
            self.cause(number),
            suite::missing(check, &self.subject.program()),
        ) {
            return CheckResult::new(check, Answer::Follows(base), 0.0);
        }
        let begun = Instant::now();
        let task = Task::Check {
            id: check.id(),
            subject: self.subject.clone(),
        };
        let answer = workplace.carry_out(task, check.timeout + GRACE);
        let answer = answer.unwrap_or_else(|error| Answer::Trouble(format!("{error:#}")));
        CheckResult::new(check, answer, begun.elapsed().as_secs_f64())
    }

    pub fn record(&self, number: usize, result: CheckResult, saved: &Saved) {
        saved.add(&self.submission, self.fingerprint, &result);
        self.lock().results[number] = Some(result);
    }

    pub fn graded(&self) -> Graded {
        let state = self.lock();
        Graded {
            name: self.submission.name.clone(),
            stage: self.submission.stage,
            build_failure: state.build_failure.clone(),
            checks: state.results.iter().flatten().cloned().collect(),
            not_done: state
                .results
                .iter()
                .filter(|result| result.is_none())
                .count(),
        }
    }
}

/// Changes the owner of a folder, when programs run as another user than the grader.
fn give_away(folder: &Path, user: u32) -> Result<()> {
    if !can_be_nobody() {
        return Ok(());
    }
    give(folder, user).with_context(|| format!("cannot change the owner of {}", folder.display()))
}

/// Copies a program, or a file on its command line, that only root can reach.
fn bring_into_reach(word: &mut OsString, folder: &Path) -> io::Result<()> {
    let path = PathBuf::from(&*word);
    let Some(name) = path
        .file_name()
        .filter(|_| path.is_absolute() && path.is_file())
    else {
        return Ok(());
    };
    let is_in_reach = |path: &Path| {
        let readable = path.metadata().is_ok_and(|it| it.mode() & 0o004 != 0);
        readable && path.parent().is_some_and(is_open_to_all)
    };
    if is_in_reach(&path) {
        return Ok(());
    }
    let copy = folder.join(name);
    fs::copy(&path, &copy)?;
    *word = copy.into();
    Ok(())
}

/// A hash of the names and the contents of all files in a folder.
fn fingerprint(folder: &Path) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        entry.file_name().hash(&mut hasher);
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fingerprint(&entry.path())?.hash(&mut hasher);
        } else if kind.is_file() {
            fs::read(entry.path())?.hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}
