//! Drives the servers of this workspace from outside, over sockets, as clients do.
//!
//! Each module imports only modules further down.
//!
//! | module          | what it is for                                                     |
//! |-----------------|--------------------------------------------------------------------|
//! | [`suite`]       | checks as tests: `cargo test -p stage04-epoll`                     |
//! | [`own_network`] | a network of their own for checks that need fixed ports            |
//! | [`run`]         | one check against one program, and why it failed                   |
//! | [`limits`]      | which limits of the grader a program has met                       |
//! | [`checks`]      | the checks themselves, stage by stage                              |
//! | [`check`]       | what a check is: its data and its function                         |
//! | [`trial`]       | one run of one check: what it starts, its deadline, its steps      |
//! | [`upstream`]    | a server inside a check, for a proxy or a client under test        |
//! | [`peer`]        | one end of a TCP connection that a check drives, with deadlines    |
//! | [`datagram`]    | the same for UDP                                                   |
//! | [`pipe`]        | the ends of a program's stdin and stdout that a check holds        |
//! | [`process`]     | a running program: its output, its figures from `/proc`, its end   |
//! | [`queues`]      | the bytes of a connection that have not been read yet              |
//! | [`sockets`]     | the kernel's tables of sockets                                     |
//! | [`ports`]       | the ports of a program: the course's, or free ones                  |
//! | [`program`]     | a program under test: how it is started, where it listens          |
//! | [`folder`]      | folders, copied and removed                                        |
//! | [`trace`]       | the numbered steps that a failing check prints                     |
//! | [`data`]        | the bytes that are sent; how bytes and times are shown             |
//! | [`excerpt`]     | the lines of a long output that a failure shows                    |
//! | [`foreign`]     | text that a program under test has made, for a reader              |
//! | [`hint`]        | what to look at, by what has happened                              |
//! | [`failure`]     | the verdict of a check: success, or a failure that explains itself |
//! | [`stage`]       | the stages: whose contract a check belongs to                      |
//! | [`patience`]    | how long a check waits, and at what interval it looks              |
//! | [`interrupt`]   | Ctrl-C for the tools                                               |
//! | [`host`]        | what the machine offers: its tools, its descriptors                |
//! | [`lock`]        | a mutex that a thread may have held when it panicked               |
//!
//! A check starts a program ([`trial::Trial::start`]), talks to it through
//! [`peer::Peer`]s, and returns the first [`failure::Failure`]. Nothing here knows
//! how a server is built; everything is seen over sockets, signals and `/proc`.

pub mod check;
pub mod checks;
pub mod data;
pub mod datagram;
pub mod excerpt;
pub mod failure;
pub mod folder;
pub mod foreign;
pub mod hint;
pub mod host;
pub mod interrupt;
pub mod limits;
pub mod lock;
pub mod own_network;
pub mod patience;
pub mod peer;
pub mod pipe;
pub mod ports;
pub mod process;
pub mod program;
pub mod queues;
pub mod run;
pub mod sockets;
pub mod stage;
pub mod suite;
pub mod trace;
pub mod trial;
pub mod upstream;
