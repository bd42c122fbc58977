//! A file to be sent: [`File`], a [`Source`]; and the folder that it must be in, [`PublicFolder`].
//!
//! It owns the descriptor and the offset up to which the file has been read. The session of a
//! client opens it, the session's pipe reads it. It never writes and knows no sockets.
//!
//! Reading from a disk can block: regular files are always "ready", and epoll refuses them. A read
//! from the page cache returns immediately; for anything else the whole loop waits for the disk.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlink};
use nix::sys::stat::Mode;

use crate::disk::mime::media_type;
use crate::flow::{KernelPipe, Outcome, Progress, Resources, Source};
use crate::utils::buffer::{BufferList, LEAST_READ};

/// How many times to try to open a file, when names in its path are changed at the same time.
const TRIES: usize = 8;

/// The folder that files are served from. No file outside of it is served.
pub struct PublicFolder {
    fd: OwnedFd,
}

impl PublicFolder {
    /// Opens the folder that is at `path` now. It stays the same folder if it is renamed later.
    ///
    /// # Errors
    /// Those of `open(2)`; ENOTDIR if it is not a folder.
    pub fn open(path: &Path) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty())?;
        Ok(PublicFolder { fd })
    }
}

/// Why a file cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileError {
    NotFound,
    /// Outside the public folder, or not readable by everyone.
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
            // EXDEV: openat2 reports a path that leads out of the folder.
            Errno::EACCES | Errno::EPERM | Errno::EXDEV => FileError::Permission,
            // Opening a socket, or the file of a device that does not exist.
            Errno::ENXIO | Errno::ENODEV => FileError::NotAFile,
            _ => FileError::Io(errno),
        }
    }
}

/// The error of a function of `std`, which is one of the system.
fn errno(error: io::Error) -> Errno {
    Errno::try_from(error).unwrap_or(Errno::EIO)
}

/// An open file that is being sent. It is a file of `std`: there sizes and offsets have 64 bits also
/// on a 32-bit system, where those of `nix` have 32.
#[derive(Debug)]
pub struct File {
    fd: fs::File,
    offset: u64,
    /// Its size when it was opened. What is appended later is not sent. A size of 0 may mean that
    /// the file system does not know it, as in /proc: then the file is read to its end.
    size: u64,
    /// Whether its file system supports `splice(2)`, as far as is known.
    splices: bool,
    media_type: &'static str,
}

impl File {
    /// Opens the file at `path` below `public`. The checks use the descriptor that will be read.
    /// They do not use the name, because by then the name may belong to another file.
    ///
    /// # Errors
    /// It is not a public file: the [`FileError`] says why.
    pub fn open(public: &PublicFolder, path: &Path) -> Result<Self, FileError> {
        File::check(open_inside(public, path)?, path)
    }

    fn check(fd: OwnedFd, path: &Path) -> Result<Self, FileError> {
        let fd = fs::File::from(fd);
        let found = fd.metadata().map_err(errno)?;
        if !found.is_file() {
            return Err(FileError::NotAFile);
        }
        // The server's user may be able to read more than is meant for everyone.
        if !Mode::from_bits_truncate(found.mode()).contains(Mode::S_IROTH) {
            return Err(FileError::Permission);
        }
        Ok(File {
            fd,
            offset: 0,
            size: found.len(),
            splices: true,
            media_type: media_type(path),
        })
    }

    fn left(&self) -> usize {
        match self.size {
            0 => usize::MAX,
            size => usize::try_from(size - self.offset).unwrap_or(usize::MAX),
        }
    }

    /// Whether the file is shorter now than when it was opened. In /sys a file may end before its
    /// size, and has not become shorter.
    fn has_shrunk(&self) -> bool {
        let size = self.fd.metadata().map(|now| now.len());
        size.is_ok_and(|size| size < self.size)
    }

    /// Its media type by its name, such as `text/plain`. The roles send plain bytes, so only tests
    /// use it so far. A later stage, which answers in HTTP, needs it.
    pub fn media_type(&self) -> &'static str {
        self.media_type
    }
}

