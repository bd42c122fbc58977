//! What this stage needs and does not teach. You may skip it: each file keeps one promise.
//!
//! | file       | its promise                                            |
//! |------------|--------------------------------------------------------|
//! | `cli`      | the command line as `Args`                             |
//! | `escape`   | bytes of others as text that cannot control a terminal |
//! | `failures` | a failure that repeats is logged once a second         |
//! | `logger`   | log lines go to stderr, and never end the program      |
//! | `reverse`  | a line reversed (stage 1)                              |
//! | `show`     | the `[CLIENT MESSAGE]` line for one message            |

pub mod cli;
pub mod escape;
pub mod failures;
pub mod logger;
pub mod reverse;
pub mod show;
