//! Real programs: Python's web server behind the proxy, curl and a browser in front of it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::base::{PROXY, proxy};
use crate::check::{Check, Need, Tier};
use crate::data::{Pattern, show};
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::peer::Peer;
use crate::trial::{Running, Trial};

pub const CURL: Check = Check {
    name: "curl",
    title: "`curl` through the proxy shows a page of `python3 -m http.server`",
    why: "this is what you would try first",
    hint: "the server closes its connection after the answer: pass on the answer, then the end of the stream",
    needs: &[Need::Tool("curl"), Need::Tool("python3")],
    body: curl,
    ..PROXY
};

fn curl(trial: &Trial) -> Verdict {
    let folder = folder(trial)?;
    write(&folder.join("index.html"), b"<p>behind the proxy</p>\n")?;
    let (_python, upstream) = python(trial, &folder)?;
    let base = format!("http://{}", proxy(trial, upstream)?.address());
    let page = run_curl(trial, &[&format!("{base}/")])?;
    expect(&page, b"<p>behind the proxy</p>\n")?;
    let missing = format!("{base}/missing.html");
    let code = run_curl(trial, &["-o", "/dev/null", "-w", "%{http_code}", &missing])?;
    expect(&code, b"404")
}

pub const CURL_LARGE_FILE: Check = Check {
    name: "curl-large-file",
    title: "`curl` gets a file of 50 MiB through the proxy, byte for byte",
    why: "a download is longer than any buffer",
    hint: "look at how many bytes `send` returns, and keep those that it did not take",
    tier: Tier::Robust,
    timeout: Duration::from_secs(60),
    body: curl_large_file,
    ..CURL
};

fn curl_large_file(trial: &Trial) -> Verdict {
    let folder = folder(trial)?;
    let bytes = Pattern::new(50).bytes(50 << 20);
    write(&folder.join("large.bin"), &bytes)?;
    let (_python, upstream) = python(trial, &folder)?;
    let server = proxy(trial, upstream)?;
    let before = server.figures()?;
    let got = trial.folder().join("got.bin");
    let path = got.to_string_lossy();
    let url = format!("http://{}/large.bin", server.address());
    // curl reads more slowly than the server sends, so that bytes have to wait.
    run_curl(trial, &["--limit-rate", "20M", "-o", &path, &url])?;
    server.expect_little_growth(&before)?;
    let got = fs::read(&got).map_err(|error| Failure::grader("read what curl got", error))?;
    ensure(got == bytes, Outcome::WrongData, || {
        format!(
            "curl did not get the file as it is: it got {} bytes of {}",
            got.len(),
            bytes.len()
        )
    })
}

pub const CURL_KEEP_ALIVE: Check = Check {
    name: "curl-keep-alive-and-range",
    title: "`curl` sends two requests over one connection, and gets a part of a file by range",
    why: "a connection may carry many requests, so the end of an answer is not the end of the connection",
    hint: "never end a connection yourself: close it only after one of its two sides has ended",
    tier: Tier::Robust,
    needs: &[Need::Tool("curl")],
    body: curl_keep_alive,
    ..CURL
};

fn curl_keep_alive(trial: &Trial) -> Verdict {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let upstream = trial.upstream()?.serve(move |_, peer| {
        counted.fetch_add(1, Ordering::Relaxed);
        while serve_http(peer)? {}
        Ok(())
    });
    let url = format!(
        "http://{}/file",
        proxy(trial, upstream.address())?.address()
    );
    let file = FILE.bytes(FILE_LENGTH);

    let twice = run_curl(trial, &[&url, &url])?;
    expect(&twice, &file.repeat(2))?;
    let count = connections.load(Ordering::Relaxed);
    trial.step(format!("two requests come over {count} connections"));
    ensure(count == 1, Outcome::Behaviour, || {
        format!("curl needed {count} connections for two requests; one is expected")
    })?;

    let part = run_curl(trial, &["--range", "70000-70999", &url])?;
    expect(&part, &file[70_000..71_000])
}