/// The flags for opening files. NONBLOCK: otherwise, opening a FIFO would wait for its writer.
/// NOCTTY: opening a terminal must not make it our controlling terminal. LARGEFILE: otherwise a
/// 32-bit system refuses files of 2 GiB and more.
const FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_LARGEFILE)
    .union(OFlag::O_CLOEXEC);

fn open_inside(public: &PublicFolder, path: &Path) -> Result<OwnedFd, FileError> {
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(FileError::NotFound); // no file name contains a NUL
    }
    inside_or_else(open_beneath(public, path), || open_checked(public, path))
}

/// The result of openat2 if the kernel supports it, otherwise that of `fallback`.
fn inside_or_else(
    opened: nix::Result<OwnedFd>,
    fallback: impl FnOnce() -> Result<OwnedFd, FileError>,
) -> Result<OwnedFd, FileError> {
    match opened {
        // Linux before 5.6, or a sandbox that forbids unknown system calls (seccomp).
        Err(Errno::ENOSYS | Errno::EPERM) => fallback(),
        opened => Ok(opened?),
    }
}

/// Opens a file with `openat2(2)`: the kernel makes sure that no step of the path leaves the
/// folder, by `..` or by a symlink. It refuses an absolute symlink even if that leads back into the
/// folder.
fn open_beneath(public: &PublicFolder, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(FLAGS)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut opened = openat2(&public.fd, path, how);
    for _ in 1..TRIES {
        match opened {
            // EAGAIN: a rename at the same time made a `..` uncertain for the kernel.
            Err(Errno::EAGAIN | Errno::EINTR) => opened = openat2(&public.fd, path, how),
            _ => break,
        }
    }
    opened
}

/// Opens a file without openat2, then finds out where the opened file is. It asks about the
/// descriptor and not about the name, so a change of names in between does no harm.
fn open_checked(public: &PublicFolder, path: &Path) -> Result<OwnedFd, FileError> {
    if path.is_absolute() {
        return Err(FileError::Permission); // as openat2 does, wherever the path leads
    }
    let fd = openat(&public.fd, path, FLAGS, Mode::empty())?;
    // `starts_with` compares whole components: /public2 is not inside /public.
    if canonical(&fd)?.starts_with(canonical(&public.fd)?) {
        Ok(fd)
    } else {
        Err(FileError::Permission)
    }
}

/// The path of an open file, without symlinks and `..` (`proc(5)`).
fn canonical(fd: &OwnedFd) -> nix::Result<PathBuf> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    readlink(link.as_str()).map(PathBuf::from)
}

impl Source for File {
    /// Always: a read from a disk waits for the disk, it never returns `EAGAIN`.
    fn readable(&self) -> bool {
        true
    }

    fn read_into(&mut self, into: &mut BufferList, resources: &mut Resources) -> Outcome {
        let left = self.left();
        if left == 0 {
            return Ok(Progress::Eof);
        }
        let room = into.room(LEAST_READ, &mut resources.chunks);
        let asked = room.len().min(left);
        let read = self.fd.read_at(&mut room[..asked], self.offset);
        let read = read.map_err(errno);
        into.commit(read.unwrap_or(0), &mut resources.chunks);
        match read {
            Ok(0) if !self.has_shrunk() => Ok(Progress::Eof),
            Ok(0) => {
                resources.warn("A file has shrunk while it was sent".to_owned());
                Ok(Progress::Broken)
            }
            Ok(count) => {
                self.offset += count as u64;
                Ok(Progress::Moved(count))
            }
            Err(Errno::EINTR) => Ok(Progress::Moved(0)),
            Err(errno) => {
                resources.warn(format!("cannot read a file to its end: {}", errno.desc()));
                Ok(Progress::Broken)
            }
        }
    }

    fn splices(&self) -> bool {
        self.splices && self.left() > 0
    }

    fn splice_into(&mut self, into: &mut KernelPipe) -> Outcome {
        let left = self.left();
        let moved = into.fill_from_file(&self.fd, self.offset, left);
        self.offset += moved.unwrap_or(0) as u64;
        if matches!(moved, Ok(0) | Err(_)) && !into.is_full() && moved != Err(Errno::EINTR) {
            self.splices = false; // not supported, or nothing left: `read_into` finds out which
        }
        Ok(Progress::Moved(moved.unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests;
