//! A file to be sent: [`File`], a [`Source`]; and the folder it must be in, [`PublicFolder`].
//!
//! Owns the descriptor and the place up to which it has been read. Opened by the session of a
//! client, read by its pipe. It never writes and knows no sockets.
//!
//! Reading from a disk may wait: regular files are always "ready", and epoll refuses them. What is
//! in the page cache comes at once; for the rest the whole loop waits for the disk.

use std::fmt;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use log::warn;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::uio::pread;

use crate::core::pipe::{Outcome, Progress, Source, Tools};
use crate::disk::mime::media_type;
use crate::utils::buffer::BufferList;

/// A read into less room than this is not worth its system call.
const LEAST_ROOM: usize = 4096;

/// How often a file is opened again after names on the way to it have been changed meanwhile.
const TRIES: usize = 8;

/// The folder that files are served from. Nothing outside of it is.
pub struct PublicFolder {
    fd: OwnedFd,
}

impl PublicFolder {
    /// # Errors
    /// Says which folder cannot be opened, and why.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty())
            .map_err(|errno| anyhow::anyhow!(errno.desc()))
            .with_context(|| format!("cannot open the public folder {}", path.display()))?;
        Ok(PublicFolder { fd })
    }
}

/// Why there is nothing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileError {
    NotFound,
    /// Outside the public folder, or not to be read by everyone.
    Permission,
    /// A folder, a device, a FIFO, a socket.
    NotAFile,
    Io(Errno),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileError::NotFound => "no such file",
            FileError::Permission => "not a public file",
            FileError::NotAFile => "not a regular file",
            FileError::Io(errno) => errno.desc(),
        })
    }
}

impl std::error::Error for FileError {}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ENOTDIR => FileError::NotFound,
            // EXDEV: the kernel's word for a path that leads out of the folder.
            Errno::EACCES | Errno::EPERM | Errno::EXDEV => FileError::Permission,
            // What open says to a socket, and to a device with nothing behind it.
            Errno::ENXIO | Errno::ENODEV => FileError::NotAFile,
            _ => FileError::Io(errno),
        }
    }
}

/// An open file on its way out.
#[derive(Debug)]
pub struct File {
    fd: OwnedFd,
    offset: u64,
    /// When it was opened. What is appended later is not sent.
    size: u64,
    media_type: &'static str,
}

impl File {
    /// Opens the file at `path` below `public`. What is checked is the descriptor that is read from
    /// later, not the name, which may mean another file by then.
    ///
    /// # Errors
    /// It is not a public file: a [`FileError`] says why.
    pub fn open(public: &PublicFolder, path: &Path) -> Result<Self, FileError> {
        let fd = open_inside(public, path)?;
        let found = fstat(&fd)?;
        if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(FileError::NotAFile);
        }
        // The server may be able to read more than what is meant for everyone.
        if !Mode::from_bits_truncate(found.st_mode).contains(Mode::S_IROTH) {
            return Err(FileError::Permission);
        }
        Ok(File {
            fd,
            offset: 0,
            size: found.st_size.unsigned_abs(),
            media_type: media_type(path),
        })
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What its name says it is, such as `text/plain`.
    pub fn media_type(&self) -> &'static str {
        self.media_type
    }
}

fn open_inside(public: &PublicFolder, path: &Path) -> Result<OwnedFd, FileError> {
    todo!()
}

impl Source for File {
    fn ready(&self) -> bool {
        true
    }

    fn read_into(&mut self, into: &mut BufferList, tools: &mut Tools) -> Outcome {
        todo!()
    }
}
