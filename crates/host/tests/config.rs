//! Configuration from files, variables and flags.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use steadfast_host::config::{Secret, Source, duration};

#[derive(Debug, Deserialize)]
struct Config {
    server: Server,
    #[serde(default)]
    auth: Auth,
    #[serde(default)]
    participants: BTreeMap<String, Participant>,
    #[serde(default)]
    sources: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Server {
    listen: String,
    #[serde(default)]
    workers: u16,
    #[serde(default)]
    secure: bool,
    #[serde(default, with = "duration")]
    timeout: Duration,
    log: Option<Log>,
    share: Option<f64>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Log {
    Human,
    Json,
}

#[derive(Debug, Default, Deserialize)]
struct Auth {
    key: Option<Secret>,
}

#[derive(Debug, Deserialize)]
struct Participant {
    urls: Vec<String>,
    #[serde(default)]
    barrier: bool,
}

const FILE: &str = r#"
sources = ["a", "b"]

[server]
listen = "127.0.0.1:8080"
workers = 2
timeout = "30s"

[participants.payment]
urls = ["http://127.0.0.1:1"]
barrier = true
"#;

fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn with(list: &[(&str, &str)]) -> Source {
    Source::new()
        .text("shop.toml", FILE)
        .unwrap()
        .environment("STEADFAST", variables(list), &["STEADFAST_CONFIG"])
        .unwrap()
}

fn fault(source: &Source) -> String {
    source.load::<Config>().unwrap_err().to_string()
}

#[test]
fn a_flag_beats_a_variable_beats_the_file() {
    let config = with(&[]).load::<Config>().unwrap().value;
    assert_eq!((config.server.workers, config.server.timeout), (2, Duration::from_secs(30)));
    assert!(config.participants["payment"].barrier);
    assert_eq!(config.participants["payment"].urls, ["http://127.0.0.1:1"]);
    let source = with(&[("STEADFAST_SERVER__WORKERS", "3"), ("STEADFAST_SERVER__LISTEN", "b")]);
    let config = source.clone().load::<Config>().unwrap().value;
    assert_eq!((config.server.workers, config.server.listen.as_str()), (3, "b"));
    let loaded = source.flag("--workers", "server.workers", "4").load::<Config>().unwrap();
    assert_eq!(loaded.value.server.workers, 4);
    let told = |key: &str| {
        let setting = loaded.settings.iter().find(|it| it.key == key).unwrap();
        format!("{} from {}", setting.value, setting.origin)
    };
    assert_eq!(told("server.workers"), "4 from --workers");
    assert_eq!(told("server.listen"), "b from environment variable STEADFAST_SERVER__LISTEN");
    assert_eq!(told("server.timeout"), "30s from shop.toml, line 7");
    assert_eq!(told("sources[1]"), "b from shop.toml, line 2");
}

#[test]
fn text_becomes_what_the_key_wants() {
    let config = with(&[
        ("STEADFAST_SERVER__SECURE", "true"),
        ("STEADFAST_SERVER__LISTEN", "8080"),
        ("STEADFAST_SERVER__TIMEOUT", "250ms"),
        ("STEADFAST_SERVER__LOG", "json"),
        ("STEADFAST_SERVER__SHARE", "0.5"),
        ("STEADFAST_SOURCES", "x, y,z"),
        ("STEADFAST_PARTICIPANTS__ORDER__URLS", "http://127.0.0.1:2"),
        ("STEADFAST_CONFIG", "not part of it"),
        ("OTHER_SERVER__LISTEN", "not ours"),
        ("STEADFASTNESS", "not ours"),
    ])
    .load::<Config>()
    .unwrap()
    .value;
    assert!(config.server.secure);
    assert_eq!(
        (config.server.listen.as_str(), config.server.log, config.server.share),
        ("8080", Some(Log::Json), Some(0.5))
    );
    assert_eq!((config.server.timeout, config.sources.len()), (Duration::from_millis(250), 3));
    assert_eq!(config.participants["order"].urls, ["http://127.0.0.1:2"]);
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_one_that_was_meant() {
    let cases = [
        (
            with(&[("STEADFAST_SERVER__WORKER", "1")]),
            "server.worker (environment variable STEADFAST_SERVER__WORKER) is not a key: did you mean server.workers?",
        ),
        (
            with(&[("STEADFAST_SEVRER__LISTEN", "1")]),
            "sevrer (environment variable STEADFAST_SEVRER__LISTEN) is not a key: did you mean server?",
        ),
        (
            Source::new().text("a.toml", "[server]\nlisten='x'\nzzzzzzzz=1").unwrap(),
            "server.zzzzzzzz (a.toml, line 3) is not a key: there are listen, workers, secure, timeout, log, share",
        ),
        (
            Source::new().text("a.toml", "[server]\nlisten='x'\n[participants.payment]\nurl=1").unwrap(),
            "participants.payment.url (a.toml, line 4) is not a key: did you mean participants.payment.urls?",
        ),
        (
            with(&[]).flag("--log", "server.log", "jsno"),
            "server.log (--log) is \"jsno\": expected one of human, json (did you mean json?)",
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(fault(&source), expected);
    }
}

#[test]
fn a_wrong_or_missing_value_is_named_with_its_place() {
    let text = |toml: &str| Source::new().text("a.toml", toml).unwrap();
    let cases = [
        (
            text("[server]\nlisten=1"),
            "server.listen (a.toml, line 2) is not valid: invalid type: integer `1`, expected a string",
        ),
        (
            text("[server]\nlisten='x'\nworkers=70000"),
            "server.workers (a.toml, line 3) is not valid: invalid value: integer `70000`, expected u16",
        ),
        (
            text("[server]\nlisten='x'\ntimeout='soon'"),
            "server.timeout (a.toml, line 3) is not valid: \"soon\" is no length of time: write 250ms, 30s, 2m, 6h or 7d",
        ),
        (
            with(&[("STEADFAST_SERVER__WORKERS", "two")]),
            "server.workers (environment variable STEADFAST_SERVER__WORKERS) is \"two\": expected a whole number from 0",
        ),
        (
            with(&[("STEADFAST_SERVER__SECURE", "yes")]),
            "server.secure (environment variable STEADFAST_SERVER__SECURE) is \"yes\": expected true or false",
        ),
        (
            with(&[("STEADFAST_SERVER", "x")]),
            "server (environment variable STEADFAST_SERVER) must be a table: write its keys below it, each on a line of its own",
        ),
        (
            text("server='x'"),
            "server (a.toml, line 1) must be a table: write its keys below it, each on a line of its own",
        ),
        (
            text("sources='x'\n[server]\nlisten='x'"),
            "sources (a.toml, line 1) must be a list: write [\"one\", \"two\"]",
        ),
        (text("[server]"), "server.listen is required: set it in a.toml, or as STEADFAST_SERVER__LISTEN"),
        (text(""), "server is required: set it in a.toml, or as STEADFAST_SERVER"),
        (
            text("[server]\nlisten='x'\n[participants.payment]\nbarrier=true"),
            "participants.payment.urls is required: set it in a.toml, or as STEADFAST_PARTICIPANTS__PAYMENT__URLS",
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(fault(&source), expected);
    }
    let error = Source::new().text("a.toml", "x = 1\n[server\n").unwrap_err().to_string();
    assert!(error.starts_with("a.toml, line 2 is not TOML: "), "{error}");
    let error = Source::new().environment("STEADFAST", variables(&[("STEADFAST_A____B", "1")]), &[]).unwrap_err();
    assert!(error.to_string().contains("STEADFAST_A____B"), "{error}");
    let error = Source::new().file(std::path::Path::new("/nowhere/shop.toml"), "--config").unwrap_err().to_string();
    assert!(error.contains("/nowhere/shop.toml") && error.contains("--config"), "{error}");
}

#[test]
fn secrets_come_from_files_and_variables_only_and_never_show() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "canary from a file\n").unwrap();
    let text = |toml: &str| with(&[]).text("secrets.toml", toml).unwrap();
    let named = text(&format!("[auth]\nkey = {{ file = {:?} }}", path.to_str().unwrap()));
    for (source, expected) in [
        (named, "canary from a file"),
        (with(&[("STEADFAST_AUTH__KEY", "canary from a variable")]), "canary from a variable"),
        (with(&[("STEADFAST_AUTH__KEY__FILE", path.to_str().unwrap())]), "canary from a file"),
    ] {
        let loaded = source.load::<Config>().unwrap();
        assert_eq!(loaded.value.auth.key.as_ref().unwrap().expose(), expected);
        assert!(!format!("{loaded:?}").contains("canary"));
        assert_eq!(loaded.settings.iter().find(|it| it.key == "auth.key").unwrap().value, "(hidden)");
    }
    for (toml, part) in [
        ("[auth]\nkey = 'canary'", "does not belong in the configuration"),
        ("[auth]\nkey = { path = 'canary' }", "{ file = \"path\" }"),
        ("[auth]\nkey = { file = '/nowhere/key' }", "/nowhere/key"),
    ] {
        let told = fault(&text(toml));
        assert!(told.starts_with("auth.key (") && told.contains(part) && !told.contains("canary"), "{told}");
    }
    let told = fault(&with(&[("STEADFAST_AUTH__KEY", "")]));
    assert!(told.contains("empty secret"), "{told}");
}
