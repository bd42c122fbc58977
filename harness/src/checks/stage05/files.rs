//! The practice problem: `file-server` and `file-client`.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo};

use crate::check::{Check, Need, Tier};
use crate::data::{Pattern, show_difference};
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::peer::Peer;
use crate::process::Process;
use crate::stage::Stage;
use crate::trial::{Launch, Running, Server, Trial};

pub const WHOLE_FILE: Check = Check {
    stage: Stage::Stage05,
    role: "",
    name: "file-arrives-whole",
    title: "A file of any bytes arrives unchanged, and both programs end with exit status 0",
    why: "a file is a stream of bytes: it need not be text, it need not have lines, and its last byte counts",
    hint: "look at how many bytes `read` and `recv` return; send and write exactly these bytes",
    chapter: "docs/src/phase0/stage05.md",
    tier: Tier::Robust,
    timeout: Duration::from_secs(30),
    needs: &[
        Need::Companion("file-server"),
        Need::Companion("file-client"),
    ],
    body: whole_file,
};

fn whole_file(trial: &Trial) -> Verdict {
    let bytes = Pattern::new(1).bytes(300_001);
    transfer_of(trial, &bytes)
}

pub const EMPTY_FILE: Check = Check {
    name: "empty-file",
    title: "An empty file arrives as an empty file",
    why: "a connection that ends without a byte carries a file of 0 bytes",
    body: |trial| transfer_of(trial, b""),
    ..WHOLE_FILE
};

fn transfer_of(trial: &Trial, bytes: &[u8]) -> Verdict {
    let source = write(trial, "t1.bin", bytes)?;
    let server = file_server(trial, &[])?;
    let client = file_client(trial, &source, server.address())?;
    client.expect_exit(0)?;
    server.expect_exit(0)?;
    expect_file(&out(trial), bytes)?;
    expect_folder(trial, &["t1.bin", "t2.bin"])
}

pub const LARGE_FILE: Check = Check {
    name: "large-file",
    title: "A file that is larger than any buffer arrives (more than 4 GiB in the full test)",
    why: "the size of a file may not fit into 32 bits, and the file may not fit into memory",
    hint: "read a piece, send all of it, then read the next",
    timeout: Duration::from_secs(300), // a slow disk takes 30 MB/s
    body: large_file,
    ..WHOLE_FILE
};

/// The file consists mostly of holes. It has marks at its start, its middle and its end, and at
/// 4 GiB.
fn large_file(trial: &Trial) -> Verdict {
    let length: u64 = trial.size((8 << 20) + 17, (9 << 29) + 17);
    let grader = |error| Failure::grader("a large file", error);
    let source = write(trial, "t1.bin", b"")?;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&source)
        .map_err(grader)?;
    file.set_len(length).map_err(grader)?;
    let places = [0, length / 2, length - 12, 4 << 30].into_iter();
    let places: Vec<u64> = places.filter(|at| at + 12 <= length).collect();
    for &at in &places {
        file.write_all_at(format!("{at:12}").as_bytes(), at)
            .map_err(grader)?;
    }
    let server = file_server(trial, &[])?;
    let client = file_client(trial, &source, server.address())?;
    let status = client.wait_for(LARGE_FILE.timeout)?;
    ensure(status.success(), Outcome::Behaviour, || {
        format!("file-client ended with {status}; exit status 0 is expected")
    })?;
    server.expect_exit(0)?;

    let received = fs::File::open(out(trial)).map_err(grader)?;
    let size = received.metadata().map_err(grader)?.len();
    ensure(size == length, Outcome::ShortData, || {
        format!("the received file has {size} bytes; {length} are expected")
    })?;
    places.iter().try_for_each(|&at| {
        let mut mark = [0; 12];
        received.read_exact_at(&mut mark, at).map_err(grader)?;
        let expected = format!("{at:12}");
        ensure(mark == expected.as_bytes(), Outcome::WrongData, || {
            format!("the received file differs from the sent file at byte {at}")
        })
    })
}

pub const CLASSIC_CLIENT: Check = Check {
    name: "file-from-a-plain-client",
    title: "A client that just connects, sends and closes, as `nc -N` does, can send a file",
    why: "the file is the stream itself, so every TCP client can send one",
    needs: &[Need::Companion("file-server")],
    body: classic_client,
    ..WHOLE_FILE
};

