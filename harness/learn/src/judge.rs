//! Builds the student's program and judges it: the unit tests of a task, then its checks.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};
use harness::check::Check;
use harness::failure::Failure;
use harness::host::take_usual_umask;
use harness::lock::lock;
use harness::ports;
use harness::program::{Ports, Program};
use harness::run::{Report, run};
use harness::{checks, own_network, suite};

use crate::ladder::{Ladder, Task};
use crate::mine::{Mine, Own};
use crate::{item, starter, terminal};

/// Why a task is not green yet: the first thing to look at.
pub enum Red {
    /// An item is as it was in the starter.
    NotWritten {
        number: String,
        name: String,
        file: PathBuf,
    },
    /// The compiler has said why.
    DoesNotBuild,
    Unit {
        name: String,
        text: String,
    },
    Check {
        check: &'static Check,
        report: Report,
    },
}

/// What became of the unit tests and checks of a task that were run.
#[derive(Default)]
pub struct Judged {
    pub red: Option<Red>,
    /// By their names or ids.
    pub green: BTreeSet<String>,
    /// Those that turned red although nothing is known to be wrong with an earlier one.
    pub failed: BTreeSet<String>,
    /// The ids of checks that cannot run here, with what they need.
    pub not_run: Vec<(String, String)>,
}

pub struct Judge<'a> {
    pub root: &'a Path,
    pub mine: &'a Mine,
    pub ladder: &'a Ladder,
    /// The student's program, if it is not the starter.
    pub own: Option<&'a Own>,
}

