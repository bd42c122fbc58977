//! What every server of the line protocol must do, whatever it is built with. Each
//! check is written for stage 4; the other stages take it over under their own name.

use std::time::Duration;

use crate::check::{Check, Stage, Tier, Verdict};
use crate::data::{lines, reversed};
use crate::peer::both;
use crate::trial::Trial;

/// What most of these checks have in common.
const LINE_PROTOCOL: Check = Check {
    stage: Stage::Stage04,
    id: "stage04/reverses-a-line",
    title: "A line is answered with the line reversed",
    why: "it is what the server is for",
    hint: "keep the `\\n` at the end and reverse what stands before it",
    chapter: "docs/src/phase0/stage01.md",
    tier: Tier::Core,
    points: 2,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: reverses_a_line,
};

impl Check {
    /// The same check as a part of another stage.
    pub(super) const fn taken_over(self, stage: Stage, id: &'static str) -> Check {
        Check { stage, id, ..self }
    }
}

pub const REVERSES_A_LINE: Check = LINE_PROTOCOL;

fn reverses_a_line(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask(b"abcd\n", b"dcba\n")
}

pub const LAST_LINE_WITHOUT_NEWLINE: Check = Check {
    id: "stage04/last-line-without-newline",
    title: "A last line without a line break is answered at the end of the stream",
    why: "`printf hello | nc -N` sends no line break: the end of the stream ends the line",
    hint: "a `recv` of 0 bytes ends the last line; do not cut a byte that is not a line break",
    points: 2,
    body: last_line_without_newline,
    ..LINE_PROTOCOL
};

fn last_line_without_newline(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.send(b"abcd")?;
    client.half_close()?;
    client.expect(b"dcba")?;
    client.expect_end()
}

pub const HOWEVER_IT_IS_CUT: Check = Check {
    id: "stage04/however-it-is-cut",
    title: "The answer does not depend on how the bytes were cut",
    why: "TCP is a stream of bytes: one send may arrive in many reads, many in one",
    hint: "collect bytes until a `\\n` is there, and answer every `\\n` that is there",
    tier: Tier::Robust,
    points: 3,
    body: however_it_is_cut,
    ..LINE_PROTOCOL
};

fn however_it_is_cut(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.send(b"abc")?;
    client.until_all_is_read()?;
    client.ask(b"def\n", b"fedcba\n")?;
    client.ask(b"abc\ndef\n\nghi\n", b"cba\nfed\n\nihg\n")?;

    let (line, answer) = (b"one byte at a time\r\n", b"emit a ta etyb eno\r\n");
    for byte in line {
        client.send(&[*byte])?;
        client.until_all_is_read()?;
    }
    client.expect(answer)
}

pub const ALL_ANSWERS_TO_A_LATE_READER: Check = Check {
    id: "stage04/all-answers-to-a-late-reader",
    title: "4 MB of lines are answered in full to a client that reads late",
    why: "`send` may take only a part of the bytes: the rest is still owed",
    hint: "send the rest when the socket has room again (EPOLLOUT), from where you stopped",
    points: 3,
    body: all_answers_to_a_late_reader,
    ..LINE_PROTOCOL
};

fn all_answers_to_a_late_reader(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    let text = lines(8, 4_000_000);
    let answers = reversed(&text);
    both(
        || client.send(&text).and_then(|()| client.half_close()),
        || {
            // The client reads nothing yet: the recipe of the fault, no wait for an event.
            std::thread::sleep(Duration::from_secs(1));
            client.expect(&answers)?;
            client.expect_end()
        },
    )
}