const FILE: Pattern = Pattern::new(17);
const FILE_LENGTH: usize = 100_000;

/// Answers one request as an HTTP/1.1 server with one file does. Returns false when there are no
/// more requests.
fn serve_http(peer: &Peer) -> Verdict<bool> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if peer.receive(&mut byte)? == 0 {
            return Ok(false);
        }
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let range = head.split_once("range: bytes=").and_then(|(_, rest)| {
        let (first, last) = rest.lines().next()?.split_once('-')?;
        Some((first.parse().ok()?, last.parse::<usize>().ok()?))
    });
    let file = FILE.bytes(FILE_LENGTH);
    let (status, body) = match range {
        Some((first, last)) => ("206 Partial Content", &file[first..=last]),
        None => ("200 OK", &file[..]),
    };
    let length = body.len();
    let mut answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n").into_bytes();
    if let Some((first, last)) = range {
        let range = format!("Content-Range: bytes {first}-{last}/{FILE_LENGTH}\r\n");
        answer.extend(range.as_bytes());
    }
    answer.extend(b"\r\n");
    answer.extend(body);
    peer.send(&answer)?;
    Ok(true)
}

pub const CHROMIUM: Check = Check {
    name: "browser",
    title: "A browser shows a page with a dozen pictures through the proxy, and follows a link",
    why: "a browser is the most demanding client: it opens several connections early and at the same time, and closes them at any moment",
    hint: "try it: start `python3 -m http.server 3000`, open http://127.0.0.1:8080, and look at the browser's network tools",
    tier: Tier::Robust,
    timeout: Duration::from_secs(90),
    needs: &[Need::Tool("chromium"), Need::Tool("python3")],
    body: chromium,
    ..CURL
};

const PICTURES: std::ops::RangeInclusive<usize> = 101..=112;

fn chromium(trial: &Trial) -> Verdict {
    let folder = folder(trial)?;
    let widths = write_pages(&folder)?;
    let (_python, upstream) = python(trial, &folder)?;
    let server = proxy(trial, upstream)?;
    let base = format!("http://{}", server.address());

    let first = browse(trial, &format!("{base}/index.html"))?;
    expect_part(&first, &format!("<p id=\"widths\">{widths}</p>"))?;
    let link = first
        .split_once("href=\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    let (link, _) = link.ok_or_else(|| Failure::behaviour("the page has no link"))?;

    trial.step(format!(
        "the browser shows the page; its link leads to `{link}`"
    ));
    let second = browse(trial, &format!("{base}/{link}"))?;
    expect_part(&second, "<p id=\"widths\">101</p>")
}

/// Writes a page with pictures of known widths, and a second page. Returns the text that the
/// script of the first page shows when all pictures have been loaded.
fn write_pages(folder: &Path) -> Verdict<String> {
    let (mut pictures, mut widths) = (String::new(), Vec::new());
    for width in PICTURES {
        let (name, bytes) = if width % 2 == 0 {
            (format!("{width}.svg"), svg(width).into_bytes())
        } else {
            (format!("{width}.bmp"), bmp(width, 200))
        };
        write(&folder.join(&name), &bytes)?;
        pictures += &format!("<img src=\"{name}\">\n");
        widths.push(width.to_string());
    }
    let script = "addEventListener('load', () => { document.getElementById('widths').textContent = \
                  [...document.images].map(image => image.naturalWidth).join(' ') })";
    let page = |body: &str| {
        format!("<!doctype html>\n<p id=\"widths\">none</p>\n{body}<script>{script}</script>\n")
    };
    let first = page(&format!("{pictures}<a href=\"second.html\">next</a>\n"));
    write(&folder.join("index.html"), first.as_bytes())?;
    let second = page("<img src=\"101.bmp\">\n");
    write(&folder.join("second.html"), second.as_bytes())?;
    Ok(widths.join(" "))
}

fn svg(width: usize) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"9\">\
         <circle r=\"4\"/></svg>"
    )
}

