//! The work: submissions are built and then checked, several at the same time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;
use harness::interrupt::is_interrupted;

use crate::arguments::Arguments;
use crate::progress::Progress;
use crate::report::Reports;
use crate::result::Graded;
use crate::saved::Saved;
use crate::selection::Selection;
use crate::submission::Submission;
use crate::work::Work;
use crate::workplace::Workplace;

pub struct Queue<'a> {
    pub arguments: &'a Arguments,
    pub selection: &'a Selection,
    pub workplace: &'a Workplace,
    pub reports: &'a Reports,
    pub saved: &'a Saved,
    pub progress: Progress,
}

impl Queue<'_> {
    pub fn work_through(&self, submissions: Vec<Submission>) -> Result<Vec<Graded>> {
        let mut all = Vec::new();
        for submission in submissions {
            let checks = self.selection.of(submission.stage).collect();
            all.push(Work::new(submission, checks, self.saved));
        }
        for work in &mut all {
            work.prepare(self.workplace, self.saved)?;
        }
        self.build(&all);
        self.check(&all);
        Ok(all.iter().map(Work::graded).collect())
    }

    fn build(&self, all: &[Work]) {
        let seconds = self.arguments.limits.build_time;
        let builds: Vec<&Work> = all.iter().filter(|work| work.is_to_be_built()).collect();
        self.progress.begin(builds.len(), "built");
        side_by_side(self.jobs(), &builds, |work| {
            work.build(self.workplace, seconds, self.saved);
            self.progress.step(work.name());
        });
        self.progress.end();
    }

    fn check(&self, all: &[Work]) {
        let tasks = all.iter().flat_map(|work| {
            work.open_checks()
                .into_iter()
                .map(move |check| (work, check))
        });
        let mut tasks: Vec<(&Work, usize)> = tasks.collect();
        self.progress.begin(tasks.len(), "checked");
        // A check is not run if one that it follows from has failed, so those come first.
        tasks.sort_by_key(|(work, check)| work.wave(*check));
        let waves =
            tasks.chunk_by(|(work, check), (next, other)| work.wave(*check) == next.wave(*other));
        waves.for_each(|wave| self.check_wave(wave));
        self.progress.end();
    }

    fn check_wave(&self, tasks: &[(&Work, usize)]) {
        side_by_side(self.jobs(), tasks, |&(work, check)| {
            let result = work.check(check, self.workplace);
            if is_interrupted() {
                return; // the interrupt may be why it failed
            }
            self.progress
                .step(&format!("{} {}", work.name(), result.id));
            work.record(check, result, self.saved);
            self.reports.after_each_check(|| work.graded());
        });
    }

    /// Without networks of their own, programs with the same port must run one after the other.
    fn jobs(&self) -> usize {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        match self.workplace.is_isolated() {
            true => self.arguments.jobs.map_or(cpus, usize::from),
            false => 1,
        }
    }
}

/// What an interrupted run has saved, for its last message.
pub fn what_is_kept(arguments: &Arguments) -> String {
    let kept = |file: PathBuf| {
        format!(
            "the results so far are in {}; --resume continues from there",
            file.display()
        )
    };
    arguments
        .results_file()
        .map_or("these results are not complete".to_owned(), kept)
}

/// Does the tasks in their order, at most `jobs` at a time, until an interrupt.
fn side_by_side<T: Sync>(jobs: usize, tasks: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let take = || {
        tasks
            .get(next.fetch_add(1, Ordering::Relaxed))
            .filter(|_| !is_interrupted())
    };
    thread::scope(|scope| {
        for _ in 0..jobs.min(tasks.len()) {
            scope.spawn(|| {
                while let Some(task) = take() {
                    work(task);
                }
            });
        }
    });
}
