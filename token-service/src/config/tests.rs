use std::os::unix::fs::PermissionsExt as _;

use super::arguments::Rules;
use super::*;
use crate::{
    audit::{Keep, Redaction},
    keys::EncryptionKey,
};

fn load(toml: &str) -> Result<Config, ConfigError> {
    load_with(toml, &[])
}

fn load_with(toml: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("writ.toml");
    std::fs::write(&path, toml).unwrap();
    let environment = environment
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::load(Some(&path), environment)
}

#[test]
fn without_a_file_everything_is_on_loopback() {
    let config = Config::load(None, []).unwrap();
    assert_eq!(config.issuer, "http://127.0.0.1:8181");
    assert_eq!(config.data_dir, Path::new("writ-data"));
    assert_eq!(
        config.gateway,
        GatewayListen::Loopback("127.0.0.1:8182".parse().unwrap())
    );
    assert_eq!(config.tokens.minted_ttl, Duration::from_secs(30));
}

#[test]
fn what_policies_are_asked_is_kept_for_a_week_unless_somebody_says_otherwise() {
    let kept = |toml: &str| load(toml).unwrap().policy_inputs.keep;
    assert_eq!(kept(""), Duration::from_secs(7 * 86400));
    assert_eq!(kept("[policy.inputs]\nkeep = \"0s\"\n"), Duration::ZERO);
}

/// A key for what is kept, as `SEAL`.
const SEAL: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn what_is_kept_of_arguments_is_the_tools_or_the_servers_or_everybodys() {
    let unsaid = load("").unwrap().audit.arguments;
    assert_eq!(unsaid, Rules::all(Keep::Digest));
    let toml = r#"
        [keys]
        encryption_key_env = "SEAL"
        [audit.arguments]
        default = "none"
        keep = "30d"
        redact = ["password"]
        [audit.arguments.servers.ledger]
        default = "redacted"
        redact = ["/to/iban"]
        tools.transfer = "full"
        tools.getCustomerPII = "digest"
        [audit.arguments.servers.other]
        tools.login = "redacted"
    "#;
    let rules = load_with(toml, &[("SEAL", SEAL)]).unwrap().audit.arguments;
    for (server, tool, keep) in [
        ("elsewhere", Some("transfer"), Keep::None),
        ("ledger", None, Keep::Redacted),
        ("ledger", Some("list"), Keep::Redacted),
        ("ledger", Some("transfer"), Keep::Full),
        ("ledger", Some("getCustomerPII"), Keep::Digest),
        ("other", Some("list"), Keep::None),
        ("other", Some("login"), Keep::Redacted),
    ] {
        assert_eq!(rules.of(server, tool).0, keep, "{server} {tool:?}");
    }
    let mut both = Redaction::default();
    both.add("password").unwrap();
    both.add("/to/iban").unwrap();
    assert_eq!(rules.of("ledger", None).1, &both);
    assert_eq!(rules.keep, Duration::from_secs(30 * 86400));
    // Without a key nothing is kept that must be encrypted.
    let error = load_with(&toml.replace("encryption_key_env = \"SEAL\"", ""), &[]).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("audit.arguments.servers.ledger.default")
            && error.contains("encryption_key_file"),
        "{error}"
    );
}

#[test]
fn the_environment_overrides_the_file() {
    let toml = "[tokens]\nminted_ttl = \"20s\"\ncaller_ttl = \"5m\"\n";
    let config = load_with(toml, &[("WRIT_TOKENS__MINTED_TTL", "10s"), ("HOME", "/")]).unwrap();
    assert_eq!(config.tokens.minted_ttl, Duration::from_secs(10));
    assert_eq!(config.tokens.caller_ttl, Duration::from_secs(300));
}

#[test]
fn an_issuer_that_is_not_set_follows_the_port_that_was_bound() {
    let bound = "127.0.0.1:4711".parse().unwrap();
    let config = load("[public]\nlisten = \"127.0.0.1:0\"")
        .unwrap()
        .bound_to(bound);
    assert_eq!(config.issuer, "http://127.0.0.1:4711");
    let config = load("issuer = \"https://writ.example\"")
        .unwrap()
        .bound_to(bound);
    assert_eq!(config.issuer, "https://writ.example");
}

