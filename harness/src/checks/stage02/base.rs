//! What the checks of the client have in common.

use std::time::Duration;

use crate::check::{Check, Tier};
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::process::Input;
use crate::stage::Stage;
use crate::trial::{Launch, Running, Trial};
use crate::upstream::Upstream;

/// What the checks of this stage have in common.
pub const CLIENT: Check = Check {
    stage: Stage::Stage02,
    role: "",
    name: "shows-each-answer",
    title: "The client sends what is typed to the server, and shows the answer",
    why: "this is what the client is for",
    hint: "`send` the line with its `\\n`, then `recv` the answer and print it",
    chapter: "docs/src/phase0/stage02.md",
    tier: Tier::Robust,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: shows_each_answer,
};

/// The client under test, which will connect to the check's server.
pub fn client<'t>(trial: &'t Trial, server: &Upstream) -> Launch<'t> {
    trial.launch().client_of(server.address())
}

/// Expects that it ends by itself, with an exit status other than 0.
pub fn expect_failed(client: &Running) -> Verdict {
    let status = client.wait()?;
    if status.code().is_some_and(|code| code != 0) {
        return Ok(());
    }
    let failure = Failure::behaviour("the exit status does not show that something went wrong");
    Err(failure
        .expected("an exit status other than 0")
        .received(status.to_string()))
}

/// Expects that it has printed a message that contains one of `words`.
pub fn expect_told(client: &Running, words: &[&str]) -> Verdict {
    let printed = client.process.stdout();
    let told = client.process.log() + &String::from_utf8_lossy(&printed);
    let lower = told.to_lowercase();
    if words.iter().any(|word| lower.contains(word)) {
        return Ok(());
    }
    let failure = Failure::behaviour("the client does not say what has happened");
    Err(failure
        .expected(format!(
            "a message that contains `{}`",
            words.join("` or `")
        ))
        .received(format!("`{}`", told.trim_end())))
}

fn shows_each_answer(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let client = client(trial, &server).input(Input::Terminal).run()?;
    let keyboard = client.stdin()?;
    let connection = server.accept("the server")?;
    // A long answer comes first: the rest of it must not appear behind a short one.
    for (line, answer) in [
        ("a long line", "enil gnol a"),
        ("hello", "olleh"),
        ("a b", "b a"),
    ] {
        let line = format!("{line}\n");
        keyboard.send(line.as_bytes())?;
        connection.expect(line.as_bytes())?;
        connection.send(format!("{answer}\n").as_bytes())?;
        client.expect_printed(&format!("`{answer}`"), |screen| shows(screen, answer))?;
    }
    let screen = client.process.stdout();
    let stale = b"nol a"; // what `olleh` and a line break do not cover
    let times = screen.windows(stale.len()).filter(|it| it == stale).count();
    ensure(times == 1, Outcome::WrongData, || {
        "the client shows the rest of an earlier, longer answer again".to_owned()
    })
}

/// Whether a line of the screen shows `answer`, alone or after `[SERVER MESSAGE] `.
pub fn shows(screen: &[u8], answer: &str) -> bool {
    let screen = String::from_utf8_lossy(screen);
    let mut lines = screen.split('\n').map(|line| line.trim_end_matches('\r'));
    lines.any(|line| line == answer || line.ends_with(&format!("[SERVER MESSAGE] {answer}")))
}
