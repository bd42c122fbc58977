//! The workloads as data: the load, who takes part, and the goals.

use crate::contender::Who::{self, *};
use crate::load::bulk::Direction;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Units of work per second.
    Rate,
    /// User and system time of the server for a unit of work, in seconds.
    Cpu,
    /// The same, while the server has no idle connections.
    CpuAlone,
    /// Resident memory for a connection, in bytes.
    Memory,
    /// The time until the last connection of a burst was established, in seconds.
    Opening,
    Refused,
    /// Connection attempts that the kernel repeated.
    Retried,
    /// User and system time during the silence, in seconds.
    IdleCpu,
    /// Datagrams without an answer.
    Lost,
    /// The share of its own CPU that the load used.
    LoadCpu,
    /// The share of the time in which the server or the load waited for a CPU that other
    /// programs used: how much the machine disturbed the measurement.
    Queued,
}

impl Metric {
    pub fn more_is_better(self) -> bool {
        self == Metric::Rate
    }

    pub fn name(self) -> &'static str {
        match self {
            Metric::Rate => "throughput",
            Metric::Cpu => "CPU",
            Metric::CpuAlone => "CPU alone",
            Metric::Memory => "memory",
            Metric::Opening => "opening",
            Metric::Refused => "refused",
            Metric::Retried => "retried",
            Metric::IdleCpu => "idle CPU",
            Metric::Lost => "lost",
            Metric::LoadCpu => "load",
            Metric::Queued => "disturbed",
        }
    }
}

/// The units of work that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Message,
    Gibibyte,
    Connection,
    File,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Message => "msg",
            Unit::Gibibyte => "GiB",
            Unit::Connection => "conn",
            Unit::File => "file",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// `idle` connections are opened after the first measurement.
    PingPong {
        clients: usize,
        idle: usize,
    },
    Bulk {
        connections: usize,
        direction: Direction,
    },
    /// Short connections through a proxy.
    Short {
        at_once: usize,
        bytes: usize,
    },
    File {
        at_once: usize,
        bytes: usize,
    },
    /// Proxied connections that have each received an answer.
    Memory {
        connections: usize,
    },
    Datagrams {
        sockets: usize,
    },
    /// Connections opened at once, then silence.
    Burst {
        connections: usize,
    },
}

impl Load {
    /// The number of connections that are in use.
    pub fn connections(self) -> usize {
        match self {
            Load::PingPong { clients, .. } => clients,
            Load::Short { at_once, .. } | Load::File { at_once, .. } => at_once,
            Load::Bulk { connections, .. }
            | Load::Memory { connections }
            | Load::Burst { connections } => connections,
            Load::Datagrams { sockets } => sockets,
        }
    }

    pub fn unit(self) -> Unit {
        match self {
            Load::PingPong { .. } | Load::Datagrams { .. } => Unit::Message,
            Load::Bulk { .. } => Unit::Gibibyte,
            Load::Short { .. } | Load::Memory { .. } | Load::Burst { .. } => Unit::Connection,
            Load::File { .. } => Unit::File,
        }
    }
}

/// What a figure is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Against {
    One(Who),
    /// The peer that is best in this metric, of those that are installed.
    BestPeer,
    /// The contender's own figure in another metric.
    Own(Metric),
    /// A fixed figure, in the metric's unit.
    Figure,
}

/// A goal is at least (for throughput) or at most (for all else) `factor` times the reference.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    pub who: &'static [Who],
    pub metric: Metric,
    pub factor: f64,
    pub against: Against,
}

#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub id: &'static str,
    pub title: &'static str,
    pub load: Load,
    pub who: &'static [Who],
    /// What all contenders are compared with.
    pub reference: Against,
    pub goals: &'static [Goal],
}

const LINES: &[Who] = &[Floor, Stage04, Reverse, Echo];
const OUR_LINES: &[Who] = &[Stage04, Reverse, Echo];
const PROXIES: &[Who] = &[Stage05, Proxy, Nginx, Haproxy, HaproxySplice, Socat];
const OUR_PROXIES: &[Who] = &[Stage05, Proxy];

const fn goal(who: &'static [Who], metric: Metric, factor: f64, against: Against) -> Goal {
    Goal {
        who,
        metric,
        factor,
        against,
    }
}

const BULK_GOALS: &[Goal] = &[
    goal(&[Proxy], Metric::Cpu, 0.90, Against::BestPeer),
    goal(&[Proxy], Metric::Rate, 1.00, Against::BestPeer),
    goal(&[Stage05], Metric::Cpu, 1.05, Against::One(Nginx)),
];

