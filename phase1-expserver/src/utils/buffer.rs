//! Bytes on their way: [`BufferList`], and the [`ChunkPool`] that its memory comes from.
//!
//! A list owns **chunks** of 64 KiB. Bytes are written into the last one and read from the first;
//! reading a part of a chunk moves an offset, not memory, and a chunk that has been read goes back
//! to the pool at once. So an idle connection holds no memory for bytes, and the next one to speak
//! gets the chunk that was used last, which is still in the processor's cache.
//!
//! Owned by pipes and by the line framer; the pool is the core's, one per event loop. Nothing in
//! here makes a system call, but for those that get a new chunk and give one up ([`Pages`]): so
//! what a crowd of slow readers took goes back to the machine with them.

use std::mem;
use std::num::NonZeroUsize;

use crate::vec::{Pages, XpsVec};

/// The size of a chunk in bytes: what one read can bring.
pub const CHUNK: usize = CHUNK_LEN.get();
const CHUNK_LEN: NonZeroUsize = NonZeroUsize::new(64 * 1024).unwrap();

/// A read into less room than this is not worth its system call.
pub const LEAST_READ: usize = 4096;

/// How many unused bytes the pool keeps; what comes back beyond that goes to the kernel.
const KEPT: usize = 4 * 1024 * 1024;

/// A piece of memory; `bytes[start..end]` is in use.
struct Chunk {
    bytes: Pages,
    start: usize,
    end: usize,
}

impl Chunk {
    fn used(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// How many bytes can still be written behind those in use.
    fn free(&self) -> usize {
        self.bytes.len() - self.end
    }

    fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }
}

/// Where chunks come from and go back to.
///
/// A cache, not a quota: it always lends. A pipe that had to wait for a chunk would wait for other
/// pipes, which may be waiting for it. What one client can make the server hold is limited where
/// bytes come in, by the thresholds of its pipes.
#[derive(Default)]
pub struct ChunkPool {
    // The chunk that came back last is lent first.
    free: XpsVec<Pages>,
    lent: usize,
}

impl ChunkPool {
    /// An empty pool. Does not allocate.
    pub fn new() -> Self {
        ChunkPool::default()
    }

    /// How many chunks are out. 0 when nothing is on its way, or something has leaked.
    pub fn lent(&self) -> usize {
        self.lent
    }

    fn lend(&mut self) -> Chunk {
        self.lent += 1;
        Chunk {
            // Zeroed once, when it is new: the bytes of another client may be in it after that,
            // but only `start..end` is ever read.
            bytes: self.free.pop().unwrap_or_else(|| Pages::new(CHUNK_LEN)),
            start: 0,
            end: 0,
        }
    }

    fn take_back(&mut self, chunk: Chunk) {
        self.lent -= 1;
        if self.free.len() < KEPT / CHUNK {
            self.free.push(chunk.bytes);
        }
    }
}

/// A queue of bytes in chunks.
///
/// Chunks go back to the pool only through a method that is given the pool: who drops a list that
/// is not empty frees its memory, but the pool counts it as [lent](ChunkPool::lent) for ever.
/// [`clear`](BufferList::clear) it before.
#[derive(Default)]
pub struct BufferList {
    // No chunk is empty, except the last one between `room` and `commit`.
    chunks: XpsVec<Chunk>,
    len: usize,
}

impl BufferList {
    /// An empty list. Does not allocate.
    pub fn new() -> Self {
        BufferList::default()
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory for at least `least` bytes behind the last one, as much of it as there is in one
    /// piece. What was written there is part of the list only after [`commit`](Self::commit), which
    /// must follow in any case.
    ///
    /// # Panics
    /// If `least` is more than a [`CHUNK`].
    pub fn room(&mut self, least: usize, pool: &mut ChunkPool) -> &mut [u8] {
        assert!(least <= CHUNK, "no chunk has room for {least} bytes");
        let free = self.chunks.last().map_or(0, Chunk::free);
        if free < least || free == 0 {
            self.chunks.push(pool.lend());
        }
        let last = self.chunks.len() - 1;
        self.chunks[last].room()
    }

    /// Appends the first `count` bytes of the [`room`](Self::room) given before. With 0 (nothing
    /// came) a chunk that was taken in vain goes back.
    ///
    /// # Panics
    /// If there was no room for that many.
    pub fn commit(&mut self, count: usize, pool: &mut ChunkPool) {
        let Some(last) = self.chunks.last_mut() else {
            assert!(count == 0, "commit without room");
            return;
        };
        assert!(count <= last.free(), "commit of more than the room");
        last.end += count;
        self.len += count;
        if last.used().is_empty()
            && let Some(unused) = self.chunks.pop()
        {
            pool.take_back(unused);
        }
    }

    /// The first bytes, as many as lie in one piece; empty only if the list is.
    pub fn front(&self) -> &[u8] {
        self.chunks.first().map_or(&[], Chunk::used)
    }

    /// Removes the first `count` bytes. O(chunks), which are few.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn consume(&mut self, count: usize, pool: &mut ChunkPool) {
        assert!(count <= self.len, "consume of more than there is");
        self.len -= count;
        let mut left = count;
        while let Some(first) = self.chunks.first_mut() {
            let used = first.used().len();
            if left < used {
                first.start += left;
                return;
            }
            left -= used;
            pool.take_back(self.chunks.remove(0));
        }
    }

    /// Moves all bytes of `other` behind the last one here. Chunks change hands; only bytes that
    /// fit into the last chunk are copied.
    ///
    /// Without that exception a list could hold a whole chunk for every few bytes: a client that
    /// sends short lines and reads no answer would cost 2 GiB in a pipe of 64 KiB. With it, two
    /// neighbours hold more than one chunk's worth of bytes.
    pub fn append(&mut self, other: &mut BufferList, pool: &mut ChunkPool) {
        if self.is_empty() {
            mem::swap(self, other); // each list keeps one of the two allocations
            return;
        }
        for chunk in mem::take(&mut other.chunks) {
            self.append_chunk(chunk, pool);
        }
        self.len += mem::take(&mut other.len);
    }

    fn append_chunk(&mut self, chunk: Chunk, pool: &mut ChunkPool) {
        let used = chunk.used();
        match self.chunks.last_mut() {
            Some(last) if used.len() <= last.free() => {
                last.room()[..used.len()].copy_from_slice(used);
                last.end += used.len();
                pool.take_back(chunk);
            }
            _ => self.chunks.push(chunk),
        }
    }

    /// Removes all bytes.
    pub fn clear(&mut self, pool: &mut ChunkPool) {
        while let Some(chunk) = self.chunks.pop() {
            pool.take_back(chunk);
        }
        self.len = 0;
    }
}

#[cfg(test)]
mod tests;
