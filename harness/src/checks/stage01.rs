//! Stage 1: one client, blocking, exit status 1 when it leaves.

use std::time::Duration;

use super::reversing::{
    ALL_ANSWERS_TO_A_LATE_READER, HOWEVER_IT_IS_CUT, LAST_LINE_WITHOUT_NEWLINE, REVERSES_A_LINE,
};
use crate::check::{Check, Need, Stage, Tier, Verdict};
use crate::trial::Trial;

pub const CHECKS: &[Check] = &[
    REVERSES_A_LINE.taken_over(Stage::Stage01, "stage01/reverses-a-line"),
    LAST_LINE_WITHOUT_NEWLINE.taken_over(Stage::Stage01, "stage01/last-line-without-newline"),
    HOWEVER_IT_IS_CUT.taken_over(Stage::Stage01, "stage01/however-it-is-cut"),
    ALL_ANSWERS_TO_A_LATE_READER.taken_over(Stage::Stage01, "stage01/all-answers-to-a-late-reader"),
    ENDS_WITH_ITS_CLIENT,
    ITERATIVE,
];

const ENDS_WITH_ITS_CLIENT: Check = Check {
    stage: Stage::Stage01,
    id: "stage01/ends-with-its-client",
    title: "The server ends with exit status 1 when its client leaves",
    why: "a `recv` of 0 bytes is how a server learns that its client is gone",
    hint: "`recv` returns 0 at the end of the stream: leave the loop and exit with status 1",
    chapter: "docs/src/phase0/stage01.md",
    tier: Tier::Core,
    points: 2,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: ends_with_its_client,
};

fn ends_with_its_client(trial: &Trial) -> Verdict {
    let server = trial.start()?;
    let client = server.connect("the client")?;
    client.ask(b"hello\n", b"olleh\n")?;
    client.close();
    server.expect_exit(1)
}

const ITERATIVE: Check = Check {
    id: "stage01/iterative",
    title: "With --iterative a second client waits and is served after the first",
    why: "a blocking server has one client at a time; the kernel keeps the others in its backlog",
    hint: "go back to `accept` when a client has left",
    tier: Tier::Robust,
    needs: &[Need::Option("--iterative")],
    body: iterative,
    ..ENDS_WITH_ITS_CLIENT
};

fn iterative(trial: &Trial) -> Verdict {
    let server = trial.launch().options(["--iterative"]).start()?;
    let first = server.connect("the first client")?;
    let second = server.connect("the second client")?;
    second.send(b"second\n")?;
    first.ask(b"first\n", b"tsrif\n")?;
    first.close();
    second.expect(b"dnoces\n")?;
    second.close();
    server.expect_running()
}
