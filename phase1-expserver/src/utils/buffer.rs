//! Bytes on their way: [`BufferList`], and the [`ChunkPool`] that its memory comes from.
//!
//! A list owns **chunks** of 64 KiB. Bytes are written into the last chunk and read from the first.
//! Reading a part of a chunk moves an offset, not memory. A chunk that has been read goes back to
//! the pool. So an idle connection holds no memory for bytes, and the next active one gets the
//! chunk that was used last, which is still in the processor's cache.
//!
//! Pipes and the line framer own lists; the core owns the pool, one per event loop. The only system
//! calls in here get a new chunk from the kernel or give one back ([`Pages`]). So the memory for a
//! crowd of slow readers goes back to the machine when they leave.

use std::mem;
use std::num::NonZeroUsize;

use crate::vec::{Pages, XpsVec};

/// The size of a chunk in bytes, and the most that one read can bring.
pub const CHUNK: usize = CHUNK_LEN.get();
const CHUNK_LEN: NonZeroUsize = NonZeroUsize::new(64 * 1024).unwrap();

/// A read into less room than this, in bytes, is not worth its system call.
pub const LEAST_READ: usize = 4096;

/// How many unused bytes the pool keeps at most; chunks beyond that go back to the kernel.
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
/// A cache, not a quota: it always lends. With a quota two pipes could wait for each other's chunks
/// forever, a deadlock. The thresholds of a client's pipes limit what it can make the server hold.
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

    /// How many chunks are lent now. If this is not 0 while no bytes are on their way, some have
    /// leaked.
    pub fn lent(&self) -> usize {
        self.lent
    }

    fn lend(&mut self) -> Chunk {
        self.lent += 1;
        Chunk {
            // A new chunk is zeroed. A used one still contains the bytes of another client, but
            // only `start..end` is ever read.
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
/// Chunks go back to the pool only through methods that take the pool. [`clear`](BufferList::clear)
/// a list before dropping it: otherwise its memory is freed, but the pool counts its chunks as
/// [lent](ChunkPool::lent) forever.
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

    /// Contiguous memory behind the last byte, for at least `least` bytes. What the caller writes
    /// there becomes part of the list with [`commit`](Self::commit), which must always follow.
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

    /// Appends the first `count` bytes of the [`room`](Self::room) given before. A chunk that is
    /// still unused goes back to the pool.
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

    /// The first bytes, as many as are contiguous; empty only if the list is.
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

    /// Moves all bytes of `other` to the end of this list. Chunks change their owner; only bytes
    /// that fit into the last chunk are copied.
    ///
    /// Without this copying a list could hold a whole chunk for every few bytes: a client that
    /// sends short lines and reads no answer would cost 2 GiB in a pipe of 64 KiB. With it, two
    /// neighbouring chunks hold more than one chunk's worth of bytes.
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
