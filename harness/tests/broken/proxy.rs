//! Broken proxies and file transfers (stage 5).

use super::Case;

pub const CASES: &[Case] = &[];

/// Acts in the way `name` is broken; false when there is no such way.
pub fn serve(_name: &str, _options: &[String]) -> bool {
    false
}