fn classic_client(trial: &Trial) -> Verdict {
    let bytes = Pattern::new(2).bytes(100_000);
    let server = file_server(trial, &[])?;
    let client = server.connect("a plain client")?;
    client.send(&bytes)?;
    client.close();
    server.expect_exit(0)?;
    expect_file(&out(trial), &bytes)
}

pub const RESET_LEAVES_THE_OLD_FILE: Check = Check {
    name: "reset-leaves-the-old-file",
    title: "A transfer that ends in a reset leaves the old file unchanged, and leaves no other file",
    why: "half a file under the name of the whole file is worse than no file",
    hint: "write to a temporary file; rename it when `recv` returns 0, and remove it after an error",
    needs: &[Need::Companion("file-server")],
    body: reset_leaves_the_old_file,
    ..WHOLE_FILE
};

fn reset_leaves_the_old_file(trial: &Trial) -> Verdict {
    write(trial, "t2.bin", b"the old file\n")?;
    let server = file_server(trial, &[])?;
    let client = server.connect("the client that fails")?;
    client.send(&Pattern::new(3).bytes(100_000))?;
    client.until_all_is_read()?;
    expect_file(&out(trial), b"the old file\n")?;
    client.reset()?;
    server.expect_exit(1)?;
    expect_file(&out(trial), b"the old file\n")?;
    expect_words(&server.process, &["t2.bin"])?;
    expect_folder(trial, &["t2.bin"])
}

pub const DEATH_SHOWS_AS_A_RESET: Check = Check {
    name: "killed-file-client-resets",
    title: "A file-client that is killed during a transfer resets its connection",
    why: "the kernel closes the sockets of a dead process normally, which would look like the end of the whole file",
    hint: "set SO_LINGER with a time of 0 while you send: then every close is a reset (socket(7)); turn it off before the last `shutdown`",
    needs: &[Need::Companion("file-client")],
    body: death_shows_as_a_reset,
    ..WHOLE_FILE
};

fn death_shows_as_a_reset(trial: &Trial) -> Verdict {
    let upstream = trial.upstream()?;
    let (client, mut feed) = client_in_the_middle(trial, upstream.address())?;
    let server = upstream.accept("the file server that the check plays")?;
    feed(100_000)?;
    server.expect_pattern(FED, 100_000)?;
    trial.step("file-client is killed");
    client.process.signal(Signal::SIGKILL);
    client.wait()?;
    let mut chunk = [0; 16];
    match server.receive(&mut chunk) {
        Err(failure) if failure.outcome == Outcome::Reset => Ok(()),
        Err(failure) => Err(failure),
        Ok(0) => Err(Failure::behaviour(
            "after file-client was killed its connection ended normally, as after a whole file; a reset is expected",
        )),
        Ok(_) => Err(Failure::new(
            Outcome::WrongData,
            "file-client has sent more bytes than the file has",
        )),
    }
}

pub const KILLED_CLIENT: Check = Check {
    name: "killed-file-client",
    title: "A file-server whose client is killed during a transfer keeps the old file and says so",
    why: "the two programs must agree on how a failed transfer looks",
    body: killed_client,
    ..RESET_LEAVES_THE_OLD_FILE
};

fn killed_client(trial: &Trial) -> Verdict {
    write(trial, "t2.bin", b"the old file\n")?;
    let server = file_server(trial, &[])?;
    let (client, mut feed) = client_in_the_middle(trial, server.address())?;
    feed(1_000_000)?;
    trial.step("file-client is killed");
    client.process.signal(Signal::SIGKILL);
    client.wait()?;
    server.expect_exit(1)?;
    expect_file(&out(trial), b"the old file\n")?;
    expect_words(&server.process, &["t2.bin"])
}

const FED: Pattern = Pattern::new(4);

/// A file-client whose file is a pipe: the transfer cannot end before the check closes the pipe.
/// The function that is returned writes bytes into the pipe. When it returns, the client has read
/// all of them except what the pipe holds.
fn client_in_the_middle(
    trial: &Trial,
    server: SocketAddr,
) -> Verdict<(Running, impl FnMut(usize) -> Verdict + use<>)> {
    let path = trial.folder().join("pipe");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| Failure::grader("mkfifo", errno))?;
    let client = file_client(trial, &path, server)?;
    let grader = |error| Failure::grader("write into a pipe", error);
    // Returns when the client has opened the pipe too.
    let mut pipe = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .map_err(grader)?;
    let feed = move |length| pipe.write_all(&FED.bytes(length)).map_err(grader);
    Ok((client, feed))
}

