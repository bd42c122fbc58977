//! The program: arguments, the log, the exit status. The server itself is in the library.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use log::error;
use phase1_expserver::config::{Args, Config};
use phase1_expserver::core::{Ended, workers};
use phase1_expserver::utils::logger;

fn main() -> ExitCode {
    let args = Args::parse();
    logger::start(args.verbose, args.quiet);
    match run(&args) {
        Ok(Ended::Clean) => ExitCode::SUCCESS,
        Ok(Ended::Forced) => ExitCode::FAILURE,
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => usage.exit(),
            Err(error) => {
                error!("{error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn run(args: &Args) -> Result<Ended> {
    workers::serve(Config::new(args)?)
}
