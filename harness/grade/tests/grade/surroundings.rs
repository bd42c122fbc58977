//! What a program under test finds around it: what a shell would give it, the toolchains of the
//! instructor, its own folder, and nothing that it should not see.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;

use crate::room::{GRADE, Room, Run, fixture, fixtures};
use crate::test;

pub fn tests() -> Vec<Trial> {
    vec![
        test(
            "a submission may have files and folders of any name",
            &["cc", "curl", "python3"],
            names_of_the_checks,
        ),
        test(
            "a modular server in Python sends ./public/sample.txt of its own folder",
            &["curl", "python3"],
            own_public_folder,
        ),
        test(
            "a program inherits what a shell gives it, however the grader was started",
            &["cc", "python3"],
            as_a_shell_starts_it,
        ),
        test(
            "SIGTERM and SIGINT end a C program, with a handler and without",
            &["cc", "python3"],
            ends_at_sigterm,
        ),
        test(
            "a server with two threads for each of 2,000 clients keeps within the limits",
            &["cc"],
            threads_for_each_client,
        ),
        test(
            "a limit of the grader that was met is named",
            &["cc"],
            limits_are_named,
        ),
        test(
            "a build and a program find no other submission, no results and no answers",
            &["find"],
            nothing_to_copy_from,
        ),
        test(
            "toolchains in the home are found, and secrets beside them are not",
            &[],
            toolchains_in_the_home,
        ),
        test("a Rust submission builds with cargo", &["cargo"], || {
            in_another_language("cargo build --release", "target/release/server", RUST)
        }),
        test(
            "a program that only root can reach is graded where root grades",
            &["cc"],
            out_of_reach,
        ),
        test("a Java submission builds with javac", &["javac"], || {
            in_another_language("javac Server.java", "java Server", JAVA)
        }),
        test("a JavaScript submission runs with node", &["node"], || {
            in_another_language("true", "node server.js", NODE)
        }),
        test(
            "a check that needs more descriptors than there are does not count",
            &["cc", "sh"],
            few_descriptors,
        ),
    ]
}

/// Names that a check gives to a file or a folder.
const NAMES: &[&str] = &[
    "a-folder",
    "folder",
    "got.bin",
    "lines",
    "other",
    "outside",
    "pipe",
    "profile",
    "program",
    "public",
    "public2",
    "secret.bin",
    "site",
    "socketserver.py", // a module of Python, which a check uses
    "t1.bin",
    "t2.bin",
    "temp",
    "tmp",
    "upload",
];

fn names_of_the_checks() {
    let room = Room::new();
    let source = fs::read_to_string(fixture("tcp_proxy")).unwrap();
    for (student, name) in ["files", "folders", "links"].into_iter().zip(0..) {
        room.write(&format!("class/{student}/tcp_proxy.c"), &source);
        for taken in NAMES {
            let path = room.path(&format!("class/{student}/{taken}"));
            match name {
                0 => fs::write(&path, "mine").unwrap(),
                1 => fs::create_dir(&path).unwrap(),
                _ => symlink("nowhere", &path).unwrap(),
            }
        }
    }
    room.grade("--all class --stage 5 --only stage05/curl --only stage05/any-byte")
        .expect_status(0);
}

fn own_public_folder() {
    let room = Room::new();
    let server = fs::read_to_string(fixtures().join("expserver.py")).unwrap();
    room.write("class/one/expserver.py", &server);
    room.write("class/one/public/sample.txt", "the sample\n");
    room.write(
        "class/one/grade.toml",
        "[stage.phase1]\nrun = 'python3 expserver.py'\n",
    );
    room.grade("--all class --only phase1/preset-13 --only phase1/curl")
        .expect_status(0);
    // Without its file it fails, so the check has looked.
    fs::remove_dir_all(room.path("class/one/public")).unwrap();
    let run = room.grade("--all class --only phase1/preset-13");
    run.expect_status(1);
    assert!(run.out.contains("preset-13"), "{}", run.out);
}

