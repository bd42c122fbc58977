//! `XpsVec` compared with `std::vec::Vec`: random operations; elements that are counted; elements
//! that panic at the k-th call of their `clone`, `drop`, `eq` or comparison; elements without size.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use phase1_expserver::vec::{ReserveError, XpsVec};
use proptest::collection::vec as vec_of;
use proptest::prelude::*;

/// Counts the elements of the test that runs on this thread.
#[derive(Default)]
struct Ledger {
    next_id: u32,
    alive_ids: HashSet<u32>,
    alive: isize,
    dropped_twice: bool,
    fuse: Option<u32>,
}

thread_local! {
    static LEDGER: RefCell<Ledger> = RefCell::default();
}

fn alive() -> usize {
    LEDGER.with_borrow(|ledger| {
        assert!(!ledger.dropped_twice, "an element was dropped twice");
        usize::try_from(ledger.alive).expect("more drops than elements")
    })
}

/// The payload of an element's panic. It tells such a panic from a failed assertion.
struct Burnt;

/// From now on, the `fuse`-th call into an element's code panics, once.
fn set_fuse(fuse: Option<u32>) {
    LEDGER.with_borrow_mut(|ledger| ledger.fuse = fuse);
}

/// Called wherever an element's own code runs.
fn user_code() {
    let burnt = LEDGER.with_borrow_mut(|ledger| {
        ledger.fuse = ledger.fuse.map(|left| left - 1);
        ledger.fuse.take_if(|left| *left == 0).is_some()
    });
    if burnt {
        resume_unwind(Box::new(Burnt)); // panics without a message on stderr
    }
}

trait Element: Clone + PartialEq {
    /// It can hold the values 0..=MAX.
    const MAX: u8;
    fn new(value: u8) -> Self;
    fn value(&self) -> u8;
}

/// An element with an identity, and with memory that valgrind watches.
struct Tracked {
    id: u32,
    value: Box<u8>,
}

impl Element for Tracked {
    const MAX: u8 = 7;

    fn new(value: u8) -> Self {
        LEDGER.with_borrow_mut(|ledger| {
            let id = ledger.next_id;
            ledger.next_id += 1;
            ledger.alive += 1;
            ledger.alive_ids.insert(id);
            Tracked {
                id,
                value: Box::new(value),
            }
        })
    }

    fn value(&self) -> u8 {
        *self.value
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        LEDGER.with_borrow_mut(|ledger| {
            ledger.alive -= 1;
            ledger.dropped_twice |= !ledger.alive_ids.remove(&self.id);
        });
        user_code();
    }
}

/// An element without size.
struct Unit;

impl Element for Unit {
    const MAX: u8 = 0;

    fn new(_: u8) -> Self {
        LEDGER.with_borrow_mut(|ledger| ledger.alive += 1);
        Unit
    }

    fn value(&self) -> u8 {
        0
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        LEDGER.with_borrow_mut(|ledger| ledger.alive -= 1);
        user_code();
    }
}

macro_rules! panicking_clone_and_eq {
    ($($element:ty),*) => {$(
        impl Clone for $element {
            fn clone(&self) -> Self {
                user_code();
                Element::new(self.value())
            }
        }

        impl PartialEq for $element {
            fn eq(&self, other: &Self) -> bool {
                user_code();
                self.value() == other.value()
            }
        }
    )*};
}
panicking_clone_and_eq!(Tracked, Unit);

fn compare<E: Element>(a: &E, b: &E) -> Ordering {
    user_code();
    a.value().cmp(&b.value())
}

/// Indices are taken modulo the number of valid ones when the operation runs.
#[derive(Debug, Clone)]
enum Op {
    Push(u8),
    Pop,
    Insert(usize, u8),
    Remove(usize),
    Splice(usize, usize),
    SwapSplice(usize, usize),
    Sort,
    Swap(usize, usize),
    Reverse,
    Truncate(usize),
    Clear,
    Reserve(usize),
    Compact,
    ExtendFromSlice(Vec<u8>),
    Extend(Vec<u8>),
    Find(u8),
    RemoveValue(u8),
    CloneAll,
    /// Iterate by value: take some from the front and some from the back; drop or collect the rest.
    IntoIter(usize, usize, bool),
}

