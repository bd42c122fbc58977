//! A room of its own for each test: programs, a folder for temporary files, and a check that
//! nothing is left at the end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

pub const GRADE: &str = env!("CARGO_BIN_EXE_grade");

pub struct Room {
    folder: TempDir,
}

impl Room {
    /// Open to all users: when root grades, programs run as another user.
    pub fn new() -> Self {
        let open = PermissionsExt::from_mode(0o755);
        let folder = tempfile::Builder::new()
            .permissions(open)
            .tempdir()
            .unwrap();
        let tmp = folder.path().join("tmp");
        fs::create_dir(&tmp).unwrap();
        fs::set_permissions(&tmp, PermissionsExt::from_mode(0o1777)).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Builds a fixture with a fault: `tcp_server`, `FAULT_STALE_BUFFER`.
    pub fn build(&self, source: &str, fault: &str, program: &str) -> PathBuf {
        let path = self.path(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut cc = Command::new("cc");
        if !fault.is_empty() {
            cc.arg(format!("-D{fault}"));
        }
        let output = cc
            .args(["-O1", "-Wall", "-Wextra", "-pthread", "-o"])
            .args([&path, &fixture(source)])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{source} {fault}: {said}");
        path
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// `cargo grade` with this command line, in this room. Words are separated by spaces,
    /// because no path here has one.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(GRADE);
        command.args(line.split_whitespace());
        self.furnish(&mut command);
        command
    }

    pub fn furnish(&self, command: &mut Command) {
        command
            .current_dir(self.folder.path())
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null());
    }

    pub fn grade(&self, line: &str) -> Run {
        Run::of(self.command(line).output().unwrap())
    }

    /// Fails if a program still runs, or a temporary file exists.
    pub fn expect_nothing_left(&self) {
        let left: Vec<PathBuf> = self.temporary_files();
        assert!(
            left.is_empty(),
            "files left in the temporary folder: {left:?}"
        );
        let left = self.processes();
        assert!(left.is_empty(), "still running: {left:?}");
    }

    fn temporary_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The programs that were started from this room and still run.
    pub fn processes(&self) -> Vec<String> {
        let room = self.folder.path().to_string_lossy().into_owned();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        });
        lines
            .filter(|line| line.contains(&room) && !line.contains(GRADE))
            .collect()
    }
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub fn fixture(source: &str) -> PathBuf {
    fixtures().join(format!("{source}.c"))
}

/// Whether programs are graded in namespaces here. Without them, tests would compete for the
/// machine's one port 8080.
pub fn isolates() -> bool {
    static ISOLATES: LazyLock<bool> = LazyLock::new(|| {
        let run = Room::new().grade("--stage 1 --only stage01/reverses-a-line -- /bin/true");
        !run.err.contains("no namespaces")
    });
    *ISOLATES
}

/// What `cargo grade` printed, and how it ended.
#[derive(Debug)]
pub struct Run {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        Self {
            status: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn expect_status(&self, status: i32) -> &Self {
        assert_eq!(self.status, Some(status), "{}\n{}", self.out, self.err);
        self
    }

    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.out);
        parsed.unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    /// The results of the only submission, by id: `passed`, `failed`, `crashed` …
    pub fn statuses(&self) -> Vec<(String, String)> {
        let json = self.json();
        let checks = json["submissions"][0]["checks"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let pairs = checks
            .iter()
            .map(|check| (text(&check["id"]), text(&check["status"])));
        pairs.collect()
    }

    /// The ids of the checks that failed.
    pub fn failed(&self) -> BTreeSet<String> {
        let failed =
            |(_, status): &(String, String)| !matches!(status.as_str(), "passed" | "skipped");
        self.statuses()
            .into_iter()
            .filter(failed)
            .map(|(id, _)| id)
            .collect()
    }
}
