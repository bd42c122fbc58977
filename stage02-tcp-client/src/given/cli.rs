//! The command lines of the two clients.

use clap::{ArgAction, Parser};

/// A TCP client: sends the lines that you type, and shows what the server answers.
///
/// Start a server first, in another terminal: `cargo run -p stage01-tcp-server`. End the
/// client with Ctrl-D. When its output is not a terminal, as in `stage02-tcp-client | cat`,
/// it prints the server's bytes as they are, without `[SERVER MESSAGE]`.
#[derive(Parser)]
pub struct Args {
    #[command(flatten)]
    pub server: Server,
    /// Log more: -v debug, -vv trace
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Log warnings only
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// Many TCP clients at once: each is a process that sends lines to a server and checks
/// that the answers are the lines reversed.
///
/// If a client fails, it says which one, and ends with exit status 1. A server that serves
/// one client at a time makes the others wait: see `stage01-tcp-server --iterative`.
#[derive(Parser)]
#[command(name = "multi-client")]
pub struct MultiArgs {
    #[command(flatten)]
    pub server: Server,
    /// How many clients to start, at most 4096; each is a process
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub clients: u32,
    /// How many times each client sends its line
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub messages: u32,
    /// The line that each client sends, without the line break
    #[arg(long, default_value = "hello", value_parser = one_line)]
    pub text: String,
    /// Log more: -v debug, -vv trace
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Log warnings only, and do not print the answers
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

#[derive(clap::Args)]
pub struct Server {
    /// Address of the server: an IPv4 or IPv6 address, or a name
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port of the server
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
}

/// Refuses a text that is not one line, and a line that is too long. The server would answer
/// either of them in pieces, which would look like wrong answers.
fn one_line(text: &str) -> Result<String, String> {
    if text.contains(['\r', '\n']) {
        Err("it must be one line, without a line break".into())
    } else if text.len() >= super::lines::MAX_LINE {
        Err(format!(
            "it must be shorter than {} bytes",
            super::lines::MAX_LINE
        ))
    } else {
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_clients_has_bounds() {
        for (clients, expected) in [
            ("0", false),
            ("1", true),
            ("4096", true),
            ("4097", false),
            ("4294967295", false),
        ] {
            let args = MultiArgs::try_parse_from(["multi-client", "--clients", clients]);
            assert_eq!(args.is_ok(), expected, "{clients}");
        }
    }
}