/// Starts a program after these statements.
fn started_by_python(room: &Room, statements: &str, words: &[&str]) -> Command {
    let mut command = Command::new("python3");
    let script = format!("import os, signal, sys\n{statements}os.execv(sys.argv[1], sys.argv[1:])");
    command.args(["-c", &script]).args(words);
    room.furnish(&mut command);
    command
}

/// As badly as can be: signals are blocked and ignored, a descriptor is open, and the environment
/// has secrets.
const BADLY: &str = "\
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, 40])
for number in [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGCHLD, 41]:
    signal.signal(number, signal.SIG_IGN)
os.dup2(os.open('/dev/null', os.O_RDONLY), 9)
os.environ.update(SECRET_TOKEN='x', GIT_DIR='x', CARGO_TARGET_DIR='x', OLDPWD='x', TZ='UTC')
";

/// As the first shell of a machine is started.
const WELL: &str = "\
signal.pthread_sigmask(signal.SIG_SETMASK, [])
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_DFL)
os.closerange(3, 1000)
os.umask(0o022)
";

/// Compares what it finds with what a shell would give it.
const COMPARE: &str = "\
./inherited > found
grep -v '^variable' found | diff expected - || echo wrong
grep -E '^variable.*(SECRET|GIT|TARGET|EXPSERVER|OLDPWD)' found && echo wrong
for name in PATH HOME TMPDIR PWD TZ; do
    grep -qx \"variable $name\" found || echo wrong: there is no $name
done
echo compared
";

fn as_a_shell_starts_it() {
    let room = Room::new();
    let program = room.build("inherited", "", "class/one/inherited");
    let words = ["/bin/sh", "-c", program.to_str().unwrap()];
    let found = Run::of(started_by_python(&room, WELL, &words).output().unwrap()).out;
    let is_variable = |line: &&str| line.starts_with("variable ");
    let expected: Vec<&str> = found.lines().filter(|line| !is_variable(line)).collect();
    room.write("class/one/expected", &(expected.join("\n") + "\n"));
    room.write("class/one/run.sh", &format!("exec >&2\n{COMPARE}"));
    room.write("class/one/build.sh", &format!("{COMPARE}exit 1\n"));
    let class = room.path("class");
    let class = class.to_str().unwrap();
    let grade = |recipe: &str| {
        room.write("class/one/grade.toml", recipe);
        let only = ["--only", "stage04/reverses-a-line", "--json", "--env", "TZ"];
        let line = [&[GRADE, "--all", class], &only[..]].concat();
        let run = Run::of(started_by_python(&room, BADLY, &line).output().unwrap());
        run.json()["submissions"][0].clone()
    };
    let built = grade("build = 'sh build.sh'\n[stage.4]\nrun = './server'\n");
    let run = grade("[stage.4]\nrun = 'sh run.sh'\n");
    for found in [&built["build_failure"], &run["checks"][0]["text"]] {
        let found = found.as_str().unwrap();
        let right = found.contains("compared") && !found.contains("wrong");
        assert!(right, "{found}");
    }
}

fn ends_at_sigterm() {
    let room = Room::new();
    let in_order = room.build(
        "tcp_server_epoll",
        "ENDS_IN_ORDER",
        "class/handler/tcp_server",
    );
    room.build("tcp_server_epoll", "", "class/none/tcp_server");
    let class = room.path("class");
    let line = [
        "--all",
        class.to_str().unwrap(),
        "--stage",
        "4",
        "--only",
        "stage04/sigterm",
    ];
    let line = [&[GRADE][..], &line, &["--json"]].concat();
    let run = Run::of(started_by_python(&room, BADLY, &line).output().unwrap());
    let json = run.json();
    let check = |student: usize| json["submissions"][student]["checks"][0].clone();
    assert_eq!(
        check(0)["status"],
        "passed",
        "{}: {json:#}",
        in_order.display()
    );
    // Without a handler the signal kills it, which is not exit status 0, but it has ended.
    let text = check(1)["text"].to_string();
    assert!(
        text.contains("SIGTERM") && !text.contains("has not ended"),
        "{text}"
    );
}

fn threads_for_each_client() {
    let room = Room::new();
    room.build("tcp_server_threads", "", "tcp_server");
    room.grade("--stage 4 --only thousands-of-idle-clients -- ./tcp_server")
        .expect_status(0);
}

