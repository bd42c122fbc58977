//! One measurement: a fresh server, its load, its figures.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::interrupt;

use crate::contender::{Order, Server, Who};
use crate::load::bulk::{self, Direction};
use crate::load::datagrams::Datagrams;
use crate::load::fetch::Fetch;
use crate::load::pingpong::{Answer, PingPong};
use crate::load::{noise, upstream};
use crate::machine::{self, Cpus};
use crate::workload::{Load, Metric};

pub type Figures = BTreeMap<Metric, f64>;

const GIB: f64 = (1_u64 << 30) as f64;

/// How a measurement is made.
pub struct Conditions<'a> {
    pub cpus: Cpus,
    /// How long each load is applied.
    pub time: Duration,
    /// How long W10 measures the silence.
    pub silence: Duration,
    /// Whether a stream is first compared byte by byte.
    pub verify: bool,
    /// The folder of the files to serve.
    pub folder: &'a Path,
}

impl Conditions<'_> {
    /// How long a server is used before it is measured.
    fn warm_up(&self) -> Duration {
        self.time / 5
    }
}

pub fn measure(load: Load, who: Who, conditions: &Conditions) -> Result<Figures> {
    let figures = match load {
        Load::PingPong { clients, idle } => ping_pong(who, clients, idle, conditions),
        Load::Bulk {
            connections,
            direction,
        } => bulk(who, connections, direction, conditions),
        Load::Short { at_once, bytes } => short(who, at_once, bytes, conditions),
        Load::File { at_once, bytes } => file(who, at_once, bytes, conditions),
        Load::Memory { connections } => memory(who, connections, conditions),
        Load::Datagrams { sockets } => datagrams(who, sockets, conditions),
        Load::Burst { connections } => burst(who, connections, conditions),
    };
    figures.with_context(|| who.name())
}

/// Times `work`, which returns how many units it has done.
fn timed(server: &Server, work: impl FnOnce() -> Result<f64>) -> Result<Figures> {
    let (cpu, queued, start) = (server.cpu(), server.queued(), Instant::now());
    let load = machine::own_cpu_time();
    let units = work()?;
    let (elapsed, used) = (start.elapsed(), server.cpu() - cpu);
    let load = machine::own_cpu_time().saturating_sub(load);
    let queued = server.queued().saturating_sub(queued);
    server.check()?;
    Ok(Figures::from([
        (Metric::Rate, units / elapsed.as_secs_f64()),
        (Metric::Cpu, used.as_secs_f64() / units),
        (Metric::LoadCpu, load.as_secs_f64() / elapsed.as_secs_f64()),
        (Metric::Queued, queued.as_secs_f64() / elapsed.as_secs_f64()),
    ]))
}

/// Starts a line server or, with a `listener`, a proxy in front of it.
pub fn start(who: Who, listener: Option<&TcpListener>, cpus: &Cpus) -> Result<Server> {
    let upstream = listener.map(TcpListener::local_addr).transpose()?;
    let order = Order {
        upstream,
        file: None,
    };
    who.start(&order, cpus)
}

/// How it answers lines.
pub fn answer_of(who: Who) -> Answer {
    match who {
        Who::Stage04 | Who::Reverse => Answer::Reversed,
        _ => Answer::Same,
    }
}

/// The upstream that a proxy needs.
pub fn listener_for(who: Who) -> Result<Option<TcpListener>> {
    who.is_proxy().then(upstream).transpose()
}

fn ping_pong(who: Who, clients: usize, idle: usize, conditions: &Conditions) -> Result<Figures> {
    let listener = listener_for(who)?;
    let server = start(who, listener.as_ref(), &conditions.cpus)?;
    let mut load = PingPong::new(server.address, listener, answer_of(who))?;
    load.add_clients(clients)?;
    load.run(clients, conditions.warm_up())?;
    let mut run = || timed(&server, || Ok(load.run(clients, conditions.time)? as f64));
    let alone = run()?;
    if idle == 0 {
        return Ok(alone);
    }
    load.add_clients(idle)?;
    load.run(clients, conditions.warm_up())?;
    let mut figures = timed(&server, || Ok(load.run(clients, conditions.time)? as f64))?;
    figures.insert(Metric::CpuAlone, alone[&Metric::Cpu]);
    Ok(figures)
}

