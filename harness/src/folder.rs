//! Copies folders, gives them to a user, and removes them, whatever a program has done to them.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

/// Copies all that is in the folder `from` into the folder `to`: files, folders and
/// symbolic links. What cannot be copied (sockets, pipes, devices) is left out.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            fs::create_dir(&to)?;
            copy_tree(&from, &to)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

/// Makes this user the owner of `path` and of all that is in it, and lets every user
/// read it.
pub fn give(path: &Path, user: u32) -> io::Result<()> {
    lchown(path, Some(user), Some(user))?;
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    let runs = metadata.is_dir() || mode & 0o100 != 0;
    let readable = mode | 0o444 | if runs { 0o111 } else { 0 };
    fs::set_permissions(path, PermissionsExt::from_mode(readable & 0o755))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}

/// Whether every user can reach what is in this folder by this name.
pub fn is_open_to_all(folder: &Path) -> bool {
    let open = |folder: &Path| folder.metadata().is_ok_and(|it| it.mode() & 0o001 != 0);
    let real = fs::canonicalize(folder);
    folder.ancestors().all(open) && real.is_ok_and(|real| real.ancestors().all(open))
}

/// Removes a folder, even if a program has set folders in it to mode 000.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    if fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    open_folders(path)?;
    fs::remove_dir_all(path)
}

fn open_folders(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_same_files_links_and_modes() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("src")).unwrap();
        fs::write(from.path().join("src/run"), "text").unwrap();
        fs::set_permissions(
            from.path().join("src/run"),
            PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        symlink("src/run", from.path().join("link")).unwrap();
        copy_tree(from.path(), to.path()).unwrap();
        let copied = to.path().join("src/run").metadata().unwrap();
        assert_eq!(copied.permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_to_string(to.path().join("link")).unwrap(), "text");
    }

    #[test]
    fn a_closed_folder_is_removed() {
        let top = tempfile::tempdir().unwrap();
        let closed = top.path().join("a/b");
        fs::create_dir_all(&closed).unwrap();
        fs::write(closed.join("file"), "text").unwrap();
        fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
        remove_tree(&top.path().join("a")).unwrap();
        assert!(!top.path().join("a").exists());
    }
}
