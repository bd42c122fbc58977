//! The descriptor kept in reserve: [`Spare`].
//!
//! Some clients cost two descriptors, their socket and what is opened for them: the connection to
//! the upstream, the file. At the limit accept would still get the one and nothing would be left
//! for the other. So core accepts only while a spare one is held, and a session that is short of
//! its second gives that up. Owned by core; it opens nothing that is ever read or written.

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// See the [module](self).
#[derive(Default)]
pub struct Spare(Option<EventFd>);

impl Spare {
    /// Takes a descriptor into reserve, unless one is there. False when there is none to be had.
    pub fn retake(&mut self) -> bool {
        if self.0.is_none() {
            self.0 = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).ok(); // any kind would do
        }
        self.0.is_some()
    }

    /// Tries `open`, and when that fails for want of descriptors, once more without the spare.
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
    fn the_spare_is_given_up_only_for_want_of_descriptors() {
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
