//! The system calls that a server makes for a unit of work, counted by `strace -c`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use harness::host::find_tool;
use harness::patience::LOOK;
use harness::process::{Process, Setup};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::contender::Who::{self, *};
use crate::load::fetch::Fetch;
use crate::load::noise;
use crate::load::pingpong::PingPong;
use crate::load::upstream;
use crate::machine::{self, Cpus};
use crate::measure::{answer_of, listener_for, start};

/// How long the calls are counted.
const TIME: Duration = Duration::from_millis(500);

/// The work whose calls are counted: one client that does one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    PingPong,
    ShortConnection,
}

const LOOKED_AT: &[(&str, Work, &[Who])] = &[
    (
        "a line and its answer",
        Work::PingPong,
        &[Floor, Stage04, Reverse, Echo],
    ),
    (
        "a line and its answer, proxied",
        Work::PingPong,
        &[Stage05, Proxy, Nginx, Haproxy],
    ),
    (
        "a short proxied connection",
        Work::ShortConnection,
        &[Stage05, Proxy, Nginx, Haproxy],
    ),
];

/// One kind of call.
#[derive(Clone, Debug, PartialEq)]
struct Call {
    name: String,
    count: f64,
    failed: f64,
}

/// Counts the calls of all contenders that are installed. Returns a Markdown table.
pub fn table(cpus: &Cpus) -> Result<String> {
    if find_tool("strace").is_none() {
        bail!("strace is not installed");
    }
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN);
    table.set_header(["for", "program", "calls", "which"]);
    for &(what, work, who) in LOOKED_AT {
        for &who in who.iter().filter(|who| who.program().is_some()) {
            let calls = match work {
                Work::PingPong => ping_pong(who, cpus),
                Work::ShortConnection => short_connection(who, cpus),
            };
            let calls = calls.with_context(|| who.name())?;
            let total: f64 = calls.iter().map(|call| call.count).sum();
            let which: Vec<String> = calls.iter().map(show).collect();
            table.add_row([what, &who.name(), &format!("{total:.1}"), &which.join(", ")]);
        }
    }
    Ok(table.to_string())
}

fn show(call: &Call) -> String {
    let Call {
        name,
        count,
        failed,
    } = call;
    match *failed >= 0.05 {
        true => format!("`{name}` {count:.1} ({failed:.1} failed)"),
        false => format!("`{name}` {count:.1}"),
    }
}

fn ping_pong(who: Who, cpus: &Cpus) -> Result<Vec<Call>> {
    let listener = listener_for(who)?;
    let server = start(who, listener.as_ref(), cpus)?;
    let mut load = PingPong::new(server.address, listener, answer_of(who))?;
    load.add_clients(1)?;
    counted(server.pid(), || load.run(1, TIME))
}

fn short_connection(who: Who, cpus: &Cpus) -> Result<Vec<Call>> {
    let listener = upstream()?;
    let server = start(who, Some(&listener), cpus)?;
    let fetch = Fetch {
        server: server.address,
        listener: Some(&listener),
        request: b"",
        body: &noise(1024),
        at_once: 1,
    };
    fetch.run(Duration::ZERO, true)?;
    counted(server.pid(), || fetch.run(TIME, true))
}

/// The calls of a server during `work`, divided by the number of units that `work` returns.
fn counted(server: Pid, work: impl FnOnce() -> Result<u64>) -> Result<Vec<Call>> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let summary = folder.path().join("summary");
    let mut command = ["strace", "-c", "-f", "-o"].map(str::to_owned).to_vec();
    command.push(summary.display().to_string());
    let family = machine::family(server);
    for pid in &family {
        command.push(format!("--attach={pid}"));
    }
    let setup = Setup {
        directory: folder.path().to_owned(),
        ..Setup::default()
    };
    let strace = Process::start(&command, setup, |_| true);
    let strace = strace.map_err(|failure| anyhow!("{failure}"))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !family.iter().all(|&pid| machine::is_traced(pid)) {
        if strace.status().is_some() || Instant::now() > deadline {
            bail!("strace cannot attach: {}", strace.log().trim());
        }
        std::thread::sleep(LOOK);
    }
    let units = work()? as f64;
    strace.signal(Signal::SIGINT);
    strace.wait(deadline).context("strace did not end")?;
    let summary = fs::read_to_string(&summary).context("strace wrote no summary")?;
    let mut calls = read_summary(&summary);
    for call in &mut calls {
        call.count /= units;
        call.failed /= units;
    }
    calls.retain(|call| call.count >= 0.05); // drops the calls of timers and of attaching
    Ok(calls)
}

/// Reads lines such as `52.94  0.018  3  5000  12  recvfrom`. The number of errors, here 12,
/// may be missing.
fn read_summary(summary: &str) -> Vec<Call> {
    let call = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (count, name) = (fields.get(3)?.parse().ok()?, fields.last()?);
        let failed = match fields.len() {
            6 => fields[4].parse().ok()?,
            _ => 0.0,
        };
        (*name != "total").then(|| Call {
            name: (*name).to_owned(),
            count,
            failed,
        })
    };
    let mut calls: Vec<Call> = summary.lines().filter_map(call).collect();
    calls.sort_by(|a, b| {
        b.count
            .total_cmp(&a.count)
            .then_with(|| a.name.cmp(&b.name))
    });
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_with_and_without_errors() {
        let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.012000           2      5000           sendto
 40.00    0.008000           1      6000      1000 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.020000           1     11000      1000 total
";
        let call = |name: &str, count, failed| Call {
            name: name.to_owned(),
            count,
            failed,
        };
        let expected = [
            call("recvfrom", 6000.0, 1000.0),
            call("sendto", 5000.0, 0.0),
        ];
        assert_eq!(read_summary(summary), expected);
    }
}
