//! Settings: where they come from, what is allowed, and what a person is told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::time::Duration;

use clap::CommandFactory;
use hooksentry::commands::{Command, CommandLine, Dev, Serve};
use hooksentry::config::{self, NotUnderstood, Role, SettingProblem};

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const SECRET: &str = "hunter2-which-nobody-must-ever-see";

fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Command, NotUnderstood> {
    let environment: HashMap<OsString, OsString> =
        environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    let arguments = ["hooksentry"].iter().chain(arguments).map(OsString::from);
    let command_line: CommandLine = config::read(arguments, |name| environment.get(name).cloned())?;
    Ok(command_line.command)
}

fn serve(arguments: &[&str], environment: &[(&str, &str)]) -> Serve {
    let arguments: Vec<&str> = ["serve"].iter().chain(arguments).copied().collect();
    match read(&arguments, environment) {
        Ok(Command::Serve(serve)) => *serve,
        other => panic!("{other:?}"),
    }
}

fn dev(arguments: &[&str]) -> Dev {
    let arguments: Vec<&str> = ["dev"].iter().chain(arguments).copied().collect();
    match read(&arguments, &[]) {
        Ok(Command::Dev(dev)) => *dev,
        other => panic!("{other:?}"),
    }
}

/// What `serve` says to one setting that is wrong.
fn refusal(name: &str, value: &str) -> String {
    match read(&["serve"], &[(name, value)]) {
        Err(NotUnderstood::Setting(problem)) => problem.to_string(),
        other => panic!("{name}={value}: {other:?}"),
    }
}

/// What `serve` with these roles says to settings that are each right and wrong together.
fn objection(roles: &str, environment: &[(&str, &str)]) -> SettingProblem {
    let serve = serve(&["--roles", roles], environment);
    serve.settings.check(&serve.roles).expect_err("settings that do not fit")
}

#[test]
fn without_anything_given_the_defaults_hold() {
    let Serve { roles, settings } = serve(&[], &[]);
    assert!(Role::ALL.iter().all(|role| roles.has(*role)));
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:5143");
    assert_eq!(settings.http.max_payload_bytes, 1_048_576);
    assert!(settings.http.trusted_proxies.is_none() && settings.http.cors_origin.is_none());
    assert_eq!(settings.delivery.timeout, Duration::from_secs(30));
    assert_eq!(settings.delivery.breaker_threshold, 5);
    assert!(!settings.delivery.allow_insecure_destinations);
    assert_eq!(settings.retries.backoff(), aggregates::backoff::Backoff::default());
    assert_eq!(settings.prefetch(), settings.delivery.worker_concurrency);
    let creations = settings.limits.tenant_creations().expect("a limit");
    assert_eq!((creations.most.get(), creations.window), (5, Duration::from_secs(3_600)));
    let logins = settings.limits.failed_logins().expect("a limit");
    assert_eq!((logins.most.get(), logins.window), (10, Duration::from_secs(300)));
    let invites = settings.limits.invite_registrations().expect("a limit");
    assert_eq!((invites.most.get(), invites.window), (10, Duration::from_secs(3_600)));
    let passwords = settings.passwords.rules();
    assert_eq!((passwords.memory_kib, passwords.passes, passwords.chars_min), (65_536, 5, 0));
    assert_eq!(settings.start.timeout, Duration::from_secs(60));
    assert_eq!(settings.stop.deadline, Duration::from_secs(40));
}

