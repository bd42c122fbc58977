//! Containers of our own, built from raw memory. They know nothing of the rest of the crate.
//!
//! - [`XpsVec`] (here): a growable array, with the operations of the course's C library.
//! - `raw`: the allocation under it. `into_iter`: iteration by value. `traits`: use as a slice.
//! - [`slots`]: an arena on top of it, whose keys ([`Key`]) go stale instead of naming a later
//!   occupant.
//! - [`Pages`]: memory for bytes, from the kernel instead of the heap.
//!
//! Only this module of the crate has `unsafe` blocks that touch memory: in `raw` and `pages`, which
//! own the memory, and in the few methods whose count of elements makes an access sound. All other
//! operations are built from those methods and from safe methods of the slice.

use std::ops::Range;

pub mod into_iter;
mod key;
mod pages;
mod raw;
pub mod slots;
mod traits;

pub use key::{KEY_BITS, Key};
pub use pages::Pages;
use raw::RawBuf;
pub use raw::ReserveError;

/// The first allocation has room for this many elements: 1, 2 and 4 would be three allocations.
const FIRST_CAPACITY: usize = 4;

/// A growable array: pointer, capacity, length.
///
/// It derefs to `[T]`, whose methods are the rest of its operations: `first`, `last`, `iter`,
/// `iter_mut`, `swap`, `reverse`, `sort_by` …
///
/// **Growth** doubles the capacity, so a push costs O(1) amortised. The capacity never shrinks by
/// itself: see [`compact`](XpsVec::compact).
///
/// **Panics in code of the element type** (`Drop`, `Clone`, `PartialEq`, a comparison, an iterator)
/// leave an array that is valid and owns each of its elements once. Each method says what the array
/// holds then.
///
/// **Too much memory**: methods that grow panic if the new size is above `isize::MAX` bytes, and
/// abort through [`std::alloc::handle_alloc_error`] if the allocator refuses;
/// [`try_reserve`](XpsVec::try_reserve) returns an error instead. Zero-sized elements take no
/// memory: their capacity is `usize::MAX` from the start.
///
/// An array may be sent to another thread, or shared with it, if its elements may:
///
/// ```compile_fail,E0277
/// fn sendable(_: impl Send) {}
/// sendable(phase1_expserver::vec::XpsVec::<std::rc::Rc<u8>>::new());
/// ```
pub struct XpsVec<T> {
    buf: RawBuf<T>,
    // Invariant: len <= buf.capacity(), and exactly the slots 0..len hold an element.
    len: usize,
}

/// The core: only these methods change `len`, or touch memory because `len` says that they may.
#[allow(unsafe_code)]
impl<T> XpsVec<T> {
    /// An empty array. Does not allocate.
    pub const fn new() -> Self {
        XpsVec {
            buf: RawBuf::new(),
            len: 0,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// All elements.
    fn as_slice(&self) -> &[T] {
        // SAFETY: the slots 0..len hold elements (the invariant).
        unsafe { self.buf.slice(0..self.len) }
    }

    /// All elements, mutable.
    fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: the slots 0..len hold elements (the invariant).
        unsafe { self.buf.slice_mut(0..self.len) }
    }

    /// Appends `value`. O(1) amortised.
    ///
    /// # Panics
    /// If the capacity would overflow.
    pub fn push(&mut self, value: T) {
        self.reserve(1);
        self.buf.slots_from(self.len)[0].write(value);
        self.len += 1;
    }

    /// Appends a clone of each element of `elements`. O(elements), amortised. If a clone panics,
    /// the clones made before it have been appended.
    ///
    /// # Panics
    /// If the capacity would overflow; nothing has been appended then.
    pub fn extend_from_slice(&mut self, elements: &[T])
    where
        T: Clone,
    {
        self.reserve(elements.len());
        // Not a push for each: the room is checked once, and the length is stored only at the end
        // (or when a clone panics). So the compiler can turn this loop into a memcpy for bytes.
        let mut appended = Appended {
            len: self.len,
            stored: &mut self.len,
        };
        for (slot, element) in self.buf.slots_from(appended.len).iter_mut().zip(elements) {
            slot.write(element.clone());
            appended.len += 1;
        }
    }

    /// Removes and returns the last element. O(1).
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the slot holds an element, and the new len no longer counts it.
        Some(unsafe { self.buf.take(self.len) })
    }

    /// Drops all elements from index `len` on, in order; keeps the capacity. Does nothing if the
    /// array is not longer than that. O(elements dropped).
    ///
    /// If a drop panics, the rest is still dropped, and the array is as after a normal return.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            let dropped = len..self.len;
            // The length first: even if a drop panics, no element may be dropped a second time.
            self.len = len;
            // SAFETY: the range holds elements, and the new len no longer counts them.
            unsafe { self.buf.drop_in_place(dropped) };
        }
    }

    /// Gives the buffer away; the array is empty afterwards.
    fn take_parts(&mut self) -> (RawBuf<T>, usize) {
        let len = std::mem::take(&mut self.len);
        (std::mem::replace(&mut self.buf, RawBuf::new()), len)
    }
}

