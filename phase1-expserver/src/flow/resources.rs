//! What the ends of a pipe share: [`Resources`], one per event loop.

use std::time::Instant;

use super::kernel_pipe::KernelPipes;
use crate::utils::buffer::ChunkPool;
use crate::utils::logger::Transcript;
use crate::utils::repeats::Repeats;

/// What the ends of a pipe need to do their work, one per event loop.
pub struct Resources {
    /// Memory for bytes on their way.
    pub chunks: ChunkPool,
    /// For bytes that stay in the kernel.
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

    /// Says `text` as a warning, or counts it if it was said just now.
    pub fn warn(&mut self, text: String) {
        self.warnings.warn(text, self.now);
    }
}
