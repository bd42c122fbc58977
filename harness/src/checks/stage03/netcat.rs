//! The server with each variant of netcat, in the ways in which it works for UDP. None of
//! them ends by itself at the right moment, so in most cases their stdin stays open.

use super::base::UDP;
use crate::check::{Check, Need};
use crate::failure::Verdict;
use crate::process::Input;
use crate::trial::Trial;

pub const OPENBSD: Check = Check {
    name: "netcat-openbsd",
    title: "`nc -u` (openbsd) gets its answers, and so does `printf 'hello\\n' | nc -u -w1`",
    why: "netcat is a client that is installed almost everywhere",
    hint: "`sendto` the address that `recvfrom` returned, on the same socket",
    needs: &[Need::Tool("nc.openbsd")],
    body: |trial| {
        interactive(trial, &["nc.openbsd", "-u"])?;
        at_once(trial, &["nc.openbsd", "-u", "-w1"])
    },
    ..UDP
};

pub const TRADITIONAL: Check = Check {
    name: "netcat-traditional",
    title: "`nc -u` (traditional) gets its answers, and so does `printf 'hello\\n' | nc -u -w1`",
    needs: &[Need::Tool("nc.traditional")],
    body: |trial| {
        interactive(trial, &["nc.traditional", "-u"])?;
        at_once(trial, &["nc.traditional", "-u", "-w1"])
    },
    ..OPENBSD
};

/// At the end of its stdin, ncat ends before the answer can come.
pub const NCAT: Check = Check {
    name: "ncat",
    title: "`ncat -u` gets its answers while its stdin is open",
    needs: &[Need::Tool("ncat")],
    body: |trial| interactive(trial, &["ncat", "-u"]),
    ..OPENBSD
};

fn interactive(trial: &Trial, command: &[&str]) -> Verdict {
    let server = trial.start()?;
    let port = server.address().port().to_string();
    let command = [command, &["127.0.0.1", &port]].concat();
    let netcat = trial.launch_tool(&command).input(Input::Pipe).run()?;
    let stdin = netcat.stdin()?;
    let mut printed = Vec::new();
    for (line, answer) in [("hello\n", "olleh\n"), ("network\n", "krowten\n")] {
        stdin.send(line.as_bytes())?;
        printed.extend_from_slice(answer.as_bytes());
        netcat.expect_printed(&format!("{} bytes", printed.len()), |stdout| {
            stdout.len() >= printed.len()
        })?;
        netcat.expect_stdout(&printed)?;
    }
    Ok(())
}

fn at_once(trial: &Trial, command: &[&str]) -> Verdict {
    let server = trial.start()?;
    let port = server.address().port().to_string();
    let command = [command, &["127.0.0.1", &port]].concat();
    let input = Input::Bytes(b"hello\n".to_vec());
    let netcat = trial.launch_tool(&command).input(input).run()?;
    netcat.wait()?; // its status differs from variant to variant
    netcat.expect_stdout(b"olleh\n")
}
