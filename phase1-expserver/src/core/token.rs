//! Tokens: core gives the event loop a token with each descriptor and timer, and each event brings
//! its token back.
//!
//! The 64 bits of a token say what kind of thing it is for, and which one: they contain the key of
//! a slot. No slot has the key of a session that is gone, so an event that comes too late does no
//! harm. Only core makes tokens and reads them; the event loop does not look inside.

use std::fmt;

use crate::vec::KEY_BITS;
use crate::vec::Key;

/// What a token is for. In brackets: what its key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A signal has arrived, or the main thread passes one on.
    Wake,
    /// Clients are waiting to be accepted (listener).
    Listener,
    /// The client's socket (session).
    Client,
    /// The socket of the connection to the upstream (session).
    Upstream,
    /// A timer: one of the session's timeouts may be over (session).
    Deadline,
    /// A timer: the pause after running out of descriptors is over.
    Retry,
    /// Stdout has room again.
    Stdout,
    /// A timer: repeated warnings are to be logged.
    Warnings,
    /// A timer: look for kernel pipes that have been unused for a while.
    Pipes,
    /// A timer: the drain timeout is over.
    DrainOver,
}

const KINDS: [Kind; 10] = [
    Kind::Wake,
    Kind::Listener,
    Kind::Client,
    Kind::Upstream,
    Kind::Deadline,
    Kind::Retry,
    Kind::Stdout,
    Kind::Warnings,
    Kind::Pipes,
    Kind::DrainOver,
];

/// Four bits for the kind and 60 for the key: 28 for its generation and 32 for its index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// The token of the thing that `key` names.
    pub fn new<T>(kind: Kind, key: Key<T>) -> Token {
        Token((kind as u64) << KEY_BITS | key.to_bits())
    }

    /// The token of something that exists only once, so it needs no key.
    pub fn plain(kind: Kind) -> Token {
        Token((kind as u64) << KEY_BITS)
    }

    /// The token that epoll returned as a number.
    pub fn from_bits(bits: u64) -> Token {
        Token(bits)
    }

    /// The token as a number, for epoll to store.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// What it is for; `None` if the number is not a token.
    pub fn kind(self) -> Option<Kind> {
        KINDS.get((self.0 >> KEY_BITS) as usize).copied()
    }

    /// The key. [`kind`](Token::kind) tells the caller in which table to look it up.
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
    fn a_token_returns_what_it_was_made_of() {
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
