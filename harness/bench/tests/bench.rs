//! The benchmark itself: it runs, it ends, and it notices lost or wrong bytes.
#![allow(clippy::unwrap_used)] // a test

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use harness::process::{Process, Setup};
use harness_bench::load::bulk::{self, Direction};
use harness_bench::load::fetch::Fetch;
use harness_bench::load::pingpong::{Answer, PingPong};
use harness_bench::load::upstream;
use harness_bench::machine;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const MOMENT: Duration = Duration::from_millis(50);

fn bench(arguments: &[&str]) -> Process {
    let command = [&[env!("CARGO_BIN_EXE_bench")], arguments].concat();
    let setup = Setup {
        directory: std::env::temp_dir(),
        ..Setup::default()
    };
    Process::start(&command, setup, |_| true).unwrap()
}

fn in_a_minute() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn a_smoke_run_against_the_floor_prints_json_and_the_table() {
    let bench = bench(&[
        "--smoke",
        "--json",
        "--only",
        "w1,W10",
        "--contenders",
        "floor",
    ]);
    let status = bench.wait(in_a_minute()).unwrap();
    assert!(status.success(), "{status}: {}", bench.log());
    assert!(
        bench.log().contains("ping-pong of lines"),
        "{}",
        bench.log()
    );
    let json: serde_json::Value = serde_json::from_slice(&bench.stdout()).unwrap();
    let floor = &json["workloads"][0]["contenders"][0];
    assert_eq!(floor["contender"], "floor");
    for figure in ["throughput", "CPU"] {
        assert!(floor["rounds"][0][figure].as_f64().unwrap() > 0.0, "{json}");
    }
    let burst = &json["workloads"][1]["contenders"][0]["rounds"][0];
    assert_eq!(burst["refused"], 0.0, "{json}");
}

#[test]
fn a_signal_ends_the_run_and_its_servers() {
    let bench = bench(&["--only", "W1", "--contenders", "floor", "--seconds", "600"]);
    let deadline = in_a_minute();
    let this = Pid::from_raw(bench.pid() as i32);
    let floor = loop {
        if let [_, floor] = machine::family(this)[..] {
            break floor;
        }
        assert!(Instant::now() < deadline, "no server: {}", bench.log());
        thread::sleep(Duration::from_millis(2));
    };
    bench.signal(Signal::SIGINT);
    let status = bench.wait(deadline).unwrap();
    assert!(!status.success());
    assert!(bench.log().contains("interrupted"), "{}", bench.log());
    assert_eq!(kill(floor, None), Err(nix::Error::ESRCH));
}

#[test]
fn workloads_and_contenders_that_do_not_exist_are_refused() {
    for (arguments, words) in [
        (["--only", "W11"], "there is no workload W11"),
        (["--contenders", "apache"], "invalid value 'apache'"),
        (["--rounds", "0"], "invalid value '0'"),
        (["--seconds", "nan"], "--seconds takes 0.01 to 600"),
    ] {
        let bench = bench(&arguments);
        assert!(!bench.wait(in_a_minute()).unwrap().success());
        assert!(bench.log().contains(words), "{}", bench.log());
    }
}

/// Gets the number of bytes that came before, and the next bytes.
type Spoil = fn(usize, Vec<u8>) -> Vec<u8>;

/// A proxy with a thread for each direction. `spoil` may change what goes through.
fn proxy(upstream: SocketAddr, spoil: Spoil) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(upstream).unwrap();
            let other = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || copy(client, server, spoil));
            thread::spawn(move || copy(other.1, other.0, spoil));
        }
    });
    address
}

fn copy(mut from: TcpStream, mut to: TcpStream, spoil: Spoil) {
    let (mut buffer, mut before) = (vec![0; 64 * 1024], 0);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = spoil(before, buffer[..count].to_vec());
        before += count;
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write); // it may have closed already
}

fn nothing(_before: usize, bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

fn lose_the_first(before: usize, mut bytes: Vec<u8>) -> Vec<u8> {
    if before == 0 {
        bytes.remove(0);
    }
    bytes
}

fn change_one(_before: usize, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[0] = bytes[0].wrapping_add(1); // an echo passes here twice, on its way there and back
    bytes
}

fn bulk_through(spoil: Spoil, verify: bool) -> Result<u64, String> {
    let listener = upstream().unwrap();
    let proxy = proxy(listener.local_addr().unwrap(), spoil);
    let directions = [Direction::Down, Direction::Up].map(|direction| {
        bulk::run(proxy, &listener, 2, direction, MOMENT, verify).map_err(|error| error.to_string())
    });
    let [down, up] = directions;
    Ok(down?.min(up?))
}

#[test]
fn lost_and_wrong_bytes_of_a_stream_are_noticed() {
    assert!(bulk_through(nothing, true).unwrap() > 0);
    assert!(bulk_through(nothing, false).unwrap() > 0);
    let lost = bulk_through(lose_the_first, false).unwrap_err();
    assert!(lost.contains("bytes were lost"), "{lost}");
    let wrong = bulk_through(change_one, true).unwrap_err();
    assert!(wrong.contains("wrong bytes"), "{wrong}");
}

#[test]
fn a_wrong_answer_is_noticed() {
    let ask = |spoil: Spoil, kind| {
        let listener = upstream().unwrap();
        let proxy = proxy(listener.local_addr().unwrap(), spoil);
        let mut load = PingPong::new(proxy, Some(listener), kind).unwrap();
        load.add_clients(3)?;
        load.run(2, MOMENT)
    };
    assert!(ask(nothing, Answer::Same).unwrap() >= 2);
    for wrong in [
        ask(change_one, Answer::Same),
        ask(nothing, Answer::Reversed),
    ] {
        let error = wrong.unwrap_err().to_string();
        assert!(error.contains("wrong answer"), "{error}");
    }
}

#[test]
fn an_answer_that_is_cut_short_is_noticed() {
    let fetch = |spoil: Spoil| {
        let listener = upstream().unwrap();
        let fetch = Fetch {
            server: proxy(listener.local_addr().unwrap(), spoil),
            listener: Some(&listener),
            request: b"",
            body: b"a body of a few bytes",
            at_once: 2,
        };
        fetch.run(MOMENT, false)
    };
    assert!(fetch(nothing).unwrap() >= 2);
    for spoil in [lose_the_first as Spoil, change_one] {
        let error = fetch(spoil).unwrap_err().to_string();
        assert!(error.contains("do not end with"), "{error}");
    }
}
