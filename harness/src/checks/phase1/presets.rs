//! The presets: each stage of the course on the course's own ports.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::base::{PHASE1, expect_log};
use crate::check::{Check, Need, Tier};
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::program::Ports;
use crate::trial::{Server, Trial};
use crate::upstream::Upstream;

pub const CHECKS: &[Check] = &[
    STAGE_6, STAGE_7, STAGE_8, STAGE_9, STAGE_10, STAGE_11, STAGE_12, STAGE_13, BROWSER, CURL,
];

/// What a port does, as its clients see it.
#[derive(Clone, Copy)]
enum Does {
    Reverse,
    Echo,
    Proxy,
    /// Sends the sample file.
    File,
    /// Closes without a byte, because the file must not be sent.
    Refuse,
}

use Does::{Echo, File, Proxy, Refuse, Reverse};

const STAGE_6: Check = Check {
    name: "preset-6",
    title: "`--stage 6` reverses lines on the ports 8001 to 8004",
    why: "with one program you can try each stage of the course as it was",
    hint: "compare your presets with the table in the book: each row lists four roles",
    chapter: "docs/src/phase1/architecture.md",
    needs: &[Need::OwnNetwork, Need::Option("--stage")],
    body: |trial| preset(trial, 6, [Reverse; 4]).map(drop),
    ..PHASE1
};

const STAGE_7: Check = Check {
    name: "preset-7",
    title: "`--stage 7` reverses lines on the ports 8001 to 8004",
    body: |trial| preset(trial, 7, [Reverse; 4]).map(drop),
    ..STAGE_6
};

const STAGE_8: Check = Check {
    name: "preset-8",
    title: "`--stage 8` reverses lines on the ports 8001 to 8004",
    body: |trial| preset(trial, 8, [Reverse; 4]).map(drop),
    ..STAGE_6
};

const STAGE_9: Check = Check {
    name: "preset-9",
    title: "`--stage 9` reverses lines on the ports 8001 to 8004",
    body: |trial| preset(trial, 9, [Reverse; 4]).map(drop),
    ..STAGE_6
};

const STAGE_10: Check = Check {
    name: "preset-10",
    title: "`--stage 10` echoes on the ports 8001 to 8004",
    body: |trial| preset(trial, 10, [Echo; 4]).map(drop),
    ..STAGE_6
};

const STAGE_11: Check = Check {
    name: "preset-11",
    title: "`--stage 11` passes port 8001 on to port 3000, and echoes on the other ports",
    body: |trial| preset(trial, 11, [Proxy, Echo, Echo, Echo]).map(drop),
    ..STAGE_6
};

const STAGE_12: Check = Check {
    name: "preset-12",
    title: "`--stage 12` also sends a file on port 8002, and refuses one outside the folder on port 8003",
    body: |trial| preset(trial, 12, [Proxy, File, Refuse, Echo]).map(drop),
    ..STAGE_6
};

const STAGE_13: Check = Check {
    name: "preset-13",
    title: "The finished server is a proxy on port 8001, sends a file on 8002, reverses on 8003, echoes on 8004",
    tier: Tier::Core,
    needs: &[Need::OwnNetwork],
    body: stage_13,
    ..STAGE_6
};

fn stage_13(trial: &Trial) -> Verdict {
    let roles = [Proxy, File, Reverse, Echo];
    let server = preset(trial, 13, roles)?;
    server.signal(Signal::SIGTERM);
    server.expect_exit(0)?;
    // Without options the server runs this preset too.
    let server = trial.launch().listeners(roles.len()).start()?;
    expect_roles(trial, &server, roles)
}

fn preset(trial: &Trial, stage: u8, roles: [Does; 4]) -> Verdict<Server> {
    let server = trial.launch().preset(stage).start()?;
    let ports: Vec<u16> = server.addresses.iter().map(SocketAddr::port).collect();
    ensure(
        ports == trial.fixed_ports().listeners,
        Outcome::Behaviour,
        || format!("the server listens on the ports {ports:?}, not on 8001 to 8004"),
    )?;
    expect_roles(trial, &server, roles)?;
    Ok(server)
}

/// Expects that each port plays its role while each other port has a client too.
fn expect_roles(trial: &Trial, server: &Server, roles: [Does; 4]) -> Verdict {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, trial.fixed_ports().upstream));
    let upstream = Upstream::listen(at, trial.trace(), trial.deadline())?;
    let clients: Vec<_> = (0..roles.len())
        .map(|number| server.connect_to(number, &format!("the client of port 800{}", number + 1)))
        .collect::<Verdict<_>>()?;
    for (client, does) in clients.iter().zip(roles) {
        match does {
            Reverse => client.ask(b"hello\n", b"olleh\n")?,
            Echo => client.ask(b"hello\n", b"hello\n")?,
            Refuse => {
                client.expect_end()?;
                expect_log(server, "cannot send")?;
            }
            Proxy => {
                let served = upstream.accept("the server on port 3000")?;
                client.send(b"a request\n")?;
                served.expect(b"a request\n")?;
                served.send(b"an answer\n")?;
                client.expect(b"an answer\n")?;
                served.close();
                client.expect_end()?;
            }
            File => {
                let received = client.receive_to_end(1 << 20)?;
                expect_sample(trial, &received)?;
            }
        }
    }
    server.expect_running()
}

