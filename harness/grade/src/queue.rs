//! The work: submissions are built and then checked, several at the same time.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::Result;
use harness::interrupt::is_interrupted;
use harness::lock::lock;

use crate::arguments::Arguments;
use crate::progress::Progress;
use crate::report::Reports;
use crate::result::Graded;
use crate::saved::Saved;
use crate::selection::Selection;
use crate::submission::Submission;
use crate::work::{Heard, Work};
use crate::workplace::Workplace;

pub struct Queue<'a> {
    pub arguments: &'a Arguments,
    pub selection: &'a Selection,
    pub workplace: &'a Workplace,
    pub reports: &'a Reports,
    pub saved: &'a Saved,
    pub progress: Progress,
}

/// What is to be done. A submission is opened when no check of an earlier one waits, so that there
/// are only a few copies at a time.
#[derive(Default)]
struct Todo<'w> {
    closed: VecDeque<&'w Work>,
    tasks: VecDeque<(&'w Work, Task)>,
    /// How many tasks are being carried out. They may add further ones, or make some ready.
    in_hand: usize,
}

enum Task {
    /// Copy and build it, then begin its groups of checks.
    Open,
    /// Find out whether the program answers at all, then begin the other checks of the group.
    Group(Vec<usize>),
    Check(usize),
}

impl<'w> Todo<'w> {
    /// The next task that can be carried out now. A check comes after those that it follows from.
    fn next(&mut self) -> Option<(&'w Work, Task)> {
        let is_ready = |(work, task): &(&Work, Task)| match task {
            Task::Check(number) => work.is_ready(*number),
            Task::Open | Task::Group(_) => true,
        };
        match self.tasks.iter().position(is_ready) {
            Some(at) => self.tasks.remove(at),
            None => Some((self.closed.pop_front()?, Task::Open)),
        }
    }
}

impl Queue<'_> {
    pub fn work_through(&self, submissions: Vec<Submission>) -> Result<Vec<Graded>> {
        let limits = &self.arguments.limits;
        let mut all = Vec::new();
        for submission in submissions {
            let checks = self.selection.of(submission.stage).collect();
            let workplace = self.workplace;
            let mut work = Work::new(submission, checks, workplace, limits, self.saved);
            work.settle(workplace)?;
            all.push(work);
        }
        let open: Vec<&Work> = all.iter().filter(|work| !work.is_done()).collect();
        let checks = open.iter().map(|work| work.open_checks().len()).sum();
        self.progress.begin(checks, "checked");
        let todo = Mutex::new(Todo {
            closed: open.into(),
            ..Todo::default()
        });
        let changed = Condvar::new();
        thread::scope(|scope| {
            for _ in 0..self.jobs().min(checks) {
                scope.spawn(|| self.work(&todo, &changed));
            }
        });
        self.progress.end();
        Ok(all.iter().map(Work::graded).collect())
    }

    /// Does one task after the other, until there are none, or until an interrupt.
    fn work<'w>(&self, todo: &Mutex<Todo<'w>>, changed: &Condvar) {
        let mut now = lock(todo);
        while !is_interrupted() {
            let Some((work, task)) = now.next() else {
                if now.in_hand == 0 {
                    break;
                }
                now = changed.wait(now).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            now.in_hand += 1;
            drop(now);
            let further = self.carry_out(work, task);
            if work.is_done() {
                work.close();
            }
            now = lock(todo);
            now.in_hand -= 1;
            now.tasks
                .extend(further.into_iter().map(|task| (work, task)));
            changed.notify_all();
        }
        changed.notify_all(); // those that wait look for the interrupt
    }

    /// Returns what is to be done next for this submission.
    fn carry_out(&self, work: &Work, task: Task) -> Vec<Task> {
        match task {
            Task::Open => {
                self.progress.say(&format!("{}: build", work.name()));
                work.open(self.workplace, &self.arguments.limits, self.saved);
                self.reports.after_each_check(|| work.graded());
                work.groups().into_iter().map(Task::Group).collect()
            }
            Task::Group(checks) => self.begin_group(work, &checks),
            Task::Check(number) => {
                self.check(work, number);
                Vec::new()
            }
        }
    }

    /// Runs the first check. If nothing comes from the program, a second check must confirm it.
    /// Then the others are not run, because each would wait for nothing.
    fn begin_group(&self, work: &Work, checks: &[usize]) -> Vec<Task> {
        let mut silent = None;
        for (at, &number) in checks.iter().enumerate() {
            let others = &checks[at + 1..];
            match (self.check(work, number), silent) {
                (Heard::NotAsked, _) => {}
                (Heard::Nothing, None) => silent = Some(number),
                (Heard::Nothing, Some(first)) => {
                    work.give_up(others, first, self.saved);
                    break;
                }
                (Heard::Something, _) => return others.iter().copied().map(Task::Check).collect(),
            }
        }
        Vec::new()
    }

    fn check(&self, work: &Work, number: usize) -> Heard {
        let (result, heard) = work.check(number, self.workplace);
        if is_interrupted() {
            return Heard::Something; // the interrupt may be why it failed
        }
        self.progress
            .step(&format!("{} {}", work.name(), result.id));
        work.record(number, result, self.saved);
        self.reports.after_each_check(|| work.graded());
        heard
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
