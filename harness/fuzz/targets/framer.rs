//! The line framers of the stages and of the modular server. However a stream is cut, they must
//! answer what a simple model answers for the whole stream.
#![no_main]

#[path = "../../../stage04-epoll/src/given/lines.rs"]
mod lines;
#[path = "../../../stage04-epoll/src/given/reverse.rs"]
mod reverse;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use phase1_expserver::core::reverse::Framer;
use phase1_expserver::flow::{Progress, Resources, Sink, Source};
use phase1_expserver::utils::buffer::BufferList;
use phase1_expserver::utils::logger::Transcript;

const LONGEST_LINE: usize = 64 * 1024;

/// What one read brings: some bytes, repeated, so that a small input can make a long line.
#[derive(Arbitrary, Debug)]
struct Piece {
    bytes: Vec<u8>,
    times: u16,
    /// Whether the answers so far are fetched before this piece comes.
    fetch: bool,
}

impl Piece {
    fn bytes(&self) -> Vec<u8> {
        let most = LONGEST_LINE * 3 / 2 / self.bytes.len().max(1);
        let times = match self.times {
            ..64_000 => 1 + usize::from(self.times) % 4,
            times => usize::from(times).min(most), // these are few, because they take long
        };
        self.bytes.repeat(times)
    }
}

fuzz_target!(|pieces: Vec<Piece>| {
    // Enough for a line over the limit and some more; a longer stream only takes more time.
    let mut total = 0;
    let enough = |piece: &Piece| {
        total += piece.bytes().len();
        total < 3 * LONGEST_LINE
    };
    let pieces: Vec<Piece> = pieces.into_iter().take_while(enough).collect();
    let stream: Vec<u8> = pieces.iter().flat_map(Piece::bytes).collect();
    let expected = model(&stream);
    assert!(
        of_the_stages(&pieces) == expected,
        "the stages' framer differs from the model"
    );
    assert!(
        of_the_modular_server(&pieces) == expected,
        "the modular server's framer differs from the model"
    );
});

/// The rule as the book describes it, for the whole stream.
fn model(stream: &[u8]) -> Vec<u8> {
    let lines = stream.split_inclusive(|&byte| byte == b'\n');
    let pieces = lines.flat_map(|line| line.chunks(LONGEST_LINE));
    pieces.flat_map(model_of_a_line).collect()
}

fn model_of_a_line(line: &[u8]) -> Vec<u8> {
    let ending = match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    };
    let (text, ending) = line.split_at(line.len() - ending);
    let mut answer = match String::from_utf8(text.to_vec()) {
        Ok(text) => text.chars().rev().collect::<String>().into_bytes(),
        Err(_) => text.iter().rev().copied().collect(),
    };
    answer.extend_from_slice(ending);
    answer
}

fn of_the_stages(pieces: &[Piece]) -> Vec<u8> {
    let (mut lines, mut answers) = (lines::Lines::default(), Vec::new());
    for piece in pieces {
        lines.push(&piece.bytes());
        while let Some(line) = lines.next_line() {
            reverse::reverse(line, &mut answers);
        }
    }
    if let Some(line) = lines.last_line() {
        reverse::reverse(line, &mut answers);
    }
    answers
}

fn of_the_modular_server(pieces: &[Piece]) -> Vec<u8> {
    let (mut framer, mut resources) = (Framer::new(), Resources::new(Transcript::default()));
    let (mut arrived, mut answers) = (BufferList::new(), Vec::new());
    for piece in pieces {
        if piece.fetch {
            fetch(&mut framer, &mut answers, &mut resources);
        }
        put(&mut arrived, &piece.bytes(), &mut resources);
        while !arrived.is_empty() {
            if !framer.writable() {
                fetch(&mut framer, &mut answers, &mut resources);
            }
            let moved = framer.write_from(&mut arrived, &mut resources);
            assert!(
                matches!(moved, Ok(Progress::Moved(1..))),
                "the framer is stuck"
            );
        }
    }
    framer.shut(&mut resources);
    while fetch(&mut framer, &mut answers, &mut resources) {}
    assert_eq!(
        resources.chunks.lent(),
        0,
        "the framer keeps chunks of the pool"
    );
    answers
}

fn put(list: &mut BufferList, mut bytes: &[u8], resources: &mut Resources) {
    while !bytes.is_empty() {
        let room = list.room(1, &mut resources.chunks);
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        list.commit(count, &mut resources.chunks);
        bytes = &bytes[count..];
    }
}

/// False at the end of the answers.
fn fetch(framer: &mut Framer, answers: &mut Vec<u8>, resources: &mut Resources) -> bool {
    let mut fetched = BufferList::new();
    let progress = framer.read_into(&mut fetched, resources);
    while !fetched.is_empty() {
        let count = fetched.front().len();
        answers.extend_from_slice(fetched.front());
        fetched.consume(count, &mut resources.chunks);
    }
    !matches!(progress, Ok(Progress::Eof))
}
