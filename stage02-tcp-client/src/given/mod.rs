//! What this stage needs and does not teach. You may skip it: each file keeps one promise.
//!
//! | file      | its promise                                            |
//! |-----------|--------------------------------------------------------|
//! | `answers` | the `[SERVER MESSAGE]` line for one answer             |
//! | `cli`     | the command line as `Args`                             |
//! | `escape`  | bytes of others as text that cannot control a terminal |
//! | `lines`   | the lines in a stream of bytes (stage 1)               |
//! | `logger`  | log lines go to stderr, and never end the program      |
//! | `reverse` | a line reversed (stage 1)                              |

pub mod answers;
pub mod cli;
pub mod escape;
pub mod lines;
pub mod logger;
pub mod reverse;
