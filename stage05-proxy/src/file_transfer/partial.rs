//! The file that is being received.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Result, anyhow, bail};
use stage05_proxy::given::words::words;

/// The temporary file. It is in the folder of the real one, because a file cannot be renamed from
/// one file system to another. If it is dropped before it is complete, it is removed.
pub struct Partial {
    path: PathBuf,
    file: File,
    complete: bool,
}

impl Partial {
    pub fn create(out: &Path) -> Result<Partial> {
        // If this were a device or a pipe, the rename would replace it.
        if out.exists() && !out.is_file() {
            bail!("cannot replace {}: not a regular file", out.display());
        }
        let is_folder = out.as_os_str().as_encoded_bytes().ends_with(b"/");
        let Some(name) = out.file_name().filter(|_| !is_folder) else {
            bail!("cannot write {}: not the name of a file", out.display());
        };
        let name = name.to_string_lossy();
        // The new file must never be easier to read than the old one, also while it is not
        // complete. Without an old one it gets what the umask allows, like any new file.
        let mode = if out.exists() { 0o600 } else { 0o666 };
        let mut options = File::options();
        options.write(true).create_new(true).mode(mode);
        let mut number = process::id();
        loop {
            let path = out.with_file_name(format!(".{name}.{number}.part"));
            match options.open(&path) {
                Ok(file) => {
                    let complete = false;
                    return Ok(Partial {
                        path,
                        file,
                        complete,
                    });
                }
                // A server that was killed has left this file. It may have had the same process
                // number: in a container, every server may be process 1.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    number = number.wrapping_add(1);
                }
                Err(error) => bail!("cannot create {}: {}", path.display(), words(&error)),
            }
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| anyhow!("cannot write {}: {}", self.path.display(), words(&error)))
    }

    /// Gives the file its name, and the permissions of the old file. Before that, the bytes must be
    /// on the disk: otherwise the file might be empty after a power cut.
    pub fn put_in_place(mut self, out: &Path) -> Result<()> {
        if let Ok(old) = fs::metadata(out) {
            let _ = self.file.set_permissions(self.like(&old)); // some file systems have none
        }
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, out))
            .map_err(|error| anyhow!("cannot write {}: {}", out.display(), words(&error)))?;
        self.complete = true;
        Ok(())
    }

    /// The permissions of the old file, and its group. If we are not in that group, the group of
    /// the new file may do only what everybody might do with the old one.
    fn like(&self, old: &Metadata) -> Permissions {
        let mut mode = old.mode() & 0o777; // no set-user-ID: that was for the old content
        if fchown(&self.file, None, Some(old.gid())).is_err() {
            let everybody = mode & (mode >> 3) & 0o7;
            mode = (mode & 0o700) | (everybody << 3) | everybody;
        }
        Permissions::from_mode(mode)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.complete {
            let _ = fs::remove_file(&self.path); // if it fails, we cannot help it
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_a_killed_server_left_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("t2.txt");
        let left = Partial::create(&out).unwrap();
        let mut part = Partial::create(&out).unwrap();
        part.write(b"new").unwrap();
        part.put_in_place(&out).unwrap();
        assert_eq!(fs::read(&out).unwrap(), b"new");
        assert!(left.path.exists());
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn the_new_file_is_never_easier_to_read_than_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("t2.txt");
        fs::write(&out, b"old").unwrap();
        for (old, new) in [(0o600, 0o600), (0o644, 0o644), (0o4755, 0o755)] {
            fs::set_permissions(&out, Permissions::from_mode(old)).unwrap();
            let part = Partial::create(&out).unwrap();
            assert_eq!(mode(&part.path), 0o600);
            part.put_in_place(&out).unwrap();
            assert_eq!(mode(&out), new);
        }
    }

    #[test]
    fn without_an_old_file_the_umask_decides() {
        let folder = tempfile::tempdir().unwrap();
        let (out, other) = (folder.path().join("t2.txt"), folder.path().join("other"));
        fs::write(&other, b"").unwrap();
        Partial::create(&out).unwrap().put_in_place(&out).unwrap();
        assert_eq!(mode(&out), mode(&other));
    }
}
