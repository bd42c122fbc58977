//! What this stage needs but does not teach. You may skip this folder: each file keeps one
//! promise.
//!
//! | file       | its promise                                           |
//! |------------|-------------------------------------------------------|
//! | `cli`      | the command line as `Args`                            |
//! | `escape`   | the bytes of a peer as text that is safe to print     |
//! | `limit`    | as many descriptors as the system allows              |
//! | `lines`    | the lines in a stream of bytes (stage 1)              |
//! | `listen`   | a listening socket (stage 1)                          |
//! | `logger`   | log lines go to stderr, and never end the program     |
//! | `messages` | the lines for stdout, kept until stdout takes them    |
//! | `passing`  | the errors of `accept` that concern one client        |
//! | `reverse`  | a line reversed (stage 1)                             |
//! | `show`     | the `[CLIENT MESSAGE]` line for one message           |

pub mod cli;
pub mod escape;
pub mod limit;
pub mod lines;
pub mod listen;
pub mod logger;
pub mod messages;
pub mod passing;
pub mod reverse;
pub mod show;