#[test]
fn what_is_wrong_is_named_with_its_field_and_file() {
    let cases = [
        (
            "[audit.arguments]\ndefault = \"all\"",
            "audit.arguments.default",
            "all",
        ),
        (
            "[audit.arguments]\ndefault = \"redacted\"",
            "audit.arguments.default",
            "redacted",
        ),
        (
            "[audit.arguments]\nredact = [\"a\", \"/~2\"]",
            "audit.arguments.redact[1]",
            "/~2",
        ),
        (
            "[audit.arguments.servers.\"a b\"]",
            "audit.arguments.servers",
            "a b",
        ),
        (
            "[audit.arguments.servers.ledger.tools]\ntransfer = \"\"",
            "audit.arguments.servers.ledger.tools.transfer",
            "",
        ),
        (
            "[audit]\ncheckpoint_interval = \"2h\"",
            "audit.checkpoint_interval",
            "write a duration",
        ),
        (
            "[audit]\ncheckpoint_dir = \"/nowhere/at/all\"",
            "audit.checkpoint_dir",
            "is not a directory",
        ),
        (
            "[audit.checkpoint_endpoint]\nurl = \"http://keeper.example\"",
            "audit.checkpoint_endpoint.url",
            "must be https",
        ),
        (
            "[audit.checkpoint_endpoint]\nurl = \"https://keeper.example\"\ntoken_file = \"/nowhere/at/all\"",
            "audit.checkpoint_endpoint.token_file",
            "No such file",
        ),
        (
            "[audit.archive]\nafter = \"90d\"\ndir = \"/nowhere/at/all\"",
            "audit.archive.dir",
            "is not a directory",
        ),
        (
            "[audit.archive]\nafter = \"23h\"\ndir = \"/\"",
            "audit.archive.after",
            "write a duration between 1d and 3660d",
        ),
        (
            "[[audit.witnesses]]\nurl = \"http://witness.example\"\nkey = \"\"",
            "audit.witnesses[0].url",
            "must be https",
        ),
        (
            "[[audit.witnesses]]\nurl = \"https://me:s3cret@witness.example\"\nkey = \"\"",
            "audit.witnesses[0].url",
            "leave it out",
        ),
        (
            "[[audit.witnesses]]\nurl = \"https://witness.example\"\nkey = \"a+b\"",
            "audit.witnesses[0].key",
            "writ audit key",
        ),
        (
            "[audit.witness]\nname = \"two words\"\nlogs = []",
            "audit.witness.name",
            "without spaces",
        ),
        (
            "[audit.witness]\nname = \"w.example\"\nlogs = [\"a+b\"]",
            "audit.witness.logs",
            "writ audit key",
        ),
        (
            "[policy.inputs]\nkeep = \"400d\"",
            "policy.inputs.keep",
            "write a duration",
        ),
        (
            "issuer = \"http://writ.example\"",
            "issuer",
            "must be https",
        ),
        ("issuer = \"https://writ.example/\"", "issuer", "slash"),
        ("issuer = \"https://writ.example?x\"", "issuer", "query"),
        ("issuer = \"writ\"", "issuer", "not a URL"),
        ("isuer = \"x\"", "isuer", "unknown field"),
        (
            "[public]\nlisten = \"localhost\"",
            "public.listen",
            "IP:PORT",
        ),
        (
            "[public]\nlisten = \"0.0.0.0:8181\"",
            "public.listen",
            "`issuer` must be set",
        ),
        (
            "[gateway]\nlisten = \"0.0.0.0:8182\"",
            "gateway.listen",
            "loopback",
        ),
        ("[gateway]\nlisten = \"unix:\"", "gateway.listen", "path"),
        ("[gateway]\nport = 1", "port", "unknown field"),
        (
            "[policy]\ndir = \"/does/not/exist\"",
            "policy.dir",
            "not a directory",
        ),
        (
            "[policy.bundle]\nurl = \"http://bundles.example.com/writ.tar.gz\"",
            "policy.bundle.url",
            "must be https",
        ),
        (
            "[policy.bundle]\nurl = \"https://me:secret@bundles.example.com/\"",
            "policy.bundle.url",
            "no user info",
        ),
        (
            "[policy.bundle]\nurl = \"https://bundles.example.com/writ.tar.gz?sig=secret\"",
            "policy.bundle.url",
            "no query",
        ),
        (
            "[policy.bundle]\nurl = \"https://bundles.example.com/writ.tar.gz#secret\"",
            "policy.bundle.url",
            "no fragment",
        ),
        (
            "[policy.bundle]\nurl = \"https://bundles.example.com/\"\npoll_interval = \"0s\"",
            "policy.bundle.poll_interval",
            "between 1s",
        ),
        (
            "[policy.bundle]\nurl = \"https://bundles.example.com/\"\ntoken_env = \"NO_SUCH\"",
            "policy.bundle.token_env",
            "is not set in the environment",
        ),
        (
            "[tokens]\nminted_ttl = \"5m\"",
            "tokens.minted_ttl",
            "between 1s and 1m",
        ),
        ("[tokens]\nminted_ttl = 30", "minted_ttl", "string"),
        (
            "[tokens]\nsigning_alg = \"none\"",
            "tokens.signing_alg",
            "EdDSA",
        ),
        (
            "[[workloads.spiffe]]\ntrust_domain = \"spiffe://example.org\"",
            "workloads.spiffe[0].trust_domain",
            "without spiffe://",
        ),
        (
            "[[workloads.spiffe]]\ntrust_domain = \"example.org\"",
            "workloads.spiffe[0].trust_domain",
            "either bundle_file or bundle_url",
        ),
        (
            "[[workloads.spiffe]]\ntrust_domain = \"example.org\"\nbundle_file = \"/does/not/exist\"",
            "workloads.spiffe[0].bundle_file",
            "cannot be read",
        ),
        (
            "[[workloads.kubernetes]]\nissuer = \"http://cluster.test\"",
            "workloads.kubernetes[0].issuer",
            "must be https",
        ),
        ("issuer = ", "line 1", "writ.toml"),
    ];
    for (toml, field, problem) in cases {
        let message = load(toml).unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
        assert!(message.contains(problem), "{message}");
        assert!(message.contains("writ.toml"), "{message}");
    }
}