fn limits_are_named() {
    let room = Room::new();
    room.build("hostile", "", "hostile");
    for (way, option) in [
        ("endless-loop", "--cpu-time 1"),
        ("fills-the-disk", "--file-size 1"),
        ("fork-bomb", "--processes 100"),
    ] {
        let line = format!("--stage 4 --only reverses-a-line --json {option} -- ./hostile {way}");
        let run = room.grade(&line);
        run.expect_status(1);
        let (name, _) = option.split_once(' ').unwrap();
        let named = run.out.contains("a limit of the grader was met") && run.out.contains(name);
        assert!(named, "{way}: {}", run.out);
    }
}

/// Looks everywhere for what it should not see.
const SPY: &str = "\
{
    find / -path /proc -prune -o -path /sys -prune -o -name answer.c -print
    for path in $PATHS; do
        for root in '' /proc/1/root /proc/$PPID/root; do
            [ -s $root$path ] && echo visible $root$path
        done
    done
    cat ../0/answer.c ../*/answer.c /proc/*/cwd/answer.c
    tr '\\0' '\\n' < /proc/1/environ
    tr '\\0' '\\n' < /proc/$PPID/environ
} > found 2> /dev/null
grep -E 'visible|answer|teacher' found && echo wrong
echo the spy has looked
";

fn nothing_to_copy_from() {
    let room = Room::new();
    let sound = fs::read_to_string(fixture("tcp_server")).unwrap();
    for student in ["asha", "zoe"] {
        room.write(
            &format!("class/{student}/answer.c"),
            "a classmate's answer\n",
        );
        room.write(&format!("class/{student}/tcp_server.c"), &sound);
    }
    room.write("results.jsonl", "");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let paths = [
        room.path("class/asha/answer.c"),
        room.path("class/mallory"),
        room.path("results.jsonl"),
        workspace.join("stage01-tcp-server/src/main.rs"),
        workspace.join("Cargo.toml"),
        GRADE.into(),
    ];
    let paths: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let spy = format!("PATHS='{}'\n{SPY}", paths.join(" "));
    room.write("class/mallory/build.sh", &format!("{spy}exit 1\n"));
    room.write("class/mallory/run.sh", &format!("exec >&2\n{spy}"));
    let grade = |recipe: &str| {
        room.write("class/mallory/grade.toml", recipe);
        let line = "--all class --stage 1 --only reverses-a-line --json --results results.jsonl";
        let mut command = room.command(&format!("{line} --resume"));
        let output = command.env("SECRET", "the teacher's").output().unwrap();
        Run::of(output).json()["submissions"][1].clone()
    };
    let built = grade("build = 'sh build.sh'\n[stage.1]\nrun = './server'\n");
    let run = grade("[stage.1]\nrun = 'sh run.sh'\n");
    for found in [&built["build_failure"], &run["checks"][0]["text"]] {
        let found = found.as_str().unwrap();
        let blind = found.contains("the spy has looked") && !found.contains("wrong");
        assert!(blind, "{found}");
    }
}

fn toolchains_in_the_home() {
    let room = Room::new();
    let tool = room.write(
        "home/.nvm/versions/v1/bin/tool",
        "#!/bin/sh\ncat \"$NVM_DIR/versions/v1/lib/words\"\n",
    );
    fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).unwrap();
    room.write("home/.nvm/versions/v1/lib/words", "the tool has run\n");
    room.write("home/.cargo/credentials.toml", "the token\n");
    room.write("home/.cargo/config.toml", "the settings\n");
    room.write("home/letters/private", "the letter\n");
    room.write("home/.m2/settings.xml", "the password\n");
    room.write("home/.m2/repository/jar", "the library\n");
    room.write("home/sdk/words", "the kit\n");
    let home = room.path("home");
    let build = format!(
        "tool; cat \"$SDK/words\"; cd {}; cat .cargo/* letters/* .m2/*; \
         cat ${{MAVEN_OPTS#-Dmaven.repo.local=}}/jar; ls -A; echo ruined > .nvm/x; exit 1",
        home.display()
    );
    room.write(
        "class/one/grade.toml",
        &format!("build = '{build}'\n[stage.1]\nrun = './server'\n"),
    );
    let mut command = room.command("--all class --only reverses-a-line --json --env SDK");
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", tool.parent().unwrap().display());
    command
        .env_remove("CARGO_HOME")
        .env("HOME", &home)
        .env("PATH", path)
        .env("SDK", home.join("sdk"));
    let json = Run::of(command.output().unwrap()).json();
    let found = json["submissions"][0]["build_failure"].as_str().unwrap();
    for words in ["the tool has run", "the kit", "the settings", "the library"] {
        assert!(found.contains(words), "`{words}` is missing: {found}");
    }
    for words in ["the token", "the letter", "the password"] {
        assert!(!found.contains(words), "`{words}` is there: {found}");
    }
    assert!(!room.path("home/.nvm/x").exists());

    let run = room.grade("--stage 1 --env NO_SUCH_VARIABLE -- /bin/true");
    run.expect_status(2);
    assert!(run.err.contains("--env NO_SUCH_VARIABLE"), "{}", run.err);
}