pub const KEEP: Check = Check {
    name: "file-server-keep",
    title: "A file-server with `--keep` serves the next client, even after a transfer that failed",
    why: "one client that fails must not be able to end a server",
    hint: "log a failed transfer, and go on with the next client in the loop",
    needs: &[
        Need::Companion("file-server"),
        Need::Companion("file-client"),
    ],
    body: keep,
    ..RESET_LEAVES_THE_OLD_FILE
};

fn keep(trial: &Trial) -> Verdict {
    let server = file_server(trial, &["--keep"])?;
    for number in 0..3 {
        let bytes = Pattern::new(number).bytes(70_000);
        let source = write(trial, "t1.bin", &bytes)?;
        file_client(trial, &source, server.address())?.expect_exit(0)?;
        expect_file(&out(trial), &bytes)?;

        let failing = server.connect("a client that fails")?;
        failing.send(b"half a fi")?;
        failing.until_all_is_read()?;
        failing.reset()?;
    }
    let last = server.connect("a last client")?;
    last.send(b"the last file\n")?;
    last.half_close()?;
    last.expect_end()?;
    expect_file(&out(trial), b"the last file\n")?;
    server.signal(Signal::SIGTERM);
    server.expect_exit(0)?;
    expect_folder(trial, &["t1.bin", "t2.bin"])
}

pub const SIGNAL_REMOVES_THE_PART: Check = Check {
    name: "file-server-interrupted",
    title: "Ctrl-C, SIGTERM or a closed terminal (SIGHUP) during a transfer leaves the old file unchanged, and leaves no other file",
    why: "a program that ends without cleaning up leaves half a file each time",
    hint: "wait for the signal and the socket together (`poll`), and clean up as after a failed transfer",
    body: signal_removes_the_part,
    ..RESET_LEAVES_THE_OLD_FILE
};

fn signal_removes_the_part(trial: &Trial) -> Verdict {
    write(trial, "t2.bin", b"the old file\n")?;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let server = file_server(trial, &[])?;
        let client = half_a_file(&server)?;
        server.signal(signal);
        server.expect_exit(1)?;
        client.expect_gone()?;
        expect_file(&out(trial), b"the old file\n")?;
        expect_folder(trial, &["t2.bin"])?;
    }
    Ok(())
}

/// A client that has sent some bytes, which the server has read.
fn half_a_file(server: &Server) -> Verdict<Peer> {
    let client = server.connect("the client")?;
    client.send(b"half a fi")?;
    client.until_all_is_read()?;
    Ok(client)
}

pub const NOHUP: Check = Check {
    name: "file-server-under-nohup",
    title: "A file-server that `nohup` has started goes on when the terminal is closed (SIGHUP)",
    why: "`nohup` lets a program inherit SIGHUP as ignored, so that it outlives its terminal",
    hint: "if SIGHUP is ignored when the program starts, leave it ignored",
    body: under_nohup,
    ..RESET_LEAVES_THE_OLD_FILE
};

fn under_nohup(trial: &Trial) -> Verdict {
    let server = file_server_launch(trial)?
        .ignoring(Signal::SIGHUP)
        .start()?;
    let client = half_a_file(&server)?;
    server.signal(Signal::SIGHUP);
    client.send(b"le\n")?;
    client.half_close()?;
    client.expect_end()?;
    server.expect_exit(0)?;
    expect_file(&out(trial), b"half a file\n")
}

pub const FILE_LIMIT: Check = Check {
    name: "file-server-at-the-file-limit",
    title: "A file that is larger than `ulimit -f` allows is a failed transfer like any other",
    why: "at this limit the kernel sends SIGXFSZ, which ends a program before it can clean up",
    hint: "ignore or block SIGXFSZ: then `write` fails with EFBIG",
    body: file_limit,
    ..RESET_LEAVES_THE_OLD_FILE
};

fn file_limit(trial: &Trial) -> Verdict {
    write(trial, "t2.bin", b"the old file\n")?;
    let server = file_server_launch(trial)?
        .limit(Resource::RLIMIT_FSIZE, 50_000)
        .start()?;
    let client = server.connect("the client")?;
    client.send(&Pattern::new(6).bytes(100_000))?;
    server.expect_exit(1)?;
    client.expect_gone()?;
    expect_words(&server.process, &["t2.bin", "File too large"])?;
    expect_file(&out(trial), b"the old file\n")?;
    expect_folder(trial, &["t2.bin"])
}

