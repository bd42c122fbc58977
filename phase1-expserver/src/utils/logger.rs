//! Stub until the logger is merged.

/// The messages for stdout.
#[derive(Default)]
pub struct Transcript {}

impl Transcript {
    /// Shows one message of a client, without its line ending.
    pub fn message(&mut self, _text: &[u8]) {}
}
