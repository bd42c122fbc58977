//! What sources and sinks share: [`Resources`], one per event loop.

use std::time::Instant;

use super::kernel_pipe::KernelPipes;
use crate::utils::buffer::ChunkPool;
use crate::utils::logger::Transcript;
use crate::utils::repeats::Repeats;

/// What the sources and sinks of an event loop need: memory, outputs, the time.
pub struct Resources {
    /// Memory for the bytes that pipes hold.
    pub chunks: ChunkPool,
    /// Kernel pipes, for bytes that stay in the kernel.
    pub kernel_pipes: KernelPipes,
    /// The messages of clients, for stdout.
    pub transcript: Transcript,
    pub warnings: Repeats,
    /// When this turn of the loop began.
    pub now: Instant,
}

impl Resources {
    pub fn new(transcript: Transcript) -> Self {
        Resources {
            chunks: ChunkPool::new(),
            kernel_pipes: KernelPipes::default(),
            transcript,
            warnings: Repeats::new(env!("CARGO_CRATE_NAME")),
            now: Instant::now(),
        }
    }

    /// Logs `text` as a warning; only counts it if the same was logged less than a second ago.
    pub fn warn(&mut self, text: String) {
        self.warnings.warn(text, self.now);
    }
}
