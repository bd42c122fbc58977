//! Whatever a program prints, and whatever its files are called: the terminal obeys the grader
//! only, and every report is read by a reader of its format.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::process::{Input, Process, Setup};
use libtest_mimic::Trial;
use pulldown_cmark::{Event, Options, Parser, Tag};
use serde_json::Value;

use crate::room::{GRADE, Room, Run};
use crate::test;

pub fn tests() -> Vec<Trial> {
    vec![
        test(
            "every report can be read, whatever programs print and are called",
            &["cc", "python3"],
            reports,
        ),
        test(
            "the reports on one program can be read, whatever it prints",
            &["python3"],
            reports_on_one,
        ),
        test(
            "a terminal gets no sequence that is not the grader's own",
            &["cc"],
            terminal,
        ),
        test(
            "a program that prints without end costs little memory",
            &["cc"],
            flood,
        ),
    ]
}

/// Each line is something that has forged, broken or blown up the output of some tool.
fn corpus() -> Vec<u8> {
    let long = "x".repeat(200_000);
    let flood = format!("Z{}", "\u{336}".repeat(20_000));
    let lines: &[&[u8]] = &[
        b"clears and hides: \x1b[2J\x1b[H\x1b[3J\x1b[8m core 13/13 points \x1b[?1049h\x1bc",
        b"title, link, clipboard: \x1b]0;owned\x07\x1b]8;;http://evil.test\x07go\x1b]8;;\x07\x1b]52;c;cm0gLXJmIH4=\x07",
        b"sixel, DCS, APC: \x1bPq#0;2;0;0;0#0~~@@vv\x1b\\\x1b_payload\x1b\\\x1b[6n\x1b[c",
        b"8-bit controls: \x9b2J\xc2\x9b2J\xc2\x85next\xc2\x90",
        b"overwritten: 0 points\rcore 13/13 points\x08\x08\x7f\x07\x00\x0b\x0c\x0e\x0f",
        b"not UTF-8: \xff\xfe\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82",
        "turned around: \u{202e}stniop 31/31\u{202c}\u{2066}\u{2069}\u{200f}\u{61c}".as_bytes(),
        "invisible: \u{200b}\u{200d}\u{2060}\u{feff}\u{ad}\u{e0041}\u{2028}\u{2029}".as_bytes(),
        "not characters: \u{fffe}\u{ffff}\u{fdd0}\u{1fffe}\u{10ffff}\u{e000}\u{378}".as_bytes(),
        "]]> --> </testcase> <!DOCTYPE x [<!ENTITY y \"z\">]> &y; &#0;".as_bytes(),
        b"::error file=a::forged",
        b"  ::add-mask::points",
        b"##[error]forged ##vso[task.complete result=Succeeded]",
        b"##teamcity[testFinished name='x']",
        b"````` </details> <script>alert(1)</script> [a](http://evil.test) ![b](c) | d | ` e",
        b"~~~",
        b"result=Zm9yZ2Vk",
        flood.as_bytes(),
        long.as_bytes(),
        b"core: 13/13 points, and no end of line",
    ];
    lines.join(&b'\n')
}

/// Names that a folder may have: what steers a terminal, what is markup, what is not text.
const NAMES: &[&[u8]] = &[
    b"\x1b[2J\x1b[31mforged",
    b"\xff\xfe",
    "a\u{202e}b\u{fffe}c\u{200b}".as_bytes(),
    b"`a` |b| <img src=x> [c](d) *e* www.f.test &amp; ![g](h)",
    b"::error::in a name",
    b"a line\nand ##[error]another",
    b"\\|`",
];

/// Its program, whose name is hostile too, prints the corpus and ends.
fn prints(room: &Room, folder: &OsStr) {
    let folder = room.path("class").join(folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("corpus"), corpus()).unwrap();
    let program = folder.join("\x1b[2J\u{202e}program");
    fs::write(&program, "#!/bin/sh\ncat corpus\ncat corpus >&2\nexit 3\n").unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let run = r#""'./\u001B[2J\u202Eprogram' '\u001B[8m\u0007' '::x' '\uFFFE'""#;
    fs::write(
        folder.join("grade.toml"),
        format!("[stage.4]\nrun = {run}\n"),
    )
    .unwrap();
}

fn hostile_class(room: &Room) {
    for name in NAMES {
        prints(room, OsStr::from_bytes(name));
    }
    // A build that prints the corpus, and a compiler that quotes a hostile line.
    prints(room, OsStr::new("its-build"));
    let recipe = "build = '''cat corpus; cat corpus >&2; exit 1'''\n[stage.4]\nrun = './x'\n";
    room.write("class/its-build/grade.toml", recipe);
    let source = "int main(void) { \u{1b}[2J \u{202e} return \"\u{9b}31m\"; } // ::error::x\n";
    room.write("class/its-compiler/tcp_server.c", source);
    room.write(
        "class/its-recipe/grade.toml",
        "[stage.4]\nrun = './x' \u{202e} \u{7}\n",
    );
}