fn bulk(
    who: Who,
    connections: usize,
    direction: Direction,
    conditions: &Conditions,
) -> Result<Figures> {
    let listener = upstream()?;
    let server = start(who, Some(&listener), &conditions.cpus)?;
    let run = |time, verify| {
        let address = server.address;
        let bytes = bulk::run(address, &listener, connections, direction, time, verify)?;
        Ok(bytes as f64 / GIB)
    };
    run(conditions.warm_up(), conditions.verify)?;
    timed(&server, || run(conditions.time, false))
}

fn short(who: Who, at_once: usize, bytes: usize, conditions: &Conditions) -> Result<Figures> {
    let listener = upstream()?;
    let server = start(who, Some(&listener), &conditions.cpus)?;
    let fetch = Fetch {
        server: server.address,
        listener: Some(&listener),
        request: b"",
        body: &noise(bytes),
        at_once,
    };
    fetch.run(conditions.warm_up(), true)?;
    timed(&server, || Ok(fetch.run(conditions.time, false)? as f64))
}

fn file(who: Who, at_once: usize, bytes: usize, conditions: &Conditions) -> Result<Figures> {
    let name = format!("{bytes}.bin");
    let path = conditions.folder.join(&name);
    let body = noise(bytes);
    if !path.exists() {
        fs::write(&path, &body).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let order = Order {
        upstream: None,
        file: Some((conditions.folder, &name)),
    };
    let server = who.start(&order, &conditions.cpus)?;
    let request = match who {
        Who::Nginx => format!("GET /{name} HTTP/1.0\r\n\r\n"),
        _ => String::new(),
    };
    let fetch = Fetch {
        server: server.address,
        listener: None,
        request: request.as_bytes(),
        body: &body,
        at_once,
    };
    fetch.run(conditions.warm_up(), conditions.verify)?;
    timed(&server, || Ok(fetch.run(conditions.time, false)? as f64))
}

fn memory(who: Who, connections: usize, conditions: &Conditions) -> Result<Figures> {
    let listener = upstream()?;
    let server = start(who, Some(&listener), &conditions.cpus)?;
    let before = server.memory();
    let mut load = PingPong::new(server.address, Some(listener), Answer::Same)?;
    load.add_clients(connections)?;
    let grown = server.memory().saturating_sub(before);
    server.check()?;
    Ok(Figures::from([(
        Metric::Memory,
        grown as f64 / connections as f64,
    )]))
}

fn datagrams(who: Who, sockets: usize, conditions: &Conditions) -> Result<Figures> {
    let server = start(who, None, &conditions.cpus)?;
    let mut load = Datagrams::new(server.address, sockets)?;
    load.run(conditions.warm_up())?;
    let mut figures = timed(&server, || Ok(load.run(conditions.time)? as f64))?;
    figures.insert(Metric::Lost, load.lost as f64);
    Ok(figures)
}

/// nginx does not answer lines: here it waits for requests that never come.
fn burst(who: Who, connections: usize, conditions: &Conditions) -> Result<Figures> {
    let order = Order {
        upstream: None,
        file: Some((conditions.folder, "none")),
    };
    let server = who.start(&order, &conditions.cpus)?;
    let mut load = PingPong::new(server.address, None, answer_of(who))?;
    let burst = load.burst(connections)?;
    while machine::accept_queue(server.address) > 0 {
        interrupt::sleep(Duration::from_millis(10))?;
    }
    if who != Who::Nginx {
        load.ask_all()?;
    }
    interrupt::sleep(Duration::from_millis(50))?; // let pending work end
    let cpu = server.cpu();
    interrupt::sleep(conditions.silence)?;
    let idle = server.cpu() - cpu;
    if who != Who::Nginx {
        load.ask_all()?; // all clients must still be connected
    }
    server.check()?;
    Ok(Figures::from([
        (Metric::Opening, burst.elapsed.as_secs_f64()),
        (Metric::Refused, burst.refused as f64),
        (Metric::Retried, burst.retried as f64),
        (Metric::IdleCpu, idle.as_secs_f64()),
    ]))
}
