//! What every server of the line protocol must do, however it is built. Each check is
//! written for stage 4. Other stages take it over with an id of their own.

mod base;
mod lengths;
mod text;

use crate::check::Check;

pub use base::{comes_true_soon, half_close_while_answers_wait};

pub const CHECKS: &[Check] = &[
    base::REVERSES_A_LINE,
    base::LINE_AFTER_LINE,
    base::LAST_LINE_WITHOUT_NEWLINE,
    base::SEVERAL_LINES_IN_ONE_READ,
    base::LINE_IN_SEVERAL_READS,
    base::EVERY_SPLIT,
    base::MANY_LINES_AT_ONCE,
    text::EMPTY_LINES,
    text::CRLF,
    base::EVERY_SPLIT_OF_CRLF,
    text::LONE_CR,
    text::ANY_BYTE,
    text::UTF8,
    base::EVERY_SPLIT_OF_UTF8,
    text::NOT_UTF8,
    lengths::BOUNDARY_LENGTHS,
    lengths::LONG_LINE_IN_PIECES,
    lengths::ENDLESS_LINE,
    base::ALL_ANSWERS_TO_A_LATE_READER,
    base::HALF_CLOSE,
    base::HALF_CLOSE_WHILE_ANSWERS_WAIT,
];
