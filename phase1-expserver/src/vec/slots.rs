//! [`Slots`], an arena: it owns values and hands out a [`Key`] for each.
//!
//! Generations run out: a slot that is vacated 20,000 times a second uses up all 2^28 in under four
//! hours. If it started again at 0, an old key would find a new occupant. So such a slot is
//! **retired**: it stays vacant and costs the memory of one slot.

use std::fmt;
use std::mem;

use super::XpsVec;
use super::key::{Key, LAST_GENERATION};

/// Means "no slot" in the list of vacant slots, so it is never a valid index.
const NONE: u32 = u32::MAX;

/// A smaller table is not worth shrinking.
const KEPT_SLOTS: usize = 64;

enum State<T> {
    Occupied(T),
    /// The neighbours in the list of vacant slots, or [`NONE`] at its ends.
    Vacant {
        before: u32,
        after: u32,
    },
    Retired,
}

struct Slot<T> {
    /// That of the occupant; in a vacant slot, that of the next occupant.
    generation: u32,
    state: State<T>,
}

/// An arena of values, each found by the [`Key`] that [`insert`](Slots::insert) returned.
///
/// Every operation is O(1) except iteration, which visits each slot of the storage, vacant slots
/// included. For `insert` and `remove` this is amortised, because the storage grows and shrinks.
///
/// **Shrinking.** While fewer than a quarter of the slots are occupied, vacant slots at the end of
/// the storage are removed; after enough of them their memory is freed. Values cannot move, because
/// their keys say where they are, so a value in a high slot keeps the storage below it. That is why
/// new values go to the lower half of the storage first: after a peak the upper half empties.
///
/// **Generations survive shrinking.** When removed slots come back, they start at the table's
/// floor, a generation that no removed slot has used. A hot slot must not raise the floor so far
/// that later slots have few generations left. So a slot that has used half of its generations is
/// never removed, even if that keeps the storage large. Nor is a retired slot.
pub struct Slots<T> {
    slots: XpsVec<Slot<T>>,
    occupied: usize,
    /// The ends of the list of vacant slots, [`NONE`] if it is empty. The list is doubly linked,
    /// because a slot that is removed from the storage is taken out of the middle.
    first_vacant: u32,
    last_vacant: u32,
    /// The generation at which a new slot starts.
    floor: u32,
    /// The generation after which a slot is retired.
    last_generation: u32,
}

impl<T> Slots<T> {
    /// An empty arena. Does not allocate.
    pub const fn new() -> Self {
        Slots::with_last_generation(LAST_GENERATION)
    }

    const fn with_last_generation(last_generation: u32) -> Self {
        Slots {
            slots: XpsVec::new(),
            occupied: 0,
            first_vacant: NONE,
            last_vacant: NONE,
            floor: 0,
            last_generation,
        }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.occupied
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// Stores `value` and returns its key.
    ///
    /// # Panics
    /// If 2^32 - 1 slots are in use, or the capacity overflows (see [`XpsVec`]).
    pub fn insert(&mut self, value: T) -> Key<T> {
        let state = State::Occupied(value);
        let index = self.first_vacant;
        let key = if index == NONE {
            let index = u32::try_from(self.slots.len()).unwrap_or(NONE);
            assert!(index != NONE, "Slots: no index left");
            self.slots.push(Slot {
                generation: self.floor,
                state,
            });
            Key::new(index, self.floor)
        } else {
            self.unlink(index);
            let slot = self.slot_mut(index);
            slot.state = state;
            Key::new(index, slot.generation)
        };
        self.occupied += 1;
        key
    }

    /// Whether the value that `key` names is still here.
    pub fn contains(&self, key: Key<T>) -> bool {
        self.get(key).is_some()
    }

    /// The value that `key` names, if it is still here.
    pub fn get(&self, key: Key<T>) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        match &slot.state {
            State::Occupied(value) if slot.generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value that `key` names, if it is still here.
    pub fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        match &mut slot.state {
            State::Occupied(value) if slot.generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Removes and returns the value that `key` names. The key finds nothing from then on.
    pub fn remove(&mut self, key: Key<T>) -> Option<T> {
        if !self.contains(key) {
            return None;
        }
        let last_generation = self.last_generation;
        let slot = self.slot_mut(key.index);
        let was = mem::replace(&mut slot.state, State::Retired);
        if slot.generation < last_generation {
            slot.generation += 1;
            self.link(key.index);
        }
        self.occupied -= 1;
        self.shrink();
        match was {
            State::Occupied(value) => Some(value),
            _ => None,
        }
    }

    /// All values with their keys, in no particular order. O(slots in the storage).
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Key<T>, &T)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| match &slot.state {
            State::Occupied(value) => Some((Key::new(index as u32, slot.generation), value)),
            _ => None,
        })
    }

    /// All values, mutable, with their keys. O(slots in the storage).
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (Key<T>, &mut T)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(index, slot)| match &mut slot.state {
            State::Occupied(value) => Some((Key::new(index as u32, slot.generation), value)),
            _ => None,
        })
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Slots<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The storage: which slots are vacant, and which of them can be removed.
impl<T> Slots<T> {
    fn slot_mut(&mut self, index: u32) -> &mut Slot<T> {
        &mut self.slots[index as usize]
    }

    /// Adds a slot to the list of vacant slots. A slot in the lower half of the storage goes to the
    /// front and gets the next value. Others go to the back and wait until no lower slot is left.
    fn link(&mut self, index: u32) {
        let (before, after) = if (index as usize) < self.slots.len() / 2 {
            (NONE, self.first_vacant)
        } else {
            (self.last_vacant, NONE)
        };
        self.slot_mut(index).state = State::Vacant { before, after };
        self.join(before, index);
        self.join(index, after);
    }

    /// Takes a slot off the list of vacant slots.
    fn unlink(&mut self, index: u32) {
        if let State::Vacant { before, after } = self.slot_mut(index).state {
            self.join(before, after);
        }
    }

    /// Makes two vacant slots neighbours in the list. With [`NONE`] on one side, the other slot
    /// becomes an end of the list.
    fn join(&mut self, left: u32, right: u32) {
        let slot = self.slots.get_mut(left as usize);
        match slot.map(|slot| &mut slot.state) {
            Some(State::Vacant { after, .. }) => *after = right,
            _ => self.first_vacant = right,
        }
        let slot = self.slots.get_mut(right as usize);
        match slot.map(|slot| &mut slot.state) {
            Some(State::Vacant { before, .. }) => *before = left,
            _ => self.last_vacant = left,
        }
    }

    /// Removes vacant slots from the end of the storage while it is mostly empty. Amortised O(1),
    /// because each slot was added by one insert.
    fn shrink(&mut self) {
        while self.slots.len() > KEPT_SLOTS && self.occupied < self.slots.len() / 4 {
            let Some(slot) = self.slots.last() else { break };
            let worn = slot.generation > self.last_generation / 2;
            if worn || !matches!(slot.state, State::Vacant { .. }) {
                break;
            }
            self.floor = self.floor.max(slot.generation);
            self.unlink(self.slots.len() as u32 - 1);
            self.slots.pop();
        }
        // Not earlier, or a table whose size moves up and down would be copied all the time.
        if self.slots.len() < self.slots.capacity() / 4 {
            self.slots.compact();
        }
    }
}

#[cfg(test)]
mod tests;
