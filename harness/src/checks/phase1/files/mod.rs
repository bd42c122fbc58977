//! Role `file`: a file of the public folder is sent, then the client is closed.

mod confined;
mod folder;
mod sent;

use crate::check::Check;

pub const CHECKS: &[Check] = &[
    sent::SENT_IN_FULL,
    sent::INPUT_IS_IGNORED,
    sent::LATE_WORD,
    sent::NEVER_READS,
    sent::LARGE,
    sent::REPLACED,
    sent::TRUNCATED,
    sent::FROM_ANYWHERE,
    confined::NO_FILE,
    confined::OUTSIDE,
    confined::SWAPPED,
    confined::FIFO,
];
