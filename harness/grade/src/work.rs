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
use harness::folder::{give, is_open_to_all, remove_tree};
use harness::foreign;
use harness::interrupt::is_interrupted;
use harness::lock::lock;
use harness::program::FULL;
use harness::stage::Stage;
use harness::{checks, ports};

use crate::files::{Files, hash_file};
use crate::nobody::{NOBODY, can_be_nobody};
use crate::order::{Answer, Limits, Subject, Task};
use crate::result::{CheckResult, Graded};
use crate::saved::Saved;
use crate::submission::{Submission, why_not_runnable};
use crate::workplace::Workplace;

/// A task ends itself at its deadline. One that is late by this much is ended from outside.
const GRACE: Duration = Duration::from_secs(20);

pub struct Work {
    submission: Submission,
    /// The folder for its copy, from [`Work::settle`] on.
    copy: Option<PathBuf>,
    /// The program as it is run here.
    subject: Subject,
    checks: Vec<&'static Check>,
    /// For each check, the numbers of those that it follows from.
    bases: Vec<Vec<usize>>,
    /// A hash of all that a result depends on: when it changes, earlier results do not count.
    fingerprint: u64,
    state: Mutex<State>,
}

/// What came from the program during a check.
#[derive(PartialEq, Eq)]
pub enum Heard {
    Something,
    Nothing,
    /// The check was not run.
    NotAsked,
}

#[derive(Default)]
struct State {
    /// Why there is nothing to check.
    build_failure: Option<String>,
    /// Which of its files are not in the copy.
    left_out: Option<String>,
    /// One for each check. Those of an earlier run are there from the start, and those of checks
    /// that cannot run here.
    results: Vec<Option<CheckResult>>,
}

