//! Pages that are stale on purpose: each check must notice its fault.

use std::collections::BTreeMap;
use std::path::PathBuf;

use libtest_mimic::{Failed, Trial};

use crate::page::{Book, Page};
use crate::{excerpt, links, options, session};

pub fn tests() -> Vec<Trial> {
    let test =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("docs: {name}"), run);
    vec![
        test("a changed excerpt is noticed", changed_excerpt),
        test("an excerpt can be a part of an item", part_of_an_item),
        test("an excerpt can compare two items", comparison),
        test("code without a source is noticed", code_without_source),
        test("an item that does not exist is noticed", item_gone),
        test(
            "a page that the summary leaves out is noticed",
            page_left_out,
        ),
        test("a dead link is noticed", dead_link),
        test("a dead anchor is noticed", dead_anchor),
        test("a wrong man page is noticed", wrong_man_page),
        test("an unknown option is noticed", unknown_option),
        test("a session without a marker is noticed", unmarked_session),
        test("a wrong output of a session is noticed", wrong_output),
    ]
}

fn page(text: &str) -> Page {
    Page {
        path: "docs/src/a.md".to_owned(),
        text: text.to_owned(),
    }
}

fn expect(holds: bool, what: impl std::fmt::Debug) -> Result<(), Failed> {
    if holds {
        Ok(())
    } else {
        Err(format!("{what:?}").into())
    }
}

const SOURCE: &str = "\
/// Says it.
fn one() {
    let a = 1;
    say(a);
}

impl Two {
    fn two(&self) {
        one();
    }

    pub(super) fn four() {}
}
";

/// The page with its excerpts refreshed from `SOURCE`.
fn refreshed(marker: &str, body: &str) -> (String, Vec<String>) {
    let page = page(&format!(
        "Look:\n<!-- {marker} -->\n```rust\n{body}```\nend\n"
    ));
    let source = |path: &str| match path {
        "a.rs" => Ok(SOURCE.to_owned()),
        _ => Err("no such file".to_owned()),
    };
    excerpt::refresh(&page, &source)
}

fn changed_excerpt() -> Result<(), Failed> {
    let right = "fn two(&self) {\n    one();\n}\n";
    let (text, problems) = refreshed("source: a.rs#fn two", &right.replace("one", "three"));
    expect(text.contains(right) && !text.contains("three"), &text)?;
    expect(
        text.ends_with("```\nend\n") && problems.is_empty(),
        &problems,
    )?;
    let (text, _) = refreshed("source: a.rs#fn one", "");
    expect(text.contains("/// Says it.\nfn one() {\n"), text)?;
    let (text, _) = refreshed("source: a.rs#impl Two > fn four", "");
    expect(text.contains("```rust\npub(super) fn four() {}\n"), text)
}

fn part_of_an_item() -> Result<(), Failed> {
    let (text, _) = refreshed("source: a.rs#fn one from \"let\" to \"say\"", "");
    expect(text.contains("```rust\nlet a = 1;\nsay(a);\n```"), text)
}

fn comparison() -> Result<(), Failed> {
    let (text, _) = refreshed(
        "diff: a.rs#fn one from \"let\" to \"say\" | a.rs#fn two",
        "",
    );
    expect(
        text.contains("-let a = 1;\n-say(a);\n+fn two(&self) {\n"),
        text,
    )
}

fn code_without_source() -> Result<(), Failed> {
    let (_, problems) = refreshed("source of it: a.rs", "fn one() {}\n");
    expect(problems.len() == 1, &problems)?;
    let (_, problems) = refreshed("not from the source: an exercise", "fn one() {}\n");
    expect(problems.is_empty(), &problems)
}

fn item_gone() -> Result<(), Failed> {
    for gone in [
        "a.rs#fn three",
        "b.rs#fn one",
        "a.rs#fn one from \"x\" to \"say\"",
    ] {
        let (_, problems) = refreshed(&format!("source: {gone}"), "");
        expect(problems.len() == 1, (gone, problems))?;
    }
    Ok(())
}

fn page_left_out() -> Result<(), Failed> {
    let page = |path: &str, text: &str| Page {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let book = Book {
        root: PathBuf::new(),
        pages: vec![
            page("docs/src/SUMMARY.md", "[A](a.md)\n"),
            page("docs/src/a.md", ""),
            page("docs/src/b.md", ""),
        ],
    };
    let problems = links::summary_problems(&book);
    expect(
        problems.len() == 1 && problems[0].contains("b.md"),
        problems,
    )
}

fn link_problems(text: &str) -> Vec<String> {
    let page = page(text);
    let own = links::anchors(&page);
    let exists = |path: &str| ["docs/src/a.md", "docs/b.md"].contains(&path);
    links::problems_among(&page, &exists, &|path| {
        (path == "docs/src/a.md").then(|| own.clone())
    })
}

fn dead_link() -> Result<(), Failed> {
    let problems = link_problems("[b](../b.md) and `[no](link)`\n[c](c.md) ![d](../d.svg)\n");
    expect(
        problems.len() == 2 && problems[0].contains("a.md:2"),
        problems,
    )
}

fn dead_anchor() -> Result<(), Failed> {
    let problems = link_problems("# It's `so`\n[a](#its-so) [a](a.md#its-so) [b](#so)\n");
    expect(problems.len() == 1 && problems[0].contains("#so"), problems)
}

fn wrong_man_page() -> Result<(), Failed> {
    let address = "https://man7.org/linux/man-pages/man2/bind.2.html";
    let problems = link_problems(&format!("[bind(2)]({address}) [`listen(2)`]({address})\n"));
    expect(
        problems.len() == 1 && problems[0].contains("listen"),
        problems,
    )
}

fn unknown_option() -> Result<(), Failed> {
    let help = "Options:\n      --port <PORT>  A port\n  -v, --verbose...\n  -q, --quiet\n";
    let known = BTreeMap::from([("server", options::options_in(help))]);
    let page = page(
        "Run `server --port 1 -vq`, `server --old`, `nc -N`.\n\n```sh\n\
         cargo run -p server -- --port 0 --new | nc -q1 127.0.0.1 1\n```\n",
    );
    let is_known = |name: &str| known.contains_key(name);
    let found = options::problems_among(&page, &is_known, &|name| known.get(name).cloned());
    let expected = ["server has no option --old", "server has no option --new"];
    let as_expected = found
        .iter()
        .zip(expected)
        .all(|(found, expected)| found.ends_with(expected));
    expect(as_expected && found.len() == 2, found)
}

fn unmarked_session() -> Result<(), Failed> {
    let (_, problems) = session::sessions(&page("```console\n$ true\n```\n"));
    expect(problems.len() == 1, problems)
}

/// A session in which `sh` is both the server and the client.
fn wrong_output() -> Result<(), Failed> {
    let replayed = |answer: &str, last: &str| {
        let text = format!(
            "<!-- server -->\n```console\n$ echo 'Server listening on port 0 (127.0.0.1:9)'; true\n\
             Server listening on port 0 (127.0.0.1:8080)\n```\n\
             <!-- client -->\n```console\n$ echo 8080; false\n{answer}\n$ echo $?\n{last}\n```\n"
        );
        let (sessions, _) = session::sessions(&page(&text));
        session::replay(&sessions[0], &options::Programs::none())
    };
    expect(replayed("8080", "1").is_ok(), replayed("8080", "1"))?;
    expect(
        replayed("8081", "1").is_err(),
        "an output that differs was accepted",
    )?;
    expect(
        replayed("8080", "0").is_err(),
        "an exit status that differs was accepted",
    )
}
