//! Stage 5, what its three programs share. The proxy's story begins in `main.rs`; those
//! of the file transfer stand in `bin/`.

pub mod console;
pub mod listen;
pub mod signals;
pub mod transfer;
