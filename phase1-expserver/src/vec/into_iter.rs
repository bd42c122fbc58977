//! Iteration by value over an [`XpsVec`], from both ends.

#![allow(unsafe_code)]

use std::iter::FusedIterator;
use std::ops::Range;

use super::XpsVec;
use super::raw::RawBuf;

/// The elements of an [`XpsVec`], by value, from either end. Dropping it drops the elements that
/// are left and frees the memory.
pub struct IntoIter<T> {
    buf: RawBuf<T>,
    // Invariant: exactly these slots hold an element that we still own. Indices, not pointers: all
    // pointers to zero-sized elements are equal, so they cannot count.
    left: Range<usize>,
}

impl<T> IntoIterator for XpsVec<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(mut self) -> IntoIter<T> {
        let (buf, len) = self.take_parts();
        IntoIter { buf, left: 0..len }
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let index = self.left.next()?;
        // SAFETY: `index` was in `left`, so the slot holds an element; `left` no longer names it.
        Some(unsafe { self.buf.take(index) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl<T> DoubleEndedIterator for IntoIter<T> {
    fn next_back(&mut self) -> Option<T> {
        let index = self.left.next_back()?;
        // SAFETY: `index` was in `left`, so the slot holds an element; `left` no longer names it.
        Some(unsafe { self.buf.take(index) })
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}
impl<T> FusedIterator for IntoIter<T> {}

impl<T> Drop for IntoIter<T> {
    fn drop(&mut self) {
        let left = std::mem::take(&mut self.left);
        // SAFETY: these slots hold elements, and `self.left` no longer names them. Even if a drop
        // panics, the field `buf` is dropped and frees the memory.
        unsafe { self.buf.drop_in_place(left) };
    }
}