fn op(max: u8) -> impl Strategy<Value = Op> {
    let (index, value) = (0..40_usize, 0..=max);
    let values = vec_of(0..=max, 0..12);
    prop_oneof![
        6 => value.clone().prop_map(Op::Push),
        1 => Just(Op::Pop),
        3 => (index.clone(), value.clone()).prop_map(|(i, v)| Op::Insert(i, v)),
        2 => index.clone().prop_map(Op::Remove),
        2 => (index.clone(), index.clone()).prop_map(|(a, b)| Op::Splice(a, b)),
        3 => (index.clone(), index.clone()).prop_map(|(a, b)| Op::SwapSplice(a, b)),
        1 => Just(Op::Sort),
        1 => (index.clone(), index.clone()).prop_map(|(a, b)| Op::Swap(a, b)),
        1 => Just(Op::Reverse),
        1 => index.clone().prop_map(Op::Truncate),
        1 => Just(Op::Clear),
        1 => index.clone().prop_map(Op::Reserve),
        1 => Just(Op::Compact),
        3 => values.clone().prop_map(Op::ExtendFromSlice),
        3 => values.prop_map(Op::Extend),
        1 => value.clone().prop_map(Op::Find),
        2 => value.prop_map(Op::RemoveValue),
        1 => Just(Op::CloneAll),
        2 => (index.clone(), index, any::<bool>()).prop_map(|(a, b, c)| Op::IntoIter(a, b, c)),
    ]
}

fn range(len: usize, a: usize, b: usize) -> std::ops::Range<usize> {
    let a = a % (len + 1);
    let b = b % (len + 1);
    a.min(b)..a.max(b)
}

/// Applies `op` to our array. Puts its result into `answer`, as numbers to compare. They are not
/// returned, because a local whose drop panics after the return value has been set leaks that value
/// (rust-lang/rust#47949), and valgrind would report it.
fn run<E: Element>(op: &Op, v: &mut XpsVec<E>, answer: &mut Vec<usize>) {
    let number = |e: E| e.value().into();
    match *op {
        Op::Push(value) => v.push(E::new(value)),
        Op::Pop => answer.extend(v.pop().map(number)),
        Op::Insert(i, value) => v.insert(i % (v.len() + 1), E::new(value)),
        Op::Remove(i) if !v.is_empty() => answer.push(number(v.remove(i % v.len()))),
        Op::Remove(_) => {}
        Op::Splice(a, b) => v.splice(range(v.len(), a, b)),
        Op::SwapSplice(a, b) => v.swap_splice(range(v.len(), a, b)),
        Op::Sort => v.sort_by(compare),
        Op::Swap(a, b) if !v.is_empty() => {
            let len = v.len();
            v.swap(a % len, b % len);
        }
        Op::Swap(..) => {}
        Op::Reverse => v.reverse(),
        Op::Truncate(len) => v.truncate(len),
        Op::Clear => v.clear(),
        Op::Reserve(n) => {
            v.reserve(n);
            assert!(v.capacity() - v.len() >= n);
        }
        Op::Compact => {
            v.compact();
            assert!(v.capacity() == v.len() || size_of::<E>() == 0);
        }
        Op::ExtendFromSlice(ref values) => {
            let values: Vec<E> = values.iter().map(|value| E::new(*value)).collect();
            v.extend_from_slice(&values);
        }
        Op::Extend(ref values) => v.extend(values.iter().map(|value| {
            user_code();
            E::new(*value)
        })),
        Op::Find(value) => answer.extend(v.find(&E::new(value))),
        Op::RemoveValue(value) => {
            let removed = v.remove_value(&E::new(value));
            answer.extend(removed.map(number));
        }
        Op::CloneAll => {
            let clone = v.clone();
            assert!(clone == *v);
            *v = clone;
        }
        Op::IntoIter(front, back, collect) => {
            let mut iter = mem::take(v).into_iter();
            answer.extend(iter.by_ref().take(front).map(number));
            answer.extend(iter.by_ref().rev().take(back).map(number));
            answer.push(iter.len());
            if collect {
                *v = iter.collect();
            }
        }
    }
}

/// Applies the same operation to the model.
fn run_model(op: &Op, m: &mut Vec<u8>) -> Vec<usize> {
    match *op {
        Op::Push(value) => m.push(value),
        Op::Pop => return m.pop().map(usize::from).into_iter().collect(),
        Op::Insert(i, value) => m.insert(i % (m.len() + 1), value),
        Op::Remove(i) if !m.is_empty() => return vec![m.remove(i % m.len()).into()],
        Op::Splice(a, b) => drop(m.drain(range(m.len(), a, b))),
        Op::SwapSplice(a, b) => {
            let range = range(m.len(), a, b);
            let fill = m.split_off(range.end.max(m.len() - range.len()));
            m.splice(range, fill);
        }
        Op::Sort => m.sort(),
        Op::Swap(a, b) if !m.is_empty() => {
            let len = m.len();
            m.swap(a % len, b % len);
        }
        Op::Reverse => m.reverse(),
        Op::Truncate(len) => m.truncate(len),
        Op::Clear => m.clear(),
        Op::ExtendFromSlice(ref values) | Op::Extend(ref values) => m.extend(values),
        Op::Find(value) => return m.iter().position(|v| *v == value).into_iter().collect(),
        Op::RemoveValue(value) => {
            let at = m.iter().position(|v| *v == value);
            return at.map(|at| m.remove(at).into()).into_iter().collect();
        }
        Op::IntoIter(front, back, collect) => {
            let mut iter = mem::take(m).into_iter();
            let mut taken: Vec<usize> = iter.by_ref().take(front).map(usize::from).collect();
            taken.extend(iter.by_ref().rev().take(back).map(usize::from));
            taken.push(iter.len());
            if collect {
                *m = iter.collect();
            }
            return taken;
        }
        Op::Remove(_) | Op::Swap(..) | Op::Reserve(_) | Op::Compact | Op::CloneAll => {}
    }
    Vec::new()
}

