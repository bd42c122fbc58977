//! What the two clients of this stage share: `connect.rs` is how they connect. You may skip
//! the folder `given`: this stage needs it, but does not teach it.

pub mod connect;
pub mod given;
