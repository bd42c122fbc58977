//! The file that is being received.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
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
        let mut number = process::id();
        loop {
            let path = out.with_file_name(format!(".{name}.{number}.part"));
            match File::create_new(&path) {
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
            let _ = self.file.set_permissions(old.permissions()); // not every file system has them
        }
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, out))
            .map_err(|error| anyhow!("cannot write {}: {}", out.display(), words(&error)))?;
        self.complete = true;
        Ok(())
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
    use std::os::unix::fs::PermissionsExt;

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

    #[test]
    fn the_new_file_has_the_permissions_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("t2.txt");
        fs::write(&out, b"old").unwrap();
        fs::set_permissions(&out, PermissionsExt::from_mode(0o600)).unwrap();
        Partial::create(&out).unwrap().put_in_place(&out).unwrap();
        let mode = fs::metadata(&out).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