#[test]
fn what_may_be_a_secret_in_a_bundles_url_is_not_shown() {
    for url in [
        "https://me:hush@bundles.example.com/",
        "https://hush@bundles.example.com/",
        "http://me:hush@bundles.example.com/",
        "https://bundles.example.com/?sig=hush",
        "https://bundles.example.com/#hush",
        "https://me:hush@bundles example com/",
    ] {
        let message = load(&format!("[policy.bundle]\nurl = {url:?}"));
        let message = message.unwrap_err().to_string();
        assert!(message.contains("policy.bundle.url"), "{message}");
        assert!(!message.contains("hush"), "{message}");
    }
}

#[test]
fn a_wrong_variable_is_named() {
    let message = load_with("", &[("WRIT_TOKENS__MINTED_TTL", "1d")])
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("environment variable WRIT_TOKENS__MINTED_TTL"),
        "{message}"
    );
    let message = load_with("", &[("WRIT_TOKENS__MINTED", "1s")])
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("WRIT_TOKENS__MINTED overrides nothing"),
        "{message}"
    );
}

#[test]
fn the_times_of_signing_keys_fit_the_tokens_and_each_other() {
    let schedule = |toml: &str| load(toml).unwrap().keys.schedule;
    let default = schedule("");
    assert_eq!(default.rotate_every, Duration::from_secs(90 * 86400));
    assert_eq!(default.overlap, Duration::from_secs(600 + 300));
    let longer = schedule("[tokens]\ncaller_ttl = \"1h\"");
    assert_eq!(longer.overlap, Duration::from_secs(3600 + 300));
    for (toml, field) in [
        ("[keys]\noverlap = \"14m\"", "keys.overlap"),
        ("[keys]\nannounce_ahead = \"4m\"", "keys.announce_ahead"),
        ("[keys]\nrotate_every = \"1d\"", "keys.rotate_every"),
        ("[keys]\nrotate_every = \"1m\"", "keys.rotate_every"),
    ] {
        let message = load(toml).unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
    }
}