/// A bitmap of random dots, 24 bits each: binary, and some ten thousand bytes long.
fn bmp(width: usize, height: usize) -> Vec<u8> {
    let row = (width * 3).next_multiple_of(4);
    let head = |number: usize| (number as u32).to_le_bytes();
    let mut bytes = b"BM".to_vec();
    for number in [54 + row * height, 0, 54, 40, width, height] {
        bytes.extend(head(number));
    }
    bytes.extend([1, 0, 24, 0]);
    bytes.extend([0; 24]);
    bytes.extend(Pattern::new(width as u64).bytes(row * height));
    bytes
}

/// The page as the browser has it when all is loaded.
fn browse(trial: &Trial, url: &str) -> Verdict<String> {
    let profile = trial.folder().join("profile");
    let command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        &format!("--user-data-dir={}", profile.display()),
        "--dump-dom",
        url,
    ];
    let browser = trial.launch_tool(&command).run()?;
    let status = browser.wait_for(Duration::from_secs(40))?;
    let page = String::from_utf8_lossy(&browser.process.stdout()).into_owned();
    ensure(status.success(), Outcome::Behaviour, || {
        format!("the browser ended with {status}; exit status 0 is expected")
    })?;
    Ok(page)
}

fn expect_part(page: &str, part: &str) -> Verdict {
    if page.contains(part) {
        return Ok(());
    }
    let failure = Failure::new(
        Outcome::WrongData,
        "the page in the browser does not contain the expected text",
    );
    Err(failure.expected(part).received(page.trim_end()))
}

/// The folder that the web server shows.
fn folder(trial: &Trial) -> Verdict<PathBuf> {
    let folder = trial.folder().join("public");
    fs::create_dir(&folder).map_err(|error| Failure::grader("make a folder", error))?;
    Ok(folder)
}

fn write(path: &Path, bytes: &[u8]) -> Verdict {
    fs::write(path, bytes).map_err(|error| Failure::grader(path.display(), error))
}

fn python(trial: &Trial, folder: &Path) -> Verdict<(Running, SocketAddr)> {
    let port = trial.upstream_address().port().to_string();
    let folder = folder.to_string_lossy();
    let command = ["python3", "-u", "-m", "http.server", &port];
    let options = ["--bind", "127.0.0.1", "--directory", &folder];
    let python = trial
        .launch_tool(&[&command[..], &options].concat())
        .run()?;
    // It prints: Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ...
    python.expect_printed("where it listens", |bytes| bytes.ends_with(b"...\n"))?;
    let printed = String::from_utf8_lossy(&python.process.stdout()).into_owned();
    let port = printed.split_once(" port ").and_then(|(_, rest)| {
        let port = rest.split(' ').next()?;
        port.parse::<u16>().ok()
    });
    let port =
        port.ok_or_else(|| Failure::grader("the port of python3 -m http.server", printed))?;
    Ok((python, SocketAddr::from(([127, 0, 0, 1], port))))
}

fn run_curl(trial: &Trial, arguments: &[&str]) -> Verdict<Vec<u8>> {
    let command = [&["curl", "-sS", "--max-time", "30"], arguments].concat();
    let curl = trial.launch_tool(&command).run()?;
    let status = curl.wait_for(Duration::from_secs(40))?;
    ensure(status.success(), Outcome::Behaviour, || {
        format!(
            "curl ended with {status}: {}",
            curl.process.log().trim_end()
        )
    })?;
    Ok(curl.process.stdout())
}

fn expect(received: &[u8], expected: &[u8]) -> Verdict {
    if received == expected {
        return Ok(());
    }
    let failure = Failure::new(Outcome::WrongData, "curl does not show the expected answer");
    Err(failure.expected(show(expected)).received(show(received)))
}
