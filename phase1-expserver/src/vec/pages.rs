//! [`Pages`]: bytes straight from the kernel, and straight back to it.
//!
//! The heap (`malloc(3)`) gives back only its upper end. One small block that is in use there
//! keeps all free memory below it in the process. So memory that is needed in bursts comes from
//! the kernel itself.

#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// A private anonymous mapping (`mmap(2)`): zeroed bytes, in whole pages. A page costs memory only
/// after it has been written to.
pub struct Pages {
    start: NonNull<c_void>,
    len: NonZeroUsize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and this is its only owner.
unsafe impl Send for Pages {}

impl Pages {
    /// Costs a system call here, another in `drop`, and a page fault for each page that is used.
    /// Aborts, as other allocations do, if there is no memory, or if the process has all the
    /// mappings that it may have (65,530, `vm.max_map_count`; adjacent mappings count as one).
    pub fn new(len: NonZeroUsize) -> Self {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses replaces no other.
        match unsafe { mmap_anonymous(None, len, access, MapFlags::MAP_PRIVATE) } {
            Ok(start) => Pages { start, len },
            Err(_) => {
                handle_alloc_error(Layout::array::<u8>(len.get()).unwrap_or(Layout::new::<u8>()))
            }
        }
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped from `start` on, readable and initialised (to zero) by the kernel, for as
        // long as self lives; the borrow excludes writers.
        unsafe { slice::from_raw_parts(self.start.cast().as_ptr(), self.len.get()) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and writable; the unique borrow makes this the only access.
        unsafe { slice::from_raw_parts_mut(self.start.cast().as_ptr(), self.len.get()) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and no reference to it is left. At the limit of
        // mappings it fails if it would split one mapping in two (`munmap(2)`): then the memory
        // stays mapped.
        let _ = unsafe { munmap(self.start, self.len.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_writable_and_separate() {
        let len = NonZeroUsize::new(10_000).unwrap(); // not a multiple of a page
        let mut one = Pages::new(len);
        let mut other = Pages::new(len);
        assert!(one.iter().all(|&byte| byte == 0));
        one.fill(1);
        other.fill(2);
        assert_eq!((one.len(), other.len()), (10_000, 10_000));
        assert!(one.iter().all(|&byte| byte == 1));
        let moved = std::thread::spawn(move || other.iter().all(|&byte| byte == 2));
        assert!(moved.join().unwrap());
    }

    /// 64 MiB, of which the last piece stays: on the heap it would keep the memory of all.
    #[test]
    fn what_is_dropped_is_back_at_once() {
        let resident = || {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() // in pages
        };
        let len = NonZeroUsize::new(64 * 1024).unwrap();
        let mut all: Vec<Pages> = (0..1024).map(|_| Pages::new(len)).collect();
        all.iter_mut().for_each(|pages| pages.fill(1));
        let most = resident();
        all.drain(..1023);
        // Other tests may take some memory at the same time, but not half of that.
        let given_back = most.saturating_sub(resident());
        assert!(
            given_back * page_size() > 32 << 20,
            "{given_back} of {most} pages"
        );
    }

    fn page_size() -> usize {
        let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).unwrap();
        usize::try_from(size.unwrap()).unwrap()
    }
}
