//! Stage 4: many clients on one thread.

use super::reversing::{
    ALL_ANSWERS_TO_A_LATE_READER, HOWEVER_IT_IS_CUT, LAST_LINE_WITHOUT_NEWLINE, REVERSES_A_LINE,
};
use crate::check::Check;

pub const CHECKS: &[Check] = &[
    REVERSES_A_LINE,
    LAST_LINE_WITHOUT_NEWLINE,
    HOWEVER_IT_IS_CUT,
    ALL_ANSWERS_TO_A_LATE_READER,
];
