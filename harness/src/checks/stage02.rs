//! Stage 2: the client.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
