//! Drives the servers of this workspace from outside, over sockets, as clients do.
//!
//! | module       | what it is for                                                      |
//! |--------------|---------------------------------------------------------------------|
//! | [`check`]    | what a check is: its data, its verdict, the failure it explains      |
//! | [`checks`]   | the checks themselves, stage by stage                                |
//! | [`trial`]    | one run of one check: what it starts, its deadline, its trace        |
//! | [`program`]  | a program under test: how it is started, where it listens            |
//! | [`process`]  | a running one: its output, its figures from `/proc`, its end         |
//! | [`pipe`]     | the ends of a program's stdin and stdout that a check holds          |
//! | [`peer`]     | one end of a TCP connection that a check drives, with deadlines      |
//! | [`queues`]   | the bytes of a connection that nobody has read yet                   |
//! | [`datagram`] | the same for UDP                                                     |
//! | [`upstream`] | a server that a check plays, behind a proxy or before a client       |
//! | [`data`]     | the bytes that are sent, and how they are shown in a failure         |
//! | [`trace`]    | the numbered steps that a failing check prints                       |
//! | [`folder`]   | folders, copied and removed                                          |
//! | [`own_network`] | a network of their own for checks that need fixed ports          |
//! | [`suite`]    | checks as tests: `cargo test -p stage04-epoll`                       |
//!
//! A check starts a program ([`trial::Trial::start`]), talks to it through
//! [`peer::Peer`]s, and returns the first [`check::Failure`]. Nothing here knows
//! how a server is built; everything is seen over sockets, signals and `/proc`.

pub mod check;
pub mod checks;
pub mod data;
pub mod datagram;
pub mod folder;
pub mod own_network;
pub mod peer;
pub mod pipe;
pub mod process;
pub mod program;
pub mod queues;
pub mod suite;
pub mod trace;
pub mod trial;
pub mod upstream;
