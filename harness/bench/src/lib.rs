//! Compares the servers of this workspace with their peers: `cargo bench-peers`.
//!
//! Each module imports only modules further down.
//!
//! | module        | what it is for                                                 |
//! |---------------|----------------------------------------------------------------|
//! | [`report`]    | the table, JSON                                                |
//! | [`plot`]      | the pictures                                                   |
//! | [`results`]   | medians, ratios, goals                                         |
//! | [`contest`]   | all measurements of a run, interleaved                         |
//! | [`syscalls`]  | the system calls for a unit of work, counted by strace         |
//! | [`measure`]   | one measurement: a fresh server, its load, its figures         |
//! | [`workload`]  | the workloads W1 to W10 and their goals, as data               |
//! | [`contender`] | who takes part, how each is started and ended                  |
//! | [`peers`]     | the configurations of nginx, HAProxy and socat                 |
//! | [`machine`]   | CPUs, CPU time, memory                                         |
//! | [`load`]      | the clients and the upstream                                   |
//! | [`floor`]     | the built-in server that does the least                        |
//! | [`page`]      | the page of the book that tables and pictures are written into |
//!
//! In each round of a workload every contender has one turn, with a fresh process, so that
//! all suffer alike from whatever else the machine does. What counts is the ratio of the
//! medians over the rounds.

pub mod contender;
pub mod contest;
pub mod floor;
pub mod load;
pub mod machine;
pub mod measure;
pub mod page;
pub mod peers;
pub mod plot;
pub mod report;
pub mod results;
pub mod syscalls;
pub mod workload;
