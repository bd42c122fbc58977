//! The flow of bytes in one direction, from a [`Source`] to a [`Sink`]. No module in here knows
//! what the two are: `network`, `disk` and the line framer of `core` implement them.
//!
//! - `pipe`: takes bytes from a source and gives them to a sink.
//! - `rule`: how a direction ends.
//! - `ends`: what a source and a sink must be able to do.
//! - `resources`: what all sources and sinks of an event loop share.
//! - `kernel_pipe`: bytes that stay in the kernel on their way (splice).

mod ends;
mod kernel_pipe;
mod pipe;
mod resources;
mod rule;

pub use ends::{Outcome, Progress, Sink, Source};
pub use kernel_pipe::{KernelPipe, KernelPipes};
pub use pipe::Pipe;
pub use resources::Resources;
pub use rule::{Event, State, rule};
