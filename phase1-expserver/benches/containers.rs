//! `XpsVec` compared with `std::vec::Vec`, and `Slots` with the usual alternative, a `HashMap`:
//! `cargo bench -p phase1-expserver --bench containers`.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use phase1_expserver::vec::XpsVec;
use phase1_expserver::vec::slots::Slots;

const COUNT: u64 = 10_000;

fn vectors(criterion: &mut Criterion) {
    let ours: XpsVec<u64> = (0..COUNT).collect();
    let theirs: Vec<u64> = (0..COUNT).collect();

    let mut group = criterion.benchmark_group("push 10,000");
    group.bench_function("XpsVec", |bencher| {
        bencher.iter(|| {
            let mut vec = XpsVec::new();
            (0..COUNT).for_each(|value| vec.push(black_box(value)));
            vec
        });
    });
    group.bench_function("Vec", |bencher| {
        bencher.iter(|| {
            let mut vec = Vec::new();
            (0..COUNT).for_each(|value| vec.push(black_box(value)));
            vec
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("sum of 10,000");
    group.bench_function("XpsVec", |bencher| {
        bencher.iter(|| black_box(&ours).iter().sum::<u64>());
    });
    group.bench_function("Vec", |bencher| {
        bencher.iter(|| black_box(&theirs).iter().sum::<u64>());
    });
    group.finish();

    let mut group = criterion.benchmark_group("remove the middle one of 10,000");
    group.bench_function("XpsVec", |bencher| {
        let middle = |mut vec: XpsVec<u64>| vec.remove(vec.len() / 2);
        bencher.iter_batched(|| ours.clone(), middle, BatchSize::SmallInput);
    });
    group.bench_function("Vec", |bencher| {
        let middle = |mut vec: Vec<u64>| vec.remove(vec.len() / 2);
        bencher.iter_batched(|| theirs.clone(), middle, BatchSize::SmallInput);
    });
    group.finish();
}

/// A connection comes, is looked up for an event, and goes, while 1,000 others stay.
fn slots(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert, get, remove");
    group.bench_function("Slots", |bencher| {
        let mut slots = Slots::new();
        for value in 0..1000_u64 {
            slots.insert(value);
        }
        bencher.iter(|| {
            let key = slots.insert(black_box(7));
            black_box(slots.get(key));
            slots.remove(key)
        });
    });
    group.bench_function("HashMap", |bencher| {
        let mut map: HashMap<u64, u64> = (0..1000).map(|key| (key, key)).collect();
        let mut key = 1000;
        bencher.iter(|| {
            key += 1;
            map.insert(key, black_box(7));
            black_box(map.get(&key));
            map.remove(&key)
        });
    });
    group.finish();
}

criterion_group!(benches, vectors, slots);
criterion_main!(benches);