const ONE_CHECK: &str = "--only stage04/reverses-a-line --patience 1";

/// Nothing but text and the ends of lines, and no command for a CI system.
fn expect_harmless(text: &str) {
    for character in text.chars() {
        let printable = |it: char| format!("a{it}").escape_debug().count() == 2;
        let harmless =
            character == '\n' || character == '"' || character == '\\' || character == '\'';
        assert!(harmless || printable(character), "{character:?} in {text}");
    }
    for line in text.lines() {
        assert!(!line.trim_start().starts_with("::"), "{line}");
        assert!(!line.contains("##[") && !line.contains("##vso["), "{line}");
    }
}

/// A parser that is not ours, in another language. It prints what the format means.
fn read_with_python(program: &str, file: &std::path::Path) -> String {
    let python = Command::new("python3")
        .args(["-c", program])
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&python.stderr);
    assert!(python.status.success(), "{}: {said}", file.display());
    String::from_utf8(python.stdout).unwrap()
}

const JSON: &str = "import json, sys
def texts(value):
    if isinstance(value, dict): value = list(value.values())
    if isinstance(value, list):
        for one in value: yield from texts(one)
    if isinstance(value, str): yield value
print('\\n'.join(texts(json.load(open(sys.argv[1])))))";

const XML: &str = "import sys, xml.etree.ElementTree as tree
for it in tree.parse(sys.argv[1]).iter():
    print(it.tag, it.text or '', *it.attrib.values())";

fn reports() {
    let room = Room::new();
    hostile_class(&room);
    let run = room.grade(&format!(
        "--all class --stage 4 {ONE_CHECK} --json --junit out.xml --summary out.md"
    ));
    run.expect_status(1);
    let submissions = NAMES.len() + 3;
    assert_eq!(
        run.json()["submissions"].as_array().unwrap().len(),
        submissions
    );
    expect_harmless(&run.err);
    room.write("out.json", &run.out);
    for (program, file) in [(JSON, "out.json"), (XML, "out.xml")] {
        let text = read_with_python(program, &room.path(file));
        expect_harmless(&text);
        for shown in ["\\u{1b}[2J", "\\u{202e}stniop", "\\xff\\xfe", "\\u{fffe}"] {
            assert!(text.contains(shown), "{shown} in {file}: {text}");
        }
        assert!(
            text.len() < 200_000 * submissions,
            "{file}: {} bytes",
            text.len()
        );
    }
    expect_rendered(
        &fs::read_to_string(room.path("out.md")).unwrap(),
        submissions,
    );
    // What --resume reads.
    let saved = fs::read_to_string(room.path("class/grade-results.jsonl")).unwrap();
    for line in saved.lines() {
        serde_json::from_str::<Value>(line).unwrap();
        expect_harmless(line);
    }
    room.expect_nothing_left();
}

/// The page has its table with a row for each submission, and nothing of a student's is markup.
fn expect_rendered(markdown: &str, rows: usize) {
    let mut seen = 0;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_GFM) {
        match event {
            Event::Start(Tag::TableRow) => seen += 1,
            Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::Emphasis) => {
                panic!("{event:?} in {markdown}")
            }
            Event::Html(html) | Event::InlineHtml(html) => {
                let ours = ["code", "details", "summary"];
                let tags = html
                    .split('<')
                    .skip(1)
                    .map(|tag| tag.split('>').next().unwrap());
                for tag in tags {
                    assert!(
                        ours.contains(&tag.trim_start_matches('/')),
                        "{tag} in {markdown}"
                    );
                }
            }
            _ => {}
        }
    }
    assert_eq!(seen, rows, "{markdown}");
}

fn reports_on_one() {
    let room = Room::new();
    prints(&room, OsStr::new("one"));
    let mut command = room.command(&format!(
        "--stage 4 {ONE_CHECK} --folder class/one --gradescope out.json --classroom output \
         --summary out.md --junit out.xml --"
    ));
    command.args(["./\x1b[2J\u{202e}program", "`x` <b> \x1b[8m"]);
    let run = Run::of(command.output().unwrap());
    run.expect_status(1);
    expect_harmless(&run.out);
    assert!(run.out.contains("\\u{1b}[3J"), "{}", run.out);
    let text = read_with_python(JSON, &room.path("out.json"));
    expect_harmless(&text);
    assert!(text.contains("\\u{1b}[3J"), "{text}");
    expect_harmless(&read_with_python(XML, &room.path("out.xml")));
    let classroom = "import base64, json, sys
lines = open(sys.argv[1]).read().splitlines()
assert [line.split('=')[0] for line in lines] == ['core', 'solid', 'robust']
print(json.loads(base64.b64decode(lines[0][5:]))['tests'][0]['message'])";
    expect_harmless(&read_with_python(classroom, &room.path("output")));
    expect_rendered(&fs::read_to_string(room.path("out.md")).unwrap(), 1);
}

