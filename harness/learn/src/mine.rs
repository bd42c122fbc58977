//! The student's folder: `my/`, a Cargo workspace of its own, and what is remembered in it.
//!
//! Nothing in it is overwritten without a backup, and a file is replaced in one step
//! (rename(2)), so that an interrupted command leaves the old one or the new one whole.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::starter::Files;

/// Where progress is kept, in the student's folder.
const PROGRESS: &str = ".learn/progress.toml";

/// The student's folder.
pub struct Mine {
    pub folder: PathBuf,
    /// Where this command keeps the files that it replaces.
    backup: PathBuf,
}

/// What the student has done so far, by the name of the stage.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Progress {
    /// The stages in the order in which they were begun.
    #[serde(default)]
    pub begun: Vec<String>,
    #[serde(default)]
    pub stage: BTreeMap<String, Stage>,
}

impl Progress {
    /// The stage that was begun last.
    pub fn current(&self) -> Option<&str> {
        self.begun.last().map(String::as_str)
    }

    /// A stage that is begun.
    pub fn begun(&self, name: &str) -> Result<&Stage> {
        let stage = self.stage.get(name);
        stage.with_context(|| format!("stage {name} is not begun: `cargo learn start {name}`"))
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Stage {
    /// A program in another language, instead of the starter in Rust.
    pub own: Option<Own>,
    /// The numbers of the tasks whose checks were all green, from 1.
    #[serde(default)]
    pub done: BTreeSet<usize>,
    /// The checks and unit tests that were green when they ran last.
    #[serde(default)]
    pub green: BTreeSet<String>,
    /// How many hints of a task were taken, by its number.
    #[serde(default)]
    pub hints: BTreeMap<String, usize>,
}

/// A program that the student has begun without a starter.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Own {
    /// The command and its arguments, with {port} and {upstream} for the ports.
    pub run: Vec<String>,
    /// The shell command that builds it.
    pub build: Option<String>,
    /// The folder in which both are meant.
    pub folder: PathBuf,
}

impl Own {
    /// The command as it can be run anywhere: files of the folder have absolute paths.
    pub fn command(&self) -> Vec<OsString> {
        let absolute = |word: &String| match self.folder.join(word) {
            path if path.is_file() => path.into_os_string(),
            _ => OsString::from(word),
        };
        self.run.iter().map(absolute).collect()
    }

    /// Runs the command that builds it. Whether it has worked.
    pub fn build(&self) -> Result<bool> {
        let Some(build) = &self.build else {
            return Ok(true);
        };
        let mut shell = Command::new("sh");
        shell
            .args(["-c", build])
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        let status = shell
            .status()
            .with_context(|| format!("cannot run `{build}`"))?;
        Ok(status.success())
    }
}

impl Mine {
    /// The folder that `--into` names, or the one that we stand in, or `my/`.
    pub fn find(root: &Path, into: Option<&Path>) -> Result<Mine> {
        if let Some(into) = into {
            return Ok(Mine::at(std::path::absolute(into)?));
        }
        let here = std::env::current_dir().context("cannot tell the current folder")?;
        let mut above = here.ancestors();
        let found = above.find(|folder| folder.join(PROGRESS).is_file());
        Ok(Mine::at(found.map_or(root.join("my"), Path::to_owned)))
    }

    pub fn at(folder: PathBuf) -> Mine {
        let now = DateTime::<Utc>::from(SystemTime::now()).format("%Y-%m-%dT%H-%M-%S%.3f");
        let backup = folder.join(".learn/backup").join(now.to_string());
        Mine { folder, backup }
    }

