//! What a process sees of the machine's files: places are hidden, and in them a few are shown.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

/// A change of the view. Later ones see what earlier ones have left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum View {
    /// Nothing is at this place: a folder is empty, and so is a file.
    Hidden(PathBuf),
    /// The file or the folder is there again, read-only.
    Shown(PathBuf),
}

/// Changes what this process sees, in a mount namespace of its own (`mount_namespaces(7)`).
/// A place that does not exist, or that we cannot reach, is left out.
pub fn change(view: &[View]) -> Result<()> {
    // What is to be shown is opened first, because then nothing is hidden yet.
    let mut opened = Vec::new();
    for change in view {
        opened.push(match change {
            View::Shown(path) => open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok(),
            View::Hidden(_) => None,
        });
    }
    for (change, opened) in view.iter().zip(opened) {
        match change {
            View::Hidden(path) => {
                hide(path).with_context(|| format!("hide {}", path.display()))?;
            }
            View::Shown(path) => {
                let Some(opened) = opened else { continue };
                show(path, &opened).with_context(|| format!("show {}", path.display()))?;
            }
        }
    }
    Ok(())
}

const NONE: Option<&str> = None;

/// Mount options of an empty folder: every user may make files in it, where it is not read-only.
const SIZE_AND_MODE: &str = "size=1g,mode=1777";

fn hide(path: &Path) -> Result<()> {
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(());
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let tmpfs = Some("tmpfs");
    match metadata.is_dir() {
        true => mount(tmpfs, path, tmpfs, flags, Some(SIZE_AND_MODE))?,
        false => mount(Some("/dev/null"), path, NONE, MsFlags::MS_BIND, NONE)?,
    }
    Ok(())
}

fn show(path: &Path, opened: &OwnedFd) -> Result<()> {
    let source = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    make_place(path, fs::metadata(&source)?.is_dir()).context("make a place for it")?;
    let with_all_below = MsFlags::MS_BIND | MsFlags::MS_REC;
    match mount(Some(&source), path, NONE, with_all_below, NONE) {
        Err(Errno::ENOENT) | Ok(()) => Ok(()), // it has just been removed
        Err(errno) => Err(errno.into()),
    }
}

/// A mount needs something to be mounted on.
fn make_place(path: &Path, is_folder: bool) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if is_folder {
        return fs::create_dir_all(path);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    File::create(path).map(drop)
}
