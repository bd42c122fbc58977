//! Files that are sent: all of the file arrives, whatever happens to client and file meanwhile.

use std::fs;
use std::thread;
use std::time::Duration;

use super::folder::Folder;
use crate::check::{Check, Need, Tier};
use crate::checks::phase1::base::{PHASE1, expect_echo};
use crate::data::Pattern;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::peer::Peer;
use crate::trial::{Server, Trial};

pub const SENT_IN_FULL: Check = Check {
    name: "file-in-full",
    title: "A file of any length is sent to its last byte, and then the stream ends",
    why: "half a file is useless, and only the end of the stream shows the client that it has the whole file",
    hint: "read the next piece when the pipe has room; at the end of the file drain the pipe, then close",
    chapter: "docs/src/phase1/architecture.md",
    tier: Tier::Solid,
    needs: &[Need::Option("--public")],
    body: sent_in_full,
    ..PHASE1
};

fn sent_in_full(trial: &Trial) -> Verdict {
    let public = Folder::new(trial, "public")?;
    let names = ["0", "1", "65536", "100001", "3000000"];
    for (seed, name) in (1..).zip(names) {
        public.file(name, Pattern::new(seed), length_of(name))?;
    }
    let roles: Vec<String> = names.iter().map(|name| format!("file:{name}")).collect();
    let server = public.serve(trial, &roles).start()?;
    for round in 0..2 {
        for (listener, name) in names.iter().enumerate() {
            let client = server.connect_to(listener, &format!("client {round} of {name} bytes"))?;
            client.expect_pattern(Pattern::new(listener as u64 + 1), length_of(name))?;
            client.expect_end()?;
        }
    }
    Ok(())
}

/// Files are named after their length.
fn length_of(name: &str) -> u64 {
    name.parse().unwrap_or_default()
}

pub const INPUT_IS_IGNORED: Check = Check {
    name: "file-whatever-the-client-says",
    title: "What a client sends is ignored and does not cost it a single byte of the file",
    why: "closing a socket with unread input resets the connection, and the reset destroys what is still on its way",
    hint: "use a lingering close: half-close first (`shutdown`), then read and discard until the client ends",
    tier: Tier::Robust,
    body: input_is_ignored,
    ..SENT_IN_FULL
};

fn input_is_ignored(trial: &Trial) -> Verdict {
    let public = Folder::new(trial, "public")?;
    let (pattern, length) = (Pattern::new(1), 1_000_000);
    public.file("f", pattern, length)?;
    public.file("small", pattern, 50_000)?;
    let roles = ["file:f", "echo", "file:small"];
    let server = public.serve(trial, &roles).start()?;
    expect_echo(&server, 1)?;
    let before = server.figures()?;
    for words in [1, 1_000, 100_000] {
        let client = server.connect(&format!("the client that sends {words} bytes"))?;
        client.send(&vec![b'x'; words])?;
        client.expect_pattern(pattern, length)?;
        // The client has the last byte of the file, but has not seen the end of the stream.
        client.send(b"thank you")?;
        client.expect_end()?;

        let polite = server.connect("a client that half-closes first")?;
        polite.send(b"GET / HTTP/1.0\r\n\r\n")?;
        polite.half_close()?;
        polite.expect_pattern(pattern, length)?;
        polite.expect_end()?;
    }
    // The client sends more than any socket holds before it reads the first byte of the file.
    let talker = server.connect_to(2, "a client that sends before it reads")?;
    talker.send_pattern(pattern, 20_000_000)?;
    talker.expect_pattern(pattern, 50_000)?;
    talker.expect_end()?;
    talker.close();
    server.expect_no_leak(&before)
}

pub const LATE_WORD: Check = Check {
    name: "file-to-a-slow-reader-that-speaks-late",
    title: "A client that reads slowly and sends something late still gets the whole file",
    why: "the kernel takes the last byte long before the client has it, and if you close the socket then, the next bytes from the client cause a reset",
    hint: "restart the timer of a lingering close whenever the client has taken more bytes",
    tier: Tier::Robust,
    body: late_word,
    ..SENT_IN_FULL
};

