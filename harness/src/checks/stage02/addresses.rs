//! The address of the server: a name, an IPv6 address.

use super::base::{CLIENT, client};
use crate::check::{Check, Need};
use crate::failure::Verdict;
use crate::process::Input;
use crate::trial::{Running, Trial};
use crate::upstream::Upstream;

pub const HOST_NAME: Check = Check {
    name: "host-name",
    title: "The client accepts a name for the server",
    why: "people remember names, not addresses, and a name may have several addresses",
    hint: "call `getaddrinfo(3)`, and try to `connect` to its addresses in turn",
    needs: &[Need::Option("--host")],
    body: host_name,
    ..CLIENT
};

fn host_name(trial: &Trial) -> Verdict {
    let server = trial.upstream()?;
    let port = server.address().port().to_string();
    let client = trial
        .launch()
        .options(["--host", "localhost", "--port", &port])
        .input(Input::Bytes(b"hello\n".to_vec()))
        .run()?;
    one_exchange(&server, &client)
}

pub const IPV6: Check = Check {
    name: "ipv6",
    title: "The client accepts an IPv6 address for the server",
    why: "not every address is four numbers with dots",
    hint: "take the family for `socket` from the address",
    needs: &[Need::Ipv6, Need::Option("--host")],
    body: ipv6,
    ..CLIENT
};

fn ipv6(trial: &Trial) -> Verdict {
    let loopback = (std::net::Ipv6Addr::LOCALHOST, 0).into();
    let server = Upstream::listen(loopback, trial.trace(), trial.deadline())?;
    let input = Input::Bytes(b"hello\n".to_vec());
    let client = client(trial, &server).input(input).run()?;
    one_exchange(&server, &client)
}

fn one_exchange(server: &Upstream, client: &Running) -> Verdict {
    let connection = server.accept("the server")?;
    connection.expect(b"hello\n")?;
    connection.expect_end()?;
    connection.send(b"olleh\n")?;
    connection.close();
    client.expect_exit(0)?;
    client.expect_stdout(b"olleh\n")
}