fn contents<E: Element>(v: &XpsVec<E>) -> Vec<u8> {
    v.iter().map(E::value).collect()
}

/// Whether an array may hold `found` after a panic in the middle of `op`.
fn is_allowed(op: &Op, before: &[u8], after: &[u8], found: &[u8]) -> bool {
    let sorted = |values: &[u8]| {
        let mut values = values.to_vec();
        values.sort();
        values
    };
    match op {
        Op::Sort => sorted(found) == sorted(before),
        Op::Extend(_) | Op::ExtendFromSlice(_) => {
            found.starts_with(before) && after.starts_with(found)
        }
        Op::Splice(..) | Op::SwapSplice(..) | Op::Truncate(_) | Op::Clear => found == after,
        Op::IntoIter(..) => found.is_empty() || found == after,
        _ => found == before || found == after,
    }
}

/// Applies the operations to both, each with its fuse, and compares after each one.
fn compare_with_model<E: Element>(ops: &[(Op, Option<u32>)]) {
    LEDGER.take();
    let mut ours = XpsVec::<E>::new();
    let mut model = Vec::new();
    for (op, fuse) in ops {
        let before = model.clone();
        let expected = run_model(op, &mut model);
        let mut answer = Vec::new();
        set_fuse(*fuse);
        let outcome = catch_unwind(AssertUnwindSafe(|| run(op, &mut ours, &mut answer)));
        set_fuse(None);
        let found = contents(&ours);
        match outcome {
            Ok(()) => assert_eq!((answer, &found), (expected, &model), "{op:?} on {before:?}"),
            Err(payload) if !payload.is::<Burnt>() => resume_unwind(payload),
            Err(_) => {
                let allowed = is_allowed(op, &before, &model, &found);
                assert!(allowed, "{op:?} on {before:?} panicked and left {found:?}");
                model = found;
            }
        }
        assert_eq!(alive(), ours.len(), "{op:?} on {before:?}: elements alive");
        assert!(ours.len() <= ours.capacity());
        assert_eq!(ours.first().map(E::value), model.first().copied());
        assert!(
            ours.iter_mut()
                .rev()
                .map(|e| e.value())
                .eq(model.iter().rev().copied())
        );
    }
    // The final drop panics too, if there are elements to drop.
    set_fuse(Some(1));
    let _ = catch_unwind(AssertUnwindSafe(|| drop(ours)));
    set_fuse(None);
    assert_eq!(alive(), 0, "elements alive after the array");
}

fn calm(max: u8) -> impl Strategy<Value = Vec<(Op, Option<u32>)>> {
    vec_of((op(max), Just(None)), 0..60)
}

fn panicking(max: u8) -> impl Strategy<Value = Vec<(Op, Option<u32>)>> {
    let fuse = prop_oneof![Just(None), (1..24_u32).prop_map(Some)];
    vec_of((op(max), fuse), 0..60)
}

proptest! {
    // Failures are printed and not stored in a file: they are small enough to become a test.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_standard_vec(ops in calm(Tracked::MAX)) {
        compare_with_model::<Tracked>(&ops);
    }

    #[test]
    fn behaves_as_the_standard_vec_without_element_size(ops in calm(Unit::MAX)) {
        compare_with_model::<Unit>(&ops);
    }

    #[test]
    fn survives_panics_of_the_elements(ops in panicking(Tracked::MAX)) {
        compare_with_model::<Tracked>(&ops);
    }

    #[test]
    fn survives_panics_of_elements_without_size(ops in panicking(Unit::MAX)) {
        compare_with_model::<Unit>(&ops);
    }
}

