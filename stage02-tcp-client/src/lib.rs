//! What the two clients of this stage share: how they connect, and how they take the
//! server's bytes apart.

pub mod cli;
pub mod connect;
pub mod lines;
pub mod reverse;
pub mod show;
