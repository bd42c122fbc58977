//! What is given to the three programs of stage 5. The proxy begins in `main.rs`; the practice
//! problem, two programs that transfer a file, has a folder of its own: `file_transfer/`.

pub mod given;
