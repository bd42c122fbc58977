//! What this stage needs but does not teach. You may skip this folder: each file keeps one
//! promise.
//!
//! | file        | its promise                                           |
//! |-------------|-------------------------------------------------------|
//! | `accepting` | the listener of stage 4, with its pause               |
//! | `cli`       | the command line as `Args`                            |
//! | `escape`    | the bytes of a peer as text that is safe to print     |
//! | `itself`    | whether a socket is connected to itself (stage 2)     |
//! | `limit`     | as many descriptors as the system allows              |
//! | `listen`    | a listening socket (stage 1)                          |
//! | `logger`    | log lines go to stderr, and never end the program     |
//! | `messages`  | the lines for stdout, kept until stdout takes them    |
//! | `passing`   | the errors of `accept` that concern one client        |
//! | `repeated`  | a warning that repeats is logged once a second        |
//! | `request`   | the first line of what looks like an HTTP request     |
//! | `show`      | the `[CLIENT MESSAGE]` line for one message           |
//! | `signals`   | SIGINT and SIGTERM as a descriptor (stage 4)          |
//! | `words`     | the system's words for an error                       |

pub mod accepting;
pub mod cli;
pub mod escape;
pub mod itself;
pub mod limit;
pub mod listen;
pub mod logger;
pub mod messages;
pub mod passing;
pub mod repeated;
pub mod request;
pub mod show;
pub mod signals;
pub mod words;
