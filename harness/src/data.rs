//! The bytes that checks send, and how bytes and times are shown to a reader.

use std::sync::OnceLock;
use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::hint;

/// The longest piece of data shown in a step or a failure, in bytes.
const SHOWN: usize = 60;

/// Shows `bytes` to a reader: escaped, and if they are many, shortened and with their number.
pub fn show(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN {
        quote(bytes)
    } else {
        format!("`{}…` ({} bytes)", escape(&bytes[..SHOWN]), bytes.len())
    }
}

/// A time for a reader: `12 s`, `1.5 s`, `768 ms`, `80 us`.
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_micros() {
        0..1_000 => format!("{} us", time.as_micros()),
        1_000..999_500 => format!("{:.0} ms", seconds * 1e3),
        999_500..9_950_000 => format!("{seconds:.1} s").replace(".0 ", " "),
        _ => format!("{seconds:.0} s"),
    }
}

/// Items for a reader, separated by commas.
pub fn list(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

fn quote(bytes: &[u8]) -> String {
    match bytes {
        [] => "nothing".to_owned(),
        bytes => format!("`{}`", escape(bytes)),
    }
}

/// Shows text as it is, and everything else as `\n`, `\x1b`, `\u{85}`, `\xff`.
fn escape(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match u8::try_from(character) {
                Ok(byte) if byte.is_ascii() => shown += &byte.escape_ascii().to_string(),
                _ => shown.extend(character.escape_debug()),
            }
        }
        shown += &chunk.invalid().escape_ascii().to_string();
    }
    shown
}

/// The same, but of many bytes it shows those around number `at`.
fn show_around(bytes: &[u8], at: usize) -> String {
    let from = at.saturating_sub(SHOWN / 3).min(bytes.len());
    if bytes.len() <= SHOWN || from == 0 {
        return show(bytes);
    }
    let to = bytes.len().min(from + SHOWN);
    let shown = escape(&bytes[from..to]);
    format!("`…{shown}…` (bytes {from} to {to} of {})", bytes.len())
}

/// How many bytes are the same from the start.
fn same(expected: &[u8], received: &[u8]) -> usize {
    let pairs = expected.iter().zip(received);
    pairs.take_while(|(a, b)| a == b).count()
}

/// The failure of `whose` bytes, which are others than expected.
pub fn wrong(whose: &str, expected: &[u8], received: &[u8]) -> Failure {
    let at = same(expected, received);
    let difference = show_difference(expected, received);
    let failure = Failure::new(Outcome::WrongData, format!("{whose}: {difference}"))
        .expected(show_around(expected, at))
        .received(show_around(received, at));
    let stray_nul = received.get(at) == Some(&0) && expected.get(at) != Some(&0);
    match stray_nul {
        true => failure.hint(hint::NUL),
        false => failure,
    }
}

/// Says at which byte `received` first differs from `expected`, and shows what is around it.
pub fn show_difference(expected: &[u8], received: &[u8]) -> String {
    let at = same(expected, received);
    let around = |bytes: &[u8]| {
        let from = at.saturating_sub(10);
        let to = bytes.len().min(at + 30);
        quote(&bytes[from.min(to)..to])
    };
    format!(
        "the first difference is at byte {at}: {} instead of {}",
        around(received),
        around(expected)
    )
}

/// A repeatable stream of bytes of any length, known at every offset, so that a
/// transfer of gigabytes can be compared without being kept in memory.
#[derive(Clone, Copy)]
pub struct Pattern {
    shift: usize,
}

/// The period of a pattern: a prime, so that a lost or repeated buffer is noticed.
const PERIOD: usize = 65_521;

impl Pattern {
    /// Streams of different `seed`s differ from their first bytes on.
    pub const fn new(seed: u64) -> Self {
        Self {
            shift: (splitmix(seed) % PERIOD as u64) as usize,
        }
    }

    /// A piece of the stream that begins at `offset`. It is never empty.
    pub fn at(&self, offset: u64) -> &'static [u8] {
        static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
        let table = TABLE.get_or_init(|| {
            let period: Vec<u8> = (0..PERIOD as u64).map(|n| splitmix(n) as u8).collect();
            period.repeat(3)
        });
        let start = (offset % PERIOD as u64) as usize + self.shift;
        &table[start..]
    }

    /// One period: the bytes that the stream repeats.
    pub fn period(&self) -> &'static [u8] {
        &self.at(0)[..PERIOD]
    }

    /// The first `length` bytes.
    pub fn bytes(&self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let piece = self.at(bytes.len() as u64);
            bytes.extend_from_slice(&piece[..piece.len().min(length - bytes.len())]);
        }
        bytes
    }
}

/// About `length` bytes of lines of different lengths, ended by a `\n`.
pub fn lines(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 128);
    let mut number = seed;
    while bytes.len() < length {
        number = number.wrapping_add(1);
        let random = splitmix(number);
        let word = format!("{random:x}").repeat(1 + (random % 5) as usize);
        bytes.extend_from_slice(format!("{number} {word}\n").as_bytes());
    }
    bytes
}

/// What a server answers to ASCII `lines`, each shorter than 64 KiB.
pub fn reversed(lines: &[u8]) -> Vec<u8> {
    let mut answer = Vec::with_capacity(lines.len());
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        answer.extend(text.iter().rev());
        answer.extend_from_slice(&line[text.len()..]);
    }
    answer
}

/// One step of a small random number generator: the same number for the same seed.
pub const fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_the_same_however_it_is_cut() {
        let pattern = Pattern::new(7);
        let whole = pattern.bytes(300_000);
        for offset in [0, 1, 65_520, 65_521, 65_522, 200_000] {
            let piece = pattern.at(offset as u64);
            assert!(whole[offset..].starts_with(&piece[..piece.len().min(300_000 - offset)]));
        }
        assert_ne!(whole[..100], Pattern::new(8).bytes(100)[..]);
    }

    #[test]
    fn the_expected_answer_keeps_line_endings() {
        assert_eq!(reversed(b"abc\nde\n\nf"), b"cba\ned\n\nf");
    }

    #[test]
    fn times_are_rounded_for_people() {
        let shown = |micros| time(Duration::from_micros(micros));
        assert_eq!(shown(80), "80 us");
        assert_eq!(shown(768_362), "768 ms");
        assert_eq!(shown(999_700), "1 s");
        assert_eq!(shown(1_540_000), "1.5 s");
        assert_eq!(shown(10_000_000), "10 s");
        assert_eq!(shown(61_700_000), "62 s");
    }

    #[test]
    fn text_is_shown_as_text_and_the_rest_is_escaped() {
        let bytes = b"a\xc3\xb1\t\x1b\"\n\xff\xc2\x85";
        assert_eq!(show(bytes), r#"`añ\t\x1b\"\n\xff\u{85}`"#);
    }

    #[test]
    fn a_difference_is_shown_where_it_is() {
        let shown = show_difference(b"abcdef\n", b"abcxef\n");
        assert_eq!(
            shown,
            r"the first difference is at byte 3: `abcxef\n` instead of `abcdef\n`"
        );
    }
}