const fn bulk(title: &'static str, connections: usize, direction: Direction) -> Workload {
    Workload {
        id: "W4",
        title,
        load: Load::Bulk {
            connections,
            direction,
        },
        who: PROXIES,
        reference: Against::BestPeer,
        goals: BULK_GOALS,
    }
}

/// How the cost of W1 grows with the clients, all of them active.
pub fn more_clients() -> Vec<Workload> {
    let with = |clients| Workload {
        id: "W1",
        title: "clients",
        load: Load::PingPong { clients, idle: 0 },
        who: LINES,
        reference: Against::One(Floor),
        goals: &[],
    };
    [1, 10, 100, 1000, 8000].map(with).into()
}

/// How the cost of W4 grows with the connections.
pub fn more_connections() -> Vec<Workload> {
    let with = |connections| Workload {
        goals: &[],
        ..bulk("connections, down", connections, Direction::Down)
    };
    [1, 2, 4, 8, 16, 32, 64].map(with).into()
}

/// One row for each workload; W4 has four.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        id: "W1",
        title: "ping-pong of lines, 64 clients",
        load: Load::PingPong {
            clients: 64,
            idle: 0,
        },
        who: LINES,
        reference: Against::One(Floor),
        goals: &[goal(OUR_LINES, Metric::Rate, 0.97, Against::One(Floor))],
    },
    Workload {
        id: "W2",
        title: "ping-pong, 1 client beside 8,000 idle ones",
        load: Load::PingPong {
            clients: 1,
            idle: 8000,
        },
        who: LINES,
        reference: Against::One(Floor),
        goals: &[goal(
            OUR_LINES,
            Metric::Cpu,
            1.05,
            Against::Own(Metric::CpuAlone),
        )],
    },
    Workload {
        id: "W3",
        title: "ping-pong through the proxy, 64 clients",
        load: Load::PingPong {
            clients: 64,
            idle: 0,
        },
        who: PROXIES,
        reference: Against::BestPeer,
        goals: &[goal(OUR_PROXIES, Metric::Rate, 1.03, Against::BestPeer)],
    },
    bulk("bulk, 1 connection, down", 1, Direction::Down),
    bulk("bulk, 1 connection, up", 1, Direction::Up),
    bulk("bulk, 8 connections, down", 8, Direction::Down),
    bulk("bulk, 8 connections, up", 8, Direction::Up),
    Workload {
        id: "W5",
        title: "short connections through the proxy",
        load: Load::Short {
            at_once: 8,
            bytes: 1024,
        },
        who: PROXIES,
        reference: Against::BestPeer,
        goals: &[goal(OUR_PROXIES, Metric::Rate, 1.10, Against::BestPeer)],
    },
    Workload {
        id: "W6",
        title: "file of 1 KiB",
        load: Load::File {
            at_once: 8,
            bytes: 1024,
        },
        who: &[File, Nginx],
        reference: Against::One(Nginx),
        goals: &[goal(&[File], Metric::Rate, 1.00, Against::One(Nginx))],
    },
    Workload {
        id: "W7",
        title: "file of 64 MiB",
        load: Load::File {
            at_once: 1,
            bytes: 64 << 20,
        },
        who: &[File, Nginx],
        reference: Against::One(Nginx),
        goals: &[
            goal(&[File], Metric::Rate, 1.00, Against::One(Nginx)),
            goal(&[File], Metric::Cpu, 1.00, Against::One(Nginx)),
        ],
    },
    Workload {
        id: "W8",
        title: "memory of 8,000 idle proxied connections",
        load: Load::Memory { connections: 8000 },
        who: &[Stage05, Proxy, Nginx, Haproxy],
        reference: Against::BestPeer,
        goals: &[goal(&[Proxy], Metric::Memory, 1024.0, Against::Figure)],
    },
    Workload {
        id: "W9",
        title: "ping-pong of datagrams, 32 sockets",
        load: Load::Datagrams { sockets: 32 },
        who: &[Stage03, Stage03PerDatagram],
        reference: Against::One(Stage03PerDatagram),
        goals: &[goal(
            &[Stage03],
            Metric::Rate,
            6.0,
            Against::One(Stage03PerDatagram),
        )],
    },
    Workload {
        id: "W10",
        title: "8,000 connections at once, then silence",
        load: Load::Burst { connections: 8000 },
        who: &[Floor, Stage04, Reverse, Echo, Nginx],
        reference: Against::One(Floor),
        goals: &[
            goal(OUR_LINES, Metric::Refused, 0.0, Against::Figure),
            goal(OUR_LINES, Metric::Retried, 0.0, Against::Figure),
            goal(OUR_LINES, Metric::IdleCpu, 0.005, Against::Figure), // 0.00 s
        ],
    },
];