impl Work {
    pub fn new(
        mut submission: Submission,
        checks: Vec<&'static Check>,
        workplace: &Workplace,
        limits: &Limits,
        saved: &Saved,
    ) -> Self {
        let fingerprint = match fingerprint(&submission, limits) {
            Ok(fingerprint) => fingerprint,
            Err(why) => {
                submission.subject = submission.subject.and(Err(why));
                0
            }
        };
        let subject = submission.subject.clone().unwrap_or_default();
        let program = subject.program();
        let known = |check: &&'static Check| match workplace.missing(check, &program) {
            Some(need) => Some(CheckResult::new(
                check,
                Answer::Skipped(need.to_string()),
                0.0,
            )),
            None => saved.done(&submission, fingerprint, &check.id()),
        };
        let results = checks.iter().map(known).collect();
        let bases = |check: &&'static Check| {
            let is_base = |base: &usize| checks::follows(check, checks[*base]);
            (0..checks.len()).filter(is_base).collect()
        };
        let bases = checks.iter().map(bases).collect();
        Self {
            submission,
            copy: None,
            subject,
            checks,
            bases,
            fingerprint,
            state: Mutex::new(State {
                results,
                ..State::default()
            }),
        }
    }

    pub fn name(&self) -> &str {
        &self.submission.name
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub fn is_done(&self) -> bool {
        self.open_checks().is_empty()
    }

    /// The numbers of the checks that have no result yet.
    pub fn open_checks(&self) -> Vec<usize> {
        let state = self.lock();
        let open = (0..self.checks.len()).filter(|&check| state.results[check].is_none());
        open.collect()
    }

    /// Chooses its folder and its ports. An `Err` means that the machine has a problem.
    pub fn settle(&mut self, workplace: &Workplace) -> Result<()> {
        if self.is_done() || self.submission.subject.is_err() {
            return Ok(());
        }
        let copy = workplace.new_folder()?;
        if self.submission.source.is_some() {
            self.subject.folder = Some(copy.clone());
        } else if can_be_nobody() {
            for word in &mut self.subject.command {
                bring_into_reach(word, &copy).context("cannot copy the program")?;
            }
            give_away(&copy, 0)?;
        }
        self.copy = Some(copy);
        if !self.subject.workspace_options {
            let (command, stage) = (&mut self.subject.command, self.submission.stage);
            let ports = ports::choose(command, stage, workplace.is_isolated());
            let ports = ports.map_err(anyhow::Error::msg)?;
            self.subject.ports = Some((ports.listeners, ports.upstream));
        }
        Ok(())
    }

    /// Makes the copy in which the submission is built and run, and builds it there. If that
    /// fails, all open checks have a result.
    pub fn open(&self, workplace: &Workplace, limits: &Limits, saved: &Saved) {
        let ready = match (
            &self.submission.subject,
            &self.submission.source,
            &self.copy,
        ) {
            (Err(why), ..) => Err(Answer::BuildFailed(format!("nothing to grade: {why}"))),
            (_, Some(source), Some(copy)) => self.copy_and_build(source, copy, workplace, limits),
            _ => Ok(()),
        };
        match ready {
            _ if is_interrupted() => {}
            Err(Answer::BuildFailed(why)) => {
                let left_out = self.lock().left_out.clone();
                let why = match left_out {
                    Some(left_out) => format!("{}\n{left_out}", why.trim_end()),
                    None => why,
                };
                let answer = || Answer::BuildFailed(why.clone());
                self.answer_all(&self.open_checks(), answer, saved);
                self.lock().build_failure = Some(foreign::text(why));
            }
            Err(Answer::Trouble(why)) => {
                let why = format!("the grader could not prepare the program: {why}");
                self.answer_all(&self.open_checks(), || Answer::Trouble(why.clone()), saved);
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Fails with [`Answer::BuildFailed`] if it is the student's fault, and with
    /// [`Answer::Trouble`] if it is not.
    fn copy_and_build(
        &self,
        source: &Path,
        copy: &Path,
        workplace: &Workplace,
        limits: &Limits,
    ) -> Result<(), Answer> {
        let nothing = |why: String| Answer::BuildFailed(format!("nothing to grade: {why}"));
        let trouble = |error: anyhow::Error| Answer::Trouble(format!("{error:#}"));
        let builds = self.submission.build.is_some();
        let limit = limits.submission_size << 20;
        let files = Files::find(source, builds, limit).map_err(nothing)?;
        self.lock().left_out = files.what_is_left_out();
        let copied = files.copy(copy);
        copied
            .context("cannot copy the submission")
            .map_err(trouble)?;
        if let Some(command) = &self.submission.build {
            give_away(copy, NOBODY).map_err(trouble)?;
            build(copy, command, workplace, limits.build_time)?;
        }
        // From here on another user owns the files, so that one run cannot change the next.
        give_away(copy, 0).map_err(trouble)?;
        if builds {
            let built = Files::find(copy, false, limit);
            built.map_err(|why| nothing(format!("after its build {why}")))?;
        }
        let program = self.subject.command.first();
        let why = program.and_then(|program| why_not_runnable(copy, program));
        why.map_or(Ok(()), |why| Err(nothing(why)))
    }

    /// Removes its copy.
    pub fn close(&self) {
        if let Some(copy) = &self.copy {
            let _ = remove_tree(copy); // the workplace removes what is left
        }
    }

    /// The open checks, in groups: if the program answers nothing in two checks of a group, it does
    /// not answer in the others either. The roles of the modular server are different groups. What
    /// follows from a check stands behind it.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
        let mut open = self.open_checks();
        open.sort_by_key(|&number| self.wave(number));
        for number in open {
            let part = part_of(self.checks[number]);
            match groups.iter_mut().find(|(known, _)| *known == part) {
                Some((_, group)) => group.push(number),
                None => groups.push((part, vec![number])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// Gives the checks no points without running them, because nothing came from the program in
    /// this one.
    pub fn give_up(&self, checks: &[usize], silent: usize, saved: &Saved) {
        let base = self.checks[silent].id();
        self.answer_all(checks, || Answer::Follows(base.clone()), saved);
    }

    fn wave(&self, number: usize) -> usize {
        let after = |base: &usize| self.wave(*base) + 1;
        self.bases[number].iter().map(after).max().unwrap_or(0)
    }

    /// Whether all checks that this one follows from have a result.
    pub fn is_ready(&self, number: usize) -> bool {
        let state = self.lock();
        let mut bases = self.bases[number].iter();
        bases.all(|base| state.results[*base].is_some())
    }

    /// The failed check from which this one follows.
    fn cause(&self, number: usize) -> Option<usize> {
        let has_failed = |base: &usize| {
            let state = self.lock();
            let result = state.results[*base].as_ref();
            result.is_some_and(CheckResult::has_failed)
        };
        let mut bases = self.bases[number].iter().copied();
        let base = bases.find(has_failed)?;
        self.cause(base).or(Some(base))
    }

    fn answer_all(&self, checks: &[usize], answer: impl Fn() -> Answer, saved: &Saved) {
        for &number in checks {
            let result = CheckResult::new(self.checks[number], answer(), 0.0);
            self.record(number, result, saved);
        }
    }

    /// Runs a check, unless it follows from one that has failed.
    pub fn check(&self, number: usize, workplace: &Workplace) -> (CheckResult, Heard) {
        let check = self.checks[number];
        if let Some(base) = self.cause(number) {
            let answer = Answer::Follows(self.checks[base].id());
            return (CheckResult::new(check, answer, 0.0), Heard::NotAsked);
        }
        let begun = Instant::now();
        let task = Task::Check {
            id: check.id(),
            subject: self.subject.clone(),
        };
        let answer = workplace.carry_out(task, check.timeout + GRACE);
        let answer = answer.unwrap_or_else(|error| Answer::Trouble(format!("{error:#}")));
        let heard = match &answer {
            Answer::Failed(failed) if failed.silent => Heard::Nothing,
            _ => Heard::Something,
        };
        let seconds = begun.elapsed().as_secs_f64();
        (CheckResult::new(check, answer, seconds), heard)
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
            left_out: state.left_out.clone(),
            checks: state.results.iter().flatten().cloned().collect(),
            not_done: (self.checks.iter().zip(&state.results))
                .filter(|(_, result)| result.is_none())
                .map(|(check, _)| *check)
                .collect(),
        }
    }
}

fn build(folder: &Path, command: &str, workplace: &Workplace, seconds: u64) -> Result<(), Answer> {
    let task = Task::Build {
        folder: folder.to_owned(),
        command: command.to_owned(),
        seconds,
    };
    match workplace.carry_out(task, Duration::from_secs(seconds) + GRACE) {
        Ok(Answer::Done) => Ok(()),
        Ok(Answer::BuildFailed(words)) => Err(Answer::BuildFailed(words)),
        // It was killed, or took too long to end.
        Ok(Answer::Failed(failed)) => Err(Answer::BuildFailed(format!(
            "`{command}`:\n({})",
            failed.what
        ))),
        Ok(Answer::Trouble(words)) => Err(Answer::Trouble(words)),
        Ok(_) => Err(Answer::Trouble("the build has no result".to_owned())),
        Err(error) => Err(Answer::Trouble(format!("{error:#}"))),
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

/// What a check is about, for [`Work::groups`].
fn part_of(check: &Check) -> &'static str {
    match check.stage {
        Stage::Phase1 if check.role.is_empty() => match check.name.split('-').next() {
            Some("echo") => "echo",
            Some("file") => "file",
            _ => "",
        },
        _ => check.role,
    }
}

/// A hash of all that a result depends on: the files, what is run and how, and this grader. Fails
/// with the reason if the files are not fit to be graded.
fn fingerprint(submission: &Submission, limits: &Limits) -> Result<u64, String> {
    let mut hasher = DefaultHasher::new();
    limits.hash(&mut hasher);
    std::env::var_os(FULL).hash(&mut hasher);
    submission.build.hash(&mut hasher);
    submission.subject.hash(&mut hasher);
    if let Ok(grader) = fs::metadata("/proc/self/exe") {
        // Its checks may have changed with it.
        (grader.len(), grader.mtime(), grader.mtime_nsec()).hash(&mut hasher);
    }
    if let Some(source) = &submission.source {
        source.file_name().hash(&mut hasher);
        let builds = submission.build.is_some();
        Files::find(source, builds, limits.submission_size << 20)?.hash(&mut hasher)?;
    } else if let Ok(subject) = &submission.subject {
        for word in &subject.command {
            // `python3` is a link, as a rule.
            if let Some(file) = fs::canonicalize(word).ok().filter(|file| file.is_file()) {
                let hashed = hash_file(&file, &mut hasher);
                hashed.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            }
        }
    }
    Ok(hasher.finish())
}