pub const PERMISSIONS: Check = Check {
    name: "file-server-permissions",
    title: "If nobody else may read the old file, nobody else may read the new one, at no time",
    why: "a file is created with the permissions that the umask leaves, and then half of a secret lies open",
    hint: "create the temporary file with mode 0600, and give it the old permissions before you rename it",
    body: permissions,
    ..RESET_LEAVES_THE_OLD_FILE
};

fn permissions(trial: &Trial) -> Verdict {
    let old = write(trial, "t2.bin", b"the old file\n")?;
    let nobody_else = fs::set_permissions(old, PermissionsExt::from_mode(0o600));
    nobody_else.map_err(|error| Failure::grader("chmod", error))?;
    let server = file_server(trial, &[])?;
    let client = half_a_file(&server)?;
    expect_private(trial)?;
    client.half_close()?;
    client.expect_end()?;
    server.expect_exit(0)?;
    expect_file(&out(trial), b"half a fi")?;
    expect_private(trial)
}

/// No other user may open a file in the folder.
fn expect_private(trial: &Trial) -> Verdict {
    let entries = fs::read_dir(trial.folder());
    let entries = entries.map_err(|error| Failure::grader("read a folder", error))?;
    for entry in entries.flatten() {
        let mode = entry.metadata().map_or(0, |about| about.mode() & 0o777);
        ensure(mode & 0o077 == 0, Outcome::Behaviour, || {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            format!("{name} has the permissions {mode:o}, and the old file has 600")
        })?;
    }
    Ok(())
}

pub const PASSING_ERRORS: Check = Check {
    name: "file-server-passing-errors",
    title: "When `accept` fails because of one client or its network, file-server serves the next one",
    why: "Linux passes errors of the network on through `accept`: they say nothing about the next client (accept(2), \"Error handling\")",
    hint: "when `accept` fails with ECONNABORTED, EPROTO or one of the others in accept(2), call it again",
    needs: &[Need::Companion("file-server"), Need::Strace],
    body: passing_errors,
    ..WHOLE_FILE
};

fn passing_errors(trial: &Trial) -> Verdict {
    let launch = file_server_launch(trial)?;
    let launch = launch.with_failing_calls("?accept,accept4:error=EPROTO:when=1");
    let server = launch.start()?;
    half_a_file_is_a_file(trial, &server)
}

/// The end of the stream ends the file, so half of it is a whole one.
fn half_a_file_is_a_file(trial: &Trial, server: &Server) -> Verdict {
    let client = half_a_file(server)?;
    client.half_close()?;
    client.expect_end()?;
    server.expect_exit(0)?;
    expect_file(&out(trial), b"half a fi")
}

pub const LOG_LOST: Check = Check {
    name: "file-server-log-lost",
    title: "A file-server whose log lines cannot be written, because that disk is full, receives its file",
    why: "a log line that is lost harms nobody, and a file that is lost does",
    hint: "go on when `write` to stderr fails; in Rust, `eprintln!` panics",
    body: log_lost,
    ..RESET_LEAVES_THE_OLD_FILE
};

fn log_lost(trial: &Trial) -> Verdict {
    let launch = file_server_launch(trial)?;
    let server = launch.redirected("2>/dev/full").start_unheard()?;
    half_a_file_is_a_file(trial, &server)
}

pub const SILENT_CLIENT: Check = Check {
    name: "file-server-silent-client",
    title: "With `--idle-timeout`, a client that sends nothing makes the next one wait for that long only",
    why: "a client whose machine was switched off never sends its end of the stream",
    hint: "give `poll` a timeout, and let the transfer fail when it is over",
    body: silent_client,
    ..RESET_LEAVES_THE_OLD_FILE
};

fn silent_client(trial: &Trial) -> Verdict {
    let server = file_server(trial, &["--keep", "--idle-timeout", "2"])?;
    let silent = server.connect("the silent client")?;
    let next = server.connect("the next client")?;
    next.send(b"the next file\n")?;
    next.half_close()?;
    next.expect_end()?;
    expect_file(&out(trial), b"the next file\n")?;
    silent.expect_gone()?;
    expect_words(&server.process, &["nothing"])
}

pub const SERVER_CANNOT_WRITE: Check = Check {
    name: "file-server-cannot-write",
    title: "A file-server that cannot write its file explains it at the start and ends with exit status 1",
    why: "the user should learn this before a client has sent a gigabyte",
    hint: "create the temporary file before you call `listen`; this shows whether you can write it",
    needs: &[Need::Companion("file-server")],
    body: server_cannot_write,
    ..WHOLE_FILE
};

