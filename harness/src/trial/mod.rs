//! One run of one check. Each file imports only files further down.
//!
//! | file            | what it is for                                                    |
//! |-----------------|-------------------------------------------------------------------|
//! | [`launch`]      | how a check starts a program, and waits until it listens          |
//! | [`listening`]   | how a check learns that a server listens, and where               |
//! | [`state`]       | what a check knows about its run: program, folder, deadline, steps |
//! | [`running`]     | a running program: what a check expects of it                     |
//! | [`descriptors`] | descriptors for checks that need thousands of sockets             |

mod descriptors;
mod launch;
mod listening;
mod running;
mod state;

pub use descriptors::{Reserved, most_sockets};
pub use launch::Launch;
pub use running::{MOST_GROWTH, Running, Server};
pub use state::Trial;
