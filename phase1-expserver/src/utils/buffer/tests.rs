//! `BufferList` against a `Vec<u8>`, with the chunks counted.

use proptest::collection::vec as vec_of;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// One read: room for at least `least` bytes, of which `count` are used.
    Write {
        least: usize,
        count: usize,
    },
    Consume(usize),
    /// Another list, written in pieces of these sizes, is appended.
    Append(Vec<usize>),
    Clear,
}

fn a_step() -> impl Strategy<Value = Step> {
    let count = || prop_oneof![Just(0), 1usize..40, 1..=CHUNK, Just(CHUNK)];
    prop_oneof![
        4 => (count(), count()).prop_map(|(least, count)| Step::Write { least, count }),
        4 => (0usize..3 * CHUNK).prop_map(Step::Consume),
        2 => vec_of(count(), 0..4).prop_map(Step::Append),
        1 => Just(Step::Clear),
    ]
}

/// Bytes in which a mistake cannot exchange two pieces without being noticed.
#[derive(Default)]
struct Counter(u32);

impl Counter {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (self.0 >> 24) as u8
            })
            .collect()
    }
}

fn write(list: &mut BufferList, pool: &mut ChunkPool, least: usize, bytes: &[u8]) {
    let room = list.room(least.max(bytes.len()), pool);
    assert!(room.len() >= least.max(bytes.len()).max(1));
    room[..bytes.len()].copy_from_slice(bytes);
    list.commit(bytes.len(), pool);
}

fn contents(list: &BufferList) -> Vec<u8> {
    list.chunks.iter().flat_map(Chunk::used).copied().collect()
}

fn check(list: &BufferList, model: &[u8], pool: &ChunkPool) {
    assert_eq!(list.len(), model.len());
    assert_eq!(list.is_empty(), model.is_empty());
    assert!(contents(list) == model);
    assert_eq!(list.front().is_empty(), model.is_empty());
    assert!(model.starts_with(list.front()));
    assert_eq!(pool.lent(), list.chunks.len());
    assert!(list.chunks.iter().all(|chunk| !chunk.used().is_empty()));
    assert!(pool.free.len() <= KEPT / CHUNK);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_list_is_a_queue_of_bytes(steps in vec_of(a_step(), 0..40)) {
        let mut list = BufferList::new();
        let mut pool = ChunkPool::new();
        let mut model = Vec::new();
        let mut counter = Counter::default();
        for step in steps {
            match step {
                Step::Write { least, count } => {
                    let bytes = counter.bytes(count);
                    write(&mut list, &mut pool, least, &bytes);
                    model.extend(bytes);
                }
                Step::Consume(count) => {
                    let count = count.min(model.len());
                    list.consume(count, &mut pool);
                    model.drain(..count);
                }
                Step::Append(sizes) => {
                    let mut other = BufferList::new();
                    for size in sizes {
                        let bytes = counter.bytes(size);
                        write(&mut other, &mut pool, 0, &bytes);
                        model.extend(bytes);
                    }
                    list.append(&mut other, &mut pool);
                    prop_assert!(other.is_empty() && other.chunks.is_empty());
                }
                Step::Clear => {
                    list.clear(&mut pool);
                    model.clear();
                }
            }
            check(&list, &model, &pool);
        }
        list.clear(&mut pool);
        prop_assert_eq!(pool.lent(), 0);
    }
}

#[test]
fn a_read_that_brings_nothing_leaves_no_chunk_behind() {
    let mut list = BufferList::new();
    let mut pool = ChunkPool::new();
    list.room(1, &mut pool);
    list.commit(0, &mut pool);
    assert_eq!(pool.lent(), 0);
    write(&mut list, &mut pool, 0, b"abc");
    list.room(1, &mut pool);
    list.commit(0, &mut pool);
    assert_eq!((list.front(), pool.lent()), (&b"abc"[..], 1));
}

#[test]
fn room_is_one_piece_of_at_least_what_was_asked_for() {
    let mut list = BufferList::new();
    let mut pool = ChunkPool::new();
    write(&mut list, &mut pool, 0, &[1; CHUNK - 10]);
    assert_eq!(list.room(10, &mut pool).len(), 10);
    list.commit(0, &mut pool);
    assert_eq!(list.room(11, &mut pool).len(), CHUNK);
    list.commit(0, &mut pool);
    assert_eq!(pool.lent(), 1);
}

#[test]
fn the_chunk_used_last_is_lent_first() {
    let mut list = BufferList::new();
    let mut pool = ChunkPool::new();
    let first = list.room(1, &mut pool).as_ptr();
    list.commit(1, &mut pool);
    list.consume(1, &mut pool);
    assert_eq!(pool.lent(), 0);
    assert_eq!(list.room(1, &mut pool).as_ptr(), first);
    list.commit(0, &mut pool);
}

#[test]
fn handing_over_copies_nothing_into_an_empty_list() {
    let mut list = BufferList::new();
    let mut other = BufferList::new();
    let mut pool = ChunkPool::new();
    write(&mut other, &mut pool, 0, &[7; CHUNK]);
    write(&mut other, &mut pool, 0, b"x");
    let place = other.front().as_ptr();
    list.append(&mut other, &mut pool);
    assert_eq!((list.front().as_ptr(), list.len()), (place, CHUNK + 1));
}

/// 2-byte answers for a client that does not read. The list may grow, but each answer must not
/// take a chunk of its own.
#[test]
fn short_pieces_share_chunks() {
    let mut list = BufferList::new();
    let mut other = BufferList::new();
    let mut pool = ChunkPool::new();
    for _ in 0..32 * 1024 {
        write(&mut other, &mut pool, 0, b"a\n");
        list.append(&mut other, &mut pool);
    }
    assert_eq!((list.len(), list.chunks.len()), (64 * 1024, 1));
}

#[test]
fn the_pool_keeps_a_limited_number_of_chunks() {
    let mut list = BufferList::new();
    let mut pool = ChunkPool::new();
    for _ in 0..KEPT / CHUNK + 5 {
        write(&mut list, &mut pool, 0, &[0; CHUNK]);
    }
    list.clear(&mut pool);
    assert_eq!((pool.free.len(), pool.lent()), (KEPT / CHUNK, 0));
}

#[test]
#[should_panic(expected = "commit of more than the room")]
fn more_than_the_room_cannot_be_committed() {
    let mut list = BufferList::new();
    let mut pool = ChunkPool::new();
    list.room(1, &mut pool);
    list.commit(CHUNK + 1, &mut pool);
}

#[test]
#[should_panic(expected = "consume of more than there is")]
fn more_than_there_is_cannot_be_consumed() {
    let mut list = BufferList::new();
    let mut pool = ChunkPool::new();
    write(&mut list, &mut pool, 0, b"ab");
    list.consume(3, &mut pool);
}