fn panics(f: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

#[test]
fn capacity_starts_at_none_and_doubles() {
    let mut v = XpsVec::new();
    let mut seen = vec![v.capacity()];
    for i in 0..100_u64 {
        v.push(i);
        if v.capacity() != seen[seen.len() - 1] {
            seen.push(v.capacity());
        }
    }
    assert_eq!(seen, [0, 4, 8, 16, 32, 64, 128]);
    assert_eq!(XpsVec::<u64>::with_capacity(5).capacity(), 5);
    v.clear();
    assert_eq!(v.capacity(), 128);
    v.compact();
    assert_eq!(v.capacity(), 0);
}

#[test]
fn reserve_of_absurd_sizes_is_an_error_that_changes_nothing() {
    let mut v = XpsVec::from_iter([1_u64, 2, 3]);
    for absurd in [
        usize::MAX,
        usize::MAX - 3,
        usize::MAX / 8,
        isize::MAX as usize / 8 - 2,
    ] {
        assert_eq!(v.try_reserve(absurd), Err(ReserveError::CapacityOverflow));
        assert!(panics(|| v.reserve(absurd)));
    }
    let error = v.try_reserve(isize::MAX as usize / 8 - 3).unwrap_err();
    assert!(matches!(error, ReserveError::AllocFailed(layout) if layout.size() > 1 << 62));
    assert!(
        error
            .to_string()
            .starts_with("cannot allocate 9223372036854775"),
        "{error}"
    );
    assert!(panics(|| drop(XpsVec::<u64>::with_capacity(usize::MAX))));
    assert_eq!(v[..], [1, 2, 3]);
    assert_eq!(v.capacity(), 4);
}

#[test]
fn elements_without_size_are_limited_by_their_count_alone() {
    let mut v = XpsVec::from_iter([(), ()]);
    assert_eq!(v.capacity(), usize::MAX);
    assert_eq!(v.try_reserve(usize::MAX - 2), Ok(()));
    assert_eq!(
        v.try_reserve(usize::MAX - 1),
        Err(ReserveError::CapacityOverflow)
    );
    assert_eq!(v.into_iter().rev().count(), 2);
}

#[test]
fn indices_outside_the_array_panic_and_change_nothing() {
    let mut v = XpsVec::from_iter([String::from("a"), String::from("b")]);
    assert!(panics(|| v.insert(3, String::new())));
    assert!(panics(|| drop(v.remove(2))));
    assert!(panics(|| v.splice(1..3)));
    assert!(panics(|| v.swap_splice(3..3)));
    #[expect(clippy::reversed_empty_ranges)]
    let reversed = 2..1;
    assert!(panics(|| v.splice(reversed.clone())));
    assert!(panics(|| v.swap_splice(reversed.clone())));
    assert!(panics(|| v[2].clear()));
    assert_eq!(v[..], ["a", "b"]);
    v.truncate(3);
    assert_eq!(v.len(), 2);
}

#[test]
fn an_iterator_may_lie_about_its_length() {
    struct Lying(u8, usize);
    impl Iterator for Lying {
        type Item = Box<u8>;

        fn next(&mut self) -> Option<Box<u8>> {
            self.0 = self.0.checked_sub(1)?;
            Some(Box::new(self.0))
        }

        fn size_hint(&self) -> (usize, Option<usize>) {
            (self.1, Some(self.1))
        }
    }
    for hint in [0, 2, 5, 1000] {
        assert_eq!(XpsVec::from_iter(Lying(5, hint)).len(), 5);
    }
    assert!(panics(|| drop(XpsVec::from_iter(Lying(5, usize::MAX)))));
}

#[test]
fn elements_lie_at_their_alignment() {
    #[repr(align(64))]
    #[derive(Clone, PartialEq)]
    struct Line(u8);

    let mut v = XpsVec::new();
    for i in 0..20 {
        v.push(Line(i));
        assert!(
            v.iter()
                .all(|line| std::ptr::from_ref(line).addr() % 64 == 0)
        );
    }
    v.splice(0..15);
    v.compact();
    assert!(v.into_iter().map(|line| line.0).eq(15..20));
}

#[test]
fn an_array_is_as_shareable_and_as_long_lived_as_its_elements() {
    fn check<T: Send + Sync>() {}
    check::<XpsVec<String>>();
    check::<phase1_expserver::vec::into_iter::IntoIter<String>>();

    fn shorten<'a>(v: XpsVec<&'static str>, _: &'a str) -> XpsVec<&'a str> {
        v
    }
    let local = String::from("local");
    let mut v = shorten(XpsVec::from_iter(["static"]), &local);
    v.push(&local);
    assert_eq!(format!("{v:?}"), r#"["static", "local"]"#);
}

#[test]
fn iterates_both_ways_by_reference() {
    let mut v = XpsVec::from_iter([1, 2, 3]);
    for element in &mut v {
        *element *= 10;
    }
    let mut seen = Vec::new();
    for element in &v {
        seen.push(*element);
    }
    assert_eq!(seen, [10, 20, 30]);
    let mut ends = v.iter();
    assert_eq!(
        (ends.next(), ends.next_back(), ends.len()),
        (Some(&10), Some(&30), 1)
    );
    assert_eq!((v.first(), v.last()), (Some(&10), Some(&30)));
}