const RUST: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[package]\nname = 'server'\nversion = '0.1.0'\nedition = '2021'\n",
    ),
    (
        "src/main.rs",
        "use std::io::{BufRead, BufReader, Write};\n\
         fn main() {\n\
             let listener = std::net::TcpListener::bind(\"127.0.0.1:8080\").unwrap();\n\
             for client in listener.incoming() {\n\
                 let mut client = client.unwrap();\n\
                 for line in BufReader::new(client.try_clone().unwrap()).lines() {\n\
                     let line: String = line.unwrap().chars().rev().collect();\n\
                     writeln!(client, \"{line}\").unwrap();\n\
                 }\n\
             }\n\
         }\n",
    ),
];

const JAVA: &[(&str, &str)] = &[(
    "Server.java",
    "public class Server {\n\
         public static void main(String[] arguments) throws Exception {\n\
             var listener = new java.net.ServerSocket(8080);\n\
             while (true) {\n\
                 var client = listener.accept();\n\
                 var reader = new java.io.BufferedReader(\n\
                     new java.io.InputStreamReader(client.getInputStream()));\n\
                 for (String line; (line = reader.readLine()) != null; )\n\
                     client.getOutputStream().write(\n\
                         (new StringBuilder(line).reverse() + \"\\n\").getBytes());\n\
                 client.close();\n\
             }\n\
         }\n\
     }\n",
)];

const NODE: &[(&str, &str)] = &[(
    "server.js",
    "require('net').createServer(client => client.on('data', data =>\n\
         client.write([...data.toString().trimEnd()].reverse().join('') + '\\n')\n\
     ).on('error', () => {})).listen(8080, '127.0.0.1');\n",
)];

fn in_another_language(build: &str, run: &str, files: &[(&str, &str)]) {
    let room = Room::new();
    let recipe = format!("build = '{build}'\n[stage.4]\nrun = '{run}'\n");
    room.write("class/one/grade.toml", &recipe);
    for (name, text) in files {
        room.write(&format!("class/one/{name}"), text);
    }
    room.grade("--all class --stage 4 --only stage04/reverses-a-line")
        .expect_status(0);
}

fn out_of_reach() {
    let room = Room::new();
    let program = room.build("tcp_server", "", "private/tcp_server");
    let only_its_owner = PermissionsExt::from_mode(0o700);
    fs::set_permissions(program.parent().unwrap(), only_its_owner).unwrap();
    room.grade("--stage 1 --only reverses-a-line -- private/tcp_server")
        .expect_status(0);
}

/// As on an ordinary machine, where a user may not raise the limit.
fn few_descriptors() {
    let room = Room::new();
    room.build("tcp_server", "", "tcp_server");
    let line = "--stage 4 --only thousands-of-idle-clients --json -- ./tcp_server";
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 1024 && exec \"$0\" \"$@\"", GRADE]);
    shell.args(line.split_whitespace());
    room.furnish(&mut shell);
    let run = Run::of(shell.output().unwrap());
    run.expect_status(0);
    assert!(
        run.out.contains("needs a higher limit of descriptors"),
        "{}",
        run.out
    );
}
