//! Settings: their values, ranges, error messages and documentation.
//!
//! The tests give settings as flags. That each one can be given as an environment variable as well is tested in
//! `startup.rs`, as only another process can have another environment.

use std::ffi::OsString;
use std::time::Duration;

use aggregates::target_rules::TargetRules;
use clap::{Arg, CommandFactory};
use hooksentry::commands::{Command, CommandLine, Dev, Serve};
use hooksentry::config::{self, CommandLineError, Role, SettingProblem};
use hooksentry::queue::UNSTARTED_MAX;
use hooksentry::queue::rabbitmq::QueueType;

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const SECRET: &str = "hunter2-which-must-never-be-printed";

/// Parses a command and settings, which are given as pairs of environment variable and value.
fn parse(command: &[&str], settings: &[(&str, &str)]) -> Result<Command, CommandLineError> {
    let flags = settings.iter().map(|(name, value)| format!("--{}={value}", flag_of(name)));
    let arguments = ["hooksentry"].iter().chain(command).map(|&word| word.to_owned()).chain(flags);
    let command_line: CommandLine = config::parse(arguments.map(OsString::from))?;
    Ok(command_line.command)
}

fn flag_of(variable: &str) -> String {
    variable.trim_start_matches("HOOKSENTRY_").to_lowercase().replace('_', "-")
}

fn serve(arguments: &[&str], settings: &[(&str, &str)]) -> Serve {
    let arguments: Vec<&str> = ["serve"].iter().chain(arguments).copied().collect();
    match parse(&arguments, settings) {
        Ok(Command::Serve(mut serve)) => {
            // The variable names the server of the tests.
            if !settings.iter().any(|(name, _)| *name == "DATABASE_URL") {
                serve.settings.database.url = None;
            }
            *serve
        }
        other => panic!("{other:?}"),
    }
}

fn dev(arguments: &[&str]) -> Dev {
    let arguments: Vec<&str> = ["dev"].iter().chain(arguments).copied().collect();
    match parse(&arguments, &[]) {
        Ok(Command::Dev(dev)) => *dev,
        other => panic!("{other:?}"),
    }
}

/// Returns the error message of `serve` about an invalid setting.
fn refusal(name: &str, value: &str) -> String {
    match parse(&["serve"], &[(name, value)]) {
        Err(CommandLineError::Setting(problem)) => problem.to_string(),
        other => panic!("{name}={value}: {other:?}"),
    }
}

/// Returns the error of `serve` with these roles about settings that are each valid but do not fit together.
fn objection(roles: &str, environment: &[(&str, &str)]) -> SettingProblem {
    let serve = serve(&["--roles", roles], environment);
    serve.settings.check(&serve.roles).expect_err("settings that do not fit")
}

#[test]
fn defaults_apply_to_settings_that_are_not_given() {
    let Serve { roles, settings } = serve(&[], &[]);
    assert!(Role::ALL.iter().all(|role| roles.has(*role)));
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:5143");
    assert_eq!(settings.http.max_payload_bytes, 1_048_576);
    assert!(settings.http.trusted_proxies.is_none() && settings.http.cors_origin.is_none());
    assert_eq!(settings.delivery.timeout, Duration::from_secs(30));
    assert_eq!(settings.delivery.breaker_threshold, 5);
    assert!(!settings.targets.allow_insecure_destinations);
    assert_eq!(settings.retries.backoff(), aggregates::backoff::Backoff::default());
    assert_eq!(settings.queue.prefetch, UNSTARTED_MAX, "one tenant cannot have all that a worker receives");
    assert_eq!(settings.queue.queue_type, QueueType::Transient);
    let creations = settings.limits.tenant_creations().expect("a limit");
    assert_eq!((creations.most.get(), creations.window), (5, Duration::from_secs(3_600)));
    let logins = settings.limits.failed_logins().expect("a limit");
    assert_eq!((logins.most.get(), logins.window), (10, Duration::from_secs(300)));
    let invites = settings.limits.invite_registrations().expect("a limit");
    assert_eq!((invites.most.get(), invites.window), (10, Duration::from_secs(3_600)));
    let passwords = settings.passwords.rules();
    assert_eq!((passwords.memory_kib, passwords.passes, passwords.chars_min), (65_536, 5, 12));
    assert!(passwords.refuses_common && settings.passwords.require_current);
    assert_eq!(settings.start.timeout, Duration::from_secs(60));
    assert_eq!(settings.stop.deadline, Duration::from_secs(40));
}

