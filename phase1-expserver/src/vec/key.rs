//! [`Key`], the name of a value in an arena ([`Slots`](super::slots::Slots)).
//!
//! A key is an index and a **generation**. The index names the slot. The generation goes up each
//! time the slot is vacated, so it names one of the slot's occupants. A stale key finds nothing,
//! and never a later occupant: an event for a connection that has gone is recognised in O(1).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// Width of an index. A table has at most 2^32 - 1 slots.
const INDEX_BITS: u32 = 32;
/// Width of a generation.
const GENERATION_BITS: u32 = 28;
/// Width of what [`Key::to_bits`] returns, 60 bits. The four bits above are free: an epoll token
/// uses them for the kind of thing that the key names.
pub const KEY_BITS: u32 = INDEX_BITS + GENERATION_BITS;

pub(super) const LAST_GENERATION: u32 = (1 << GENERATION_BITS) - 1;

/// Names a value in the [`Slots<T>`](super::slots::Slots) that returned the key, as long as the value is
/// there.
///
/// Because of its type, the key of one kind of thing cannot be used to look up another. But two
/// tables of the same type cannot tell their keys apart.
pub struct Key<T> {
    pub(super) index: u32,
    pub(super) generation: u32,
    // A key neither owns nor borrows a T, so it may be copied and sent whatever T is.
    _names: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    pub(super) fn new(index: u32, generation: u32) -> Self {
        Key {
            index,
            generation,
            _names: PhantomData,
        }
    }

    /// The key as a number below 2^[`KEY_BITS`]: the generation above the index.
    pub fn to_bits(self) -> u64 {
        (u64::from(self.generation) << INDEX_BITS) | u64::from(self.index)
    }

    /// The key whose [`to_bits`](Key::to_bits) is this number; bits above [`KEY_BITS`] are ignored.
    /// Any number is safe: at worst the key finds a value that the caller did not mean.
    pub fn from_bits(bits: u64) -> Self {
        Key::new(bits as u32, (bits >> INDEX_BITS) as u32 & LAST_GENERATION)
    }
}

// By hand, because `derive` would require the same traits of T.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl<T> Eq for Key<T> {}

impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_bits().hash(state);
    }
}

/// `7v2`: slot 7, generation 2.
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}v{}", self.index, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    #[test]
    fn a_key_is_a_number_of_60_bits() {
        let key = Key::<String>::new(u32::MAX - 1, LAST_GENERATION);
        assert_eq!(KEY_BITS, 60);
        assert_eq!(key.to_bits(), 0x0fff_ffff_ffff_fffe);
        assert_eq!(Key::from_bits(key.to_bits() | 0xf << KEY_BITS), key);
        assert_ne!(key, Key::new(u32::MAX - 1, 0));
        assert_ne!(key, Key::new(0, LAST_GENERATION));
        let hash = |key: Key<String>| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(key), hash(Key::from_bits(key.to_bits())));
    }

    #[test]
    fn keys_are_plain_data_whatever_they_name() {
        fn check<T: Copy + Eq + Hash + fmt::Debug + Send + Sync>() {}
        check::<Key<std::rc::Rc<dyn Fn()>>>();
    }
}
