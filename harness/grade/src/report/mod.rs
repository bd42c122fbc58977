//! Results for readers.

mod classroom;
mod gradescope;
mod json;
mod junit;
pub mod list;
mod summary;
pub mod table;

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use harness::foreign::{self, without_commands};
use harness::host::wants_colors;
use harness::lock::lock;

use crate::arguments::Arguments;
use crate::result::Graded;

/// Where results go besides the terminal.
pub struct Reports {
    json: bool,
    junit: Option<PathBuf>,
    /// Locked, because checks that run at the same time all write it.
    gradescope: Option<Mutex<PathBuf>>,
    summary: Option<PathBuf>,
    classroom: Option<PathBuf>,
    several: bool,
    begun: (SystemTime, Instant),
}

impl Reports {
    /// Opens the files now, so that one that cannot be written is reported before the work.
    pub fn open(arguments: &Arguments) -> Result<Self> {
        let reports = Self {
            json: arguments.json,
            junit: arguments.junit.clone(),
            gradescope: arguments.gradescope.clone().map(Mutex::new),
            summary: arguments.summary.clone(),
            classroom: arguments.classroom.clone(),
            several: arguments.all.is_some(),
            begun: (SystemTime::now(), Instant::now()),
        };
        let files = [
            &arguments.junit,
            &arguments.gradescope,
            &arguments.summary,
            &arguments.classroom,
        ];
        for path in files.into_iter().flatten() {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(reports)
    }

    /// If a run takes too long, Gradescope counts only the results that are already there.
    pub fn after_each_check(&self, graded: impl FnOnce() -> Graded) {
        if let Err(error) = self.write_gradescope(graded) {
            complain(format_args!("{error:#}"));
        }
    }

    fn write_gradescope(&self, graded: impl FnOnce() -> Graded) -> Result<()> {
        let Some(path) = &self.gradescope else {
            return Ok(());
        };
        let path = lock(path);
        // Collected while the lock is held, so the last writer has the most results.
        let text = gradescope::results(&graded(), self.begun.1.elapsed())?;
        replace(&path, text.as_bytes())
    }

    pub fn finish(&self, all: &[Graded]) -> Result<()> {
        let tables = match all {
            [graded] if !self.several => table::one(graded),
            all => table::all(all),
        };
        let shown = match self.json {
            true => print(&mut io::stderr(), &tables)
                .and_then(|()| write(&mut io::stdout(), &json::results(all)?)),
            false => print(&mut io::stdout(), &tables),
        };
        // A report that cannot be written does not cost the others.
        let written = [
            shown,
            self.write_junit(all),
            self.write_last_gradescope(all),
            self.write_summary(all),
            self.write_classroom(all),
        ];
        let failed = written.into_iter().filter_map(Result::err);
        let failed: Vec<String> = failed.map(|error| format!("{error:#}")).collect();
        ensure!(failed.is_empty(), "{}", failed.join("\ngrade: "));
        Ok(())
    }

    fn write_junit(&self, all: &[Graded]) -> Result<()> {
        match &self.junit {
            Some(path) => replace(path, junit::report(all, self.begun.0)?.as_bytes()),
            None => Ok(()),
        }
    }

    fn write_last_gradescope(&self, all: &[Graded]) -> Result<()> {
        match all {
            [graded] => self.write_gradescope(|| graded.clone()),
            _ => Ok(()),
        }
    }

    fn write_summary(&self, all: &[Graded]) -> Result<()> {
        match &self.summary {
            Some(path) => append(path, summary::markdown(all, self.several)),
            None => Ok(()),
        }
    }

    fn write_classroom(&self, all: &[Graded]) -> Result<()> {
        match (&self.classroom, all) {
            (Some(path), [graded]) => append(path, classroom::results(graded)?),
            _ => Ok(()),
        }
    }
}

/// Replaces a file in one step, so that a reader never finds half of it. Its permissions stay: grades
/// may be private. A symbolic link stays, and so does what is no file: `/dev/null`, or a pipe.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let what = || format!("cannot write {}", path.display());
    let old = path.metadata().with_context(what)?;
    if !old.is_file() {
        return append(path, content);
    }
    let path = fs::canonicalize(path).with_context(what)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let mut private = OpenOptions::new();
    private.write(true).create(true).truncate(true).mode(0o600);
    let replaced = private.open(&beside).and_then(|mut part| {
        part.set_permissions(old.permissions())?;
        part.write_all(content)?;
        fs::rename(&beside, &path)
    });
    if replaced.is_err() {
        let _ = fs::remove_file(&beside); // it may not exist
    }
    replaced.with_context(what)
}

fn append(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    let what = || format!("cannot write {}", path.display());
    let mut file = OpenOptions::new()
        .append(true)
        .open(path)
        .with_context(what)?;
    file.write_all(text.as_ref()).with_context(what)
}

/// Says on stderr what went wrong, or what is worth knowing.
pub fn complain(what: std::fmt::Arguments) {
    let text = foreign::text(format!("grade: {what}"));
    let text = match io::stderr().is_terminal() {
        true => table::plain(text).render(table::width_of_terminal(), false),
        false => text + "\n",
    };
    let _ = io::stderr().write_all(text.as_bytes()); // nobody is left to tell
}

/// Prints text for people, in colour on a terminal.
pub fn print(to: &mut (impl Write + IsTerminal), parts: &[table::Part]) -> Result<()> {
    let width = match to.is_terminal() {
        true => table::width_of_terminal(),
        false => table::WIDTH,
    };
    let colors = to.is_terminal() && wants_colors();
    let rendered: String = parts
        .iter()
        .map(|part| part.render(width, colors))
        .collect();
    // Only now it is known where a line begins.
    let lines = rendered.split_inclusive('\n').map(without_commands);
    write(to, &lines.collect::<String>())
}

fn write(to: &mut impl Write, text: &str) -> Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        // A reader that has closed the pipe (`| head`) is not an error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print the results"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use clap::Parser;

    use super::*;
    use harness::stage::Stage;

    #[test]
    fn private_results_stay_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.json");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        replace(&file, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// Four threads finish checks at the same time, and each writes the file again.
    #[test]
    fn with_several_writers_the_newest_results_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.json");
        let option = format!("--gradescope={}", file.display());
        let words = ["grade", "--stage", "1", &option, "--", "program"];
        let reports = Reports::open(&Arguments::parse_from(words)).unwrap();
        let done = Mutex::new(0);
        let graded = || {
            let mut done = done.lock().unwrap();
            *done += 1;
            Graded {
                name: String::new(),
                stage: Stage::Stage01,
                build_failure: Some(done.to_string()),
                left_out: None,
                checks: Vec::new(),
                not_done: Vec::new(),
            }
        };
        let write = || (0..100).try_for_each(|_| reports.write_gradescope(graded));
        thread::scope(|scope| {
            let writers = [(); 4].map(|()| scope.spawn(write));
            for writer in writers {
                writer.join().unwrap().unwrap();
            }
        });
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("built:\\n400"), "{text}");
    }
}
