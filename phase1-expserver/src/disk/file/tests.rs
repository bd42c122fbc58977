use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::*;
use crate::utils::buffer::CHUNK;
use crate::utils::logger::Transcript;

const SAMPLE: &[u8] = b"a sample\n";

/// A public folder with all kinds of files in it, and others beside it.
fn house() -> (TempDir, PublicFolder) {
    let house = TempDir::new().unwrap();
    let at = |name: &str| house.path().join(name);
    for folder in ["public", "public/sub", "public2"] {
        fs::create_dir(at(folder)).unwrap();
    }
    for file in [
        "public/sample.txt",
        "public/sub/inner.html",
        "public/private.txt",
        "public/two\nlines",
        "public2/other.txt",
        "secret.txt",
    ] {
        fs::write(at(file), SAMPLE).unwrap();
        fs::set_permissions(at(file), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(at("public/private.txt"), fs::Permissions::from_mode(0o640)).unwrap();
    mkfifo(&at("public/fifo"), Mode::from_bits_truncate(0o644)).unwrap();
    UnixListener::bind(at("public/socket")).unwrap();
    symlink("sample.txt", at("public/to-sample")).unwrap();
    symlink("sub/../sample.txt", at("public/to-sample-by-sub")).unwrap();
    symlink("../secret.txt", at("public/to-secret")).unwrap();
    symlink("../public2/other.txt", at("public/to-public2")).unwrap();
    symlink(at("secret.txt"), at("public/to-secret-absolute")).unwrap();
    symlink("/dev/zero", at("public/to-device")).unwrap();
    symlink("..", at("public/to-parent")).unwrap();
    symlink("loop", at("public/loop")).unwrap();
    let public = PublicFolder::open(&at("public")).unwrap();
    (house, public)
}

fn by_kernel(public: &PublicFolder, path: &Path) -> Result<File, FileError> {
    File::check(open_beneath(public, path)?, path)
}

fn by_check(public: &PublicFolder, path: &Path) -> Result<File, FileError> {
    File::check(open_checked(public, path)?, path)
}

/// If openat2 is missing, or a sandbox forbids it, only the fallback can be tested.
fn has_openat2(public: &PublicFolder) -> bool {
    let asked = open_beneath(public, Path::new("."));
    !matches!(asked, Err(Errno::ENOSYS | Errno::EPERM))
}

/// Runs `check` with both ways to stay inside the folder, and with the one that `File::open` uses.
fn each_way(check: impl Fn(&str, &dyn Fn(&Path) -> Result<File, FileError>)) {
    let (_house, public) = house();
    if has_openat2(&public) {
        check("by kernel", &|path| by_kernel(&public, path));
    }
    check("by check", &|path| by_check(&public, path));
    check("open", &|path| File::open(&public, path));
}

fn read_one(file: &mut File) -> (Outcome, Vec<u8>) {
    let mut resources = Resources::new(Transcript::default());
    let mut list = BufferList::new();
    let outcome = file.read_into(&mut list, &mut resources);
    let bytes = list.front().to_vec();
    list.clear(&mut resources.chunks);
    assert_eq!(resources.chunks.lent(), 0);
    (outcome, bytes)
}

fn read_all(file: &mut File) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        assert!(file.readable());
        match read_one(file) {
            (Ok(Progress::Moved(count)), bytes) => {
                assert_eq!((count, count > 0), (bytes.len(), true));
                all.extend(bytes);
            }
            (outcome, _) => {
                assert_eq!(outcome, Ok(Progress::Eof));
                return all;
            }
        }
    }
}

/// A public folder with one file of this content.
fn one_file(content: &[u8]) -> (TempDir, PathBuf, File) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file.txt");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let public = PublicFolder::open(folder.path()).unwrap();
    let file = File::open(&public, Path::new("file.txt")).unwrap();
    (folder, path, file)
}

#[test]
fn public_files_are_served() {
    each_way(|way, open| {
        for name in [
            "sample.txt",
            "./sub/../sample.txt",
            "sub/inner.html",
            "two\nlines",
            "to-sample",
            "to-sample-by-sub",
        ] {
            let mut file = open(Path::new(name)).expect(name);
            assert_eq!(read_all(&mut file), SAMPLE, "{name} {way}");
        }
        assert_eq!(
            open(Path::new("sub/inner.html")).unwrap().media_type(),
            "text/html"
        );
    });
}

#[test]
fn nothing_else_is() {
    use FileError::{NotAFile, NotFound, Permission};
    each_way(|way, open| {
        for (name, expected) in [
            ("missing", NotFound),
            ("sample.txt/below", NotFound),
            ("", NotFound),
            ("sub", NotAFile),
            (".", NotAFile),
            ("fifo", NotAFile),
            ("socket", NotAFile),
            ("private.txt", Permission),
            ("../secret.txt", Permission),
            ("sub/../../secret.txt", Permission),
            ("../public2/other.txt", Permission),
            ("to-secret", Permission),
            ("to-secret-absolute", Permission),
            ("to-public2", Permission),
            ("to-device", Permission),
            ("to-parent/secret.txt", Permission),
            ("/etc/passwd", Permission),
            ("/dev/zero", Permission),
            ("/proc/self/exe", Permission),
            ("loop", FileError::Io(Errno::ELOOP)),
        ] {
            assert_eq!(open(Path::new(name)).err(), Some(expected), "{name} {way}");
        }
    });
    let (_house, public) = house();
    let nul = Path::new(OsStr::from_bytes(b"sample.txt\0.html"));
    assert_eq!(File::open(&public, nul).err(), Some(NotFound));
}