    pub fn progress(&self) -> Result<Progress> {
        let path = self.folder.join(PROGRESS);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).with_context(|| {
                format!(
                    "cannot read {}; move it away to begin again",
                    path.display()
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Progress::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub fn save(&self, progress: &Progress) -> Result<()> {
        let text = toml::to_string(progress)?;
        replace(&self.folder.join(PROGRESS), text.as_bytes())
    }

    pub fn package(&self, package: &str) -> PathBuf {
        self.folder.join(package)
    }

    /// Makes the workspace, or adds a package to it. The dependencies, the lints and the lock
    /// file are those of the whole repository.
    pub fn make_workspace(&self, root: &Path, package: &str) -> Result<()> {
        let manifest = root.join("Cargo.toml");
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        let mut table: toml::Table = text.parse()?;
        let workspace = table
            .get_mut("workspace")
            .and_then(toml::Value::as_table_mut)
            .context("Cargo.toml has no [workspace]")?;
        let mut members: BTreeSet<String> = self.members().into_iter().collect();
        members.insert(package.to_owned());
        let members: Vec<toml::Value> = members.into_iter().map(toml::Value::String).collect();
        workspace.insert("members".to_owned(), members.into());
        if let Some(harness) = workspace
            .get_mut("dependencies")
            .and_then(|all| all.get_mut("harness"))
            .and_then(toml::Value::as_table_mut)
        {
            let path = root.join("harness").display().to_string();
            harness.insert("path".to_owned(), path.into());
        }
        replace(
            &self.folder.join("Cargo.toml"),
            toml::to_string(&table)?.as_bytes(),
        )?;
        if !self.folder.join("Cargo.lock").exists() {
            let lock = fs::read(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
            replace(&self.folder.join("Cargo.lock"), &lock)?;
        }
        if let Some(alias) = aliases(root) {
            replace(&self.folder.join(".cargo/config.toml"), alias.as_bytes())?;
        }
        replace(
            &self.folder.join(".gitignore"),
            b"/target\n/.learn/backup\n",
        )
    }

    fn members(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let packages = entries.filter(|entry| entry.path().join("Cargo.toml").is_file());
        packages
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    /// Puts a new package into the folder, in one step.
    pub fn add_package(&self, package: &str, files: &Files) -> Result<()> {
        add_folder(&self.package(package), files)
    }

    /// Replaces a file of the student's. Says where the old one is kept.
    pub fn overwrite(&self, file: &Path, bytes: &[u8]) -> Result<Option<PathBuf>> {
        let backup = match fs::read(file) {
            Ok(old) if old == bytes => return Ok(None),
            Ok(old) => {
                let inside = file.strip_prefix(&self.folder).unwrap_or(file);
                let backup = self.backup.join(inside);
                replace(&backup, &old)?;
                Some(backup)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", file.display()));
            }
        };
        replace(file, bytes)?;
        Ok(backup)
    }

    /// Cargo in the student's workspace, for this package.
    pub fn cargo(&self, command: &str, package: &str) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or(OsString::from("cargo"));
        let mut run = Command::new(cargo);
        run.args([command, "-p", package, "--manifest-path"])
            .arg(self.folder.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(self.folder.join("target"))
            .stdin(Stdio::null());
        run
    }

    /// Builds a package with all that it and its tests need. Whether that has worked.
    pub fn build_once(&self, package: &str) -> Result<bool> {
        let mut build = self.cargo("test", package);
        let status = build.arg("--no-run").status().context("cannot run cargo")?;
        Ok(status.success())
    }

    /// Makes the folder a git repository of its own, if git is there, and keeps its state.
    pub fn commit(&self, message: &str) {
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.arg("-C").arg(&self.folder).args(arguments);
            let done = git.stdin(Stdio::null()).output();
            done.is_ok_and(|output| output.status.success())
        };
        let is_new = !self.folder.join(".git").exists();
        if is_new && !git(&["init", "-q"]) {
            return;
        }
        // Only a repository that we have just made is ours to commit to.
        if is_new && git(&["add", "-A"]) {
            let who = [
                "-c",
                "user.name=cargo learn",
                "-c",
                "user.email=learn@localhost",
            ];
            git(&[&who[..], &["commit", "-q", "-m", message]].concat());
        }
    }
}

/// Cargo's commands of this repository, from anywhere in the student's folder. An alias is
/// split at spaces, so there are none if the repository's path has one.
fn aliases(root: &Path) -> Option<String> {
    let manifest = root.join("Cargo.toml").display().to_string();
    if manifest.contains([' ', '"', '\\']) {
        return None;
    }
    let alias =
        |(name, package)| format!("{name} = \"run --manifest-path {manifest} -p {package} --\"\n");
    let tools = [("learn", "harness-learn"), ("grade", "harness-grade")];
    Some(format!("[alias]\n{}", tools.map(alias).concat()))
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// Makes a new folder with these files, in one step: it is there with all of them, or not at all.
pub fn add_folder(folder: &Path, files: &Files) -> Result<()> {
    let above = folder.parent().filter(|it| !it.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new("."));
    make_folder(above)?;
    let new = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(above)
        .with_context(|| format!("cannot make a folder in {}", above.display()))?;
    for (name, bytes) in files {
        let path = new.path().join(name);
        make_folder(path.parent().unwrap_or(new.path()))?;
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    fs::rename(new.path(), folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let _ = new.keep(); // it has its name now
    Ok(())
}

/// Writes a file beside the old one, and puts it in its place.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let written = (|| {
        let mut new = NamedTempFile::with_prefix_in(".learn-", folder)?;
        new.write_all(bytes)?;
        let old = fs::metadata(path).map(|old| old.permissions());
        let permissions = old.unwrap_or(Permissions::from_mode(0o644));
        new.as_file().set_permissions(permissions)?;
        new.as_file().sync_all()?;
        new.persist(path).map_err(|error| error.error)?;
        io::Result::Ok(())
    })();
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The path from the current folder, if it is shorter.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let inside = path.strip_prefix(&here).unwrap_or(path);
    match inside.as_os_str() {
        name if name == OsStr::new("") => ".".to_owned(),
        _ => inside.display().to_string(),
    }
}
