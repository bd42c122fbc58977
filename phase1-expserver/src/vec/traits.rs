//! The traits that let an [`XpsVec`] be used like any other sequence. No `unsafe` here.

use std::fmt;
use std::ops::{Deref, DerefMut, Index, IndexMut};
use std::slice::{self, SliceIndex};

use super::XpsVec;

impl<T> Deref for XpsVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T> DerefMut for XpsVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.as_mut_slice()
    }
}

/// By index or by range, as in a slice.
///
/// # Panics
/// If the index or range is not inside the array.
impl<T, I: SliceIndex<[T]>> Index<I> for XpsVec<T> {
    type Output = I::Output;

    fn index(&self, index: I) -> &I::Output {
        &self.as_slice()[index]
    }
}

impl<T, I: SliceIndex<[T]>> IndexMut<I> for XpsVec<T> {
    fn index_mut(&mut self, index: I) -> &mut I::Output {
        &mut self.as_mut_slice()[index]
    }
}

impl<T> Default for XpsVec<T> {
    fn default() -> Self {
        XpsVec::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for XpsVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl<T: Clone> Clone for XpsVec<T> {
    /// A clone of every element, without spare capacity. If one panics, those made are dropped.
    fn clone(&self) -> Self {
        let mut clone = XpsVec::with_capacity(self.len());
        clone.extend_from_slice(self);
        clone
    }
}

impl<T: PartialEq> PartialEq for XpsVec<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Eq> Eq for XpsVec<T> {}

impl<T> Extend<T> for XpsVec<T> {
    /// Appends what the iterator yields. If it panics, what it yielded before has been appended.
    fn extend<I: IntoIterator<Item = T>>(&mut self, iter: I) {
        let iter = iter.into_iter();
        // Only a hint: the iterator may yield more or fewer, so push checks for room again.
        self.reserve(iter.size_hint().0);
        for value in iter {
            self.push(value);
        }
    }
}

impl<T> FromIterator<T> for XpsVec<T> {
    fn from_iter<I: IntoIterator<Item = T>>(iter: I) -> Self {
        let mut vec = XpsVec::new();
        vec.extend(iter);
        vec
    }
}

impl<'a, T> IntoIterator for &'a XpsVec<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> slice::Iter<'a, T> {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut XpsVec<T> {
    type Item = &'a mut T;
    type IntoIter = slice::IterMut<'a, T>;

    fn into_iter(self) -> slice::IterMut<'a, T> {
        self.iter_mut()
    }
}
