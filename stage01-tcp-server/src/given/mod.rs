//! What this stage needs and does not teach. You may skip it: each file keeps one promise.
//!
//! | file     | its promise                                            |
//! |----------|--------------------------------------------------------|
//! | `cli`    | the command line as `Args`                             |
//! | `escape` | bytes of others as text that cannot control a terminal |
//! | `logger` | log lines go to stderr, and never end the program      |
//! | `show`   | the `[CLIENT MESSAGE]` line for one message            |

pub mod cli;
pub mod escape;
pub mod logger;
pub mod show;