#[test]
fn an_encryption_key_comes_from_a_private_file_or_a_variable() {
    use std::os::unix::fs::PermissionsExt as _;
    let text = crate::keys::EncryptionKey::generate();
    let by_variable = "[keys]\nencryption_key_env = \"SEAL\"";
    let config = load_with(by_variable, &[("SEAL", &text)]).unwrap();
    assert!(config.keys.sealing.is_some());
    let missing = load(by_variable).unwrap_err().to_string();
    assert!(missing.contains("keys.encryption_key_env"), "{missing}");
    let wrong = load_with(by_variable, &[("SEAL", "hush")])
        .unwrap_err()
        .to_string();
    assert!(
        wrong.contains("base64 of 32 bytes") && !wrong.contains("hush"),
        "{wrong}"
    );

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("seal");
    std::fs::write(&file, text.as_bytes()).unwrap();
    let by_file = format!("[keys]\nencryption_key_file = {file:?}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = load(&by_file).unwrap_err().to_string();
    assert!(exposed.contains("chmod 600"), "{exposed}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(load(&by_file).unwrap().keys.sealing.is_some());
    let both = format!("{by_file}\nencryption_key_env = \"SEAL\"");
    assert!(
        load(&both)
            .unwrap_err()
            .to_string()
            .contains("keys.encryption_key_env")
    );
}

/// What refuses a `[store]`.
fn store_refusal(store: &str) -> String {
    let refused = load(&format!("[store]\n{store}\n")).unwrap_err();
    let told = refused.to_string();
    assert!(told.contains("writ.toml: store."), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    told
}

fn store_url(store: &str) -> String {
    let config = load(&format!("[store]\n{store}\n")).unwrap();
    match config.place() {
        Place::Postgres(url) => url.to_string(),
        Place::Directory(dir) => panic!("{}", dir.display()),
    }
}

#[test]
fn without_a_store_the_database_is_in_the_data_directory() {
    let config = load("data_dir = \"/srv/writ\"").unwrap();
    assert_eq!(config.place(), Place::Directory("/srv/writ".into()));
}

#[test]
fn a_store_elsewhere_is_reached_over_verified_tls_unless_somebody_says_otherwise() {
    for (given, used) in [
        (
            "postgres://writ@db.example/writ",
            "postgres://writ@db.example/writ?sslmode=verify-full",
        ),
        (
            "postgres://writ@db.example/writ?sslmode=require",
            "postgres://writ@db.example/writ?sslmode=require",
        ),
        (
            "postgres://writ@localhost:5433/writ",
            "postgres://writ@localhost:5433/writ",
        ),
        (
            "postgres://writ@127.0.0.1/writ",
            "postgres://writ@127.0.0.1/writ",
        ),
        ("postgres://writ@[::1]/writ", "postgres://writ@[::1]/writ"),
        (
            "postgres:///writ?host=/run/postgresql",
            "postgres:///writ?host=/run/postgresql",
        ),
        (
            "postgres://writ@%2Frun%2Fpostgresql/writ",
            "postgres://writ@%2Frun%2Fpostgresql/writ",
        ),
        (
            "postgres:///writ?host=db.example",
            "postgres:///writ?host=db.example&sslmode=verify-full",
        ),
    ] {
        assert_eq!(store_url(&format!("url = \"{given}\"")), used);
    }
}

#[test]
fn a_store_that_cannot_be_meant_is_refused_with_its_field() {
    for (url, why) in [
        ("db.example", "is not a URL"),
        ("mysql://db.example/writ", "must be postgres://"),
        ("postgres://db.example", "must name a database"),
        (
            "postgres://writ:hunter2@db.example/writ",
            "no password in a file",
        ),
        (
            "postgres://writ@db.example/writ?password=hunter2",
            "no password among its parameters",
        ),
        (
            "postgres://writ@db.example/writ?sslmod=require",
            "unknown parameter \"sslmod\"",
        ),
        (
            "postgres://writ@db.example/writ?sslmode=maybe",
            "sslmode must be one of",
        ),
        (
            "postgres://writ@db.example/writ?sslrootcert=/nowhere",
            "\"/nowhere\" cannot be read",
        ),
    ] {
        let told = store_refusal(&format!("url = \"{url}\""));
        assert!(told.contains(why), "{told}");
    }
    let told = store_refusal("password_file = \"/nowhere\"");
    assert!(told.contains("goes with `store.url`"), "{told}");
    let told =
        store_refusal("url = \"postgres://writ@db.example/writ\"\npassword_file = \"/nowhere\"");
    assert!(
        told.contains("store.password_file") && told.contains("cannot be read"),
        "{told}"
    );
}

#[test]
fn the_environment_may_hold_the_password_of_the_store() {
    let url = "postgres://writ:hunter2@localhost/writ";
    let config = load_with("", &[("WRIT_STORE_URL", url)]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let Place::Postgres(used) = config.place() else {
        panic!("not on PostgreSQL")
    };
    assert_eq!(used.password(), Some("hunter2"));
    let wrong = load_with("", &[("WRIT_STORE_URL", "mysql://u:hunter2@db/writ")]).unwrap_err();
    let told = wrong.to_string();
    assert!(
        told.contains("environment variable WRIT_STORE_URL"),
        "{told}"
    );
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn the_example_of_the_guide_is_loaded_with_the_password_of_its_file() {
    let guide =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md"));
    let guide = guide.unwrap();
    let (_, example) = guide.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("writ-database"), "50% of/it@\n").unwrap();
    let seal = secrets.path().join("writ-seal");
    std::fs::write(&seal, EncryptionKey::generate().as_bytes()).unwrap();
    std::fs::set_permissions(&seal, std::fs::Permissions::from_mode(0o600)).unwrap();
    let example = example.replace("/run/secrets", &secrets.path().display().to_string());
    let Place::Postgres(url) = load(&example).unwrap().place() else {
        panic!("not on PostgreSQL")
    };
    assert_eq!(url.password(), Some("%35%30%25%20%6F%66%2F%69%74%40"));
}

#[test]
fn where_the_log_is_sent_to_is_checked_field_by_field() {
    let cases = [
        (
            "name = \"A b\"\ntype = \"http\"",
            "audit.sinks[0].name",
            "lower-case",
        ),
        (
            "name = \"a\"\ntype = \"http\"",
            "audit.sinks[0].url",
            "is missing",
        ),
        (
            "name = \"a\"\ntype = \"carrier_pigeon\"",
            "carrier_pigeon",
            "unknown variant",
        ),
        (
            "name = \"a\"\ntype = \"http\"\nurl = \"http://siem.example/\"",
            "audit.sinks[0].url",
            "must be https",
        ),
        (
            "name = \"a\"\ntype = \"http\"\nurl = \"https://siem.example/?token=secret\"",
            "audit.sinks[0].url",
            "`audit.sinks[0].token_file`",
        ),
        (
            "name = \"a\"\ntype = \"http\"\nurl = \"https://siem.example/\"\nindex = \"main\"",
            "audit.sinks[0].index",
            "no field of a sink of this type",
        ),
        (
            "name = \"a\"\ntype = \"splunk_hec\"\nurl = \"https://splunk.example/\"",
            "audit.sinks[0].token_file",
            "is missing",
        ),
        (
            "name = \"a\"\ntype = \"http\"\nurl = \"https://siem.example/\"\ntoken_file = \"/dev/null\"",
            "audit.sinks[0].token_file",
            "holds no bearer token",
        ),
        (
            "name = \"a\"\ntype = \"otlp\"\nurl = \"https://otel.example/\"\ntoken_env = \"HOME\"\ntoken_header = \"Content-Type\"",
            "audit.sinks[0].token_header",
            "is no header that a token could be in",
        ),
        (
            "name = \"a\"\ntype = \"otlp\"\nurl = \"https://otel.example/\"\ntoken_header = \"x-api-key\"",
            "audit.sinks[0].token_header",
            "token_file",
        ),
        (
            "name = \"a\"\ntype = \"otlp\"\nurl = \"https://otel.example/\"\ntoken_file = \"/dev/null\"\ntoken_header = \"x-api-key\"",
            "audit.sinks[0].token_file",
            "RFC 9110",
        ),
        (
            "name = \"a\"\ntype = \"splunk_hec\"\nurl = \"https://splunk.example/\"\ntoken_header = \"x-api-key\"",
            "audit.sinks[0].token_header",
            "no field of a sink of this type",
        ),
        (
            "name = \"a\"\ntype = \"http\"\nurl = \"https://siem.example/\"\ntimeout = \"1m\"",
            "audit.sinks[0].timeout",
            "between",
        ),
        (
            "name = \"a\"\ntype = \"syslog\"\naddress = \"logs.example\"",
            "audit.sinks[0].address",
            "must be HOST:PORT",
        ),
        (
            "name = \"a\"\ntype = \"syslog\"\naddress = \"logs.example:6514\"\ncert_file = \"x\"",
            "audit.sinks[0].key_file",
            "is missing beside",
        ),
        (
            "name = \"a\"\ntype = \"nats\"\naddress = \"nats.example:4222\"\nsubject = \"writ\"\ntls = false",
            "audit.sinks[0].tls",
            "only a loopback host",
        ),
        (
            "name = \"a\"\ntype = \"nats\"\naddress = \"nats.example:4222\"\nsubject = \"writ.>\"",
            "audit.sinks[0].subject",
            "without wildcards",
        ),
        (
            "name = \"a\"\ntype = \"otlp\"\naddress = \"otel.example:4318\"",
            "audit.sinks[0].address",
            "no field of a sink of this type",
        ),
        (
            "name = \"a\"\ntype = \"http\"\nurl = \"https://siem.example/\"\nbatch_records = 0",
            "audit.sinks[0].batch_records",
            "must be 1 to 5000",
        ),
        (
            "name = \"a\"\ntype = \"http\"\nurl = \"https://a.example/\"\n[[audit.sinks]]\nname = \"a\"\ntype = \"http\"\nurl = \"https://b.example/\"",
            "audit.sinks[1].name",
            "two sinks",
        ),
    ];
    for (toml, field, problem) in cases {
        let error = load(&format!("[[audit.sinks]]\n{toml}\n")).unwrap_err();
        let said = error.to_string();
        for part in ["writ.toml", field, problem] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn a_sink_has_defaults_and_its_token_is_in_no_debug_output() {
    let toml = "[[audit.sinks]]\nname = \"a\"\ntype = \"http\"\nurl = \"https://siem.example/in\"\ntoken_env = \"SIEM_TOKEN\"\n";
    let config = load_with(toml, &[("SIEM_TOKEN", "s3cr3t")]).unwrap();
    let sink = &config.audit.sinks[0];
    assert_eq!(sink.format, sinks::Format::Ocsf);
    assert_eq!(sink.from, sinks::From::Now);
    assert_eq!(sink.timeout, Duration::from_secs(10));
    assert!(!format!("{config:?}").contains("s3cr3t"));
}

#[test]
fn a_token_is_sent_in_the_header_that_is_named_as_it_is() {
    let table = "url = \"https://otel.example\"\ntoken_env = \"KEY\"\n";
    let toml = format!(
        "[telemetry]\n{table}token_header = \"Authorization\"\n
         [[audit.sinks]]\nname = \"a\"\ntype = \"otlp\"\n{table}token_header = \"X-Honeycomb-Team\"\n
         [[audit.sinks]]\nname = \"b\"\ntype = \"splunk_hec\"\n{table}"
    );
    let config = load_with(&toml, &[("KEY", "s3cr3t")]).unwrap();
    let (sinks::To::Otlp(otlp), sinks::To::SplunkHec { endpoint: hec, .. }) =
        (&config.audit.sinks[0].to, &config.audit.sinks[1].to)
    else {
        panic!("{config:?}")
    };
    let sent = |endpoint: &sinks::Endpoint| {
        let credential = endpoint.credential.clone().unwrap();
        let value = credential.value.to_str().unwrap().to_owned();
        (credential.name.to_string(), value)
    };
    let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(sent(otlp), of("x-honeycomb-team", "s3cr3t"));
    assert_eq!(sent(hec), of("authorization", "Splunk s3cr3t"));
    let telemetry = config.telemetry.as_ref().unwrap();
    assert_eq!(sent(&telemetry.endpoint), of("authorization", "s3cr3t"));
    assert!(!format!("{config:?}").contains("s3cr3t"));

    let basic = load_with(
        &format!("[telemetry]\n{table}token_header = \"authorization\"\n"),
        &[("KEY", "Basic czNjcjN0Og==\n")],
    );
    let basic = basic.unwrap().telemetry.unwrap();
    assert_eq!(
        sent(&basic.endpoint),
        of("authorization", "Basic czNjcjN0Og==")
    );
}

#[test]
fn the_examples_of_the_guide_to_sinks_are_good() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sinks.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for name in ["splunk-token", "nats-token", "writ.pem", "writ.key"] {
        std::fs::write(dir.path().join(name), "s3cr3t").unwrap();
    }
    let here = format!("_file = \"{}/", dir.path().display());
    let examples: Vec<_> = guide.split("```toml\n").skip(1).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let toml = example.split("```").next().unwrap();
        let toml = toml.replace("_file = \"", &here);
        let config = load_with(&toml, &[("LAKE_TOKEN", "s3cr3t")]).unwrap();
        assert!(!config.audit.sinks.is_empty());
    }
}

#[test]
fn where_telemetry_goes_is_checked_field_by_field() {
    let url = "url = \"https://otel.example\"\n";
    for (toml, field, problem) in [
        (
            "sample = 0.5".to_owned(),
            "telemetry.sample",
            "name the collector",
        ),
        (
            "url = \"http://otel.example\"".to_owned(),
            "telemetry.url",
            "must be https",
        ),
        (
            "url = \"https://a:s3cr3t@otel.example\"".to_owned(),
            "telemetry.url",
            "`telemetry.token_file`",
        ),
        (
            format!("{url}sample = 1.5"),
            "telemetry.sample",
            "must be 0 to 1",
        ),
        (
            format!("{url}sample = nan"),
            "telemetry.sample",
            "must be 0 to 1",
        ),
        (
            format!("{url}service_name = \"\""),
            "telemetry.service_name",
            "1 to 64",
        ),
        (
            format!("{url}metrics_interval = \"0s\""),
            "telemetry.metrics_interval",
            "1s",
        ),
        (
            format!("{url}token_file = \"/nowhere\""),
            "telemetry.token_file",
            "cannot be read",
        ),
    ] {
        let said = load(&format!("[telemetry]\n{toml}\n"))
            .unwrap_err()
            .to_string();
        for part in ["writ.toml", field, problem] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("s3cr3t"), "{said}");
    }
    assert!(load("").unwrap().telemetry.is_none());
}

#[test]
fn the_example_of_the_page_about_telemetry_is_good() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/telemetry.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("otel-token"), "s3cr3t").unwrap();
    let here = format!("_file = \"{}/", dir.path().display());
    let config = load(&example.replace("_file = \"", &here)).unwrap();
    assert!(!format!("{config:?}").contains("s3cr3t"));
    let telemetry = config.telemetry.unwrap();
    assert_eq!(
        telemetry.traces_url().as_str(),
        "https://otel.example.com:4318/v1/traces"
    );
    assert_eq!(
        telemetry.metrics_url().as_str(),
        "https://otel.example.com:4318/v1/metrics"
    );
    assert_eq!(
        (telemetry.sample, telemetry.metrics_interval),
        (1.0, Duration::from_secs(60))
    );
}
