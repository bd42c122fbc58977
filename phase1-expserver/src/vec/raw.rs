//! The raw allocation under [`XpsVec`](super::XpsVec): a pointer and a capacity.
//!
//! It owns memory, never elements: it does not know which slots hold one, and dropping it frees
//! the memory without dropping any `T`. Its user keeps count of the elements.

#![allow(unsafe_code)]

use std::alloc::{self, Layout};
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::slice;

/// Why there is no room for more elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReserveError {
    /// More than `isize::MAX` bytes (or `usize::MAX` elements): no allocator can provide that.
    CapacityOverflow,
    /// The allocator refused a request of this size and alignment.
    AllocFailed(Layout),
}

impl ReserveError {
    /// For the methods that return no error. A size that is too large is a bug of the caller:
    /// panic. Missing memory is left to the process's own out-of-memory handling, which aborts.
    pub(super) fn give_up(self) -> ! {
        match self {
            ReserveError::CapacityOverflow => panic!("XpsVec: capacity overflow"),
            ReserveError::AllocFailed(layout) => alloc::handle_alloc_error(layout),
        }
    }
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReserveError::CapacityOverflow => f.write_str("capacity overflow"),
            ReserveError::AllocFailed(layout) => {
                write!(f, "cannot allocate {} bytes", layout.size())
            }
        }
    }
}

impl Error for ReserveError {}

/// Memory for `capacity` elements. Invariant: unless [`RawBuf::layout`] is `None`, `ptr` came from
/// the global allocator with exactly that layout.
pub(super) struct RawBuf<T> {
    ptr: NonNull<T>,
    capacity: usize,
    // Tells the compiler that we hand out and take back values of `T`, as if we stored them.
    _elements: PhantomData<T>,
}

// SAFETY: NonNull is neither Send nor Sync, because pointers may be shared. This one is not: the
// buffer is the only owner of its memory, so it may be sent where a `T` may be sent.
unsafe impl<T: Send> Send for RawBuf<T> {}
// SAFETY: a shared RawBuf only gives shared access to its elements, as `&T` would.
unsafe impl<T: Sync> Sync for RawBuf<T> {}

impl<T> RawBuf<T> {
    /// Zero-sized elements need no memory, so any number fits. The allocator is never called,
    /// because it must not be asked for 0 bytes.
    const IS_ZST: bool = size_of::<T>() == 0;

    pub(super) const fn new() -> Self {
        RawBuf {
            ptr: NonNull::dangling(),
            capacity: if Self::IS_ZST { usize::MAX } else { 0 },
            _elements: PhantomData,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The layout of what is allocated now; `None` if nothing is.
    fn layout(&self) -> Option<Layout> {
        let layout = Layout::array::<T>(self.capacity).ok();
        layout.filter(|layout| layout.size() > 0)
    }

    /// Makes the capacity exactly `capacity` elements. Elements that fit into the new buffer keep
    /// their place; the caller has moved out or dropped the others. An error changes nothing.
    pub(super) fn resize(&mut self, capacity: usize) -> Result<(), ReserveError> {
        if Self::IS_ZST || capacity == self.capacity {
            return Ok(());
        }
        if capacity == 0 {
            // The old buffer's Drop frees the memory.
            *self = RawBuf::new();
            return Ok(());
        }
        // Fails above isize::MAX bytes, the limit of pointer arithmetic.
        let new = Layout::array::<T>(capacity).map_err(|_| ReserveError::CapacityOverflow)?;
        let memory = match self.layout() {
            // SAFETY: `new` has a size above 0: T is not zero-sized, and the capacity is not 0.
            None => unsafe { alloc::alloc(new) },
            // SAFETY: `ptr` was allocated with `old` (the invariant), whose alignment is T's as in
            // `new`; the new size is above 0 and, as a Layout, at most isize::MAX.
            Some(old) => unsafe { alloc::realloc(self.ptr.as_ptr().cast(), old, new.size()) },
        };
        // Null means that the old block, if any, is still ours and unchanged.
        self.ptr = NonNull::new(memory.cast()).ok_or(ReserveError::AllocFailed(new))?;
        self.capacity = capacity;
        Ok(())
    }

    /// The slots from index `start` on, whether they hold an element or not.
    ///
    /// # Panics
    /// If `start` is above the capacity.
    pub(super) fn slots_from(&mut self, start: usize) -> &mut [MaybeUninit<T>] {
        // SAFETY: the whole allocation, which only the borrow of self can reach; a MaybeUninit may
        // be in any state and drops nothing.
        let slots = unsafe { slice::from_raw_parts_mut(self.ptr.cast().as_ptr(), self.capacity) };
        &mut slots[start..]
    }

    /// Moves the element out of slot `index`.
    ///
    /// # Safety
    /// The slot holds an element, and the caller counts it as gone from now on.
    pub(super) unsafe fn take(&mut self, index: usize) -> T {
        // SAFETY: the caller promises that the slot is initialised, so it is in the allocation too.
        unsafe { self.ptr.add(index).read() }
    }

    /// The elements in `range`.
    ///
    /// # Safety
    /// All slots of `range` hold an element.
    pub(super) unsafe fn slice(&self, range: Range<usize>) -> &[T] {
        // SAFETY: the caller promises initialised slots; the borrow of self excludes writers.
        unsafe { slice::from_raw_parts(self.ptr.add(range.start).as_ptr(), range.len()) }
    }

    /// The elements in `range`, mutable.
    ///
    /// # Safety
    /// All slots of `range` hold an element.
    pub(super) unsafe fn slice_mut(&mut self, range: Range<usize>) -> &mut [T] {
        // SAFETY: as in `slice`; the unique borrow of self makes this the only access.
        unsafe { slice::from_raw_parts_mut(self.ptr.add(range.start).as_ptr(), range.len()) }
    }

    /// Drops the elements in `range`, in order. If one of these drops panics, the other elements
    /// are still dropped before the panic continues.
    ///
    /// # Safety
    /// All slots of `range` hold an element, and the caller has **already** stopped counting them:
    /// code that runs during a panic must not find them again.
    pub(super) unsafe fn drop_in_place(&mut self, range: Range<usize>) {
        // SAFETY: the caller promises initialised elements that no other code will drop.
        unsafe { ptr::drop_in_place(self.slice_mut(range)) }
    }
}

impl<T> Drop for RawBuf<T> {
    fn drop(&mut self) {
        if let Some(layout) = self.layout() {
            // SAFETY: allocated with this layout (the invariant), and this is its only owner.
            unsafe { alloc::dealloc(self.ptr.as_ptr().cast(), layout) }
        }
    }
}
