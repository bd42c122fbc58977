//! What udp-client reports when stdin, stdout or stderr does not work: what it tried, and the
//! system's words without the number of the error.

use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn client(stdin: impl Into<Stdio>, stdout: impl Into<Stdio>, options: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_udp-client"))
        .args(options)
        .env_remove("RUST_LOG")
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .expect("udp-client can be started")
}

fn expect_failure(client: Child, words: &str) {
    let output = client.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), words);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_stdin_that_cannot_be_read() {
    let folder = File::open("/").expect("a folder can be opened, but not read");
    let client = client(folder, Stdio::null(), &[]);
    expect_failure(
        client,
        "ERROR [udp_client] cannot read stdin: Is a directory",
    );
}

#[test]
fn a_stdout_that_is_full() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    let patience = Some(Duration::from_secs(30));
    server.set_read_timeout(patience).expect("a socket has one");
    let port = server.local_addr().expect("it is bound").port().to_string();
    let full = File::options().write(true).open("/dev/full");
    let full = full.expect("it can be opened");
    let mut client = client(Stdio::piped(), full, &["--port", &port]);

    let mut stdin = client.stdin.take().expect("a pipe");
    stdin.write_all(b"hello\n").expect("it is read");
    let mut line = [0; 100];
    let (length, sender) = server.recv_from(&mut line).expect("the line");
    server.send_to(&line[..length], sender).expect("it is sent");
    expect_failure(
        client,
        "ERROR [udp_client] cannot write to stdout: No space left on device",
    );
}

#[test]
fn a_stderr_that_nobody_reads() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    let port = silent.local_addr().expect("it is bound").port().to_string();
    let options = ["--port", &port, "--timeout", "0.01", "--retries", "0"];
    let mut client = client(Stdio::piped(), Stdio::null(), &options);
    drop(client.stderr.take());
    let mut stdin = client.stdin.take().expect("a pipe");
    stdin.write_all(b"hello\n").expect("it is read");
    drop(stdin);
    let status = client.wait().expect("it ends");
    assert_eq!(status.code(), Some(1), "a panic would be 101");
}

#[test]
fn a_line_that_is_longer_than_one_write() {
    let host = "x".repeat(10_000);
    let client = client(Stdio::null(), Stdio::null(), &["--host", &host]);
    let output = client.wait_with_output().expect("it ends");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains(&host) && log.ends_with('\n'), "{log}");
    assert_eq!(output.status.code(), Some(1));
}
