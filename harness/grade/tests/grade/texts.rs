//! What a failure says to a student, by what the program did: causes before effects, what really
//! came, and a hint that fits.

use libtest_mimic::Trial;

use crate::room::{Room, Run};
use crate::test;

pub fn tests() -> Vec<Trial> {
    let mut tests: Vec<Trial> = CASES
        .iter()
        .map(|case| {
            let name = format!("a program that {} is told so", case.does);
            test(&name, &["python3"], || tell(case))
        })
        .collect();
    tests.push(test(
        "a program that does not flush its stdout is told so",
        &["cc"],
        unflushed,
    ));
    tests.push(test(
        "what a sanitizer says is in the failure",
        &["cc"],
        sanitized,
    ));
    tests
}

struct Case {
    does: &'static str,
    check: &'static str,
    /// Python, after [`BEGIN`].
    program: &'static str,
    says: &'static [&'static str],
    never: &'static [&'static str],
}

const BEGIN: &str = "
import os, signal, socket, sys, threading, time
def listen(address='0.0.0.0', port=8080):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port)); s.listen(100)
    return s
def answer(c, more=b''):
    for line in c.makefile('rb'): c.sendall(line[:-1][::-1] + more + b'\\n')
";

const CASES: &[Case] = &[
    Case {
        does: "ends before it listens",
        check: "stage04/reverses-a-line",
        program: "sys.exit(7)",
        says: &[
            "exit status 7",
            "has ended before it listened on port 8080",
            "hint: start the program by hand",
        ],
        never: &["hint: keep the `\\n`"],
    },
    Case {
        does: "listens on ::1 only",
        check: "stage04/reverses-a-line",
        program: "s = listen('::1'); s.accept()",
        says: &[
            "does not listen on port 8080",
            "received: it listens on [::1]:8080 (TCP)",
            "hint: bind to 127.0.0.1",
        ],
        never: &["listens on port 8080\n"],
    },
    Case {
        does: "forgets htons",
        check: "stage04/reverses-a-line",
        program: "s = listen(port=36895); s.accept()",
        says: &["received: it listens on 0.0.0.0:36895 (TCP)", "htons"],
        never: &[],
    },
    Case {
        does: "does not listen",
        check: "stage04/reverses-a-line",
        program: "time.sleep(60)",
        says: &["received: it does not listen at all", "`listen` return"],
        never: &["hint: keep the `\\n`"],
    },
    Case {
        does: "greets its clients",
        check: "stage04/reverses-a-line",
        program: "
s = listen()
while True: s.accept()[0].sendall(b'Welcome to my server\\n')",
        says: &["received: `Welcome to my server\\n`"],
        never: &[],
    },
    Case {
        does: "sends the NUL of its string",
        check: "stage04/reverses-a-line",
        program: "
s = listen()
while True: answer(s.accept()[0], b'\\0')",
        says: &["received: `dcba\\x00\\n`", "hint: the NUL byte"],
        never: &[],
    },
    Case {
        does: "is right in its first run and wrong in its second",
        check: "stage04/half-close-while-answers-wait",
        program: "
first = not os.path.exists('ran'); open('ran', 'w')
s = listen()
while True:
    c = s.accept()[0]
    if first: c.sendall(b''.join(line[:-1][::-1] + b'\\n' for line in c.makefile('rb')))
    else: c.recv(10)
    c.close()",
        says: &["ended by the check"],
        never: &["SIGKILL"],
    },
    Case {
        does: "answers wrongly, and then writes to nobody",
        check: "stage04/reverses-a-line",
        program: "
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
c = listen().accept()[0]
c.recv(10)
while True: c.sendall(b'wrong'); time.sleep(0.01)",
        says: &["\nwrong data: the client received something else"],
        never: &["\nthe program was killed by"],
    },
    Case {
        does: "dies of SIGPIPE in the middle",
        check: "stage04/line-after-line",
        program: "
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
c = listen().accept()[0]
reader, writer = os.pipe(); os.close(reader)
c.sendall(c.recv(100)[:-1][::-1] + b'\\n'); c.recv(100)
os.write(writer, b'to nobody')",
        says: &["was killed by SIGPIPE", "hint: writing to a connection"],
        never: &[],
    },
    Case {
        does: "leaves zombies",
        check: "stage04/line-after-line",
        program: "
s = listen()
while True:
    c = s.accept()[0]
    if os.fork() == 0: os._exit(0)",
        says: &["(zombies): call `waitpid`"],
        never: &[],
    },
    Case {
        does: "raises deep in its code",
        check: "stage04/reverses-a-line",
        program: "
def work(n):
    print('at', n, file=sys.stderr)
    if n == 0: raise ValueError('the cause')
    work(n - 1)
try:
    c = listen().accept()[0]; c.recv(10); work(20)
except ValueError:
    import traceback; traceback.print_exc()
    for n in range(100): print('cleaning up', n, file=sys.stderr)
    sys.exit(1)",
        says: &[
            "    at 20\n",
            "Traceback",
            "ValueError: the cause",
            "cleaning up 99",
        ],
        never: &["cleaning up 50"],
    },
];

fn text_of(run: &Run) -> String {
    let text = &run.json()["submissions"][0]["checks"][0]["text"];
    text.as_str().unwrap().to_owned()
}

fn tell(case: &Case) {
    let room = Room::new();
    let program = room.write("program.py", &format!("{BEGIN}{}\n", case.program));
    let check = case.check;
    let line = format!(
        "--stage 4 --only {check} --patience 2 --json -- python3 {}",
        program.display()
    );
    let run = room.grade(&line);
    run.expect_status(1);
    let text = text_of(&run);
    for words in case.says {
        assert!(text.contains(words), "{words:?} is missing:\n{text}");
    }
    for words in case.never {
        assert!(!text.contains(words), "{words:?} is untrue:\n{text}");
    }
    room.expect_nothing_left();
}

fn unflushed() {
    let room = Room::new();
    let program = room.build("tcp_server_epoll", "", "tcp_server");
    let line = "--stage 4 --only stage04/shows-messages --patience 1 --";
    let run = room.grade(&format!("{line} {}", program.display()));
    run.expect_status(1);
    for words in ["the server has printed nothing to stdout", "fflush(stdout)"] {
        assert!(run.out.contains(words), "{words}: {}", run.out);
    }
}

/// A sanitizer prints some hundred lines, and ends with a legend.
fn sanitized() {
    let room = Room::new();
    let source = "
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    volatile char *line = malloc(8);
    for (int i = 0; i <= 8; i++)
        line[i] = 0;
    return 0;
}
";
    let source = room.write("overflow.c", source);
    let program = room.path("overflow");
    let built = std::process::Command::new("cc")
        .args(["-g", "-fsanitize=address", "-o"])
        .args([&program, &source])
        .output();
    if !built.unwrap().status.success() {
        return println!("this compiler has no sanitizer");
    }
    let line = "--stage 4 --only stage04/reverses-a-line --patience 1 --json --";
    let run = room.grade(&format!("{line} {}", program.display()));
    let text = text_of(&run);
    for words in [
        "ERROR: AddressSanitizer: heap-buffer-overflow",
        "overflow.c:8",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
