//! Iteration by value over an [`XpsVec`], from both ends.

#![allow(unsafe_code)]

use std::iter::FusedIterator;
use std::ops::Range;

use super::XpsVec;
use super::raw::RawBuf;

/// The elements of an [`XpsVec`], by value, from either end. Dropping it drops those that are left
/// and frees the memory.
pub struct IntoIter<T> {
    buf: RawBuf<T>,
    // Invariant: exactly these slots hold an element that is still ours. Indices, not pointers:
    // two pointers to elements without size could not tell how many lie between them.
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
        // SAFETY: `index` was in the range, and has left it.
        Some(unsafe { self.buf.take(index) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl<T> DoubleEndedIterator for IntoIter<T> {
    fn next_back(&mut self) -> Option<T> {
        let index = self.left.next_back()?;
        // SAFETY: `index` was in the range, and has left it.
        Some(unsafe { self.buf.take(index) })
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}
impl<T> FusedIterator for IntoIter<T> {}

impl<T> Drop for IntoIter<T> {
    fn drop(&mut self) {
        let left = std::mem::take(&mut self.left);
        // SAFETY: these slots held elements, and `left` names them no more. Should a drop panic,
        // the field `buf` is dropped all the same and frees the memory.
        unsafe { self.buf.drop_in_place(left) };
    }
}
