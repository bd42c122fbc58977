//! Stub until the event loop is merged.

/// What the kernel said about a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    pub readable: bool,
    pub writable: bool,
    /// RDHUP or HUP.
    pub closing: bool,
    /// ERR.
    pub failed: bool,
    /// PRI.
    pub urgent: bool,
}
