//! Compares the servers of this workspace with their peers: `cargo bench-peers`.
//!
//! | module        | what it is for                                                     |
//! |---------------|--------------------------------------------------------------------|
//! | [`workload`]  | the workloads W1 to W10 and their goals, as data                    |
//! | [`contender`] | who takes part, how each is started and ended                       |
//! | [`peers`]     | the configurations of nginx, HAProxy and socat                      |
//! | [`floor`]     | the built-in server that does the least                             |
//! | [`load`]      | the clients and the upstream                                        |
//! | [`measure`]   | one measurement: a fresh server, its load, its figures              |
//! | [`machine`]   | CPUs, CPU time, memory                                              |
//! | [`contest`]   | all measurements of a run, interleaved                              |
//! | [`results`]   | medians, ratios, goals                                              |
//! | [`report`]    | the table, JSON                                                     |
//! | [`page`], [`plot`] | write sections and pictures into the book                        |
//! | [`syscalls`]  | the system calls for a unit of work, counted by strace              |
//! | [`interrupt`] | Ctrl-C                                                              |
//!
//! In each round of a workload every contender has one turn, with a fresh process, so that
//! all suffer alike from whatever else the machine does. What counts is the ratio of the
//! medians over the rounds.

pub mod contender;
pub mod contest;
pub mod floor;
pub mod interrupt;
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
