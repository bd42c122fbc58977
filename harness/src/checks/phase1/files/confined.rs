//! Files that must not be sent: they are missing, not public, not regular, or outside the folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::mkfifo;

use super::folder::Folder;
use super::sent::SENT_IN_FULL;
use crate::check::{Check, Tier};
use crate::checks::phase1::base::{expect_echo, expect_log};
use crate::data::show;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::trial::Trial;

const SECRET: &[u8] = b"the secret\n";
const PUBLIC: &[u8] = b"for everyone\n";

pub const NO_FILE: Check = Check {
    name: "file-that-cannot-be-sent",
    title: "The server closes the client of a missing, unreadable or special file, and logs a warning",
    why: "a client that gets neither an answer nor the end of the stream waits forever",
    hint: "open the file, then check with `fstat` that it is a regular file and that everyone may read it",
    body: no_file,
    ..SENT_IN_FULL
};

fn no_file(trial: &Trial) -> Verdict {
    let public = Folder::new(trial, "public")?;
    public.write("mine", SECRET)?;
    public.mode(&public.path.join("mine"), 0o600)?; // readable for its owner, or for root
    let made = fs::create_dir(public.path.join("folder"))
        .and_then(|()| symlink("nowhere", public.path.join("broken")))
        .and_then(|()| symlink("loop", public.path.join("loop")))
        .and_then(|()| UnixListener::bind(public.path.join("socket")).map(drop))
        .and_then(|()| {
            Ok(mkfifo(
                &public.path.join("fifo"),
                Mode::from_bits_truncate(0o666),
            )?)
        });
    made.map_err(|error| Failure::grader("make special files", error))?;
    let long = "x".repeat(300);
    let mut names = vec![
        "missing",
        "folder",
        ".",
        "broken",
        "loop",
        "socket",
        "fifo",
        "mine",
        "mine/x",
        &long,
        "new\nline",
    ];
    // The null device too, if this user may make a device file.
    let device = nix::libc::makedev(1, 3);
    let mode = Mode::from_bits_truncate(0o666);
    if mknod(&public.path.join("device"), SFlag::S_IFCHR, mode, device).is_ok() {
        names.push("device");
    }
    let mut roles: Vec<String> = names.iter().map(|name| format!("file:{name}")).collect();
    roles.push("echo".to_owned());

    let server = public.serve(trial, &roles).start()?;
    expect_echo(&server, names.len())?;
    let before = server.figures()?;
    for (listener, name) in names.iter().enumerate() {
        let client = server.connect_to(
            listener,
            &format!("the client of `{}`", name.escape_debug()),
        );
        client?.expect_end()?;
        expect_echo(&server, names.len())?;
    }
    expect_log(&server, "cannot send the file missing: no such file")?;
    expect_log(&server, "file mine: ")?;
    expect_log(&server, "file new\\nline: ")?;
    server.expect_no_leak(&before)
}

pub const OUTSIDE: Check = Check {
    name: "file-outside-the-public-folder",
    title: "No file outside the public folder is sent, in whatever way a name leads out of it",
    why: "`..`, symlinks, and folders whose names begin alike have all been real security holes",
    hint: "let the kernel confine the path (openat2(2), RESOLVE_BENEATH); do not compare strings",
    body: outside,
    ..SENT_IN_FULL
};

fn outside(trial: &Trial) -> Verdict {
    let public = Folder::new(trial, "public")?;
    let sibling = Folder::new(trial, "public2")?;
    let temp = Folder::new(trial, "temp")?;
    sibling.write("secret.txt", SECRET)?;
    temp.write("file.txt", SECRET)?;
    public.write("ok.txt", PUBLIC)?;
    let absolute = temp.path.join("file.txt");
    let linked = symlink("../public2/secret.txt", public.path.join("sibling"))
        .and_then(|()| symlink(&absolute, public.path.join("absolute")))
        .and_then(|()| symlink("../temp", public.path.join("folder")))
        .and_then(|()| symlink("../public2", public.path.join("folder2")))
        .and_then(|()| symlink("ok.txt", public.path.join("inside")))
        .and_then(|()| fs::create_dir(public.path.join("deep")))
        .and_then(|()| symlink("../../temp/file.txt", public.path.join("deep/out")));
    linked.map_err(|error| Failure::grader("make symlinks", error))?;
    let absolute = absolute.display().to_string();
    let ways_out = [
        "../temp/file.txt",
        "../public2/secret.txt",
        "deep/../../temp/file.txt",
        "sibling",
        "absolute",
        "folder/file.txt",
        "folder2/secret.txt",
        "deep/out",
        &absolute,
        "/proc/self/environ",
        "/etc/passwd",
    ];
    let mut roles: Vec<String> = ways_out.iter().map(|way| format!("file:{way}")).collect();
    roles.push("file:inside".to_owned());

    let server = public.serve(trial, &roles).start()?;
    for (listener, way) in ways_out.iter().enumerate() {
        let client = server.connect_to(listener, &format!("the client of `{way}`"))?;
        let received = client.receive_to_end(1 << 20)?;
        ensure(received.is_empty(), Outcome::Behaviour, || {
            format!("`{way}` leads out of the public folder, but the server has sent this file")
        })
        .map_err(|failure| failure.received(show(&received)))?;
    }
    // A symlink that stays inside the folder is allowed.
    let client = server.connect_to(ways_out.len(), "the client of a symlink inside")?;
    client.expect(PUBLIC)?;
    client.expect_end()
}