/// The two ways differ: the kernel checks each step of a path, the fallback only where it ends.
#[test]
fn the_kernel_lets_no_path_leave_the_folder_not_even_to_come_back() {
    let (house, public) = house();
    let has_openat2 = has_openat2(&public);
    let sample = house.path().join("public/sample.txt");
    symlink(&sample, house.path().join("public/absolute")).unwrap();
    for name in ["absolute", "../public/sample.txt"] {
        let refused = by_kernel(&public, Path::new(name));
        if has_openat2 {
            assert_eq!(refused.err(), Some(FileError::Permission), "{name}");
        }
        assert!(by_check(&public, Path::new(name)).is_ok(), "{name}");
    }
    // The fallback refuses an absolute path as well, which would not be looked up in the folder.
    let refused = by_check(&public, &sample);
    assert_eq!(refused.err(), Some(FileError::Permission));
}

#[test]
fn without_the_system_call_the_descriptor_is_checked() {
    let (_house, public) = house();
    let fallback = || open_checked(&public, Path::new("sample.txt"));
    for errno in [Errno::ENOSYS, Errno::EPERM] {
        assert!(inside_or_else(Err(errno), fallback).is_ok(), "{errno}");
    }
    let opened = inside_or_else(Err(Errno::EXDEV), fallback);
    assert_eq!(opened.err(), Some(FileError::Permission));
    let opened = inside_or_else(Err(Errno::ENOENT), fallback);
    assert_eq!(opened.err(), Some(FileError::NotFound));
}

#[test]
fn the_folder_is_the_one_that_was_opened() {
    let (house, public) = house();
    let old = house.path().join("public");
    let new = house.path().join("renamed");
    fs::rename(&old, &new).unwrap();
    symlink("public2", &old).unwrap();
    for open in [File::open, by_check] {
        assert!(open(&public, Path::new("sample.txt")).is_ok());
        let other = open(&public, Path::new("other.txt"));
        assert_eq!(other.err(), Some(FileError::NotFound));
    }
}

#[test]
fn a_public_folder_is_a_folder() {
    let (house, _public) = house();
    let open = |name: &str| PublicFolder::open(&house.path().join(name)).err();
    assert_eq!(open("missing"), Some(Errno::ENOENT));
    assert_eq!(open("secret.txt"), Some(Errno::ENOTDIR));
}

#[test]
fn lack_of_descriptors_is_recognised() {
    assert_eq!(FileError::from(Errno::EMFILE), FileError::Io(Errno::EMFILE));
    assert_eq!(FileError::NotFound.to_string(), "no such file");
}

#[test]
fn a_file_is_sent_whole() {
    let content: Vec<u8> = (0..3 * CHUNK + 17).map(|at| (at % 251) as u8).collect();
    let (_folder, _, mut file) = one_file(&content);
    assert!(read_all(&mut file) == content);
    let (_folder, _, mut file) = one_file(b"");
    assert_eq!(read_one(&mut file).0, Ok(Progress::Eof));
}

/// The kernel makes these files when they are read. In /proc their size is 0, in /sys it is 4,096.
#[test]
fn a_file_whose_size_is_not_known_is_sent_whole() {
    for path in [
        "/proc/version",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ] {
        let path = Path::new(path);
        let Ok(content) = fs::read(path) else {
            continue; // not on this machine
        };
        let public = PublicFolder::open(path.parent().unwrap()).unwrap();
        let mut file = File::open(&public, Path::new(path.file_name().unwrap())).unwrap();
        assert!(read_all(&mut file) == content, "{}", path.display());
    }
}

#[test]
fn what_is_appended_meanwhile_is_not_sent() {
    let (_folder, path, mut file) = one_file(&[7; CHUNK + 5]);
    read_one(&mut file).0.unwrap();
    let mut end = fs::OpenOptions::new().append(true).open(path).unwrap();
    end.write_all(b"more").unwrap();
    assert_eq!(read_all(&mut file), [7; 5]);
}

#[test]
fn a_file_that_shrinks_meanwhile_is_broken() {
    let (_folder, path, mut file) = one_file(&[7; 2 * CHUNK]);
    read_one(&mut file).0.unwrap();
    let shrunk = fs::OpenOptions::new().write(true).open(path).unwrap();
    shrunk.set_len(CHUNK as u64 + 3).unwrap();
    assert_eq!(read_one(&mut file), (Ok(Progress::Moved(3)), vec![7; 3]));
    assert_eq!(read_one(&mut file).0, Ok(Progress::Broken), "not the end");
}

#[test]
fn a_file_that_is_replaced_meanwhile_is_sent_as_it_was() {
    let (folder, path, mut file) = one_file(&[7; CHUNK + 5]);
    read_one(&mut file).0.unwrap();
    let new = folder.path().join("new");
    fs::write(&new, [8; CHUNK + 9]).unwrap();
    fs::rename(new, path).unwrap();
    assert_eq!(read_all(&mut file), [7; 5]);
}

#[test]
fn a_file_may_be_larger_than_4_gib() {
    let (folder, path, _) = one_file(b"beginning");
    let size = (5 << 30) + 3;
    let sparse = fs::OpenOptions::new().write(true).open(path).unwrap();
    sparse.write_all_at(b"the end", size - 7).unwrap();
    let public = PublicFolder::open(folder.path()).unwrap();
    let mut file = File::open(&public, Path::new("file.txt")).unwrap();
    assert_eq!(file.size, size);
    let (outcome, bytes) = read_one(&mut file);
    assert_eq!(
        outcome,
        Ok(Progress::Moved(CHUNK)),
        "its size is not cut to 32 bits"
    );
    assert!(bytes.starts_with(b"beginning\0\0"));
    file.offset = size - 9;
    assert_eq!(read_all(&mut file), b"\0\0the end");
}