#[test]
fn dev_allows_insecure_destinations_any_password_and_any_number_of_tenants_by_default() {
    let open = dev(&[]).settings;
    assert!(open.targets.allow_insecure_destinations);
    assert_eq!(open.limits.tenant_creations(), None);
    let passwords = open.passwords.rules();
    assert!(passwords.chars_min == 0 && !passwords.refuses_common && !open.passwords.require_current);
    let closed =
        dev(&["--allow-insecure-destinations=false", "--tenant-creations-per-hour", "3", "--data-dir", "/d"]);
    assert!(!closed.settings.targets.allow_insecure_destinations);
    assert_eq!(closed.settings.limits.tenant_creations().map(|limit| limit.most.get()), Some(3));
    assert_eq!(closed.data_dir.to_str(), Some("/d"));
}

#[test]
fn the_log_of_the_broker_client_is_off_unless_the_filter_names_it() {
    let both = serve(&["--log-format", "json"], &[("HOOKSENTRY_LOG", "debug")]);
    assert_eq!(both.settings.log.filter.filter().to_string(), "lapin=off,debug");
    let named = serve(&[], &[("HOOKSENTRY_LOG", "warn,lapin=info")]);
    assert_eq!(named.settings.log.filter.filter().to_string(), "lapin=info,warn");
}

#[test]
fn values_are_parsed_in_all_their_notations() {
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
    assert!(settings.targets.allow_insecure_destinations);
    assert_eq!(settings.retries.cap, Duration::from_secs(5_400));
    assert_eq!(settings.http.max_payload_bytes, 2_097_152);
    let proxies = settings.http.trusted_proxies.expect("networks").0;
    let proxies: Vec<String> = proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"]);
    assert_eq!(settings.http.cors_origin.expect("an origin"), "https://dashboard.example.com");
    assert_eq!(settings.limits.tenant_creations(), None);
}

#[test]
fn targets_follow_from_several_settings() {
    let Serve { settings, .. } = serve(
        &["--allow-http-destinations"],
        &[
            ("HOOKSENTRY_ALLOWED_NETWORKS", "10.0.0.0/8"),
            ("HOOKSENTRY_DENIED_NETWORKS", "10.1.0.0/16"),
            ("HOOKSENTRY_ALLOWED_PORTS", "443, 8080"),
            ("HOOKSENTRY_OWN_HOSTS", "Hooks.Example.com., 192.0.2.7"),
        ],
    );
    let rules = settings.targets.rules();
    let is_allowed = |url: &str| rules.check(&url.parse().unwrap()).is_ok();
    for url in ["http://10.2.0.1:8080/", "https://a.example/"] {
        assert!(is_allowed(url), "{url}");
    }
    for url in
        ["https://10.1.0.1/", "https://a.example:22/", "https://hooks.example.com/", "https://127.0.0.1/"]
    {
        assert!(!is_allowed(url), "{url}");
    }
    assert_eq!(serve(&[], &[]).settings.targets.rules(), TargetRules::default());
    let insecure = serve(&["--allow-insecure-destinations"], &[]).settings.targets.rules();
    assert_eq!(insecure, TargetRules::insecure());
}

