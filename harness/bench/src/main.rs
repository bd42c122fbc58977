//! Compares our servers with nginx, HAProxy, socat, and the least that a server can do.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use harness::host::{raise_descriptor_limit, take_usual_umask};
use harness::interrupt;
use harness_bench::contender::Who;
use harness_bench::contest::{Contest, Plan};
use harness_bench::load::pingpong::{Answer, PingPong};
use harness_bench::machine::Cpus;
use harness_bench::plot::{self, Labels};
use harness_bench::workload::{self, WORKLOADS, Workload};
use harness_bench::{floor, load, page, report, syscalls};

/// Compares the servers of this workspace with their peers, and judges the goals.
///
/// Builds the release binaries, then runs the workloads W1 to W10. In each round every
/// contender has one turn, with a fresh process. Look at the ratios of the medians: the
/// absolute figures hold only for this machine at this hour. Peers that are not installed
/// are named and left out. Ctrl-C ends the run, and everything that it has started.
#[derive(Parser)]
#[command(name = "bench-peers", bin_name = "cargo bench-peers")]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    /// Run only these workloads, for example W3,W5 [default: all]
    #[arg(long, value_name = "W…", value_delimiter = ',')]
    only: Vec<String>,

    #[command(flatten)]
    turns: Turns,

    /// Print JSON on stdout, with the figures of each round; the table then goes to stderr
    #[arg(long)]
    json: bool,

    /// Run each workload for a moment, to see that everything works; the figures mean nothing
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "write"])]
    smoke: bool,

    #[command(subcommand)]
    other: Option<Other>,
}

#[derive(Args)]
struct Turns {
    /// Run only these contenders, for example proxy,nginx; a goal is judged only if its
    /// reference takes part [default: all that are installed]
    #[arg(long, value_name = "NAME…", value_delimiter = ',', value_enum)]
    contenders: Vec<Who>,

    /// How many rounds to run; each contender has one turn in each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// How long each turn applies the load, in seconds
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    seconds: f64,

    /// Also write the results into the book (docs/src/performance.md and images)
    #[arg(long)]
    write: bool,
}

#[derive(Subcommand)]
enum Other {
    /// Measure how the cost of W1 and W4 grows with the number of connections
    Growth(Turns),
    /// Count the system calls for each unit of work, with strace
    Syscalls {
        /// Also write the table into the book
        #[arg(long)]
        write: bool,
    },
    /// Open connections to an echo server, or to a proxy, and keep them idle
    ///
    /// Each connection sends one message, gets its echo, and then does nothing. Use this to
    /// look at a running server from outside, for example at its memory. Ctrl-C closes them.
    Idle {
        /// The port of the server on 127.0.0.1
        port: u16,
        /// If the server is a proxy: listen on this port as its upstream, and echo
        #[arg(long, value_name = "PORT")]
        upstream: Option<u16>,
        /// How many connections to open
        #[arg(long, value_name = "N", default_value_t = 8000)]
        connections: usize,
    },
    /// Serve as the floor: the least that a server can do
    #[command(hide = true)]
    Floor { port: u16 },
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    if let Some(Other::Floor { port }) = cli.other {
        return floor::serve(port);
    }
    raise_descriptor_limit();
    take_usual_umask(); // `file` serves only what everybody may read
    if let Some(Other::Idle {
        port,
        upstream,
        connections,
    }) = cli.other
    {
        catch_interrupts()?;
        return idle(port, upstream, connections);
    }
    build()?;
    catch_interrupts()?;
    let cpus = Cpus::share_out()?;
    match &cli.other {
        Some(Other::Growth(turns)) => growth(turns, &cpus),
        Some(Other::Syscalls { write }) => {
            let table = syscalls::table(&cpus)?;
            println!("{table}");
            match write {
                true => page::write_section("syscalls", &table),
                false => Ok(()),
            }
        }
        _ => contest(cli, &cpus),
    }
}

/// W1 to W10, or some of them.
fn contest(cli: &Cli, cpus: &Cpus) -> Result<()> {
    let mut plan = plan(&cli.turns, workloads(&cli.only)?)?;
    if cli.smoke {
        plan.rounds = 1;
        plan.time = Duration::from_millis(50);
        plan.silence = Duration::from_millis(200);
    }
    let conditions = announce(&plan, cpus);
    let contests = plan.run(cpus)?;
    let table = report::for_terminal(&contests);
    if cli.json {
        eprintln!("{table}");
        println!("{:#}", report::for_programs(&contests, &conditions));
    } else {
        println!("{table}");
    }
    let disturbance = report::disturbance(&contests).unwrap_or_default();
    eprintln!("{disturbance}");
    if cli.turns.write {
        let table = report::for_markdown(&contests);
        let text = format!("{table}\n\nMeasured with {conditions}; {disturbance}.");
        page::write_section("table", &text)?;
    }
    failures(&contests)
}

