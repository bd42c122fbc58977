//! The descriptor kept in reserve: [`Spare`].
//!
//! Some clients need two descriptors: their socket, and a connection to the upstream or a file. At
//! the descriptor limit, `accept` would take the last one and leave none for the second. Therefore
//! core accepts only while it holds a spare descriptor, and a session that gets no second
//! descriptor uses the spare one. The spare descriptor itself is never read or written.

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// See the [module](self).
#[derive(Default)]
pub struct Spare(Option<EventFd>);

impl Spare {
    /// Takes a descriptor into reserve, unless one is held. False if the process can get none.
    pub fn retake(&mut self) -> bool {
        if self.0.is_none() {
            // Any kind of descriptor would do.
            self.0 = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).ok();
        }
        self.0.is_some()
    }

    /// Calls `open`. If it fails for lack of descriptors, closes the spare one and calls `open`
    /// again.
    pub fn spend_on<T, E>(&mut self, mut open: impl FnMut() -> Result<T, E>) -> Result<T, E>
    where
        E: Copy + PartialEq + From<Errno>,
    {
        match open() {
            Err(e) if e == Errno::EMFILE.into() || e == Errno::ENFILE.into() => {
                self.0 = None;
                open()
            }
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spare_is_given_up_only_for_lack_of_descriptors() {
        let mut spare = Spare::default();
        assert!(spare.retake());
        assert_eq!(
            spare.spend_on(|| Err::<(), _>(Errno::ENOENT)),
            Err(Errno::ENOENT)
        );
        assert!(spare.0.is_some());

        let mut tries = 0;
        let opened = spare.spend_on(|| {
            tries += 1;
            if tries == 1 {
                Err(Errno::EMFILE)
            } else {
                Ok("second")
            }
        });
        assert_eq!(opened, Ok("second"));
        assert!(spare.0.is_none());
        assert!(spare.retake());
    }
}
