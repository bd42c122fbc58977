//! Stage 5, what is given to its three programs. The proxy's story begins in `main.rs`; those
//! of the file transfer stand in `bin/`.

pub mod given;
pub mod transfer;