pub const SWAPPED: Check = Check {
    name: "file-swapped-in-a-race",
    title: "No file outside the public folder is sent even while a symlink is swapped as fast as possible",
    why: "a server that checks a name and then opens it may open another file than it has checked",
    hint: "check the descriptor that you have opened (`fstat`), or let the kernel check while it opens the file (openat2(2))",
    tier: Tier::Robust,
    timeout: std::time::Duration::from_secs(60),
    body: swapped,
    ..SENT_IN_FULL
};

fn swapped(trial: &Trial) -> Verdict {
    let public = Folder::new(trial, "public")?;
    let outside = Folder::new(trial, "outside")?;
    let inside = Folder::new(trial, "public/inside")?;
    inside.write("f", PUBLIC)?;
    outside.write("f", SECRET)?;
    let swap = |link: &str, target: &str| {
        let next = public.path.join(format!("{link}.next"));
        let _ = symlink(target, &next); // it may be there from the last time
        fs::rename(&next, public.path.join(link))
    };
    let first = swap("file", "inside/f").and_then(|()| swap("folder", "inside"));
    first.map_err(|error| Failure::grader("make symlinks", error))?;
    let roles = ["file:file", "file:folder/f", "file:folder/../file"];
    let server = public.serve(trial, &roles).start()?;

    let done = AtomicBool::new(false);
    let mut sent = 0;
    let count = trial.size(200, 1_000);
    let verdict = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (file, folder) in [("../outside/f", "../outside"), ("inside/f", "inside")] {
                    let _ = swap("file", file).and_then(|()| swap("folder", folder));
                }
            }
        });
        let verdict = (0..count).try_for_each(|number| {
            let client = server.connect_to(number % roles.len(), "a client")?;
            let received = client.receive_to_end(100)?;
            sent += usize::from(received == PUBLIC);
            let harmless = received.is_empty() || received == PUBLIC;
            ensure(harmless, Outcome::Behaviour, || {
                format!("request {number} was answered with a file from outside the public folder")
            })
            .map_err(|failure| failure.received(show(&received)))
        });
        done.store(true, Ordering::Relaxed);
        verdict
    });
    trial.step(format!(
        "{sent} of {count} requests are answered with the file"
    ));
    verdict?;
    // Otherwise the server has refused all requests, and the race was never tried.
    ensure(sent > 0, Outcome::Behaviour, || {
        format!("none of {count} requests was answered with the file inside the public folder")
    })?;
    server.expect_running()
}

pub const FIFO: Check = Check {
    name: "fifo-blocks-nobody",
    title: "A FIFO under the name of the file does not block the server",
    why: "opening a FIFO waits until a program opens it for writing, and the whole event loop waits too",
    hint: "open the file with O_NONBLOCK, then check with `fstat` that it is a regular file",
    tier: Tier::Robust,
    body: fifo,
    ..SENT_IN_FULL
};

fn fifo(trial: &Trial) -> Verdict {
    let public = Folder::new(trial, "public")?;
    let path = public.path.join("fifo");
    let made = mkfifo(&path, Mode::from_bits_truncate(0o666));
    made.map_err(|errno| Failure::grader("make a FIFO", errno))?;
    public.write("ok", PUBLIC)?;
    let server = public
        .serve(trial, &["file:fifo", "echo", "file:ok"])
        .start()?;
    for _ in 0..3 {
        let client = server.connect_to(0, "the client of the FIFO")?;
        expect_echo(&server, 1)?;
        let other = server.connect_to(2, "the client of a file")?;
        other.expect(PUBLIC)?;
        other.expect_end()?;
        client.expect_end()?;
    }
    Ok(())
}
