//! Stage 5: the proxy, and file transfer.

use crate::check::Check;

pub const CHECKS: &[Check] = &[];
