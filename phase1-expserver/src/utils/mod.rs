//! What is of use anywhere and knows nothing of servers.

pub mod logger;
pub mod repeats;
mod show;