fn server_cannot_write(trial: &Trial) -> Verdict {
    for (out, named) in [
        ("no/such/folder/t2.bin", "no/such/folder"),
        (".", "."),
        ("no-such-folder/", "no-such-folder"),
        ("/dev/null", "/dev/null"),
    ] {
        let server = trial.launch_companion("file-server")?;
        let server = server.in_directory(trial.folder());
        let server = server.options(["--port", "0", "--out", out]).run()?;
        server.expect_exit(1)?;
        expect_words(&server.process, &["cannot", named])?;
    }
    Ok(())
}

pub const SERVERS_DEATH_SHOWS_AS_A_RESET: Check = Check {
    name: "killed-file-server-resets",
    title: "A file-server that is killed before it has renamed the file resets its connection",
    why: "the client takes the end of the stream for the receipt, and the kernel closes the sockets of a dead process normally",
    hint: "set SO_LINGER with a time of 0 right after `accept`; turn it off when the file has been renamed",
    needs: &[Need::Companion("file-server")],
    body: servers_death_shows_as_a_reset,
    ..DEATH_SHOWS_AS_A_RESET
};

fn servers_death_shows_as_a_reset(trial: &Trial) -> Verdict {
    write(trial, "t2.bin", b"the old file\n")?;
    let server = file_server(trial, &[])?;
    let client = server.connect("the client")?;
    client.send(b"the new file\n")?;
    client.until_all_is_read()?;
    trial.step("file-server is killed");
    server.signal(Signal::SIGKILL);
    client.expect_reset()?;
    expect_file(&out(trial), b"the old file\n")
}

pub const CLIENT_CANNOT_READ: Check = Check {
    name: "file-client-cannot-read",
    title: "A file-client whose file is missing, a folder or unreadable says so and ends with exit status 1",
    why: "a wrong name is the most common mistake, so the message must be easy to understand",
    hint: "open the file before you connect, and name it in the error message",
    needs: &[Need::Companion("file-client")],
    body: client_cannot_read,
    ..WHOLE_FILE
};

fn client_cannot_read(trial: &Trial) -> Verdict {
    let upstream = trial.upstream()?;
    let folder = trial.folder().join("a-folder");
    fs::create_dir(&folder).map_err(|error| Failure::grader("make a folder", error))?;
    let secret = write(trial, "secret.bin", b"secret")?;
    let nobody_reads = fs::set_permissions(&secret, PermissionsExt::from_mode(0o000));
    nobody_reads.map_err(|error| Failure::grader("chmod", error))?;
    for (name, why) in [
        ("missing.bin", "No such file or directory"),
        ("a-folder", "Is a directory"),
        ("secret.bin", "Permission denied"),
    ] {
        let path = trial.folder().join(name);
        let launch = trial.launch_companion("file-client")?;
        // Root may read every file, so the client runs as another user.
        let launch = match Uid::effective().is_root() {
            true => launch.user(65534)?,
            false => launch,
        };
        let launch = launch.options([path.as_os_str()]);
        let client = launch.client_of(upstream.address()).run()?;
        client.expect_exit(1)?;
        expect_words(&client.process, &[name, why])?;
    }
    Ok(())
}

pub const CLIENT_WITHOUT_A_SERVER: Check = Check {
    name: "file-client-without-a-server",
    title: "A file-client that finds no server says so and ends with exit status 1",
    why: "\"Connection refused\" helps only together with the address",
    hint: "print the address and the system's error message",
    body: client_without_a_server,
    ..CLIENT_CANNOT_READ
};

fn client_without_a_server(trial: &Trial) -> Verdict {
    let nobody = trial.nobody()?;
    let source = write(trial, "t1.bin", b"hello\n")?;
    let client = file_client(trial, &source, nobody.address())?;
    client.expect_exit(1)?;
    let address = nobody.address().to_string();
    expect_words(&client.process, &[&address, "Connection refused"])
}

pub const CLIENT_CONNECTED_TO_ITSELF: Check = Check {
    name: "file-client-connected-to-itself",
    title: "A file-client that the kernel connects to itself reports a refused connection, and ends with exit status 1",
    why: "otherwise it would send the file to itself, and say something wrong about the server",
    hint: "compare `getsockname` with `getpeername`: if they are equal, there is no server",
    needs: &[
        Need::Companion("file-client"),
        Need::OwnNetwork,
        Need::NetworkSettings,
        Need::Option("--port"),
    ],
    body: client_connected_to_itself,
    ..CLIENT_CANNOT_READ
};