/// The length of an array that is being extended. Its drop stores it, even during a panic.
struct Appended<'a> {
    len: usize,
    stored: &'a mut usize,
}

impl Drop for Appended<'_> {
    fn drop(&mut self) {
        *self.stored = self.len;
    }
}

impl<T> Drop for XpsVec<T> {
    fn drop(&mut self) {
        // The fields are dropped after this even if it panics, so `buf` frees the memory.
        self.clear();
    }
}

impl<T> XpsVec<T> {
    /// An empty array with room for exactly `capacity` elements.
    ///
    /// # Panics
    /// If that overflows.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut vec = Self::new();
        vec.buf.resize(capacity).unwrap_or_else(|e| e.give_up());
        vec
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many elements fit without a new allocation.
    pub fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// Makes room for `additional` more elements. O(1) if there is room already. Otherwise it at
    /// least doubles the capacity, O(len).
    ///
    /// # Panics
    /// If the capacity would overflow.
    pub fn reserve(&mut self, additional: usize) {
        self.try_reserve(additional).unwrap_or_else(|e| e.give_up());
    }

    /// Like [`reserve`](XpsVec::reserve), but returns an error if it cannot make room. Nothing has
    /// changed then.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), ReserveError> {
        // Not `len + additional <= capacity`: that sum may overflow.
        if additional <= self.capacity() - self.len {
            return Ok(());
        }
        let needed = self
            .len
            .checked_add(additional)
            .ok_or(ReserveError::CapacityOverflow)?;
        let doubled = self.capacity().saturating_mul(2);
        self.buf.resize(needed.max(doubled).max(FIRST_CAPACITY))
    }

    /// Gives memory back: the capacity becomes the length. O(len). If the allocator refuses, the
    /// larger buffer stays, which does no harm.
    pub fn compact(&mut self) {
        let _ = self.buf.resize(self.len);
    }

    /// Drops all elements; keeps the capacity. A panic in a drop: see
    /// [`truncate`](XpsVec::truncate).
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Puts `value` at `index` and moves the elements behind it up by one. O(elements moved).
    ///
    /// # Panics
    /// If `index > len`, or if the capacity would overflow.
    pub fn insert(&mut self, index: usize, value: T) {
        assert!(
            index <= self.len,
            "insert at index {index} of {} elements",
            self.len
        );
        self.push(value);
        self[index..].rotate_right(1);
    }

    /// Removes and returns the element at `index`; the elements behind it move down by one.
    /// O(elements moved).
    ///
    /// # Panics
    /// If `index >= len`.
    pub fn remove(&mut self, index: usize) -> T {
        assert!(
            index < self.len,
            "remove at index {index} of {} elements",
            self.len
        );
        self[index..].rotate_left(1);
        self.pop()
            .expect("the index has shown that there is an element")
    }

    /// Removes and drops the elements in `range`; the elements behind it move down, in order.
    /// O(elements from the start of the range to the end of the array).
    ///
    /// If a drop panics, the rest is still dropped, and the array is as after a normal return.
    ///
    /// # Panics
    /// If the range is not inside the array.
    pub fn splice(&mut self, range: Range<usize>) {
        let count = self[range.clone()].len();
        self[range.start..].rotate_left(count);
        self.truncate(self.len - count);
    }

    /// Removes and drops the elements in `range` and fills the gap with elements from the end.
    /// These keep their order among themselves, but the order of the array changes. O(elements
    /// removed), however long the array is.
    ///
    /// If a drop panics, the rest is still dropped, and the array is as after a normal return.
    ///
    /// # Panics
    /// If the range is not inside the array.
    pub fn swap_splice(&mut self, range: Range<usize>) {
        let count = self[range.clone()].len();
        // If the elements behind the range are fewer than those in it, all of them move down, and
        // the rest of the range is at the end already.
        let moved = count.min(self.len - range.end);
        let kept = self.len - moved;
        let (front, back) = self.split_at_mut(kept);
        front[range.start..][..moved].swap_with_slice(back);
        self.truncate(self.len - count);
    }

    /// The index of the first element equal to `value`. O(len).
    pub fn find(&self, value: &T) -> Option<usize>
    where
        T: PartialEq,
    {
        self.iter().position(|element| element == value)
    }

    /// Removes and returns the first element equal to `value`; the elements behind it move down by
    /// one. O(len). If a comparison panics, nothing has changed.
    pub fn remove_value(&mut self, value: &T) -> Option<T>
    where
        T: PartialEq,
    {
        self.find(value).map(|index| self.remove(index))
    }
}