impl Judge<'_> {
    /// The first item of the task that is as it was in the starter.
    pub fn not_written(&self, number: usize) -> Result<Option<Red>> {
        if self.own.is_some() {
            return Ok(None);
        }
        let task = &self.ladder.tasks[number];
        let package = self.mine.package(&self.ladder.package);
        for cut in &task.items {
            let path = package.join(&cut.file);
            let read = |path: &Path| {
                std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))
            };
            let reference = read(&self.root.join(&self.ladder.package).join(&cut.file))?;
            let starter = starter::source_at(&reference, self.ladder, &cut.file, number)?;
            // A file that cannot be parsed is left to the compiler's words.
            let Ok(mine) = item::text(&read(&path)?, &cut.item).map(str::to_owned) else {
                continue;
            };
            if item::text(&starter, &cut.item).is_ok_and(|starter| starter == mine) {
                return Ok(Some(Red::NotWritten {
                    number: self.ladder.number(number),
                    name: starter::short_name(&cut.item),
                    file: path,
                }));
            }
        }
        Ok(None)
    }

    /// Builds the program. The compiler's words go to stderr.
    pub fn build(&self) -> Result<bool> {
        if let Some(own) = self.own {
            return own.build();
        }
        let mut build = self.mine.cargo("build", &self.ladder.package);
        build.args(["-q", "--bins"]);
        let status = build.status().context("cannot run cargo")?;
        Ok(status.success())
    }

    /// Runs the unit tests and then the checks of a task, up to the first that fails.
    pub fn judge(&self, task: &Task) -> Result<Judged> {
        let mut judged = Judged::default();
        if !task.units.is_empty() && self.own.is_none() {
            self.units(&task.units, &mut judged)?;
        }
        if judged.red.is_none() {
            self.checks(&self.ladder.checks(task)?, true, &mut judged)?;
        }
        Ok(judged)
    }

    /// Runs the unit tests whose names begin like this.
    fn units(&self, names: &[String], judged: &mut Judged) -> Result<()> {
        let mut test = self.mine.cargo("test", &self.ladder.package);
        test.args(["-q", "--no-fail-fast"]).args(&self.ladder.tests);
        test.args(["--", "--format=pretty", "--color=never"])
            .args(names);
        let output = test.output().context("cannot run cargo")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let results = text.lines().filter_map(|line| {
            let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
            Some((name.trim_end_matches(" - should panic").to_owned(), result))
        });
        let (mut all, mut failed) = (0, Vec::new());
        for (name, result) in results {
            all += 1;
            match result {
                "ok" => drop(judged.green.insert(name)),
                _ => failed.push(name),
            }
        }
        if let Some(name) = failed.first() {
            judged.red = Some(Red::Unit {
                name: name.clone(),
                text: story_of(&text, name),
            });
        } else if all == 0 || !output.status.success() {
            // It does not build, or a test has taken the whole process with it.
            terminal::quote(&String::from_utf8_lossy(&output.stderr));
            judged.red = Some(Red::DoesNotBuild);
        }
        judged.failed.extend(failed);
        Ok(())
    }

    /// Runs checks side by side, each of them once.
    pub fn checks(
        &self,
        checks: &[&'static Check],
        stop_at_red: bool,
        judged: &mut Judged,
    ) -> Result<()> {
        take_usual_umask();
        let program = self.program()?;
        let next = AtomicUsize::new(0);
        let first_red = AtomicUsize::new(usize::MAX);
        let results = Mutex::new(Vec::new());
        let work = || loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(check) = checks.get(at) else { return };
            if stop_at_red && first_red.load(Ordering::Relaxed) < at {
                return;
            }
            let result = match suite::missing(check, &program) {
                Some(need) => Err(need.to_string()),
                None if own_network::is_needed(check, &program) => Ok(self.run_apart(check)),
                None => Ok(run(check, &program)),
            };
            if matches!(result, Ok(Err(_))) {
                first_red.fetch_min(at, Ordering::Relaxed);
            }
            lock(&results).push((at, result));
        };
        thread::scope(|scope| {
            // A check mostly waits, so two of them can share a CPU.
            let cpus = thread::available_parallelism().map_or(1, usize::from);
            // A program of another kind has the same ports each time.
            let workers = if self.own.is_some() { 1 } else { 2 * cpus };
            (0..workers.min(checks.len())).for_each(|_| drop(scope.spawn(work)));
        });
        let mut results = results.into_inner().unwrap_or_else(|it| it.into_inner());
        results.sort_by_key(|(at, _)| *at);
        for (at, result) in results {
            let (check, id) = (checks[at], checks[at].id());
            match result {
                Ok(Ok(())) => drop(judged.green.insert(id)),
                Err(need) => judged.not_run.push((id, need)),
                Ok(Err(report)) => {
                    judged.failed.insert(id);
                    judged.red.get_or_insert(Red::Check { check, report });
                }
            }
        }
        Ok(())
    }

    /// Runs one check, for a process that [`Judge::run_apart`] has started. What has failed is
    /// returned in words.
    pub fn run_one(&self, id: &str) -> Result<(), String> {
        let check = checks::find(id).ok_or_else(|| format!("there is no check {id}"))?;
        take_usual_umask();
        let program = self.program().map_err(|error| format!("{error:#}"))?;
        run(check, &program).map_err(|report| format!("{}\n{}", report.failure, report.story))
    }

    /// Runs a check in a network of its own, by starting this program again.
    fn run_apart(&self, check: &Check) -> Result<(), Report> {
        let id = check.id();
        let mut words: Vec<&OsStr> = ["--into".as_ref(), self.mine.folder.as_os_str()].into();
        words.extend(["run-apart", &self.ladder.name, &id].map(OsStr::new));
        let said = match own_network::start_again(&words) {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => format!("cannot start `unshare`: {error}"),
        };
        let (what, story) = said.split_once("\nsteps:\n").unwrap_or((&said, ""));
        Err(Report {
            failure: Failure::behaviour(what),
            story: format!("steps:\n{story}"),
            hints: Vec::new(), // a task has hints of its own
        })
    }

    /// The program as the checks start it.
    fn program(&self) -> Result<Program> {
        if let Some(own) = self.own {
            let mut command = own.command();
            let ports = ports::choose(&mut command, self.ladder.stage()?, false);
            let ports = ports.map_err(anyhow::Error::msg)?;
            let program = Program::new(command, Ports::Fixed);
            return Ok(Program {
                fixed_ports: Some(ports),
                full_size: false,
                ..program
            });
        }
        let built = |name: &String| self.mine.folder.join("target/debug").join(name);
        let mut program = Program::announced(built(&self.ladder.binary));
        program.full_size = false; // a student waits for the answer
        let companions = self.ladder.companions.iter();
        Ok(companions.fold(program, |program, name| {
            program.companion(name, built(name))
        }))
    }
}

/// What the failed unit test has printed, without libtest's frame.
fn story_of(output: &str, name: &str) -> String {
    let head = format!("---- {name} stdout ----");
    let after = output.split_once(&head).map_or("", |(_, after)| after);
    let text = after.split("\n\n---- ").next().unwrap_or(after);
    let text = text.split("\n\nfailures:\n").next().unwrap_or(text);
    let note = |line: &&str| !line.starts_with("note: run with `RUST_BACKTRACE=1`");
    let lines: Vec<&str> = text.trim().lines().filter(note).collect();
    lines.join("\n")
}