fn growth(turns: &Turns, cpus: &Cpus) -> Result<()> {
    let clients = Labels {
        title: "W1: the cost of a message, by number of clients",
        x: "clients, all of them active",
        y: "CPU time, µs per message",
        scale: 1e6,
        base: 10.0,
    };
    let connections = Labels {
        title: "W4: the cost of a GiB through the proxy",
        x: "connections",
        y: "CPU time, ms per GiB",
        scale: 1e3,
        base: 2.0,
    };
    let both = [
        ("growth-clients.svg", workload::more_clients(), clients),
        (
            "growth-connections.svg",
            workload::more_connections(),
            connections,
        ),
    ];
    for (image, workloads, labels) in both {
        let plan = plan(turns, workloads)?;
        announce(&plan, cpus);
        let contests = plan.run(cpus)?;
        println!("{}\n{}", labels.title, report::growth(&contests));
        if turns.write {
            page::write_image(image, &plot::cost(&contests, &labels)?)?;
        }
        failures(&contests)?;
    }
    Ok(())
}

/// Ctrl-C ends the measurement, and thereby everything that it has started; a second one ends
/// this program at once.
fn catch_interrupts() -> Result<()> {
    interrupt::catch(|| std::process::exit(130)).context("cannot wait for SIGINT")
}

/// Connections that do nothing, until Ctrl-C.
fn idle(port: u16, upstream: Option<u16>, connections: usize) -> Result<()> {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = upstream.map(load::upstream_on).transpose()?;
    let mut load = PingPong::new(server, listener, Answer::Same)?;
    load.add_clients(connections)?;
    println!("{connections} connections are open");
    while interrupt::sleep(Duration::from_secs(1)).is_ok() {}
    Ok(())
}

/// Prints on stderr who is left out, and how the rest is measured. Returns the latter.
fn announce(plan: &Plan, cpus: &Cpus) -> String {
    for who in plan.missing() {
        eprintln!("{} is not installed and is left out", who.name());
    }
    let (rounds, seconds) = (plan.rounds, plan.time.as_secs_f64());
    let conditions = format!(
        "{}; {rounds} rounds of {seconds} s, medians",
        cpus.describe()
    );
    eprintln!("{conditions}");
    conditions
}

fn failures(contests: &[Contest]) -> Result<()> {
    let entries = contests.iter().flat_map(|contest| &contest.entries);
    match entries.filter(|entry| entry.failure.is_some()).count() {
        0 => Ok(()),
        count => bail!("contenders that failed a workload: {count}"),
    }
}

fn plan(turns: &Turns, workloads: Vec<Workload>) -> Result<Plan> {
    if !(0.01..=600.0).contains(&turns.seconds) {
        bail!("--seconds takes 0.01 to 600, not {}", turns.seconds);
    }
    Ok(Plan {
        workloads,
        who: turns.contenders.clone(),
        rounds: turns.rounds.into(),
        time: Duration::from_secs_f64(turns.seconds),
        silence: Duration::from_secs(10),
    })
}

fn workloads(only: &[String]) -> Result<Vec<Workload>> {
    let is = |workload: &Workload, id: &str| workload.id.eq_ignore_ascii_case(id);
    let known = |id: &str| WORKLOADS.iter().any(|workload| is(workload, id));
    if let Some(unknown) = only.iter().find(|id| !known(id)) {
        bail!("there is no workload {unknown}: choose from W1 to W10");
    }
    let wanted = |workload: &Workload| only.is_empty() || only.iter().any(|id| is(workload, id));
    Ok(WORKLOADS.iter().copied().filter(wanted).collect())
}

/// Builds the programs to measure, which are beside this one in target/release.
fn build() -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!(
            "this debug build measures debug builds of the servers: use `cargo bench-peers` instead"
        );
        return Ok(());
    }
    let packages = [
        "stage03-udp-threads",
        "stage04-epoll",
        "stage05-proxy",
        "phase1-expserver",
    ];
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--quiet"]);
    cargo.args(packages.iter().flat_map(|package| ["-p", package]));
    let status = cargo.status().context("cannot run cargo build")?;
    match status.success() {
        true => Ok(()),
        false => bail!("cannot build the programs to measure"),
    }
}
