//! The command lines of the two clients.

use clap::{ArgAction, Parser};

/// A TCP client: sends the lines that you type, and shows what the server answers.
///
/// Start a server first, in another terminal: `cargo run -p stage01-tcp-server`. End
/// with Ctrl-D. In a pipe (`echo hello | stage02-tcp-client | cat`) it prints the
/// server's bytes as they are, without `[SERVER MESSAGE]`.
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

/// Many TCP clients at once: forks processes that each send lines to a reversing
/// server and check its answers.
///
/// Ends with exit status 1 when a client failed, and says which. A server that takes
/// one client at a time makes the others wait: see `stage01-tcp-server --iterative`.
#[derive(Parser)]
#[command(name = "multi-client")]
pub struct MultiArgs {
    #[command(flatten)]
    pub server: Server,
    /// How many clients, each a process of its own; at most 4096
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub clients: u32,
    /// How often each client sends its line
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub messages: u32,
    /// The line that each client sends, without its ending
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

/// What the server answers as one line: it reverses a longer one in pieces.
fn one_line(text: &str) -> Result<String, String> {
    if text.contains(['\r', '\n']) {
        Err("one line, please: no line break".into())
    } else if text.len() >= super::lines::MAX_LINE {
        Err(format!(
            "a line has less than {} bytes",
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
