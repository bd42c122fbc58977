//! What this stage needs but does not teach. You may skip this folder: each file keeps one
//! promise.
//!
//! | file       | its promise                                           |
//! |------------|-------------------------------------------------------|
//! | `answers`  | the `[SERVER MESSAGE]` line for one answer            |
//! | `cli`      | the command lines as `Args` and `ClientArgs`          |
//! | `console`  | lines from stdin, with a prompt; answers to stdout    |
//! | `escape`   | the bytes of a peer as text that is safe to print     |
//! | `logger`   | log lines go to stderr, and never end the program     |
//! | `repeated` | a warning that repeats is logged once a second        |
//! | `reverse`  | a line reversed (stage 1)                             |
//! | `show`     | the `[CLIENT MESSAGE]` line for one message           |
//! | `words`    | the system's words for an error                       |

pub mod answers;
pub mod cli;
pub mod console;
pub mod escape;
pub mod logger;
pub mod repeated;
pub mod reverse;
pub mod show;
pub mod words;
