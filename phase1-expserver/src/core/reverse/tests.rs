use proptest::collection::vec as vec_of;
use proptest::prelude::*;

use super::*;
use crate::utils::buffer::CHUNK;
use crate::utils::logger::Transcript;

fn resources() -> Resources {
    Resources::new(Transcript::default())
}

fn reversed(line: &[u8]) -> Vec<u8> {
    let mut answer = vec![b'?'; line.len()];
    reverse(line, &mut answer);
    answer
}

/// The rule, without regard to how bytes arrive.
fn expected(stream: &[u8]) -> Vec<u8> {
    stream
        .split_inclusive(|&byte| byte == b'\n')
        .flat_map(|line| line.chunks(MAX_LINE))
        .flat_map(reversed)
        .collect()
}

fn put(list: &mut BufferList, bytes: &[u8], resources: &mut Resources) {
    for piece in bytes.chunks(CHUNK) {
        list.room(piece.len(), &mut resources.chunks)[..piece.len()].copy_from_slice(piece);
        list.commit(piece.len(), &mut resources.chunks);
    }
}

fn take_all(list: &mut BufferList, taken: &mut Vec<u8>, resources: &mut Resources) {
    while !list.is_empty() {
        let front = list.front().to_vec();
        list.consume(front.len(), &mut resources.chunks);
        taken.extend(front);
    }
}

/// The answers to a stream that arrives in pieces. `sizes` are the lengths of the pieces, `fetches`
/// says before which pieces the answers are read; both lists are repeated. Answers are also read
/// when the framer takes no more lines.
fn answers(stream: &[u8], sizes: &[usize], fetches: &[bool]) -> Vec<u8> {
    let mut framer = Framer::new();
    let mut resources = resources();
    let mut arrived = BufferList::new();
    let mut out = BufferList::new();
    let mut taken = Vec::new();
    let mut rest = stream;
    let mut turn = 0;
    while !rest.is_empty() || !arrived.is_empty() {
        let size = sizes[turn % sizes.len()].min(rest.len());
        put(&mut arrived, &rest[..size], &mut resources);
        rest = &rest[size..];
        if fetches[turn % fetches.len()] || !framer.writable() {
            let _ = framer.read_into(&mut out, &mut resources);
            take_all(&mut out, &mut taken, &mut resources);
        }
        while framer.writable() && !arrived.is_empty() {
            let before = arrived.len();
            let count = before - {
                framer.write_from(&mut arrived, &mut resources).unwrap();
                arrived.len()
            };
            assert!(count > 0, "it says that it is writable");
        }
        assert!(framer.answers.len() < MAX_ANSWERS + MAX_LINE);
        assert!(framer.line.len() < MAX_LINE);
        turn += 1;
    }
    framer.shut(&mut resources);
    loop {
        assert!(framer.readable(), "no event would report the end");
        match framer.read_into(&mut out, &mut resources) {
            Ok(Progress::Eof) => break,
            _ => take_all(&mut out, &mut taken, &mut resources),
        }
    }
    assert_eq!(resources.chunks.lent(), 0);
    taken
}

#[test]
fn the_ending_stays_at_the_end() {
    assert_eq!(reversed(b"hello\n"), b"olleh\n");
    assert_eq!(reversed(b"hello\r\n"), b"olleh\r\n");
    assert_eq!(reversed(b"hello"), b"olleh");
    assert_eq!(reversed(b"\n"), b"\n");
    assert_eq!(reversed(b"\r\n"), b"\r\n");
    assert_eq!(reversed(b""), b"");
}

#[test]
fn a_lone_carriage_return_is_text() {
    assert_eq!(reversed(b"ab\rc\n"), b"c\rba\n");
    assert_eq!(reversed(b"ab\r"), b"\rba");
    assert_eq!(reversed(b"ab\r\r\n"), b"\rba\r\n");
}

#[test]
fn utf8_by_character_anything_else_by_byte() {
    assert_eq!(reversed("añ€🦀\n".as_bytes()), "🦀€ña\n".as_bytes());
    assert_eq!(reversed(b"a\xffb\0c\n"), b"c\0b\xffa\n");
    // One byte that is not UTF-8: the bytes of `é` are reversed one by one, too.
    assert_eq!(reversed(b"\xc3\xa9\xff\n"), b"\xff\xa9\xc3\n");
}

#[test]
fn every_split_gives_the_same_answers() {
    let stream = "ab\r\n\n\r\nañ€🦀\nlone\rtext\r\r\n\0\nlast".as_bytes();
    for at in 1..stream.len() {
        let got = answers(stream, &[at, stream.len()], &[true]);
        assert_eq!(got, expected(stream), "split at {at}");
    }
    assert_eq!(answers(stream, &[1], &[false]), expected(stream));
}

