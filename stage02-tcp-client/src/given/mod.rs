//! What this stage needs but does not teach. You may skip this folder: each file keeps one
//! promise.
//!
//! | file      | its promise                                           |
//! |-----------|-------------------------------------------------------|
//! | `answers` | the `[SERVER MESSAGE]` line for one answer            |
//! | `cli`     | the command lines as `Args` and `MultiArgs`           |
//! | `escape`  | the bytes of a peer as text that is safe to print     |
//! | `lines`   | the lines in a stream of bytes (stage 1)              |
//! | `logger`  | log lines go to stderr, and never end the program     |
//! | `output`  | prompt and answers on a terminal, plain bytes in pipes |
//! | `reverse` | a line reversed (stage 1)                             |

pub mod answers;
pub mod cli;
pub mod escape;
pub mod lines;
pub mod logger;
pub mod output;
pub mod reverse;
