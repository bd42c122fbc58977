//! The server with netcat, the tool of the exercises. The variants of `nc` differ in
//! what they do at the end of their input, so each gets the options that let it half-close.
//! Written for stage 4, taken over by stage 1.

use std::time::Duration;

use crate::check::{Check, Need, Tier};
use crate::data::show;
use crate::failure::{Failure, Outcome, Verdict};
use crate::process::Input;
use crate::stage::Stage;
use crate::trial::Trial;

pub const CHECKS: &[Check] = &[NC_OPENBSD, NC_TRADITIONAL, NCAT];

const NC_OPENBSD: Check = Check {
    stage: Stage::Stage04,
    role: "",
    name: "nc-openbsd",
    title: "`printf 'hello\\nworld' | nc -N` (openbsd) shows both answers and ends",
    why: "this is how you try out a server by hand",
    hint: "when `recv` returns 0, send the last answer and then `close` the connection",
    chapter: "docs/src/phase0/stage01.md",
    tier: Tier::Robust,
    timeout: Duration::from_secs(30),
    needs: &[Need::Tool("nc.openbsd")],
    body: |trial| netcat(trial, &["nc.openbsd", "-N"]),
};

const NC_TRADITIONAL: Check = Check {
    name: "nc-traditional",
    title: "`printf 'hello\\nworld' | nc -q1` (traditional) shows both answers and ends",
    needs: &[Need::Tool("nc.traditional")],
    body: |trial| netcat(trial, &["nc.traditional", "-q1"]),
    ..NC_OPENBSD
};

const NCAT: Check = Check {
    name: "ncat",
    title: "`printf 'hello\\nworld' | ncat` shows both answers and ends",
    needs: &[Need::Tool("ncat")],
    body: |trial| netcat(trial, &["ncat"]),
    ..NC_OPENBSD
};

fn netcat(trial: &Trial, command: &[&str]) -> Verdict {
    let server = trial.start()?;
    let address = server.address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let command = [command, &[&host, &port]].concat();
    let input = Input::Bytes(b"hello\nworld".to_vec());
    let tool = trial.launch_tool(&command).input(input).run()?;
    let status = tool.wait()?;

    let (shown, expected) = (tool.process.stdout(), b"olleh\ndlrow");
    if shown != expected {
        let what = format!("`{}` shows something else", tool.process.name);
        let failure = Failure::new(Outcome::WrongData, what);
        return Err(failure.expected(show(expected)).received(show(&shown)));
    }
    if !status.success() {
        let what = format!("`{}` ended with {status}", tool.process.name);
        return Err(Failure::behaviour(what));
    }
    Ok(())
}
