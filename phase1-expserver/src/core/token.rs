//! Tokens: what core writes on each descriptor and timer that it hands to the event loop, and what
//! comes back with an event.
//!
//! A token says in 64 bits what kind of thing it is for, and which one: the key of a slot. The key
//! of something that is gone finds nothing, so an event that comes too late does no harm. Only
//! core makes tokens and reads them; to the event loop they are opaque.

use std::fmt;

use crate::vec::KEY_BITS;
use crate::vec::Key;

/// What a token is for. The key that belongs to it is in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Somebody wants this core to end: a signal has come, or the main thread tells of one.
    Wake,
    /// Clients wait to be accepted (listener).
    Listener,
    /// The client's socket (session).
    Client,
    /// The socket towards the upstream (session).
    Upstream,
    /// A timer: look at the clock for this one (session).
    Deadline,
    /// A timer: descriptors ran out a while ago, try to accept again.
    Retry,
    /// A timer: something is left to be written to stdout or to the log.
    Output,
    /// A timer: kernel pipes may have been out of use for a while.
    Pipes,
    /// A timer: the time for an orderly end is over.
    DrainOver,
}

const KINDS: [Kind; 9] = [
    Kind::Wake,
    Kind::Listener,
    Kind::Client,
    Kind::Upstream,
    Kind::Deadline,
    Kind::Retry,
    Kind::Output,
    Kind::Pipes,
    Kind::DrainOver,
];

/// Kind 4 bits, generation 28, index 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// The token of the thing that `key` names.
    pub fn new<T>(kind: Kind, key: Key<T>) -> Token {
        Token((kind as u64) << KEY_BITS | key.to_bits())
    }

    /// The token of something that there is only one of.
    pub fn plain(kind: Kind) -> Token {
        Token((kind as u64) << KEY_BITS)
    }

    /// The token that epoll gave back as a number.
    pub fn from_bits(bits: u64) -> Token {
        Token(bits)
    }

    /// The token as the number that epoll keeps for us.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// What it is for; `None` for a number that no token has.
    pub fn kind(self) -> Option<Kind> {
        KINDS.get((self.0 >> KEY_BITS) as usize).copied()
    }

    /// Which one. The caller knows from [`kind`](Token::kind) in which table to look.
    pub fn key<T>(self) -> Key<T> {
        Key::from_bits(self.0)
    }
}

/// `Client 7v2`
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Some(kind) => write!(f, "{kind:?} {:?}", self.key::<()>()),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vec::slots::Slots;

    #[test]
    fn a_token_gives_back_what_it_was_made_of() {
        let mut table = Slots::new();
        for round in 0..3 {
            for kind in KINDS {
                let key = table.insert(round);
                let token = Token::from_bits(Token::new(kind, key).to_bits());
                assert_eq!(token.kind(), Some(kind));
                assert_eq!(token.key(), key);
                table.remove(key);
            }
        }
    }

    #[test]
    fn a_number_that_is_no_token_has_no_kind() {
        assert_eq!(Token::from_bits(u64::MAX).kind(), None);
        assert_eq!(
            format!("{:?}", Token::from_bits(u64::MAX)),
            "0xffffffffffffffff"
        );
        assert_eq!(Token::plain(Kind::DrainOver).kind(), Some(Kind::DrainOver));
    }
}
