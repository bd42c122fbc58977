//! Stage 3: UDP.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