/// The sample of our own program. What another program sends is not compared with it.
const SAMPLE: &[u8] = include_bytes!("../../../../phase1-expserver/public/sample.txt");

fn expect_sample(trial: &Trial, received: &[u8]) -> Verdict {
    let sample = match trial.ports() {
        Ports::Announced => SAMPLE,
        Ports::Fixed => received,
    };
    ensure(
        !received.is_empty() && received == sample,
        Outcome::WrongData,
        || "port 8002 does not send the sample file".to_owned(),
    )
    .map_err(|failure| failure.received(crate::data::show(received)))
}

const BROWSER: Check = Check {
    name: "browser-through-the-proxy",
    title: "A browser on port 8001 shows the page of the web server on port 3000",
    why: "a browser opens many connections at the same time, keeps them open, and does not half-close them as a test does",
    hint: "look which part of the page is missing: either its bytes or the end of its stream did not come",
    tier: Tier::Robust,
    timeout: Duration::from_secs(90),
    needs: &[
        Need::OwnNetwork,
        Need::Tool("python3"),
        Need::Tool("chromium"),
    ],
    body: browser,
    ..STAGE_13
};

fn browser(trial: &Trial) -> Verdict {
    let site = web_site(trial)?;
    let _web = web_server(trial, &site)?;
    let server = trial.launch().preset(13).start()?;
    let profile = format!("--user-data-dir={}/profile", trial.folder().display());
    let browser = trial.launch_tool(&[
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        &profile,
        "--dump-dom",
        "http://127.0.0.1:8001/",
    ]);
    let browser = browser.run()?;
    browser.wait_for(Duration::from_secs(30))?;
    let shown = String::from_utf8_lossy(&browser.process.stdout()).into_owned();
    // Each part of the page adds its own text to it.
    for word in ["the page itself", "the script has run", "THE END"] {
        if !shown.contains(word) {
            let failure = Failure::new(
                Outcome::ShortData,
                format!("the browser does not show `{word}`"),
            );
            return Err(failure.received(crate::data::show(shown.as_bytes())));
        }
    }
    trial.step("the browser shows the whole page");
    let sample = server.connect_to(1, "a client of port 8002")?;
    expect_sample(trial, &sample.receive_to_end(1 << 20)?)
}

/// A page whose parts come over separate connections.
fn web_site(trial: &Trial) -> Verdict<std::path::PathBuf> {
    let site = trial.folder().join("site");
    let filler = "<p>filler</p>\n".repeat(20_000);
    let page = format!(
        "<html><body><p>the page itself</p><script src=\"a.js\"></script>\n\
         {filler}<p id=\"end\"></p><script src=\"b.js\"></script></body></html>"
    );
    let a = "document.body.append('the script has run');";
    let b = format!(
        "/*{}*/document.getElementById('end').append('THE ' + 'END');",
        "x".repeat(500_000)
    );
    std::fs::create_dir(&site)
        .and_then(|()| std::fs::write(site.join("index.html"), page))
        .and_then(|()| std::fs::write(site.join("a.js"), a))
        .and_then(|()| std::fs::write(site.join("b.js"), b))
        .map_err(|error| Failure::grader("write a web site", error))?;
    Ok(site)
}

fn web_server(trial: &Trial, site: &std::path::Path) -> Verdict<Server> {
    let port = trial.fixed_ports().upstream.to_string();
    let launch = trial.launch_tool(&["python3", "-m", "http.server", &port]);
    let running = launch.in_directory(site).run()?;
    running.into_server_found_by_the_kernel()
}

const CURL: Check = Check {
    name: "curl-through-the-proxy",
    title: "`curl` gets a file through port 8001 from the web server on port 3000",
    why: "with HTTP/1.0 the end of the connection is the end of the file, so the proxy must pass it on",
    hint: "when the upstream closes, drain what it has sent, then close the client's side",
    needs: &[Need::OwnNetwork, Need::Tool("python3"), Need::Tool("curl")],
    timeout: Duration::from_secs(30),
    body: curl,
    ..BROWSER
};

fn curl(trial: &Trial) -> Verdict {
    let site = web_site(trial)?;
    let _web = web_server(trial, &site)?;
    let _server = trial.launch().preset(13).start()?;
    for file in ["index.html", "a.js", "b.js"] {
        let url = format!("http://127.0.0.1:8001/{file}");
        let curl = trial
            .launch_tool(&["curl", "-sS", "--max-time", "15", &url])
            .run()?;
        curl.expect_exit(0)?;
        let expected = std::fs::read(site.join(file));
        let expected = expected.map_err(|error| Failure::grader("read a file", error))?;
        curl.expect_stdout(&expected)?;
    }
    Ok(())
}
