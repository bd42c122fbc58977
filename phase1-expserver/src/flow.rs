//! The flow of bytes in one direction, from a [`Source`] to a [`Sink`]. Nothing in here knows what
//! the two are: `network`, `disk` and the line framer of `core` bring them.
//!
//! - `pipe`: the bytes on their way from a source to a sink.
//! - `rule`: how a direction ends.
//! - `ends`: what a source and a sink must be able to do.
//! - `resources`: what they share.
//! - `kernel_pipe`: bytes on their way that stay in the kernel (splice).

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