#[test]
fn dev_is_open_where_serve_is_not_and_can_be_closed() {
    let open = dev(&[]).settings;
    assert!(open.delivery.allow_insecure_destinations);
    assert_eq!(open.limits.tenant_creations(), None);
    let closed =
        dev(&["--allow-insecure-destinations=false", "--tenant-creations-per-hour", "3", "--data-dir", "/d"]);
    assert!(!closed.settings.delivery.allow_insecure_destinations);
    assert_eq!(closed.settings.limits.tenant_creations().map(|limit| limit.most.get()), Some(3));
    assert_eq!(closed.data_dir.to_str(), Some("/d"));
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_default() {
    let base = |serve: Serve| serve.settings.retries.base;
    let environment = [("HOOKSENTRY_RETRY_BASE", "200ms")];
    assert_eq!(base(serve(&[], &environment)), Duration::from_millis(200));
    assert_eq!(base(serve(&["--retry-base", "7s"], &environment)), Duration::from_secs(7));
    assert_eq!(base(serve(&["--retry-base=7s"], &environment)), Duration::from_secs(7));
    // What is overruled is not looked at, and what is empty is not there.
    let nonsense = [("HOOKSENTRY_RETRY_BASE", "nonsense")];
    assert_eq!(base(serve(&["--retry-base", "7s"], &nonsense)), Duration::from_secs(7));
    assert_eq!(base(serve(&[], &[("HOOKSENTRY_RETRY_BASE", "")])), Duration::from_secs(10));
    // A flag whose name begins like another one's does not stand in for it.
    let both = serve(&["--log-format", "json"], &[("HOOKSENTRY_LOG", "debug")]);
    assert_eq!(both.settings.log.filter.filter().to_string(), "lapin=off,debug");
    let named = serve(&[], &[("HOOKSENTRY_LOG", "warn,lapin=info")]);
    assert_eq!(named.settings.log.filter.filter().to_string(), "lapin=info,warn");
}

#[test]
fn values_are_read_as_people_write_them() {
    let Serve { settings, .. } = serve(
        &["--allow-insecure-destinations"],
        &[
            ("HOOKSENTRY_RETRY_CAP", "1h 30m"),
            ("HOOKSENTRY_MAX_PAYLOAD_BYTES", "2 MiB"),
            ("HOOKSENTRY_TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8,192.0.2.7"),
            ("HOOKSENTRY_CORS_ORIGIN", "https://dashboard.example.com"),
            ("HOOKSENTRY_TENANT_CREATIONS_PER_HOUR", "0"),
        ],
    );
    assert!(settings.delivery.allow_insecure_destinations);
    assert_eq!(settings.retries.cap, Duration::from_secs(5_400));
    assert_eq!(settings.http.max_payload_bytes, 2_097_152);
    let proxies = settings.http.trusted_proxies.expect("networks").0;
    let proxies: Vec<String> = proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"]);
    assert_eq!(settings.http.cors_origin.expect("an origin"), "https://dashboard.example.com");
    assert_eq!(settings.limits.tenant_creations(), None);
}

#[test]
fn a_wrong_value_is_refused_with_its_name_itself_and_what_is_allowed() {
    for (name, value, allowed) in [
        ("HOOKSENTRY_LISTEN", "localhost", "an IP address and a port"),
        ("HOOKSENTRY_MAX_PAYLOAD_BYTES", "12", "between 1024 and 67108864 bytes"),
        ("HOOKSENTRY_MAX_PAYLOAD_BYTES", "1MB", "such as 1048576, 512KiB or 1MiB"),
        ("HOOKSENTRY_MAX_PAYLOAD_BYTES", "99999999999999999999", "such as 1048576"),
        ("HOOKSENTRY_RETRY_BASE", "10", "such as 200ms, 10s or 6h"),
        ("HOOKSENTRY_RETRY_BASE", "0s", "between 1ms and 30days"),
        ("HOOKSENTRY_RETRY_BASE", "-1s", "such as 200ms, 10s or 6h"),
        ("HOOKSENTRY_RETRY_FACTOR", "0.5", "between 1 and 100"),
        ("HOOKSENTRY_RETRY_FACTOR", "NaN", "between 1 and 100"),
        ("HOOKSENTRY_RETRY_JITTER", "1.1", "between 0 and 1"),
        ("HOOKSENTRY_DELIVERY_TIMEOUT", "1h", "between 10ms and 10m"),
        ("HOOKSENTRY_BREAKER_THRESHOLD", "0", "between 1 and 1000000"),
        ("HOOKSENTRY_TENANT_CREATIONS_PER_HOUR", "-1", "between 0 and 4294967295"),
        ("HOOKSENTRY_ALLOW_INSECURE_DESTINATIONS", "yes", "true or false"),
        ("HOOKSENTRY_DATABASE_CONNECTIONS", "1", "between 5 and 1000"),
        ("HOOKSENTRY_WORKER_CONCURRENCY", "0", "between 1 and 65535"),
        ("HOOKSENTRY_TENANT_WEIGHTS", "acme=2", "ids of tenants and weights from 1 to 1000"),
        ("HOOKSENTRY_TENANT_WEIGHTS", "0190a5c2-6f7e-7c1d-9e0b-3f4a5b6c7d8e=0", "weights from 1 to 1000"),
        (
            "HOOKSENTRY_TENANT_WEIGHTS",
            "0190a5c2-6f7e-7c1d-9e0b-3f4a5b6c7d8e=2,0190a5c2-6f7e-7c1d-9e0b-3f4a5b6c7d8e=3",
            "each tenant once",
        ),
        ("HOOKSENTRY_PREFETCH", "65536", "between 1 and 65535"),
        ("HOOKSENTRY_QUEUE_PREFIX", "a b", "letters, digits"),
        ("HOOKSENTRY_CORS_ORIGIN", "https://a.example/", "without a path"),
        ("HOOKSENTRY_CORS_ORIGIN", "*", "an origin such as"),
        ("HOOKSENTRY_TRUSTED_PROXIES", "10.0.0.0/8,proxy", "networks such as"),
        ("HOOKSENTRY_PASSWORD_MEMORY_KIB", "63", "between 64 and 4194304"),
        ("HOOKSENTRY_PASSWORD_HASHES_AT_ONCE", "0", "between 1 and 1024"),
        ("HOOKSENTRY_ROLES", "api,chef", "api,projector,dispatcher,worker"),
        ("HOOKSENTRY_LOG", "info,=", "a level"),
        ("HOOKSENTRY_LOG_FORMAT", "xml", "text or json"),
    ] {
        let flag = name.trim_start_matches("HOOKSENTRY_").to_lowercase().replace('_', "-");
        let said = refusal(name, value);
        assert!(said.starts_with(&format!("{name} (--{flag}) is \"{value}\": must ")), "{said}");
        assert!(said.contains(allowed), "{said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

#[test]
fn a_secret_is_refused_without_being_repeated() {
    for (name, allowed) in [
        ("HOOKSENTRY_JWT_KEY", "at least 32"),
        ("HOOKSENTRY_ENCRYPTION_KEY", "exactly 32 bytes"),
        ("DATABASE_URL", "postgres://"),
        ("AMQP_URL", "amqp://"),
        ("HOOKSENTRY_OUTBOUND_PROXY", "http://"),
    ] {
        let value = &SECRET[..31];
        let said = refusal(name, value);
        assert!(said.starts_with(&format!("{name} (--")), "{said}");
        assert!(said.contains(allowed) && !said.contains(value), "{said}");
    }
}

#[test]
fn no_secret_is_printed_with_the_settings() {
    let serve = serve(
        &[],
        &[
            ("HOOKSENTRY_JWT_KEY", SECRET),
            ("HOOKSENTRY_ENCRYPTION_KEY", KEY),
            ("DATABASE_URL", &format!("postgres://me:{SECRET}@db.example:5433/hooks")),
            ("AMQP_URL", &format!("amqp://me:{SECRET}@broker.example/")),
            ("HOOKSENTRY_OUTBOUND_PROXY", &format!("http://me:{SECRET}@proxy.example:3128")),
        ],
    );
    let printed = format!("{serve:?}");
    assert!(!printed.contains(SECRET) && !printed.contains(KEY), "{printed}");
    assert!(printed.contains("hooks at db.example:5433"), "{printed}");
}

#[test]
fn settings_are_checked_against_each_other() {
    let all = "api,projector,dispatcher,worker";
    let said = objection(all, &[("HOOKSENTRY_RETRY_CAP", "5s")]).to_string();
    assert_eq!(
        said,
        "HOOKSENTRY_RETRY_CAP (--retry-cap) is \"5s\": must be at least HOOKSENTRY_RETRY_BASE, which is 10s"
    );
    let said = objection(all, &[("HOOKSENTRY_PREFETCH", "10"), ("HOOKSENTRY_WORKER_CONCURRENCY", "11")]);
    assert!(said.to_string().contains("at least HOOKSENTRY_WORKER_CONCURRENCY, which is 11"), "{said}");
}

#[test]
fn each_role_is_given_what_it_needs() {
    let database = ("DATABASE_URL", "postgres://localhost/a");
    let (signing, encryption) = (("HOOKSENTRY_JWT_KEY", SECRET), ("HOOKSENTRY_ENCRYPTION_KEY", KEY));
    let broker = ("AMQP_URL", "amqp://localhost");
    let missing = |roles: &str, environment: &[(&str, &str)]| match objection(roles, environment) {
        SettingProblem::Missing { setting, .. } => setting,
        other => panic!("{other}"),
    };
    assert_eq!(missing("api", &[signing, encryption]), "DATABASE_URL");
    assert_eq!(missing("api", &[database, encryption]), "HOOKSENTRY_JWT_KEY");
    assert_eq!(missing("api", &[database, signing]), "HOOKSENTRY_ENCRYPTION_KEY");
    assert_eq!(missing("worker", &[database, broker]), "HOOKSENTRY_ENCRYPTION_KEY");
    // Without a broker jobs stay within the process.
    assert_eq!(missing("worker", &[database, encryption]), "AMQP_URL");
    assert_eq!(missing("api,projector,dispatcher", &[database, signing, encryption]), "AMQP_URL");

    for (roles, environment) in [
        ("projector", vec![database]),
        ("api,projector", vec![database, signing, encryption]),
        ("dispatcher", vec![database, broker]),
        ("dispatcher,worker", vec![database, encryption]),
        ("worker", vec![database, encryption, broker]),
    ] {
        let serve = serve(&["--roles", roles], &environment);
        assert!(serve.settings.check(&serve.roles).is_ok(), "{roles}");
    }
}

#[test]
fn a_variable_and_a_flag_are_named_after_one_another() {
    for command in CommandLine::command().get_subcommands() {
        for argument in command.get_arguments() {
            let Some(variable) = argument.get_env().and_then(|name| name.to_str()) else { continue };
            if variable == "HOOKSENTRY_WEBHOOK_SECRET" {
                // Of the receiver, which is no part of the service.
                continue;
            }
            let flag = argument.get_long().expect("a setting is a flag");
            let name = flag.to_uppercase().replace('-', "_");
            let expected =
                if variable.starts_with("HOOKSENTRY_") { format!("HOOKSENTRY_{name}") } else { name };
            assert_eq!(variable, expected);
            assert!(argument.get_help().is_some(), "{variable} is not explained");
        }
    }
}

#[test]
fn the_example_lists_every_setting_with_its_default() {
    let mut settings: BTreeMap<String, String> = BTreeMap::new();
    let command_line = CommandLine::command();
    for name in ["dev", "serve"] {
        for argument in command_line.find_subcommand(name).expect("a command").get_arguments() {
            let Some(variable) = argument.get_env().and_then(|name| name.to_str()) else { continue };
            let default = argument.get_default_values().first().and_then(|value| value.to_str());
            settings.insert(variable.to_owned(), default.unwrap_or_default().to_owned());
        }
    }
    let example = include_str!("../../.env.example");
    let given: BTreeSet<&str> = example.lines().filter(|line| !line.starts_with("# ")).collect();
    let lines = given.iter().filter_map(|line| line.split_once('='));
    let listed: BTreeMap<String, String> =
        lines.map(|(name, value)| (name.trim_start_matches('#').to_owned(), value.to_owned())).collect();
    assert_eq!(listed.keys().collect::<Vec<_>>(), settings.keys().collect::<Vec<_>>());
    for (name, default) in &settings {
        if !matches!(name.as_str(), "DATABASE_URL" | "AMQP_URL") {
            assert_eq!(&listed[name], default, "{name}");
        }
    }
}
