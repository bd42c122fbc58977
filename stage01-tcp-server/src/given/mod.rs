//! What this stage needs but does not teach. You may skip this folder: each file keeps one
//! promise.
//!
//! | file      | its promise                                       |
//! |-----------|---------------------------------------------------|
//! | `cli`     | the command line as `Args`                        |
//! | `escape`  | the bytes of a peer as text that is safe to print |
//! | `logger`  | log lines go to stderr, and never end the program |
//! | `passing` | the errors of `accept` that concern one client    |
//! | `show`    | the `[CLIENT MESSAGE]` line for one message       |

pub mod cli;
pub mod escape;
pub mod logger;
pub mod passing;
pub mod show;