fn late_word(trial: &Trial) -> Verdict {
    let public = Folder::new(trial, "public")?;
    let pattern = Pattern::new(7);
    public.file("f", pattern, 3_000_000)?; // less than a socket holds
    // Two timers look at what the client has taken: that of the lingering close, and the idle
    // timeout.
    for options in [&[][..], &["--idle-timeout", "1"]] {
        let server = public.serve(trial, &["file:f"]).options(options).start()?;
        let client = server.connect("a slow reader")?;
        // The time is the test, not a way to wait: it is longer than the two seconds of a lingering
        // close.
        for (number, piece) in pattern.bytes(3_000_000).chunks(75_000).enumerate() {
            client.expect(piece)?;
            if number == 30 {
                client.send(b"thank you so far")?;
            }
            thread::sleep(Duration::from_millis(100));
        }
        client.expect_end()?;
    }
    Ok(())
}

pub const NEVER_READS: Check = Check {
    name: "file-to-a-slow-reader",
    title: "A large file stays on the disk, and not in memory, while its client does not read",
    why: "200 MB for each of a hundred slow clients is more memory than most machines have",
    hint: "use backpressure: read a piece of the file only when the pipe is below its threshold",
    tier: Tier::Robust,
    timeout: Duration::from_secs(60),
    body: slow_reader,
    ..SENT_IN_FULL
};

fn slow_reader(trial: &Trial) -> Verdict {
    let public = Folder::new(trial, "public")?;
    let (pattern, length) = (Pattern::new(2), trial.size(100_000_000, 200_000_000));
    public.file("f", pattern, length)?;
    let server = public.serve(trial, &["file:f", "echo"]).start()?;
    expect_echo(&server, 1)?;
    let before = server.figures()?;
    let slow = server.connect_to(0, "the client that does not read yet")?;
    wait_until_stuck(trial, &server, &slow)?;
    server.expect_little_growth(&before)?;
    server.expect_idle(Duration::from_millis(300), 0.05)?;
    expect_echo(&server, 1)?;
    slow.expect_pattern(pattern, length)?;
    slow.expect_end()?;
    server.expect_no_leak(&before)
}

/// Waits until the sockets hold all that they can and the server sleeps.
fn wait_until_stuck(trial: &Trial, server: &Server, client: &Peer) -> Verdict {
    let mut before = 0;
    trial.wait_until("the sockets are full", || {
        let now = client.on_the_way().map_or(0, |it| it.to_us);
        let same = now > 0 && now == std::mem::replace(&mut before, now);
        same && server.process.state() == Some('S')
    })
}

pub const LARGE: Check = Check {
    name: "file-of-more-than-4-gib",
    title: "A file may be larger than memory, and larger than 4 GiB",
    why: "an offset or a length with only 32 bits begins again at 0 after 4 GiB",
    hint: "use 64 bits for offsets and lengths of files (`off_t`)",
    tier: Tier::Robust,
    timeout: Duration::from_secs(120),
    body: large,
    ..SENT_IN_FULL
};

/// The file has a hole, so that it needs no room on the disk.
fn large(trial: &Trial) -> Verdict {
    let public = Folder::new(trial, "public")?;
    let length: u64 = trial.size(200 << 20, (4 << 30) + 12_345);
    let end = b"the very end";
    let path = public.path.join("f");
    let written = fs::File::create(&path).and_then(|file| {
        file.set_len(length - end.len() as u64)?;
        std::os::unix::fs::FileExt::write_all_at(&file, end, length - end.len() as u64)
    });
    written.map_err(|error| Failure::grader("write a file", error))?;
    public.open_to_all(&path)?;

    let server = public.serve(trial, &["file:f"]).start()?;
    let client = server.connect("the client")?;
    let (zeros, mut chunk) = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
    let mut left = length - end.len() as u64;
    while left > 0 {
        let most = left.min(chunk.len() as u64) as usize;
        let count = client.receive(&mut chunk[..most])?;
        let right = count > 0 && chunk[..count] == zeros[..count];
        ensure(right, Outcome::WrongData, || {
            format!(
                "when {left} of {length} bytes were still to come, the client got a wrong byte or the end of the stream"
            )
        })?;
        left -= count as u64;
    }
    client.expect(end)?;
    client.expect_end()
}

