//! What the three programs of stage 5 share. The proxy begins in `main.rs`. The practice
//! problem, two programs that transfer a file, is in `file_transfer/`.

pub mod given;
