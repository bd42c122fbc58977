//! The flow of bytes without sockets: a buffer, and a pipe between a source and a sink in memory.
//! `cargo bench -p phase1-expserver --bench flow`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use phase1_expserver::flow::{Outcome, Pipe, Progress, Resources, Sink, Source, State};
use phase1_expserver::utils::buffer::{BufferList, CHUNK, ChunkPool, LEAST_READ};
use phase1_expserver::utils::logger::Transcript;

/// The sizes of a read in bytes: a line, and a full chunk.
const SIZES: [usize; 2] = [32, CHUNK];

/// A source that gives the same bytes again and again.
struct Endless(Vec<u8>);

impl Source for Endless {
    fn readable(&self) -> bool {
        true
    }

    fn read_into(&mut self, into: &mut BufferList, resources: &mut Resources) -> Outcome {
        let room = into.room(LEAST_READ, &mut resources.chunks);
        let count = self.0.len().min(room.len());
        room[..count].copy_from_slice(&self.0[..count]);
        into.commit(count, &mut resources.chunks);
        Ok(Progress::Moved(count))
    }
}

/// A sink that takes everything and does nothing with it.
struct Bottomless;

impl Sink for Bottomless {
    fn writable(&self) -> bool {
        true
    }

    fn gone(&self) -> bool {
        false
    }

    fn write_from(&mut self, from: &mut BufferList, resources: &mut Resources) -> Outcome {
        let count = black_box(from.front()).len();
        from.consume(count, &mut resources.chunks);
        Ok(Progress::Moved(count))
    }

    fn shut(&mut self, _resources: &mut Resources) {}
}

fn buffers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("buffer: append and consume");
    for size in SIZES {
        let bytes = vec![7; size];
        let mut pool = ChunkPool::new();
        let mut list = BufferList::new();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} bytes"), |bencher| {
            bencher.iter(|| {
                list.room(size, &mut pool)[..size].copy_from_slice(&bytes);
                list.commit(size, &mut pool);
                black_box(list.front());
                list.consume(size, &mut pool);
            });
        });
    }
    group.finish();
}

/// What a pipe costs beyond the copy: its two half-steps with all their checks.
fn pipes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipe: fill and drain");
    for size in SIZES {
        let mut resources = Resources::new(Transcript::new(false));
        let mut pipe = Pipe::new(CHUNK, State::Open);
        let mut source = Endless(vec![7; size]);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} bytes"), |bencher| {
            bencher.iter(|| {
                pipe.fill(&mut source, &mut resources);
                pipe.drain(&mut Bottomless, &mut resources)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, buffers, pipes);
criterion_main!(benches);
