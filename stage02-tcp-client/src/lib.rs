//! What the two clients of this stage share: how they connect, and what is given.

pub mod connect;
pub mod given;
