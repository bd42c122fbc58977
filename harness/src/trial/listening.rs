//! How a check learns that a server listens, and where.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Instant;

use super::state::Trial;
use crate::data::list;
use crate::failure::{Failure, Outcome, Verdict};
use crate::hint;
use crate::patience::LOOK;
use crate::patience::patience;
use crate::process::{Process, ended};
use crate::program::announced_addresses;
use crate::sockets::{CLOSED, Row, Table, listeners, rows};
use crate::stage::Stage;

pub(super) fn wait_for_announcement(
    trial: &Trial,
    process: &Process,
    listeners: usize,
) -> Verdict<Vec<SocketAddr>> {
    let deadline = trial.deadline.min(Instant::now() + patience());
    let enough = |log: &str| announced_addresses(log).len() >= listeners;
    if process.wait_for_log(deadline, enough) {
        let addresses = announced_addresses(&process.log());
        trial.step(format!("the server listens on {}", list(&addresses)));
        return Ok(addresses);
    }
    let line = match trial.stage {
        Stage::Phase1 => "listening on tcp://127.0.0.1:8001 (echo)",
        _ => "Server listening on port 8080 (127.0.0.1:8080)",
    };
    let what = format!("`{}` did not log where it listens", process.name);
    let failure = Failure::new(Outcome::NotStarted, what);
    Err(failure
        .expected(format!("a log line such as `{line}`"))
        .received(process.logged()))
}

/// Where the course's modular server, with these ports, listens in this role.
pub(super) fn course_address(ports: &[u16], role: &str) -> SocketAddr {
    let port = match role.split(':').next() {
        Some("proxy") => ports[0],
        Some("file") => ports[1],
        Some("reverse") => ports[2],
        _ => ports[3],
    };
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Looks into the kernel's table: a connection would be the only client that stage 1 serves.
pub(super) fn wait_for_listeners(trial: &Trial, process: &Process) -> Verdict<Vec<SocketAddr>> {
    let ports = trial.fixed_ports().listeners;
    let named = match ports.as_slice() {
        [port] => format!("port {port}"),
        ports => format!("the ports {}", list(ports)),
    };
    let deadline = trial.deadline.min(Instant::now() + patience());
    loop {
        if let Some(status) = process.status() {
            let mut failure = ended(&process.name, status).hint(hint::ENDED_EARLY);
            failure.what += &format!(" before it listened on {named}");
            return Err(failure);
        }
        let open = open_ports(trial.stage);
        if ports.iter().all(|port| open.contains(port)) {
            break;
        }
        if Instant::now() >= deadline {
            return Err(does_not_listen(process, &named, &ports));
        }
        thread::sleep(LOOK);
    }
    trial.step(format!("the server listens on {named}"));
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(ports.into_iter().map(address).collect())
}

fn does_not_listen(process: &Process, named: &str, ports: &[u16]) -> Failure {
    let what = format!("`{}` does not listen on {named}", process.name);
    let there = process.where_it_listens();
    let swapped = |port: &u16| {
        let ending = format!(":{} (", port.swap_bytes());
        there.iter().any(|place| place.contains(&ending))
    };
    let hint = match there.is_empty() {
        true => hint::LISTEN,
        false if ports.iter().any(swapped) => hint::HTONS,
        false => hint::ADDRESS,
    };
    let there = match there.is_empty() {
        true => "it does not listen at all".to_owned(),
        false => format!("it listens on {}", list(&there)),
    };
    let failure = Failure::new(Outcome::NotStarted, what).hint(hint);
    let expected = format!("it listens on {named}, reached through 127.0.0.1");
    failure.expected(expected).received(there)
}

/// The ports of this network that are open for 127.0.0.1, for the protocol of this stage.
fn open_ports(stage: Stage) -> Vec<u16> {
    let is_reached = |row: &Row| {
        let address = row.local.ip().to_canonical();
        address.is_unspecified() || address == Ipv4Addr::LOCALHOST
    };
    let port = |row: Row| is_reached(&row).then(|| row.local.port());
    if stage == Stage::Stage03 {
        let bound = [Table::Udp, Table::Udp6].into_iter().flat_map(rows);
        bound
            .filter(|row| row.state == CLOSED)
            .filter_map(port)
            .collect()
    } else {
        let open = [Table::Tcp, Table::Tcp6].into_iter().flat_map(listeners);
        open.filter_map(port).collect()
    }
}
