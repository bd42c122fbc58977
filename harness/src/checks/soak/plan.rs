//! What happens in a soak: each operation depends only on the seed and on its own number.

use std::fmt;
use std::time::Duration;

use crate::data::{Pattern, lines, reversed, splitmix, time};

/// Numbers from a seed, one after the other.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, number: u64) -> Self {
        Self(splitmix(seed ^ splitmix(number)))
    }

    /// From 0 to `below` - 1.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = splitmix(self.0);
        self.0 % below
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len() as u64) as usize]
    }

    pub fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.roll(below))
    }
}

/// What the server does with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Reverse,
    Echo,
    Proxy,
    File,
    /// A file that is not there.
    NoFile,
}

/// What a client does, whatever it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Sends everything while it reads the answer, then half-closes.
    Exchanges,
    SendsByteByByte,
    /// Sends everything in many small pieces, and waits for nothing.
    SendsABurst,
    ReadsLate,
    HalfClosesFirst,
    ConnectsAndCloses,
    ConnectsAndResets,
    /// Sends half of a message and closes.
    LeavesHalfAMessage,
    ResetsHalfAMessage,
    ResetsAfterItsMessage,
    ResetsDuringTheAnswer,
    ResetsAfterTheAnswer,
    ClosesWithUnreadInput,
    NeverReads,
}

/// What the server behind a proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Everything is sent back.
    Echoes,
    /// The same in small pieces, with pauses.
    IsSlow,
    /// It sends a number of bytes and closes.
    SendsAndCloses,
    /// It confirms at the end that it has received everything.
    Counts,
    /// It sends a number of bytes, half-closes, and still reads.
    HalfCloses,
    ClosesAtOnce,
    ResetsMidway,
    NeverReads,
}

impl Fate {
    const ALL: [Fate; 8] = [
        Fate::Echoes,
        Fate::IsSlow,
        Fate::SendsAndCloses,
        Fate::Counts,
        Fate::HalfCloses,
        Fate::ClosesAtOnce,
        Fate::ResetsMidway,
        Fate::NeverReads,
    ];

    pub fn from_byte(byte: u8) -> Option<Fate> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

const ACTS: [Act; 14] = [
    Act::Exchanges,
    Act::SendsByteByByte,
    Act::SendsABurst,
    Act::ReadsLate,
    Act::HalfClosesFirst,
    Act::ConnectsAndCloses,
    Act::ConnectsAndResets,
    Act::LeavesHalfAMessage,
    Act::ResetsHalfAMessage,
    Act::ResetsAfterItsMessage,
    Act::ResetsDuringTheAnswer,
    Act::ResetsAfterTheAnswer,
    Act::ClosesWithUnreadInput,
    Act::NeverReads,
];

#[derive(Clone, Copy)]
pub struct Operation {
    pub number: u64,
    /// Which of the server's listeners, and its role.
    pub listener: usize,
    pub role: Role,
    pub act: Act,
    /// What the upstream does, if there is one.
    pub fate: Fate,
    pub length: u64,
    pub pause: Duration,
}

impl Operation {
    /// The operation with this number against a server with these listeners.
    pub fn new(seed: u64, number: u64, roles: &[Role]) -> Self {
        let mut dice = Dice::new(seed, number);
        let listener = dice.roll(roles.len() as u64) as usize;
        // Half of the operations come to a normal end, so that there are many bytes to compare.
        let act = match dice.roll(2) {
            0 => dice.pick(&ACTS[..5]),
            _ => dice.pick(&ACTS),
        };
        let fate = match dice.roll(2) {
            0 => Fate::Echoes,
            _ => dice.pick(&Fate::ALL),
        };
        let longest = dice.pick(&[2, 10, 50, 300]);
        let most = dice.pick(&[100, 2_000, 2_000, 50_000, 200_000, 2_000_000]);
        Self {
            number,
            listener,
            role: roles[listener],
            act,
            fate,
            length: dice.roll(most).min(most_for(act, fate)),
            pause: dice.millis(longest),
        }
    }

    /// What an upstream that does not echo sends, and what its client sends.
    pub fn pattern(&self) -> Pattern {
        Pattern::new(self.number)
    }

    /// What the client sends, and the answer that it expects.
    pub fn conversation(&self) -> (Vec<u8>, Vec<u8>) {
        let length = self.length as usize;
        match self.role {
            Role::Reverse => {
                let request = lines(self.number, length);
                let answer = reversed(&request);
                (request, answer)
            }
            Role::Echo | Role::Proxy => {
                let bytes = self.pattern().bytes(length);
                (bytes.clone(), bytes)
            }
            Role::File => (b"thank you".to_vec(), file()),
            Role::NoFile => (Vec::new(), Vec::new()),
        }
    }
}

/// The longest message: a slow one must end in time, and one whose sender does not read must fit
/// into the buffers.
fn most_for(act: Act, fate: Fate) -> u64 {
    match (act, fate) {
        (Act::SendsByteByByte, _) => 300,
        (_, Fate::IsSlow) => 5_000,
        (Act::ResetsAfterItsMessage | Act::ClosesWithUnreadInput, _) => 50_000,
        _ => u64::MAX,
    }
}

/// The number of the first operation that warms the server up; all others are smaller.
pub const WARMING_UP: u64 = 1 << 63;

/// What role `file` sends.
pub fn file() -> Vec<u8> {
    Pattern::new(0).bytes(700_000)
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            number,
            role,
            act,
            fate,
            length,
            pause,
            ..
        } = self;
        let (number, when) = match number.checked_sub(WARMING_UP) {
            Some(number) => (number, " of the warm-up"),
            None => (*number, ""),
        };
        let (role_name, act) = (words(role), words(act));
        write!(
            f,
            "operation {number}{when} ({role_name}): the client {act}"
        )?;
        if *role == Role::Proxy {
            write!(f, ", the upstream {}", words(fate))?;
        }
        write!(f, ", {length} bytes, pause {}", time(*pause))
    }
}

/// `NeverReads` as "never reads".
pub fn words(name: &impl fmt::Debug) -> String {
    let mut words = String::new();
    for letter in format!("{name:?}").chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}
