//! All measurements of a run. They are interleaved: in each round every contender has one
//! turn.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::host::is_capable_terminal;
use harness::interrupt;
use indicatif::{ProgressBar, ProgressStyle};

use crate::contender::Who;
use crate::machine::Cpus;
use crate::measure::{Conditions, Figures, measure};
use crate::workload::Workload;

/// What to measure, and how.
pub struct Plan {
    pub workloads: Vec<Workload>,
    /// Only these; all when it is empty.
    pub who: Vec<Who>,
    pub rounds: usize,
    pub time: Duration,
    /// How long W10 measures the silence, in its first round.
    pub silence: Duration,
}

/// One contender in one workload.
pub struct Entry {
    pub who: Who,
    pub rounds: Vec<Figures>,
    /// Why a round has no figures.
    pub failure: Option<String>,
}

pub struct Contest {
    pub workload: Workload,
    pub entries: Vec<Entry>,
}

impl Plan {
    fn takes_part(&self, who: Who) -> bool {
        self.who.is_empty() || self.who.contains(&who)
    }

    /// The contenders of a workload that take part and are installed.
    fn contenders(&self, workload: &Workload) -> Vec<Who> {
        let all = workload.who.iter().copied();
        all.filter(|&who| self.takes_part(who) && who.program().is_some())
            .collect()
    }

    /// The contenders that would take part, but are not installed.
    pub fn missing(&self) -> Vec<Who> {
        let all = self.workloads.iter().flat_map(|workload| workload.who);
        let mut missing: Vec<Who> = all
            .copied()
            .filter(|&who| self.takes_part(who) && who.program().is_none())
            .collect();
        missing.sort();
        missing.dedup();
        missing
    }

    pub fn run(&self, cpus: &Cpus) -> Result<Vec<Contest>> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let turns = |workload: &Workload| self.contenders(workload).len() * self.rounds;
        let total: usize = self.workloads.iter().map(turns).sum();
        let bar = match is_capable_terminal() {
            true => ProgressBar::new(total as u64),
            false => ProgressBar::hidden(),
        };
        bar.set_style(ProgressStyle::with_template(
            "{wide_bar} {pos}/{len} {msg}",
        )?);
        let contests = self.workloads.iter();
        let contests = contests.map(|&workload| self.hold(workload, cpus, folder.path(), &bar));
        let contests = contests.collect();
        bar.finish_and_clear();
        contests
    }

    fn hold(
        &self,
        workload: Workload,
        cpus: &Cpus,
        folder: &Path,
        bar: &ProgressBar,
    ) -> Result<Contest> {
        let entry = |who| Entry {
            who,
            rounds: Vec::new(),
            failure: None,
        };
        let mut entries: Vec<Entry> = self.contenders(&workload).into_iter().map(entry).collect();
        for round in 0..self.rounds {
            let first = round == 0;
            let conditions = Conditions {
                cpus: cpus.clone(),
                time: self.time,
                silence: if first {
                    self.silence
                } else {
                    self.silence / 10
                },
                verify: first,
                folder,
            };
            for entry in &mut entries {
                bar.set_message(format!("{} {}", workload.id, entry.who.name()));
                match measure(workload.load, entry.who, &conditions) {
                    Ok(figures) => entry.rounds.push(figures),
                    Err(error) => {
                        interrupt::check()?;
                        bar.suspend(|| eprintln!("{}: {error:#}", workload.id));
                        entry.failure = Some(format!("{error:#}"));
                    }
                }
                bar.inc(1);
            }
        }
        Ok(Contest { workload, entries })
    }
}
