//! The server answers no other server. Otherwise one datagram with a forged sender would let the
//! two answer each other without end.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Ends the server, also when the test fails.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

#[test]
fn the_same_port_of_another_address_may_be_another_such_server() {
    let server = Command::new(env!("CARGO_BIN_EXE_stage03-udp-threads"))
        .args(["--port", "0", "--threads", "1"])
        .env_remove("RUST_LOG")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut server = Server(server.expect("the server can be started"));
    let log = server.0.stderr.take().expect("a pipe");
    let mut log = BufReader::new(log).lines().map_while(Result::ok);
    let first = log.next().expect("the first line of the log");
    let address = first.split(['(', ')']).nth(1).expect("the address");
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();

    let other = UdpSocket::bind(("127.0.0.2", port)).expect("the port is free there");
    other.send_to(b"hello\n", address).expect("it is sent");
    let client = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    let patience = Some(Duration::from_secs(30));
    client.set_read_timeout(patience).expect("a socket has one");
    client.send_to(b"hello\n", address).expect("it is sent");
    let mut answer = [0; 100];
    let (count, _) = client.recv_from(&mut answer).expect("an answer");
    assert_eq!(&answer[..count], b"olleh\n");

    // One thread takes the datagrams one by one. If the first had been answered, its answer would
    // have come before that of the second.
    other.set_nonblocking(true).expect("it can be");
    assert!(other.recv(&mut answer).is_err(), "it was answered");
    drop(server);
    let log: Vec<String> = log.collect();
    let warning = format!("127.0.0.2:{port} is not answered: it may be a server");
    assert!(log.iter().any(|line| line.contains(&warning)), "{log:?}");
}
