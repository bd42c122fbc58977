use std::collections::HashMap;

use proptest::collection::vec as vec_of;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Insert,
    /// Remove by the key of this many inserts ago, modulo their number. It may be alive or stale.
    Remove(usize),
    /// Insert or remove this many: peaks, so that the storage grows and shrinks.
    InsertMany(usize),
    RemoveNewest(usize),
    /// Insert and remove again, this many times: one hot slot.
    Churn(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Insert),
        6 => (0..400_usize).prop_map(Op::Remove),
        1 => (0..200_usize).prop_map(Op::InsertMany),
        2 => (0..400_usize).prop_map(Op::RemoveNewest),
        1 => (0..40_usize).prop_map(Op::Churn),
    ]
}

/// An arena, and a map from each key that was ever handed out to its value, if it is still there.
struct Compared {
    slots: Slots<usize>,
    model: HashMap<Key<usize>, Option<usize>>,
    handed_out: Vec<Key<usize>>,
    alive: usize,
    most_slots: usize,
}

impl Compared {
    fn new(last_generation: u32) -> Self {
        Compared {
            slots: Slots::with_last_generation(last_generation),
            model: HashMap::new(),
            handed_out: Vec::new(),
            alive: 0,
            most_slots: 0,
        }
    }

    fn insert(&mut self) {
        let value = self.handed_out.len();
        let key = self.slots.insert(value);
        assert!(key.generation <= self.slots.last_generation);
        assert_eq!(
            self.model.insert(key, Some(value)),
            None,
            "{key:?} was handed out twice"
        );
        self.handed_out.push(key);
        self.alive += 1;
        self.most_slots = self.most_slots.max(self.slots.slots.len());
    }

    fn remove(&mut self, age: usize) {
        let count = self.handed_out.len();
        if count > 0 {
            let key = self.handed_out[count - 1 - age % count];
            let expected = self.model.get_mut(&key).and_then(Option::take);
            assert_eq!(self.slots.remove(key), expected, "remove {key:?}");
            self.alive -= usize::from(expected.is_some());
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Insert => self.insert(),
            Op::Remove(age) => self.remove(age),
            Op::InsertMany(count) => (0..count).for_each(|_| self.insert()),
            Op::RemoveNewest(count) => (0..count).for_each(|age| self.remove(age)),
            Op::Churn(count) => (0..count).for_each(|_| {
                self.insert();
                self.remove(0);
            }),
        }
    }

    fn check(&mut self) {
        assert_eq!(self.slots.len(), self.alive);
        assert_eq!(self.slots.is_empty(), self.alive == 0);
        for (key, value) in &self.model {
            assert_eq!(self.slots.get(*key), value.as_ref(), "get {key:?}");
            assert_eq!(self.slots.get_mut(*key).copied(), *value, "get_mut {key:?}");
            assert_eq!(
                self.slots.contains(*key),
                value.is_some(),
                "contains {key:?}"
            );
        }
        assert_eq!(self.slots.iter().count(), self.alive);
        assert!(
            self.slots
                .iter()
                .all(|(key, value)| self.model[&key] == Some(*value))
        );
        assert!(
            self.slots
                .iter_mut()
                .all(|(key, value)| self.model[&key] == Some(*value))
        );
        assert!(self.slots.floor <= self.slots.last_generation / 2);
        self.check_vacant_list();
        self.check_size();
    }

    /// Every vacant slot is on the list once, in both directions.
    fn check_vacant_list(&self) {
        let slots = &self.slots.slots;
        let (mut listed, mut left, mut at) = (0, NONE, self.slots.first_vacant);
        while at != NONE {
            match slots[at as usize].state {
                State::Vacant { before, after } => {
                    assert_eq!(before, left);
                    (left, at) = (at, after);
                }
                _ => panic!("slot {at} is listed as vacant"),
            }
            listed += 1;
        }
        assert_eq!(left, self.slots.last_vacant);
        let is_vacant = |slot: &&Slot<usize>| matches!(slot.state, State::Vacant { .. });
        assert_eq!(listed, slots.iter().filter(is_vacant).count());
    }

