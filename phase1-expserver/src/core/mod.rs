//! Stub until the core is merged.

pub mod event_loop;
pub mod pipe;
pub mod reverse;
