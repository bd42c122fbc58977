//! What the checks of the client have in common.

use std::time::Duration;

use crate::check::{Check, Tier};
use crate::failure::{Failure, Verdict};
use crate::process::Input;
use crate::stage::Stage;
use crate::trial::{Launch, Running, Trial};
use crate::upstream::Upstream;

/// What the checks of this stage have in common.
pub const CLIENT: Check = Check {
    stage: Stage::Stage02,
    role: "",
    name: "shows-each-answer",
    title: "What is typed goes to the server, and its answer is shown",
    why: "it is what the client is for",
    hint: "send the line with its `\\n`, receive, print what was received",
    chapter: "docs/src/phase0/stage02.md",
    tier: Tier::Robust,
    points: 2,
    timeout: Duration::from_secs(30),
    needs: &[],
    body: shows_each_answer,
};

/// The client under test, on its way to the check's server.
pub fn client<'t>(trial: &'t Trial, server: &Upstream) -> Launch<'t> {
    trial.launch().client_of(server.address())
}

/// It has ended by itself, with a status that says that something went wrong.
pub fn expect_failed(client: &Running) -> Verdict {
    let status = client.wait()?;
    if status.code().is_some_and(|code| code != 0) {
        return Ok(());
    }
    let failure = Failure::behaviour("its exit status does not tell that something went wrong");
    Err(failure
        .expected("an exit status other than 0")
        .received(status.to_string()))
}

/// It has told the user something that has one of `words` in it.
pub fn expect_told(client: &Running, words: &[&str]) -> Verdict {
    let printed = client.process.stdout();
    let told = client.process.log() + &String::from_utf8_lossy(&printed);
    let lower = told.to_lowercase();
    if words.iter().any(|word| lower.contains(word)) {
        return Ok(());
    }
    let failure = Failure::behaviour("it does not tell the user what has happened");
    Err(failure
        .expected(format!("a message with `{}`", words.join("` or `")))
        .received(format!("`{}`", told.trim_end())))
}

fn shows_each_answer(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let client = client(trial, &server).input(Input::Terminal).run()?;
    let keyboard = client.stdin()?;
    let connection = server.accept("the server")?;
    for (line, answer) in [("hello", "olleh"), ("network", "krowten"), ("a b", "b a")] {
        let line = format!("{line}\n");
        keyboard.send(line.as_bytes())?;
        connection.expect(line.as_bytes())?;
        connection.send(format!("{answer}\n").as_bytes())?;
        client.expect_printed(&format!("`{answer}`"), |screen| shows(screen, answer))?;
    }
    Ok(())
}

/// A line of the screen shows `answer`: bare, or after `[SERVER MESSAGE] `.
pub fn shows(screen: &[u8], answer: &str) -> bool {
    let screen = String::from_utf8_lossy(screen);
    let mut lines = screen.split('\n').map(|line| line.trim_end_matches('\r'));
    lines.any(|line| line == answer || line.ends_with(&format!("[SERVER MESSAGE] {answer}")))
}