    /// The storage is mostly full, or it ends in a slot that cannot be removed.
    fn check_size(&self) {
        let slots = &self.slots.slots;
        if slots.len() > KEPT_SLOTS && self.alive < slots.len() / 4 {
            let last = slots.last().unwrap();
            let worn = last.generation > self.slots.last_generation / 2;
            assert!(worn || matches!(last.state, State::Occupied(_)));
        }
        assert!(slots.capacity() / 4 <= slots.len().max(1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Few generations, so that slots retire and the floor rises within a test.
    #[test]
    fn no_key_is_handed_out_twice_or_finds_another_value(
        last_generation in prop_oneof![Just(1_u32), Just(7), Just(63), Just(LAST_GENERATION)],
        ops in vec_of(op(), 0..40),
    ) {
        let mut compared = Compared::new(last_generation);
        for op in &ops {
            compared.run(op);
            compared.check();
        }
    }
}

#[test]
fn storage_shrinks_when_mostly_empty_and_old_keys_stay_stale() {
    let mut slots = Slots::new();
    let keys: Vec<_> = (0..10_000).map(|i| slots.insert(i)).collect();
    for key in &keys[10..] {
        slots.remove(*key);
    }
    assert!(slots.slots.len() <= KEPT_SLOTS);
    assert!(slots.slots.capacity() <= 4 * KEPT_SLOTS);
    for i in 0..10_000 {
        slots.insert(i);
    }
    assert!(keys[..10].iter().all(|key| slots.contains(*key)));
    assert!(keys[10..].iter().all(|key| !slots.contains(*key)));
}

#[test]
fn storage_shrinks_under_steady_load_once_the_values_of_a_peak_are_gone() {
    let mut slots = Slots::new();
    let mut keys: Vec<_> = (0..8192).map(|i| slots.insert(i)).collect();
    // Every 64th stays: 128 values, all over the storage.
    let mut position = 0;
    keys.retain(|key| {
        position += 1;
        position % 64 == 0 || slots.remove(*key).is_none()
    });
    assert_eq!(slots.slots.len(), 8192);
    // From now on each newcomer replaces the oldest.
    for i in 0..4096 {
        keys.push(slots.insert(i));
        slots.remove(keys.remove(0));
    }
    assert_eq!(slots.len(), 128);
    assert!(slots.slots.len() <= 8 * 128, "{} slots", slots.slots.len());
}

#[test]
fn a_slot_is_retired_when_its_generations_are_used_up() {
    let mut slots = Slots::with_last_generation(2);
    for generation in 0..3 {
        let key = slots.insert('a');
        assert_eq!(format!("{key:?}"), format!("0v{generation}"));
        assert_eq!(slots.remove(key), Some('a'));
    }
    let key = slots.insert('b');
    assert_eq!(format!("{key:?}"), "1v0");
    assert_eq!(format!("{slots:?}"), "{1v0: 'b'}");
    assert_eq!(slots.slots.len(), 2);
}

#[test]
fn a_worn_slot_does_not_wear_out_those_to_come() {
    let mut slots = Slots::with_last_generation(1000);
    let keys: Vec<_> = (0..100).map(|i| slots.insert(i)).collect();
    // Only the last slot is vacant, so it is the hot one.
    let mut hot = keys[99];
    for i in 0..600 {
        slots.remove(hot);
        hot = slots.insert(i);
    }
    slots.remove(hot);
    for key in keys {
        slots.remove(key);
    }
    assert_eq!(slots.slots.len(), 100);
    assert!(slots.floor <= 500);
}

#[test]
fn a_made_up_key_finds_nothing_in_a_vacant_slot() {
    let mut slots = Slots::new();
    let key = slots.insert("a");
    slots.remove(key);
    let next = Key::from_bits(key.to_bits() + (1 << 32));
    assert_eq!(slots.get(next), None);
    assert_eq!(slots.get_mut(next), None);
    assert_eq!(slots.remove(next), None);
    assert_eq!(slots.get(Key::from_bits(u64::MAX)), None);
}