fn client_connected_to_itself(trial: &Trial) -> Verdict {
    let nobody = trial.nobody()?.address();
    trial.leave_only_port(nobody.port())?;
    let source = write(trial, "t1.bin", b"hello\n")?;
    let client = file_client(trial, &source, nobody)?;
    client.expect_exit(1)?;
    expect_words(
        &client.process,
        &[&nobody.to_string(), "Connection refused"],
    )
}

pub const SERVER_GONE_IN_THE_MIDDLE: Check = Check {
    name: "file-server-gone-in-the-middle",
    title: "A file-client ends with exit status 1 when the server resets during or after the transfer",
    why: "exit status 0 must mean that the server has the file, because scripts rely on it",
    hint: "bytes that `send` took may still be on their way: after `shutdown`, wait until `recv` returns 0",
    body: server_gone_in_the_middle,
    ..CLIENT_CANNOT_READ
};

fn server_gone_in_the_middle(trial: &Trial) -> Verdict {
    let source = write(trial, "t1.bin", &Pattern::new(6).bytes(20_000_000))?;
    let upstream = trial.upstream()?;
    let client = file_client(trial, &source, upstream.address())?;
    let server = upstream.accept("the file server that the check plays")?;
    server.expect_pattern(Pattern::new(6), 100_000)?;
    server.reset()?;
    client.expect_exit(1)?;
    ensure(!client.process.log().is_empty(), Outcome::Behaviour, || {
        "file-client printed no error message to stderr".to_owned()
    })?;

    // Now the file is so small that it has been sent when the server fails.
    let source = write(trial, "t1.bin", b"hello\n")?;
    let client = file_client(trial, &source, upstream.address())?;
    let server = upstream.accept("the file server that the check plays")?;
    server.expect(b"hello\n")?;
    server.expect_end()?;
    server.reset()?;
    client.expect_exit(1)
}

fn out(trial: &Trial) -> PathBuf {
    trial.folder().join("t2.bin")
}

/// A file-server that writes `t2.bin` into the folder of the check.
fn file_server_launch<'t>(trial: &'t Trial) -> Verdict<Launch<'t>> {
    let launch = trial.launch_companion("file-server")?;
    Ok(launch
        .in_directory(trial.folder())
        .options(["--out", "t2.bin"]))
}

fn file_server(trial: &Trial, options: &[&str]) -> Verdict<Server> {
    let options = options.iter().copied();
    file_server_launch(trial)?.options(options).start()
}

fn file_client(trial: &Trial, file: &Path, server: SocketAddr) -> Verdict<Running> {
    let launch = trial.launch_companion("file-client")?;
    launch.options([file.as_os_str()]).client_of(server).run()
}

fn write(trial: &Trial, name: &str, bytes: &[u8]) -> Verdict<PathBuf> {
    let path = trial.folder().join(name);
    fs::write(&path, bytes).map_err(|error| Failure::grader(name, error))?;
    Ok(path)
}

fn expect_file(path: &Path, expected: &[u8]) -> Verdict {
    let received = fs::read(path).map_err(|error| {
        let what = format!("cannot read the received file {}: {error}", path.display());
        Failure::behaviour(what)
    })?;
    if received == expected {
        return Ok(());
    }
    let (got, wanted) = (received.len(), expected.len());
    let difference = show_difference(expected, &received);
    let what = format!("the file has {got} bytes; {wanted} are expected; {difference}");
    Err(Failure::new(Outcome::WrongData, what))
}

/// The folder holds these files and no others.
fn expect_folder(trial: &Trial, expected: &[&str]) -> Verdict {
    let entries = fs::read_dir(trial.folder());
    let entries = entries.map_err(|error| Failure::grader("read a folder", error))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names == expected {
        return Ok(());
    }
    let failure = Failure::behaviour("the folder contains other files than expected");
    Err(failure
        .expected(expected.join(", "))
        .received(names.join(", ")))
}

/// What the program has printed to stderr contains each of these.
fn expect_words(process: &Process, words: &[&str]) -> Verdict {
    let log = process.log();
    match words.iter().find(|word| !log.contains(**word)) {
        None => Ok(()),
        Some(word) => {
            let failure = Failure::behaviour(format!("stderr does not contain `{word}`"));
            Err(failure.received(log.trim_end()))
        }
    }
}
