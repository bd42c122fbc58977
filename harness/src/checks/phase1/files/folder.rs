//! The folder whose files are sent.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::data::Pattern;
use crate::failure::{Failure, Verdict};
use crate::trial::{Launch, Trial};

/// A folder that the check makes for itself.
pub struct Folder {
    pub path: PathBuf,
}

impl Folder {
    pub fn new(trial: &Trial, name: &str) -> Verdict<Self> {
        let path = trial.folder().join(name);
        let made = fs::create_dir(&path);
        made.map_err(|error| Failure::grader("make a folder", error))?;
        Ok(Self { path })
    }

    /// A server of files below this folder.
    pub fn serve<'t>(&self, trial: &'t Trial, roles: &[impl AsRef<str>]) -> Launch<'t> {
        let options = ["--public".into(), self.path.clone().into_os_string()];
        trial.launch().options(options).roles(roles)
    }

    pub fn file(&self, name: &str, pattern: Pattern, length: u64) -> Verdict {
        self.write(name, &pattern.bytes(length as usize))
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> Verdict {
        let path = self.path.join(name);
        let written = fs::write(&path, bytes);
        written.map_err(|error| Failure::grader("write a file", error))?;
        self.open_to_all(&path)
    }

    pub fn open_to_all(&self, path: &Path) -> Verdict {
        self.mode(path, 0o644)
    }

    pub fn mode(&self, path: &Path, mode: u32) -> Verdict {
        let set = fs::set_permissions(path, fs::Permissions::from_mode(mode));
        set.map_err(|error| Failure::grader("chmod", error))
    }
}
