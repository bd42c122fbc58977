//! Role `reverse`: the checks of stage 4, all of them taken over.

use crate::check::{Check, taken_over};
use crate::checks::terminal::{MESSAGES, STDOUT_CLOSED};
use crate::checks::{netcat, reversing, stage04};
use crate::stage::Stage;

pub fn checks() -> Vec<Check> {
    let shown = &[MESSAGES, STDOUT_CLOSED];
    let shared = [
        reversing::CHECKS,
        stage04::MANY_CLIENTS,
        shown,
        netcat::CHECKS,
    ]
    .concat();
    taken_over(&shared, Stage::Phase1)
}
