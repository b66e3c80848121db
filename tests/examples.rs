//! The configurations that we ship load, and the reference says what the code does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "UPDATE_EXPECT is for tests alone")]

use std::fs;
use std::path::{Path, PathBuf};

use tidegate::config::{self, Environment, Settings};
use tidegate::observe::metrics;

/// Every configuration in `conf/`.
fn configurations() -> Vec<PathBuf> {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let examples = fs::read_dir(conf.join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = examples.chain([conf.join("tidegate.yaml")]).collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    files
}

/// Loads a file with a value for every placeholder in it, in a folder that holds the secrets it names.
fn load(path: &Path) -> Settings {
    let source = fs::read_to_string(path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("secrets")).unwrap();
    let mut env = Environment::new();
    for (number, placeholder) in source.split("${").skip(1).map(|rest| rest.split('}').next().unwrap()).enumerate() {
        let value = format!("example-secret-{number}");
        match placeholder.strip_prefix("file:") {
            Some(file) => fs::write(folder.path().join(file), value + "\n").unwrap(),
            None if placeholder.contains(":-") => {}
            None => drop(env.insert(placeholder.to_owned(), value)),
        }
    }
    match config::parse(&source, &path.display().to_string(), folder.path(), &env) {
        Ok(settings) => settings,
        Err(report) => panic!("{report}"),
    }
}

#[test]
fn every_example_loads_and_resolves() {
    for path in configurations() {
        let settings = load(&path);
        let routes: Vec<_> = settings.models.list().chain(settings.models.patterns()).collect();
        assert!(!routes.is_empty(), "{}", path.display());
        for route in routes {
            let asked = route.name.replace('*', "something");
            let found = settings.models.resolve(&asked).unwrap();
            assert_eq!(found.name, route.name, "{}: {asked} is taken by another entry", path.display());
            for target in &found.targets {
                assert!(settings.providers.contains_key(&target.provider));
                assert!(!target.model.contains('*'));
            }
        }
        assert!(!config::redacted(&settings).contains("example-secret"), "{}", path.display());
        assert!(!format!("{settings:?}").contains("example-secret"), "{}", path.display());
    }
}

#[test]
fn the_reference_shows_every_key() {
    let conf = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/tidegate.yaml")).unwrap();
    let reference = config::describe();
    let keys = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let kinds = reference.split("## Kinds of providers").nth(1).unwrap();
    for key in keys.filter(|key| !kinds.contains(&format!("| `{key}` | `"))) {
        let shown = conf.lines().any(|line| {
            line.trim_start_matches([' ', '#', '-', '{']).starts_with(&format!("{key}:"))
                || line.contains(&format!("{{{key}:"))
                || line.contains(&format!(", {key}:"))
        });
        assert!(shown, "conf/tidegate.yaml does not show `{key}`");
    }
    for kind in kinds.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()) {
        assert!(
            conf.contains(&format!("{kind},")) || conf.contains(&format!("{kind}.")),
            "conf/tidegate.yaml does not name `{kind}`"
        );
    }
}

#[test]
fn the_operators_page_names_metrics_that_there_are() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md")).unwrap();
    let words =
        page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("gateway_"));
    let reference = metrics::describe();
    let mut named = 0;
    for word in words {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
        assert!(
            reference.contains(&format!("| `{family}` |")),
            "docs/operations.md names `{word}`, which is no metric"
        );
        named += 1;
    }
    assert!(named > 10, "{named}");
}

#[test]
fn the_reference_pages_are_what_the_code_says() {
    for (page, expect) in [("docs/config.md", config::describe()), ("docs/metrics.md", metrics::describe())] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&path, &expect).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == expect, "{page} is old: run `UPDATE_EXPECT=1 cargo test --test examples`");
    }
}