#[test]
fn an_invalid_value_is_refused_with_name_value_and_range() {
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
        ("HOOKSENTRY_QUEUE_TYPE", "classic", "transient or quorum"),
        ("HOOKSENTRY_CORS_ORIGIN", "https://a.example/", "without a path"),
        ("HOOKSENTRY_CORS_ORIGIN", "*", "an origin such as"),
        ("HOOKSENTRY_TRUSTED_PROXIES", "10.0.0.0/8,proxy", "networks such as"),
        ("HOOKSENTRY_ALLOWED_NETWORKS", "10.0.0.0/33", "networks such as"),
        ("HOOKSENTRY_ALLOWED_PORTS", "443,0", "ports from 1 to 65535"),
        ("HOOKSENTRY_OWN_HOSTS", "hooks.example.com:443", "without a port"),
        ("HOOKSENTRY_PASSWORD_MEMORY_KIB", "63", "between 64 and 4194304"),
        ("HOOKSENTRY_PASSWORD_HASHES_AT_ONCE", "0", "between 1 and 1024"),
        ("HOOKSENTRY_ROLES", "api,chef", "api,projector,dispatcher,worker,sealer"),
        ("HOOKSENTRY_LOG", "info,=", "a level"),
        ("HOOKSENTRY_LOG_FORMAT", "xml", "text or json"),
    ] {
        let said = refusal(name, value);
        let flag = flag_of(name);
        assert!(said.starts_with(&format!("{name} (--{flag}) is \"{value}\": must ")), "{said}");
        assert!(said.contains(allowed), "{said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

#[test]
fn the_error_about_an_invalid_secret_does_not_contain_it() {
    for (name, allowed) in [
        ("HOOKSENTRY_JWT_KEY", "at least 32"),
        ("HOOKSENTRY_ENCRYPTION_KEY", "exactly 32 bytes"),
        ("DATABASE_URL", "postgres://"),
        ("AMQP_URL", "amqp://"),
        ("HOOKSENTRY_OUTBOUND_PROXY", "http://"),
        ("HOOKSENTRY_TSA_URL", "https://"),
    ] {
        let value = &SECRET[..31];
        let said = refusal(name, value);
        assert!(said.starts_with(&format!("{name} (--")), "{said}");
        assert!(said.contains(allowed) && !said.contains(value), "{said}");
    }
}

#[test]
fn printed_settings_do_not_contain_secrets() {
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
}

#[test]
fn connections_to_other_machines_are_encrypted() {
    let encryption = ("HOOKSENTRY_ENCRYPTION_KEY", KEY);
    let here = [("DATABASE_URL", "postgres://localhost/a"), ("AMQP_URL", "amqp://127.0.0.1")];
    let [database, broker] = here;
    let fits = |environment: &[(&str, &str)]| {
        let serve = serve(&["--roles", "worker"], environment);
        serve.settings.check(&serve.roles).is_ok()
    };
    let plain = format!("postgres://me:{SECRET}@db.example:5433/a");
    for url in [plain.clone(), format!("{plain}?sslmode=require"), format!("{plain}?sslmode=verify-ca")] {
        let said = objection("worker", &[("DATABASE_URL", &url), broker, encryption]).to_string();
        assert!(said.contains("a at db.example:5433") && said.contains("sslmode=verify-full"), "{said}");
        assert!(said.contains("HOOKSENTRY_ALLOW_UNENCRYPTED_CONNECTIONS=true"), "{said}");
        assert!(!said.contains(SECRET), "{said}");
    }
    let brokers = format!("amqps://me:{SECRET}@mq.example,amqp://me:{SECRET}@mq2.example");
    let said = objection("worker", &[database, ("AMQP_URL", &brokers), encryption]).to_string();
    assert!(
        said.contains("mq2.example:5672") && said.contains("amqps://") && !said.contains(SECRET),
        "{said}"
    );

    let verified = format!("{plain}?sslmode=verify-full");
    assert!(fits(&[("DATABASE_URL", &verified), ("AMQP_URL", "amqps://mq.example"), encryption]));
    assert!(fits(&[("DATABASE_URL", "postgres:///a?host=/run/postgresql"), broker, encryption]));
    assert!(fits(&[("DATABASE_URL", "postgres://[::1]/a"), broker, encryption]));
    let allowed = ("HOOKSENTRY_ALLOW_UNENCRYPTED_CONNECTIONS", "true");
    assert!(fits(&[("DATABASE_URL", &plain), ("AMQP_URL", "amqp://mq.example"), encryption, allowed]));
}

#[test]
fn each_role_requires_its_settings() {
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
    // Without a broker, jobs stay within the process.
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
fn the_name_of_a_flag_follows_from_that_of_its_variable() {
    for command in CommandLine::command().get_subcommands() {
        for argument in command.get_arguments() {
            let Some(variable) = argument.get_env().and_then(|name| name.to_str()) else { continue };
            if variable == "HOOKSENTRY_WEBHOOK_SECRET" {
                // A setting of `listen`, not of the service.
                continue;
            }
            assert_eq!(argument.get_long().expect("a setting is a flag"), flag_of(variable));
            assert!(argument.get_help().is_some(), "{variable} is not explained");
        }
    }
}

/// `.env.example` is generated from the declarations of the settings: run this test with the environment variable
/// `HOOKSENTRY_TEST_WRITE_EXAMPLE` after a change.
#[test]
fn the_example_of_environment_variables_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
    let expected = example();
    if std::env::var_os("HOOKSENTRY_TEST_WRITE_EXAMPLE").is_some() {
        std::fs::write(path, &expected).expect("a writable file");
    }
    let found = std::fs::read_to_string(path).expect("the example");
    assert_eq!(found, expected, "run this test with HOOKSENTRY_TEST_WRITE_EXAMPLE=1");
}

/// Settings without a default that `serve` requires, at least with some roles.
const REQUIRED: [&str; 4] = ["DATABASE_URL", "AMQP_URL", "HOOKSENTRY_JWT_KEY", "HOOKSENTRY_ENCRYPTION_KEY"];

fn example() -> String {
    let mut text = comment(
        "Settings of `hooksentry serve` and `hooksentry dev` as environment variables. Each is a flag as well \
         (HOOKSENTRY_RETRY_BASE is --retry-base), and a flag wins. The value after `#NAME=` is the default. An empty \
         variable counts as not set. Durations are written as 200ms, 10s or 6h.",
    );
    let command_line = CommandLine::command();
    let arguments = |name: &str| {
        command_line.find_subcommand(name).expect("a command").get_arguments().cloned().collect::<Vec<_>>()
    };
    let (serve, dev) = (arguments("serve"), arguments("dev"));
    let only_dev = dev.iter().filter(|argument| !has_variable_of(&serve, argument));
    let mut heading = None;
    for argument in serve.iter().chain(only_dev) {
        let Some(variable) = argument.get_env().and_then(|name| name.to_str()) else { continue };
        let title = argument.get_help_heading().unwrap_or("General");
        if heading.replace(title) != Some(title) {
            text.push_str(&format!("\n# --- {title} {}\n", "-".repeat(104 - title.len())));
        }
        let help = argument.get_long_help().or(argument.get_help()).expect("an explained setting");
        let only = match (has_variable_of(&serve, argument), has_variable_of(&dev, argument)) {
            (true, false) => " (`serve` only)",
            (false, true) => " (`dev` only)",
            _ => "",
        };
        let default =
            argument.get_default_values().first().and_then(|value| value.to_str()).unwrap_or_default();
        let mark = if REQUIRED.contains(&variable) { "" } else { "#" };
        text.push_str(&format!("\n{}{mark}{variable}={default}\n", comment(&format!("{help}{only}"))));
    }
    text
}

fn has_variable_of(arguments: &[Arg], argument: &Arg) -> bool {
    arguments.iter().any(|other| other.get_env() == argument.get_env())
}

/// Breaks a text into comment lines of at most 110 characters.
fn comment(text: &str) -> String {
    let mut lines = String::from("#");
    let mut width = 1;
    for word in text.split_whitespace() {
        if width + 1 + word.len() > 110 {
            lines.push_str("\n#");
            width = 1;
        }
        lines.push(' ');
        lines.push_str(word);
        width += 1 + word.len();
    }
    lines.push('\n');
    lines
}
