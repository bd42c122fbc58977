//! The files of a submission: which of them count, their fingerprint, and their copy.
//!
//! A student's folder may hold anything: a build of a gigabyte, links to other people's files, pipes,
//! files that cannot be read. The grader reads only plain files in it, and follows no link.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use harness::foreign;
use nix::fcntl::OFlag;

/// Left out, because no program needs them: the history of version control, and what Python writes
/// again.
const NEVER: [&str; 4] = [".git", ".hg", ".svn", "__pycache__"];

/// The most files and folders that a submission may have.
const MOST: usize = 50_000;

/// Where a link may lead besides the submission: the system's programs and libraries.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt"];

/// How many of the files that are left out are named.
const NAMED: usize = 8;

pub struct Files {
    source: PathBuf,
    /// In the order of their paths, so a folder stands before what is in it.
    entries: Vec<Entry>,
    /// What is not copied, and why, apart from [`NEVER`].
    left_out: Vec<String>,
}

struct Entry {
    /// Below the source.
    path: PathBuf,
    kind: Kind,
}

#[derive(Hash)]
enum Kind {
    Folder,
    File { mode: u32, bytes: u64 },
    Link(PathBuf),
}

impl Files {
    /// Looks through a folder. Leaves out build folders if the submission `builds`, because the
    /// build makes them again. Fails with the reason if the whole has more than `limit` bytes.
    pub fn find(source: &Path, builds: bool, limit: u64) -> Result<Self, String> {
        let mut files = Self {
            source: source.to_owned(),
            entries: Vec::new(),
            left_out: Vec::new(),
        };
        fs::read_dir(source).map_err(|error| format!("its folder cannot be read: {error}"))?;
        let mut folders = vec![PathBuf::new()];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            let listed = match fs::read_dir(source.join(&folder)) {
                Ok(listed) => listed,
                Err(error) => {
                    files.leave_out(&folder, &cannot_be_read(&error));
                    continue;
                }
            };
            for entry in listed {
                seen += 1;
                if seen > MOST {
                    return Err(format!("it has more than {MOST} files and folders"));
                }
                let entry = entry.map_err(|error| format!("its folder cannot be read: {error}"))?;
                let path = folder.join(entry.file_name());
                match files.kind_of(&path, builds) {
                    Ok(None) => {}
                    Ok(Some(kind)) => {
                        if matches!(kind, Kind::Folder) {
                            folders.push(path.clone());
                        }
                        files.entries.push(Entry { path, kind });
                    }
                    Err(why) => files.leave_out(&path, &why),
                }
            }
        }
        files
            .entries
            .sort_by(|one, other| one.path.cmp(&other.path));
        files.left_out.sort();
        if files.bytes() > limit {
            return Err(files.too_large(limit));
        }
        Ok(files)
    }

    /// What an entry is, if it counts. Fails with the reason if it cannot be taken.
    fn kind_of(&self, path: &Path, builds: bool) -> Result<Option<Kind>, String> {
        let place = self.source.join(path);
        let metadata = fs::symlink_metadata(&place).map_err(|error| cannot_be_read(&error))?;
        if metadata.is_symlink() {
            let target = fs::read_link(&place).map_err(|error| cannot_be_read(&error))?;
            return match leads_out(path, &target) {
                false => Ok(Some(Kind::Link(target))),
                true => Err(format!(
                    "a link that leads out of the submission, to {}",
                    foreign::line(target.as_os_str().as_encoded_bytes())
                )),
            };
        }
        if metadata.is_dir() {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            return match builds && is_build_folder(&place, name) {
                true => Err("a build folder".to_owned()),
                false => Ok((!NEVER.contains(&name)).then_some(Kind::Folder)),
            };
        }
        if !metadata.is_file() {
            return Err("neither a file nor a folder nor a link".to_owned());
        }
        open(&place).map_err(|error| cannot_be_read(&error))?;
        Ok(Some(Kind::File {
            mode: metadata.permissions().mode() & 0o777,
            bytes: metadata.len(),
        }))
    }

    fn leave_out(&mut self, path: &Path, why: &str) {
        let path = foreign::line(path.as_os_str().as_encoded_bytes());
        self.left_out.push(format!("`{path}` ({why})"));
    }

    fn bytes(&self) -> u64 {
        self.entries.iter().map(Entry::bytes).sum()
    }

    fn too_large(&self, limit: u64) -> String {
        let top = |entry: &Entry| entry.path.iter().next().map(OsStr::to_owned);
        let mut parts: Vec<(u64, Option<_>)> = Vec::new();
        for entry in &self.entries {
            match parts.last_mut() {
                Some((bytes, part)) if *part == top(entry) => *bytes += entry.bytes(),
                _ => parts.push((entry.bytes(), top(entry))),
            }
        }
        let largest = parts.into_iter().max_by_key(|(bytes, _)| *bytes);
        let (bytes, part) = largest.unwrap_or_default();
        format!(
            "it has {} MiB, and at most {} MiB are graded (--submission-size); the largest part is \
             `{}` with {} MiB",
            mebibytes(self.bytes()),
            limit >> 20,
            foreign::line(part.unwrap_or_default().as_encoded_bytes()),
            mebibytes(bytes)
        )
    }

    /// A sentence for people, or nothing.
    pub fn what_is_left_out(&self) -> Option<String> {
        let named = self.left_out.iter().take(NAMED);
        let mut named = named.cloned().collect::<Vec<_>>().join(", ");
        let more = self.left_out.len().saturating_sub(NAMED);
        if more > 0 {
            named += &format!(", and {more} more");
        }
        (!named.is_empty()).then(|| format!("left out of the submission: {named}"))
    }

    /// Adds all that matters to a hash: paths, kinds, contents, permissions, targets of links.
    pub fn hash(&self, hasher: &mut impl Hasher) -> Result<(), String> {
        for entry in &self.entries {
            entry.path.hash(hasher);
            entry.kind.hash(hasher);
            if let Kind::File { .. } = entry.kind {
                let place = self.source.join(&entry.path);
                hash_file(&place, hasher).map_err(|error| {
                    let path = foreign::line(entry.path.as_os_str().as_encoded_bytes());
                    format!("`{path}` cannot be read: {error}")
                })?;
            }
        }
        Ok(())
    }

    /// Copies all into the empty folder `to`.
    pub fn copy(&self, to: &Path) -> io::Result<()> {
        for entry in &self.entries {
            let (from, to) = (self.source.join(&entry.path), to.join(&entry.path));
            match &entry.kind {
                Kind::Folder => fs::create_dir(&to)?,
                Kind::Link(target) => symlink(target, &to)?,
                Kind::File { mode, bytes } => {
                    // Not more than was counted, if the file still grows.
                    let mut from = open(&from)?.take(*bytes);
                    let mut copy = File::create_new(&to)?;
                    io::copy(&mut from, &mut copy)?;
                    copy.set_permissions(PermissionsExt::from_mode(*mode))?;
                }
            }
        }
        Ok(())
    }
}

