//! Counts what happens in a soak, and reports it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::plan::{Act, Fate, Operation, Role, words};
use crate::failure::{Failure, Outcome, Verdict};
use crate::lock::lock;
use crate::process::Figures;

#[derive(Default)]
pub struct Tally {
    operations: AtomicU64,
    compared: AtomicU64,
    exact: AtomicU64,
    faults: Mutex<BTreeMap<String, u64>>,
    /// The first thing that went wrong.
    failure: Mutex<Option<Failure>>,
}

impl Tally {
    pub fn done(&self, operation: &Operation) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        match operation.role {
            Role::NoFile => self.fault("a file that is not there"),
            Role::Proxy if operation.fate != Fate::Echoes => {
                self.fault(&format!("the upstream {}", words(&operation.fate)));
            }
            _ if operation.act != Act::Exchanges => {
                self.fault(&format!("the client {}", words(&operation.act)));
            }
            _ => {}
        }
    }

    pub fn fault(&self, kind: &str) {
        let mut faults = lock(&self.faults);
        *faults.entry(kind.to_owned()).or_default() += 1;
    }

    pub fn compared(&self, bytes: usize) {
        self.exact.fetch_add(1, Ordering::Relaxed);
        self.compared.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn wrong(&self, what: String) {
        self.fail(Failure::new(Outcome::WrongData, what));
    }

    pub fn fail(&self, failure: Failure) {
        let mut first = lock(&self.failure);
        first.get_or_insert(failure);
    }

    pub fn verdict(&self) -> Verdict {
        let first = lock(&self.failure);
        first.clone().map_or(Ok(()), Err)
    }
}

/// What the server used before the soak, at most, and after it.
pub struct Levels {
    pub before: Figures,
    pub peak: Figures,
    pub after: Figures,
}

pub struct Report<'a> {
    pub name: &'a str,
    pub seed: u64,
    pub lasted: Duration,
    pub tally: &'a Tally,
    pub levels: Levels,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            name,
            seed,
            lasted,
            tally,
            levels,
        } = self;
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let row = |f: &mut fmt::Formatter, what: &str, of: fn(&Figures) -> u64| {
            let [before, peak, after] = [&levels.before, &levels.peak, &levels.after].map(of);
            writeln!(
                f,
                "  {what}: {before} before, {peak} at most, {after} after"
            )
        };
        writeln!(f, "{name}: seed {seed}, {:.1} s", lasted.as_secs_f64())?;
        writeln!(f, "  operations: {}", number(&tally.operations))?;
        let (exact, bytes) = (number(&tally.exact), number(&tally.compared));
        writeln!(f, "  byte-exact: {exact} exchanges, {bytes} bytes compared")?;
        row(f, "descriptors", |figures| figures.descriptors as u64)?;
        row(f, "memory in KiB", |figures| figures.rss / 1024)?;
        row(f, "threads", |figures| figures.threads as u64)?;
        writeln!(f, "  faults:")?;
        let faults = lock(&tally.faults);
        faults
            .iter()
            .try_for_each(|(kind, count)| writeln!(f, "    {count:>8}  {kind}"))
    }
}