#[test]
fn a_line_over_the_limit_is_answered_in_pieces() {
    for (length, pieces) in [
        (MAX_LINE - 2, 1),
        (MAX_LINE - 1, 1),
        (MAX_LINE, 2),
        (MAX_LINE + 1, 2),
        (3 * MAX_LINE, 4),
    ] {
        let mut stream: Vec<u8> = (0..length).map(|at| b'a' + (at % 23) as u8).collect();
        stream.extend_from_slice(b"\nnext\n");
        assert_eq!(stream[..=length].chunks(MAX_LINE).count(), pieces);
        for sizes in [
            [1000, 1000],
            [usize::MAX, 1],
            [MAX_LINE - 1, 1],
            [1, MAX_LINE],
        ] {
            let got = answers(&stream, &sizes, &[true, false]);
            assert!(got == expected(&stream), "{length} bytes in {sizes:?}");
        }
    }
}

#[test]
fn a_character_cut_by_the_limit_makes_its_piece_one_of_bytes() {
    let mut stream = vec![b'a'; MAX_LINE - 1];
    stream.extend_from_slice("é\n".as_bytes());
    let mut expected = vec![0xc3];
    expected.extend(vec![b'a'; MAX_LINE - 1]);
    expected.extend_from_slice(b"\xa9\n");
    assert!(answers(&stream, &[usize::MAX], &[true]) == expected);
}

#[test]
fn a_client_that_reads_no_answers_gets_no_more_of_them() {
    let mut framer = Framer::new();
    let mut resources = resources();
    let mut arrived = BufferList::new();
    put(&mut arrived, &[b'\n'; 3 * CHUNK], &mut resources);
    while framer.writable() {
        framer.write_from(&mut arrived, &mut resources).unwrap();
    }
    assert_eq!(
        (framer.answers.len(), arrived.len()),
        (MAX_ANSWERS, 2 * CHUNK)
    );
    let mut out = BufferList::new();
    let fetched = framer.read_into(&mut out, &mut resources);
    assert_eq!(fetched, Ok(Progress::Moved(MAX_ANSWERS)));
    assert!(framer.writable() && !framer.readable());
    assert_eq!(
        framer.read_into(&mut out, &mut resources),
        Ok(Progress::Blocked)
    );
}

/// Also in the middle of a chunk, so that one write cannot double the waiting answers.
#[test]
fn framing_stops_where_enough_answers_wait() {
    let mut framer = Framer::new();
    let mut resources = resources();
    let mut arrived = BufferList::new();
    put(&mut arrived, &[b'\n'; CHUNK - 5], &mut resources);
    framer.write_from(&mut arrived, &mut resources).unwrap();
    put(&mut arrived, &[b'\n'; 100], &mut resources);
    let written = framer.write_from(&mut arrived, &mut resources);
    assert_eq!(written, Ok(Progress::Moved(5)));
    assert_eq!(arrived.len(), 95);
}

#[test]
fn an_idle_framer_holds_no_memory() {
    let mut framer = Framer::new();
    let mut resources = resources();
    let mut arrived = BufferList::new();
    for part in [&b"hel"[..], b"lo\n"] {
        put(&mut arrived, part, &mut resources);
        framer.write_from(&mut arrived, &mut resources).unwrap();
    }
    let mut out = BufferList::new();
    framer.read_into(&mut out, &mut resources).unwrap();
    assert_eq!(out.front(), b"olleh\n");
    out.clear(&mut resources.chunks);
    assert_eq!((framer.line.capacity(), resources.chunks.lent()), (0, 0));
}

#[test]
fn a_framer_that_was_stopped_holds_nothing() {
    let mut framer = Framer::new();
    let mut resources = resources();
    let mut arrived = BufferList::new();
    put(&mut arrived, b"hello\nwor", &mut resources);
    framer.write_from(&mut arrived, &mut resources).unwrap();
    assert!(!framer.gone());
    framer.stop(&mut resources);
    assert!(framer.gone() && !framer.readable());
    assert_eq!((framer.line.len(), resources.chunks.lent()), (0, 0));
}

proptest! {
    #[test]
    fn how_the_bytes_were_cut_does_not_matter(
        stream in vec_of(
            prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), any::<u8>()], 0..400),
        sizes in vec_of(1usize..40, 1..8),
        fetches in vec_of(any::<bool>(), 1..8),
    ) {
        prop_assert_eq!(answers(&stream, &sizes, &fetches), expected(&stream));
    }

    #[test]
    fn twice_reversed_is_as_before(text in "[^\r\n]*") {
        let line = text + "\n";
        prop_assert_eq!(reversed(&reversed(line.as_bytes())), line.into_bytes());
    }
}
