//! The ports of a program: the course's, unless its command line has placeholders.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::program::FixedPorts;
use crate::stage::Stage;

/// Chooses the ports and writes them into the program's command line. In a network of its
/// own (`isolated`) every port is free; in the machine's network another program may have one.
pub fn choose(
    command: &mut [OsString],
    stage: Stage,
    isolated: bool,
) -> Result<FixedPorts, String> {
    let mut ports = FixedPorts::of_the_course(stage);
    if !isolated && command.iter().any(takes_ports) {
        take_free_ones(&mut ports)?;
    } else if !isolated {
        expect_free(&ports, stage)?;
    }
    for word in command {
        *word = fill_in(word, &ports);
    }
    Ok(ports)
}

fn takes_ports(word: &OsString) -> bool {
    let word = word.to_string_lossy();
    word.contains("{port") || word.contains("{upstream}")
}

fn fill_in(word: &OsString, ports: &FixedPorts) -> OsString {
    if !takes_ports(word) {
        return word.clone();
    }
    let mut text = word.to_string_lossy().into_owned();
    for (number, port) in (1..).zip(&ports.listeners) {
        text = text.replace(&format!("{{port{number}}}"), &port.to_string());
    }
    let text = text.replace("{port}", &ports.listeners[0].to_string());
    text.replace("{upstream}", &ports.upstream.to_string())
        .into()
}

fn take_free_ones(ports: &mut FixedPorts) -> Result<(), String> {
    let clients = ports.listeners.contains(&ports.upstream);
    let mut held = Vec::new(); // so that no port is chosen twice
    let mut free = || -> Result<u16, String> {
        let found = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
        let (port, listener) =
            found.map_err(|error| format!("cannot find a free port: {error}"))?;
        held.push(listener);
        Ok(port)
    };
    for port in &mut ports.listeners {
        *port = free()?;
    }
    ports.upstream = if clients { ports.listeners[0] } else { free()? };
    Ok(())
}

/// Fails when a port is taken. The program could not listen on it, and the checks would talk
/// to another program.
fn expect_free(ports: &FixedPorts, stage: Stage) -> Result<(), String> {
    for &port in ports.listeners.iter().chain([&ports.upstream]) {
        let address = (Ipv4Addr::LOCALHOST, port);
        let taken = match stage {
            Stage::Stage03 => UdpSocket::bind(address).map(drop),
            _ => TcpListener::bind(address).map(drop),
        };
        if let Err(error) = taken {
            return Err(format!(
                "port {port} cannot be used: {error}; `ss -lntup` shows which program has it. \
                 End that program, or give the graded one another port: \
                 -- ./server --port {{port}}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_by_ports() {
        let ports = FixedPorts::of_the_course(Stage::Phase1);
        let filled = |word: &str| fill_in(&word.into(), &ports).into_string().unwrap();
        assert_eq!(filled("--listen={port1}=echo"), "--listen=8001=echo");
        assert_eq!(filled("{port4}=proxy:{upstream}"), "8004=proxy:3000");
        assert_eq!(filled("{port}"), "8001");
        assert_eq!(filled("{other}"), "{other}");
    }

    #[test]
    fn the_error_names_the_port_that_is_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let ports = FixedPorts {
            listeners: vec![port],
            upstream: 0,
        };
        let error = expect_free(&ports, Stage::Stage04).unwrap_err();
        assert!(error.contains(&port.to_string()), "{error}");
    }
}
