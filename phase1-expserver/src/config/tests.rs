use clap::CommandFactory;
use clap::error::ErrorKind;
use proptest::prelude::*;

use super::*;

fn args(words: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(format!("phase1-expserver {words}").split_whitespace())
}

/// What these arguments serve, as `8001 reverse, …`.
fn served(words: &str) -> String {
    let config = Config::new(&args(words).unwrap()).unwrap();
    let services = config.services.iter();
    let lines: Vec<_> = services.map(|s| format!("{} {}", s.port, s.role)).collect();
    lines.join(", ")
}

fn complaint(words: &str) -> String {
    args(words).unwrap_err().to_string()
}

#[test]
fn the_command_line_is_well_formed() {
    Args::command().debug_assert();
}

#[test]
fn a_preset_serves_what_its_stage_serves() {
    let reverse = "8001 reverse, 8002 reverse, 8003 reverse, 8004 reverse";
    for stage in 6..=9 {
        assert_eq!(served(&format!("--stage {stage}")), reverse);
    }
    let echo = "8002 echo, 8003 echo, 8004 echo";
    assert_eq!(served("--stage 10"), format!("8001 echo, {echo}"));
    let proxy = "8001 proxy 127.0.0.1:3000";
    assert_eq!(served("--stage 11"), format!("{proxy}, {echo}"));
    let files = "8002 file sample.txt, 8003 file ../temp/file.txt";
    assert_eq!(served("--stage 12"), format!("{proxy}, {files}, 8004 echo"));
    let last = format!("{proxy}, 8002 file sample.txt, 8003 reverse, 8004 echo");
    assert_eq!(served("--stage 13"), last);
    assert_eq!(served(""), last);
}

#[test]
fn the_defaults_are_those_of_the_docs() {
    let config = Config::new(&args("").unwrap()).unwrap();
    let limits = &config.limits;
    assert_eq!(limits.pipe_threshold, 65536);
    assert_eq!(limits.backlog, 4096);
    assert_eq!(limits.connect, Duration::from_secs(5));
    assert_eq!(limits.idle, None);
    assert_eq!(limits.drain, Duration::from_secs(5));
    assert_eq!(limits.linger, Duration::from_secs(2));
    assert_eq!(config.workers, 1);
    assert!(config.public.ends_with("phase1-expserver/public"));
    assert!(config.services.iter().all(|s| s.host == "127.0.0.1"));
}

#[test]
fn with_listen_only_what_it_names_is_served() {
    assert_eq!(served("--listen 0=echo"), "0 echo");
    let both = "--listen 9001=reverse --listen [::1]:9002=file:a=b:c.txt";
    assert_eq!(served(both), "9001 reverse, 9002 file a=b:c.txt");
    let args = args(both).unwrap();
    assert_eq!(args.listen[0].host, "127.0.0.1");
    assert_eq!(args.listen[1].host, "::1");
}

#[test]
fn an_upstream_is_an_address_or_a_name() {
    let config = Config::new(&args("--listen 1=proxy:[::1]:3000").unwrap()).unwrap();
    let Role::Proxy(route) = &config.services[0].role else {
        panic!("a proxy was asked for");
    };
    assert_eq!(route.to_string(), "[::1]:3000");
    assert_eq!(route.addresses[..], ["[::1]:3000".parse().unwrap()]);

    let unknown = Config::new(&args("--listen 1=proxy:no-such-host.invalid:3000").unwrap());
    let error = format!("{:#}", unknown.unwrap_err());
    let expected = "cannot resolve upstream no-such-host.invalid:3000: ";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn a_mistake_is_explained() {
    for (words, explanation) in [
        ("8001", "the role is missing: write PORT=ROLE"),
        ("8001=", "there is no role ``: write reverse, echo,"),
        ("8001=revers", "there is no role `revers`"),
        ("8001=echo:1", "there is no role `echo:1`"),
        ("8001=proxy", "to which upstream? write proxy:HOST:PORT"),
        ("8001=proxy:3000", "`3000` is not HOST:PORT"),
        ("8001=proxy::3000", "`:3000` is not HOST:PORT"),
        ("8001=proxy:a:0", "the upstream's port cannot be 0"),
        ("8001=proxy:::1:3000", "stands in brackets: [::1]:3000"),
        ("8001=proxy:http://a:3000", "leave out `http://`"),
        ("8001=file", "which file? write file:PATH"),
        ("8001=file:", "which file? write file:PATH"),
        ("=echo", "`` is not a port"),
        (
            "65536=echo",
            "`65536` is not a port: a number from 0 to 65535",
        ),
        ("http=echo", "`http` is not a port"),
        (":8001=echo", "`:8001` is not HOST:PORT"),
        (
            "8001=proxy:a\x1bb:3000",
            "`a\\u{1b}b:3000` is not HOST:PORT",
        ),
        ("a\x07:8001=echo", "`a\\u{7}:8001` is not HOST:PORT"),
    ] {
        let said = complaint(&format!("--listen {words}"));
        assert!(said.contains(explanation), "{words}: {said}");
    }
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    for words in [
        "--stage 5",
        "--stage 14",
        "--stage",
        "--workers 0",
        "--backlog 0",
        "--pipe-threshold 0",
        "--connect-timeout 0",
        "--idle-timeout -1",
        "--drain-timeout nan",
        "8001=echo",
    ] {
        let error = args(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words}");
    }
    for words in [
        "--stage 6 --listen 1=echo",
        "-v -q",
        "--stage 13 --listen 1=echo",
    ] {
        assert_eq!(args(words).unwrap_err().kind(), ErrorKind::ArgumentConflict);
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[\\[\\]:=0-9a-z./é\\x00\\x1b]{0,40}") {
        let _ = parse_seconds(&text);
        for words in [text.clone(), format!("8001=proxy:{text}"), format!("8001=file:{text}")] {
            if let Ok(service) = parse_service(&words) {
                prop_assert!(!service.role.to_string().contains(char::is_control));
            }
        }
    }

    #[test]
    fn what_is_served_can_be_written_down(port: u16, upstream in "[a-z]{1,9}", to in 1u16..) {
        let service = parse_service(&format!("{port}=proxy:{upstream}:{to}")).unwrap();
        prop_assert_eq!(service.port, port);
        prop_assert_eq!(service.role.to_string(), format!("proxy {upstream}:{to}"));
    }
}