impl Entry {
    fn bytes(&self) -> u64 {
        match self.kind {
            Kind::File { bytes, .. } => bytes,
            Kind::Folder | Kind::Link(_) => 0,
        }
    }
}

fn cannot_be_read(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Opens a plain file to read. Follows no link, and does not wait for the writer of a pipe.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags.bits()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a file")),
    }
}

/// Adds the content of a file to a hash, piece by piece.
pub fn hash_file(path: &Path, hasher: &mut impl Hasher) -> io::Result<()> {
    let mut file = open(path)?;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(()),
            count => hasher.write(&chunk[..count]),
        }
    }
}

/// Whether a build makes this folder again: Cargo's or Maven's `target`, or a folder of CMake.
fn is_build_folder(folder: &Path, name: &str) -> bool {
    let beside = |file: &str| folder.with_file_name(file).is_file();
    let is_target = name == "target" && (beside("Cargo.toml") || beside("pom.xml"));
    is_target || folder.join("CMakeCache.txt").is_file()
}

/// Whether a link may lead out of the submission. Its target may go up at its beginning only:
/// `a/../..` goes further up than it seems if `a` is a link.
fn leads_out(link: &Path, target: &Path) -> bool {
    if target.is_absolute() {
        let is_plain = !target.components().any(|part| part == Component::ParentDir);
        return !(is_plain && SYSTEM.iter().any(|place| target.starts_with(place)));
    }
    let is_up = |part: &Component| *part == Component::ParentDir;
    let ups = target.components().take_while(is_up).count();
    let goes_up_later = target.components().skip(ups).any(|part| is_up(&part));
    let depth = link.components().count() - 1;
    goes_up_later || ups > depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_may_lead_into_the_submission_or_to_the_system() {
        let leads_out = |link: &str, target: &str| leads_out(Path::new(link), Path::new(target));
        for (link, target) in [
            ("run", "bin/server"),
            ("a/b/link", "../../server"),
            ("a/link", ".."),
            ("venv/bin/python", "/usr/bin/python3"),
            ("to-nothing", "nothing"),
        ] {
            assert!(!leads_out(link, target), "{link} -> {target}");
        }
        for (link, target) in [
            ("link", ".."),
            ("link", "../bela/server"),
            ("a/link", "../../bela/server"),
            ("link", "/etc/shadow"),
            ("link", "/usr/../etc/shadow"),
            ("link", "a/../../bela"),
            ("link", "a/.."),
            ("link", "/"),
        ] {
            assert!(leads_out(link, target), "{link} -> {target}");
        }
    }
}