pub const REPLACED: Check = Check {
    name: "file-replaced-while-sent",
    title: "A client gets one whole file even if another file takes its name meanwhile",
    why: "editors and deployments replace files all the time, and half of the old file with half of the new one is useless",
    hint: "open the file once, and read from this descriptor to the end",
    tier: Tier::Robust,
    body: replaced,
    ..SENT_IN_FULL
};

fn replaced(trial: &Trial) -> Verdict {
    let public = Folder::new(trial, "public")?;
    let (old, new, length) = (Pattern::new(3), Pattern::new(4), 30_000_000);
    public.file("f", old, length)?;
    public.file("next", new, length)?;
    let server = public.serve(trial, &["file:f"]).start()?;
    let client = server.connect("the client of the old file")?;
    client.expect_pattern(old, 1_000)?;
    let renamed = fs::rename(public.path.join("next"), public.path.join("f"));
    renamed.map_err(|error| Failure::grader("rename a file", error))?;
    trial.step("another file takes the name of the file");
    let rest = old.bytes(length as usize);
    client.expect(&rest[1_000..])?;
    client.expect_end()?;
    let client = server.connect("the client of the new file")?;
    client.expect_pattern(new, length)?;
    client.expect_end()
}

pub const TRUNCATED: Check = Check {
    name: "file-truncated-while-sent",
    title: "A file that becomes shorter while it is sent ends in a reset, and only its client is reset",
    why: "a server that waits for the missing bytes waits forever, and a normal end of the stream looks as if the file were complete",
    hint: "when `read` returns 0 before the length that the file had, reset the connection (SO_LINGER with a time of 0, socket(7))",
    tier: Tier::Robust,
    body: truncated,
    ..SENT_IN_FULL
};

fn truncated(trial: &Trial) -> Verdict {
    let public = Folder::new(trial, "public")?;
    let pattern = Pattern::new(5);
    public.file("f", pattern, 60_000_000)?;
    let server = public.serve(trial, &["file:f", "echo"]).start()?;
    let client = server.connect_to(0, "the client")?;
    client.expect_pattern(pattern, 1_000)?;
    let file = fs::File::options().write(true).open(public.path.join("f"));
    let cut = file.and_then(|file| file.set_len(1_000));
    cut.map_err(|error| Failure::grader("truncate a file", error))?;
    trial.step("the file is cut to 1,000 bytes");
    client.expect_reset()?;
    server.expect_idle(Duration::from_millis(300), 0.05)?;
    expect_echo(&server, 1)
}

pub const FROM_ANYWHERE: Check = Check {
    name: "file-from-any-directory",
    title: "The server finds its files in whatever directory it is started",
    why: "a service manager starts a server in another working directory than you do",
    hint: "open the public folder once, and open every file relative to this descriptor (`openat`)",
    tier: Tier::Robust,
    body: from_anywhere,
    ..SENT_IN_FULL
};

fn from_anywhere(trial: &Trial) -> Verdict {
    let public = Folder::new(trial, "public")?;
    public.file("f", Pattern::new(6), 5_000)?;
    let other = Folder::new(trial, "other")?;
    for directory in [trial.folder(), &other.path, &public.path] {
        trial.step(format!("the server runs in {}", directory.display()));
        let launch = public.serve(trial, &["file:f"]).in_directory(directory);
        let client = launch.start()?.connect("the client")?;
        client.expect_pattern(Pattern::new(6), 5_000)?;
        client.expect_end()?;
    }
    // Here `--public` is relative to the working directory.
    let launch = trial.launch().options(["--public", "public"]);
    let launch = launch.in_directory(trial.folder()).roles(&["file:f"]);
    let server = launch.start()?;
    let client = server.connect("the client")?;
    client.expect_pattern(Pattern::new(6), 5_000)?;
    client.expect_end()
}
