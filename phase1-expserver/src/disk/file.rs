//! A file to be sent: [`File`], a [`Source`]; and the folder it must be in, [`PublicFolder`].
//!
//! Owns the descriptor and the place up to which it has been read. Opened by the session of a
//! client, read by its pipe. It never writes and knows no sockets.
//!
//! Reading from a disk may wait: regular files are always "ready", and epoll refuses them. What is
//! in the page cache comes at once; for the rest the whole loop waits for the disk.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlink};
use nix::libc::off_t;
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::uio::pread;

use crate::disk::mime::media_type;
use crate::flow::{KernelPipe, Outcome, Progress, Resources, Source};
use crate::utils::buffer::{BufferList, LEAST_READ};

/// How often a file is opened again after names on the way to it have been changed meanwhile.
const TRIES: usize = 8;

/// The folder that files are served from. Nothing outside of it is.
pub struct PublicFolder {
    fd: OwnedFd,
}

impl PublicFolder {
    /// Holds on to the folder that is at `path` now, whatever it is called later.
    ///
    /// # Errors
    /// Those of `open(2)`; ENOTDIR if it is not a folder.
    pub fn open(path: &Path) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty())?;
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
    offset: off_t,
    /// When it was opened. What is appended later is not sent.
    size: off_t,
    /// Its file system can do `splice(2)`, for all that is known.
    splices: bool,
    media_type: &'static str,
}

impl File {
    /// Opens the file at `path` below `public`. What is checked is the descriptor that is read from
    /// later, not the name, which may mean another file by then.
    ///
    /// # Errors
    /// It is not a public file: a [`FileError`] says why.
    pub fn open(public: &PublicFolder, path: &Path) -> Result<Self, FileError> {
        File::check(open_inside(public, path)?, path)
    }

    fn check(fd: OwnedFd, path: &Path) -> Result<Self, FileError> {
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
            size: found.st_size,
            splices: true,
            media_type: media_type(path),
        })
    }

    fn left(&self) -> usize {
        usize::try_from(self.size - self.offset).unwrap_or(0)
    }

    /// What its name says it is, such as `text/plain`. Roles send the bytes alone, so only tests ask
    /// for it; a later stage, which answers in HTTP, names it to the client.
    pub fn media_type(&self) -> &'static str {
        self.media_type
    }
}

/// What files are opened with. NONBLOCK: the open of a FIFO would wait for its writer. NOCTTY: a
/// terminal must not become ours.
const FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

fn open_inside(public: &PublicFolder, path: &Path) -> Result<OwnedFd, FileError> {
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(FileError::NotFound); // no name can hold it
    }
    inside_or_else(open_beneath(public, path), || open_checked(public, path))
}

/// What the kernel said, if it knows the question.
fn inside_or_else(
    opened: nix::Result<OwnedFd>,
    fallback: impl FnOnce() -> Result<OwnedFd, FileError>,
) -> Result<OwnedFd, FileError> {
    match opened {
        // Linux before 5.6; or a sandbox that forbids what it does not know (seccomp).
        Err(Errno::ENOSYS | Errno::EPERM) => fallback(),
        opened => Ok(opened?),
    }
}

/// Lets the kernel see to it that no step of the path leads out of the folder (`openat2(2)`): not
/// by `..`, not by a symlink, and not by an absolute one even if it leads back in.
fn open_beneath(public: &PublicFolder, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(FLAGS)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut opened = openat2(&public.fd, path, how);
    for _ in 1..TRIES {
        match opened {
            // EAGAIN: something was renamed just now, and the kernel cannot be sure about a `..`.
            Err(Errno::EAGAIN | Errno::EINTR) => opened = openat2(&public.fd, path, how),
            _ => break,
        }
    }
    opened
}

/// The way without openat2: opens the file, then asks where that is. Not the name is asked about
/// but the descriptor, so nobody can exchange anything in between.
fn open_checked(public: &PublicFolder, path: &Path) -> Result<OwnedFd, FileError> {
    if path.is_absolute() {
        return Err(FileError::Permission); // as the kernel does, wherever it leads
    }
    let fd = openat(&public.fd, path, FLAGS, Mode::empty())?;
    // By component: /public2 is not inside /public.
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
    /// Always: a read from a disk waits, it never says that there is nothing for now.
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
        let read = pread(&self.fd, &mut room[..asked], self.offset);
        into.commit(read.unwrap_or(0), &mut resources.chunks);
        match read {
            Ok(0) => {
                resources.warn("a file has shrunk while it was sent".to_owned());
                Ok(Progress::Broken)
            }
            Ok(count) => {
                self.offset += count as off_t;
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
        let moved = into.fill_from_file(&self.fd, &mut self.offset, left);
        if matches!(moved, Ok(0) | Err(_)) && !into.is_full() && moved != Err(Errno::EINTR) {
            self.splices = false; // it cannot, or there is nothing: a read tells what it is
        }
        Ok(Progress::Moved(moved.unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests;
