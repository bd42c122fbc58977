//! Compares `XpsVec` with the `Vec` of std, and `Slots` with a map: the same operations must
//! give the same results. Elements own memory, so an element that is dropped twice, or never, is
//! noticed.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use phase1_expserver::vec::slots::Slots;
use phase1_expserver::vec::{Key, XpsVec};

#[derive(Arbitrary, Debug)]
enum Operation {
    Push(u8),
    Pop,
    Insert(u8, u8),
    Remove(u8),
    Splice(u8, u8),
    SwapSplice(u8, u8),
    Truncate(u8),
    Clear,
    Reserve(u8),
    Compact,
    Extend(Vec<u8>),
    RemoveValue(u8),
    Sort,
    Reverse,
    Swap(u8, u8),
    Clone,
    IntoIter(u8),
    SlotInsert(u8),
    /// Removes the n-th of all keys that were ever returned.
    SlotRemove(u8),
    SlotChange(u8, u8),
}

type Element = Box<u8>;

#[derive(Default)]
struct Table {
    slots: Slots<Element>,
    model: BTreeMap<u64, u8>,
    keys: Vec<Key<Element>>,
}

fuzz_target!(|operations: Vec<Operation>| {
    let (mut ours, mut theirs) = (XpsVec::<Element>::new(), Vec::<Element>::new());
    let mut table = Table::default();
    for operation in operations {
        apply(operation, &mut ours, &mut theirs, &mut table);
        assert_eq!(*ours, *theirs);
        assert!(ours.capacity() >= ours.len());
        assert_eq!(table.slots.len(), table.model.len());
    }
    let left: Vec<u8> = table.slots.iter().map(|(_, value)| **value).collect();
    assert_eq!(left.len(), table.model.len());
    for key in table.keys {
        let value = table.slots.get(key).map(|value| **value);
        assert_eq!(value, table.model.get(&key.to_bits()).copied());
    }
});

fn apply(
    operation: Operation,
    ours: &mut XpsVec<Element>,
    theirs: &mut Vec<Element>,
    table: &mut Table,
) {
    use Operation::*;
    let len = theirs.len();
    let at = |place: u8| usize::from(place) % (len + 1);
    let range = |a: u8, b: u8| at(a).min(at(b))..at(a).max(at(b));
    match operation {
        Push(value) => {
            ours.push(Box::new(value));
            theirs.push(Box::new(value));
        }
        Pop => assert_eq!(ours.pop(), theirs.pop()),
        Insert(place, value) => {
            ours.insert(at(place), Box::new(value));
            theirs.insert(at(place), Box::new(value));
        }
        Remove(place) if at(place) < len => {
            assert_eq!(ours.remove(at(place)), theirs.remove(at(place)));
        }
        Remove(_) => {} // it panics past the end, which libFuzzer would report
        Splice(a, b) => {
            ours.splice(range(a, b));
            theirs.drain(range(a, b));
        }
        SwapSplice(a, b) => {
            ours.swap_splice(range(a, b));
            for place in range(a, b).rev() {
                theirs.swap_remove(place);
            }
            // The order of the elements that fill the gap may differ; the elements may not.
            ours.sort_by(|a, b| a.cmp(b));
            theirs.sort();
        }
        Truncate(len) => {
            ours.truncate(len.into());
            theirs.truncate(len.into());
        }
        Clear => {
            ours.clear();
            theirs.clear();
        }
        Reserve(count) => ours.reserve(count.into()),
        Compact => ours.compact(),
        Extend(values) => {
            let boxes: Vec<Element> = values.into_iter().map(Box::new).collect();
            ours.extend_from_slice(&boxes);
            theirs.extend(boxes);
        }
        RemoveValue(value) => {
            let found = theirs.iter().position(|it| **it == value);
            let removed = found.map(|place| theirs.remove(place));
            assert_eq!(ours.find(&Box::new(value)), found);
            assert_eq!(ours.remove_value(&Box::new(value)), removed);
        }
        Sort => {
            ours.sort_by(|a, b| a.cmp(b));
            theirs.sort();
        }
        Reverse => {
            ours.reverse();
            theirs.reverse();
        }
        Swap(a, b) if at(a) < len && at(b) < len => {
            ours.swap(at(a), at(b));
            theirs.swap(at(a), at(b));
        }
        Swap(..) => {}
        Clone => *ours = ours.clone(),
        IntoIter(count) => {
            let (mut one, mut other) = (ours.clone().into_iter(), theirs.clone().into_iter());
            for turn in 0..count {
                match turn % 2 {
                    0 => assert_eq!(one.next(), other.next()),
                    _ => assert_eq!(one.next_back(), other.next_back()),
                }
            }
        }
        SlotInsert(value) => {
            let key = table.slots.insert(Box::new(value));
            assert!(!table.keys.contains(&key), "a key is used for two elements");
            table.model.insert(key.to_bits(), value);
            table.keys.push(key);
        }
        SlotRemove(_) | SlotChange(..) if table.keys.is_empty() => {}
        SlotRemove(which) => {
            let key = table.keys[usize::from(which) % table.keys.len()];
            let removed = table.slots.remove(key).map(|value| *value);
            assert_eq!(removed, table.model.remove(&key.to_bits()));
        }
        SlotChange(which, value) => {
            let key = table.keys[usize::from(which) % table.keys.len()];
            let found = table.slots.get_mut(key);
            assert_eq!(found.is_some(), table.model.contains_key(&key.to_bits()));
            if let Some(found) = found {
                **found = value;
                table.model.insert(key.to_bits(), value);
            }
        }
    }
}