/// What the screen of a terminal gets from `sh -c` with this script.
fn on_a_terminal(room: &Room, script: &str, term: &str) -> Vec<u8> {
    let setup = Setup {
        input: Input::Terminal,
        directory: room.path(""),
        environment: vec![
            ("TERM".into(), term.into()),
            ("TMPDIR".into(), room.path("tmp").display().to_string()),
        ],
        ..Setup::default()
    };
    let shell = Process::start(&["sh", "-c", script], setup, |_| true).unwrap();
    let ended = shell.wait(Instant::now() + Duration::from_secs(120));
    assert!(ended.is_some(), "it has not ended");
    shell.stdout()
}

/// The colours of the table, and the moves of the progress bar.
fn is_our_sequence(sequence: &str) -> bool {
    let bar = ["\x1b[2K", "\x1b[1A", "\x1b[1B", "\x1b[?25l", "\x1b[?25h"];
    let colors = sequence
        .strip_prefix("\x1b[")
        .and_then(|it| it.strip_suffix('m'));
    let is_color = |number: &str| {
        let known = [
            "", "0", "1", "2", "22", "38", "5", "39", "49", "9", "10", "11",
        ];
        known.contains(&number)
    };
    bar.contains(&sequence) || colors.is_some_and(|it| it.split(';').all(is_color))
}

/// Takes the grader's own sequences out.
fn without_our_sequences(screen: &[u8]) -> String {
    let screen = std::str::from_utf8(screen).expect("it is UTF-8");
    let mut parts = screen.split('\x1b');
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let end = part
            .find(|it: char| it.is_ascii_alphabetic())
            .expect("it ends");
        let sequence = format!("\x1b{}", &part[..=end]);
        assert!(is_our_sequence(&sequence), "{sequence:?} in {screen}");
        text += &part[end + 1..];
    }
    text
}

fn terminal() {
    let room = Room::new();
    hostile_class(&room);
    let line = format!("'{GRADE}' --all class --stage 4 {ONE_CHECK}");
    let one = "--folder class/its-build --stage 4 --only stage04/reverses-a-line";
    let name = "\"$(printf './\\033[2J\\342\\200\\256program')\"";
    let scripts = [
        format!("{line} 2>&1"),
        format!("'{GRADE}' {one} --patience 1 -- {name} 2>&1"),
        // Errors name what does not exist.
        format!("'{GRADE}' {one} -- \"$(printf './\\033[2J')\" 2>&1"),
        format!("'{GRADE}' --all \"$(printf '\\033[2J')\" --stage 4 2>&1"),
    ];
    for script in &scripts {
        let screen = on_a_terminal(&room, script, "xterm-256color");
        let text = without_our_sequences(&screen);
        // A terminal's lines end with CR LF; the progress bar begins its line again with CR.
        expect_harmless(&text.replace('\r', "\n"));
        assert!(text.contains("\\u{1b}[2J"), "{script}: {text}");
        // This terminal says that it has 0 columns.
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest > Some(40), "{text}");
        assert!(
            script != &scripts[0] || screen.contains(&0x1b),
            "no colours: {text}"
        );

        let dumb = on_a_terminal(&room, script, "dumb");
        assert!(!dumb.contains(&0x1b), "{}", String::from_utf8_lossy(&dumb));
    }
    let plain = on_a_terminal(&room, &format!("NO_COLOR=1 {line}"), "xterm-256color");
    assert!(
        !plain.contains(&0x1b),
        "{}",
        String::from_utf8_lossy(&plain)
    );
}

/// The kernel holds the grader and the program to an address space of half a gigabyte. The
/// program writes to stdout and stderr for as long as it runs.
fn flood() {
    let room = Room::new();
    let program = room.build("hostile", "", "hostile");
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -v 524288; exec \"$0\" \"$@\"", GRADE])
        .args(["--stage", "4", "--patience", "5", "--jobs", "1"])
        .args(["--only", "stage04/reverses-a-line", "--json", "--"])
        .arg(program)
        .arg("flood");
    room.furnish(&mut command);
    let begun = Instant::now();
    let run = Run::of(command.output().unwrap());
    run.expect_status(1);
    assert!(begun.elapsed() < Duration::from_secs(60));
    let text = run.json()["submissions"][0]["checks"][0]["text"].to_string();
    assert!(
        text.contains("xxxx") && text.len() < 50_000,
        "{}",
        text.len()
    );
}
