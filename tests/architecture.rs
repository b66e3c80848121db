//! Holds what `docs/architecture.md` promises: who may import whom, what the codec may touch, how long things may be.
//!
//! Every rule is a function from sources to complaints, so that the tests at the end can feed each one a source that
//! breaks it. To add an edge between modules, add it to [`MAP`] and say in the commit why it is needed.
#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test: it may stop at once, and offsets come from searches"
)]

#[path = "architecture/codes.rs"]
mod codes;
#[path = "architecture/source.rs"]
mod source;

use std::fs;
use std::path::Path;

use source::{Source, read_tree};

/// Module -> what it may name of this crate; the bottom first.
const MAP: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("secret", &[]),
    ("observe", &["clock"]),
    ("routing", &[]),
    ("limits", &["clock"]),
    ("provider", &["limits", "secret"]),
    ("upstream", &["clock", "limits", "provider"]),
    ("config", &["limits", "observe", "provider", "routing", "secret", "upstream"]),
    ("proxy", &["clock", "config", "limits", "observe", "provider", "routing", "upstream"]),
    ("admin", &["observe"]),
    ("server", &["admin", "clock", "config", "limits", "observe", "proxy", "upstream"]),
    ("simulate", &["clock"]),
    ("cli", &["config", "observe", "server", "simulate"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// What the codec may link: nothing that opens a socket, a file or a clock.
const CODEC_LINKS: &[&str] = &["base64", "bytes", "hmac", "memchr", "serde", "serde_json", "sha2", "thiserror"];

/// Words that the proxy may not say: it serves every format and provider through their traits and data.
const NAMES: &[&str] = &["anthropic", "azure", "bedrock", "claude", "gemini", "gpt", "mistral", "ollama", "openai"];

/// Lines of a file without its tests.
const FILE_LINES: usize = 600;

/// Lines of a function's body that hold code.
const FUNCTION_LINES: usize = 60;

#[test]
fn modules_import_only_what_the_map_allows() {
    hold(&edges(&ours(), MAP));
}

#[test]
fn the_map_allows_only_what_is_used() {
    hold(&unused(&ours(), MAP));
}

#[test]
fn the_map_has_no_cycle() {
    for (at, (module, allowed)) in MAP.iter().enumerate() {
        for target in *allowed {
            let below = MAP.iter().position(|(name, _)| name == target);
            assert!(
                below.is_some_and(|below| below < at),
                "`{module}` -> `{target}`: a row may only name rows above it"
            );
        }
    }
}

#[test]
fn the_map_is_drawn() {
    let page = fs::read_to_string("docs/architecture.md").unwrap();
    hold(&undrawn(&page, MAP));
    hold(&imagined(&page, MAP));
}

#[test]
fn files_are_named_where_their_folder_begins() {
    for path in ["src/proxy/mod.rs", "src/codec/lib.rs", "src/codec/format/mod.rs"] {
        hold(&unlisted(path, &fs::read_to_string(path).unwrap()));
    }
}

#[test]
fn errors_are_explained_to_operators() {
    let page = fs::read_to_string("docs/operations.md").unwrap();
    hold(&codes::unexplained(&all(), &page));
    hold(&codes::unsaid(&all(), &page));
}

#[test]
fn the_codec_links_nothing_that_does_io() {
    hold(&links(&fs::read_to_string("src/codec/Cargo.toml").unwrap(), CODEC_LINKS));
}

#[test]
fn the_codec_is_pure() {
    hold(&impure(&codec()));
}

#[test]
fn formats_do_not_know_each_other() {
    hold(&acquainted(&codec(), &formats()));
}

#[test]
fn the_proxy_names_no_format_and_no_provider() {
    hold(&named(&ours(), NAMES));
}

#[test]
fn one_module_reads_the_clock_and_few_the_environment() {
    hold(&ambient(&ours()));
}

#[test]
fn json_trees_stay_inside_their_module() {
    hold(&trees(&all()));
}

#[test]
fn files_and_functions_stay_readable() {
    hold(&long(&all()));
}

/// Fails with every complaint.
fn hold(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn all() -> Vec<Source> {
    read_tree(Path::new("src"))
}

fn codec() -> Vec<Source> {
    read_tree(Path::new("src/codec"))
}

fn ours() -> Vec<Source> {
    all().into_iter().filter(|source| !source.path.starts_with("src/codec/")).collect()
}

/// The folders of the codec's formats; that of the tests is of all of them.
fn formats() -> Vec<String> {
    let folders = fs::read_dir("src/codec/format").unwrap().map(|entry| entry.unwrap().path());
    let names =
        folders.filter(|path| path.is_dir()).map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    names.filter(|name| name != "tests").collect()
}

/// The top-level module of a file, and how many modules deep the file stands.
fn place(source: &Source) -> (String, usize) {
    let path = source.path.trim_start_matches("src/").trim_end_matches(".rs");
    let parts: Vec<_> = path.split('/').filter(|part| *part != "mod").collect();
    (parts.first().copied().unwrap_or_default().to_owned(), parts.len())
}

/// What a source names of this crate, each with its line.
fn imports(source: &Source) -> impl Iterator<Item = (usize, String)> {
    let paths = source.paths("crate::").into_iter().chain(source.paths("tidegate::"));
    paths.filter_map(|(line, path)| Some((line, path.into_iter().next()?)))
}

/// Imports between modules that the map does not have.
fn edges(sources: &[Source], map: &[(&str, &[&str])]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let (module, depth) = place(source);
        let Some((_, allowed)) = map.iter().find(|(name, _)| *name == module) else {
            complaints.push(format!("{}: module `{module}` is not on the map: give it a row in MAP", source.path));
            continue;
        };
        for (line, target) in imports(source) {
            let ours = map.iter().any(|(name, _)| *name == target);
            if ours && target != module && !allowed.contains(&&*target) {
                complaints.push(format!(
                    "{}:{line}: `{module}` may not use `{target}`; it may use {allowed:?}. Hand over a value or a trait from \
                     above, or move the shared part into a module below both",
                    source.path
                ));
            }
        }
        let way_out = vec!["super::"; depth].concat();
        complaints.extend(source.places(&way_out).map(|at| {
            let line = source.line(at);
            format!(
                "{}:{line}: this many `super` leave the module: write `crate::`, which the map can see",
                source.path
            )
        }));
    }
    complaints
}

/// Rows of the map without a module, and imports that it allows to nobody.
fn unused(sources: &[Source], map: &[(&str, &[&str])]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (module, allowed) in map {
        let files: Vec<_> = sources.iter().filter(|source| place(source).0 == *module).collect();
        if files.is_empty() {
            complaints.push(format!("MAP: there is no module `{module}`: delete its row"));
            continue;
        }
        let used: Vec<_> = files.iter().flat_map(|source| imports(source)).map(|(_, target)| target).collect();
        complaints.extend(allowed.iter().filter(|target| !used.iter().any(|name| name == *target)).map(|target| {
            format!("MAP: `{module}` uses nothing of `{target}`: delete the edge, so that a new use of it is seen")
        }));
    }
    complaints
}

/// Rows of the map that the page does not show.
fn undrawn(page: &str, map: &[(&str, &[&str])]) -> Vec<String> {
    let missing = |module: &str| !page.contains(&format!("`{module}`"));
    let modules = map.iter().map(|(module, _)| *module).filter(|module| !["lib", "main"].contains(module));
    modules
        .filter(|module| missing(module))
        .map(|module| format!("docs/architecture.md: `{module}` is missing: say what it is for and what it never does"))
        .collect()
}

/// Rows of the page's table of modules that the map does not have.
fn imagined(page: &str, map: &[(&str, &[&str])]) -> Vec<String> {
    let table = page.lines().skip_while(|line| !line.starts_with("| module |")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|')).filter_map(|line| line.split('`').nth(1));
    rows.filter(|row| !map.iter().any(|(module, _)| module == row))
        .map(|row| {
            format!("docs/architecture.md: there is no module `{row}`: delete its row, and its place in the drawing")
        })
        .collect()
}

/// Modules of the file `path` that its own documentation names neither in backticks nor at the end of an arrow.
fn unlisted(path: &str, text: &str) -> Vec<String> {
    let page: String = text.lines().filter(|line| line.starts_with("//!")).flat_map(|line| [line, "\n"]).collect();
    let named = |module: &str| {
        page.contains(&format!("`{module}`"))
            || page.split('▶').any(|rest| rest.split_whitespace().next() == Some(module))
    };
    let declared = |line: &str| {
        let rest = ["pub mod ", "pub(crate) mod ", "mod "].iter().find_map(|start| line.strip_prefix(start))?;
        rest.strip_suffix(';').filter(|module| *module != "tests").map(str::to_owned)
    };
    let modules = text.lines().filter_map(declared);
    modules
        .filter(|module| !named(module))
        .map(|module| format!("{path}: `{module}` is missing in its documentation: say in a line what it is for"))
        .collect()
}

/// Dependencies of a manifest that are not in `allowed`.
fn links(manifest: &str, allowed: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            let dotted = section.rsplit_once("dependencies.").map(|(_, name)| name);
            complaints.extend(
                dotted.filter(|name| !allowed.contains(name) && !section.starts_with("dev-")).map(str::to_owned),
            );
            continue;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        let counts = section.ends_with("dependencies") && !section.starts_with("dev-");
        if counts && !name.is_empty() && !name.starts_with('#') && !allowed.contains(&name) {
            complaints.push(name.to_owned());
        }
    }
    let say = |name| {
        format!(
            "src/codec/Cargo.toml: the codec may not link `{name}`: it does no I/O and knows no clock; it links {allowed:?}"
        )
    };
    complaints.into_iter().map(say).collect()
}

/// Uses of the outside world.
fn impure(sources: &[Source]) -> Vec<String> {
    const OUTSIDE: &[&str] = &["env", "fs", "io", "net", "os", "process", "thread", "time"];
    let mut complaints = Vec::new();
    for source in sources {
        for (line, path) in source.paths("std::") {
            if path.first().is_some_and(|name| OUTSIDE.contains(&name.as_str())) {
                complaints.push(format!(
                    "{}:{line}: the codec may not use `std::{}`: it turns bytes into bytes; let the caller hand the value in",
                    source.path,
                    path.join("::")
                ));
            }
        }
    }
    complaints
}

/// Formats that import another one.
fn acquainted(sources: &[Source], formats: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let Some(own) = formats.iter().find(|name| source.path.contains(&format!("/format/{name}/"))) else { continue };
        for other in formats.iter().filter(|name| *name != own) {
            complaints.extend(source.places(other).map(|at| {
                format!(
                    "{}:{}: format `{own}` may not know `{other}`: they meet in the hub only; move what both need to `format` or `hub`",
                    source.path,
                    source.line(at)
                )
            }));
        }
    }
    complaints
}

/// Places where the proxy says the name of a format or provider, in code or in a string.
fn named(sources: &[Source], names: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| place(source).0 == "proxy") {
        for (number, line) in source.words.lines().enumerate() {
            let lower = line.to_lowercase();
            complaints.extend(names.iter().filter(|name| lower.contains(*name)).map(|name| {
                format!(
                    "{}:{}: the proxy may not say `{name}`: ask the format's `Spec`, the provider's data or its quirks",
                    source.path,
                    number + 1
                )
            }));
        }
    }
    complaints
}

/// Reads of the clock and the environment outside of their modules.
fn ambient(sources: &[Source]) -> Vec<String> {
    const CLOCK: &[&str] = &["Instant::now", "SystemTime::now", "elapsed"];
    let mut complaints = Vec::new();
    for source in sources {
        let module = place(source).0;
        if module != "clock" {
            complaints.extend(CLOCK.iter().flat_map(|call| source.places(call).map(move |at| (call, at))).map(
                |(call, at)| {
                    format!(
                        "{}:{}: `{call}` reads the clock: use `clock`, so that tests can hold time",
                        source.path,
                        source.line(at)
                    )
                },
            ));
        }
        let may = ["config", "cli"].contains(&module.as_str());
        for (line, path) in source.paths("std::") {
            if !may && path.first().is_some_and(|name| name == "env") {
                complaints.push(format!(
                    "{}:{line}: `std::env` belongs to `config` and `cli`: take the value as an argument",
                    source.path
                ));
            }
        }
    }
    complaints
}

/// Public signatures and fields that carry `serde_json::Value`.
fn trees(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let imported =
            source.paths("serde_json::").iter().any(|(_, path)| path.first().is_some_and(|name| name == "Value"));
        for (line, signature) in source.public_signatures() {
            let bare = signature.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "Value");
            if (imported && bare) || signature.contains("serde_json::Value") {
                complaints.push(format!(
                    "{}:{line}: `serde_json::Value` may not cross a module's edge: give the shape a type, or pass the text",
                    source.path
                ));
            }
        }
    }
    complaints
}

/// Files and functions over the limit.
fn long(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        if source.lines > FILE_LINES {
            complaints.push(format!(
                "{}: {} lines without tests, {FILE_LINES} are allowed: find the seam and split it",
                source.path, source.lines
            ));
        }
        complaints.extend(source.functions().into_iter().filter(|function| function.length > FUNCTION_LINES).map(
            |function| {
                format!(
                    "{}:{}: `{}` has {} lines, {FUNCTION_LINES} are allowed: name its steps",
                    source.path, function.line, function.name, function.length
                )
            },
        ));
    }
    complaints
}

/// Each rule, broken once: a rule that cannot fail holds nothing.
mod rules_can_fail {
    use super::*;

    const SMALL: &[(&str, &[&str])] = &[("clock", &[]), ("proxy", &["clock"]), ("config", &["clock"])];

    fn check(rule: impl Fn(&[Source]) -> Vec<String>, path: &str, text: &str, complaint: &str) {
        let complaints = rule(&[Source::new(path, text)]);
        match complaint {
            "" => assert!(complaints.is_empty(), "{text}: {complaints:?}"),
            _ => assert!(complaints.iter().any(|line| line.contains(complaint)), "{text}: {complaints:?}"),
        }
    }

    #[test]
    fn edges_between_modules() {
        for (path, text, complaint) in [
            ("src/clock.rs", "use crate::proxy::Exchange;", "clock.rs:1: `clock` may not use `proxy`"),
            ("src/proxy/admit.rs", "use crate::{\n    clock,\n    config::{Snapshot},\n};", "may not use `config`"),
            ("src/proxy/admit.rs", "fn f() { crate::config::load() }", "may not use `config`"),
            ("src/proxy/mod.rs", "use super::config::Snapshot;", "leave the module"),
            ("src/proxy/admit.rs", "use super::super::config;", "leave the module"),
            ("src/proxy/admit.rs", "use super::exchange; use crate::clock; use crate::proxy::plan;", ""),
            (
                "src/proxy/admit.rs",
                "// crate::config\nconst S: &str = \"crate::config\"; use tidegate_codec::config;",
                "",
            ),
            ("src/proxy/admit.rs", "#[cfg(test)]\nmod tests {\n    use crate::config::load;\n}", ""),
            ("src/other.rs", "", "`other` is not on the map"),
        ] {
            check(|sources| edges(sources, SMALL), path, text, complaint);
        }
    }

    #[test]
    fn rows_and_edges_of_nobody() {
        let clock = Source::new("src/clock.rs", "");
        let config = Source::new("src/config/mod.rs", "use crate::clock::now;");
        let silent = Source::new("src/proxy/mod.rs", "// crate::clock\n#[cfg(test)]\nmod tests { use crate::clock; }");
        let said = unused(&[clock, config, silent], SMALL);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said.join("\n").contains("`proxy` uses nothing of `clock`"), "{said:?}");
        let said = unused(&[Source::new("src/clock.rs", "")], SMALL).join("\n");
        assert!(said.contains("no module `proxy`") && said.contains("no module `config`"), "{said}");
    }

    #[test]
    fn links_of_the_codec() {
        let said = |manifest| links(manifest, &["bytes"]).join("\n");
        assert_eq!(said("[dependencies]\nbytes = { workspace = true }\n\n[dev-dependencies]\nproptest = \"1\""), "");
        assert!(said("[dependencies]\n# why\ntokio.workspace = true").contains("`tokio`"));
        assert!(said("[dependencies.tokio]\nversion = \"1\"").contains("`tokio`"));
        assert!(said("[target.'cfg(unix)'.dependencies]\nlibc = \"1\"").contains("`libc`"));
    }

    #[test]
    fn purity_of_the_codec() {
        let path = "src/codec/frame/sse.rs";
        check(impure, path, "use std::{borrow::Cow, time::{Duration, Instant}};", "std::time::Duration");
        check(impure, path, "fn f() { std::env::var(\"X\") }", "std::env::var");
        check(impure, path, "use std::borrow::Cow; // std::env", "");
    }

    #[test]
    fn formats_apart() {
        let formats = ["one".to_owned(), "two".to_owned()];
        let rule = |sources: &[Source]| acquainted(sources, &formats);
        check(rule, "src/codec/format/one/wire.rs", "use super::super::two::wire;", "may not know `two`");
        check(rule, "src/codec/format/one/wire.rs", "const DOC: &str = \"two\"; // two", "");
        check(rule, "src/codec/format/mod.rs", "mod one; mod two;", "");
    }

    #[test]
    fn names_in_the_proxy() {
        let rule = |sources: &[Source]| named(sources, &["acme"]);
        check(rule, "src/proxy/send.rs", "match format { Format::AcmeChat => 1 }", "may not say `acme`");
        check(rule, "src/proxy/send.rs", "if kind == \"acme\" {}", "may not say `acme`");
        check(rule, "src/proxy/send.rs", "// as acme does\nfn f() {}", "");
        check(rule, "src/provider/catalog.rs", "const KIND: &str = \"acme\";", "");
    }

    #[test]
    fn clock_and_environment() {
        check(ambient, "src/proxy/send.rs", "let t = std::time::Instant::now();", "reads the clock");
        check(ambient, "src/proxy/send.rs", "let t = start.elapsed();", "reads the clock");
        check(ambient, "src/proxy/send.rs", "use std::{env, fmt};", "`std::env` belongs to");
        check(ambient, "src/clock.rs", "std::time::Instant::now()", "");
        check(ambient, "src/main.rs", "std::env::args()", "`std::env` belongs to");
        check(ambient, "src/config/load.rs", "std::env::var(name)", "");
        check(ambient, "src/proxy/send.rs", "use std::time::{Duration, Instant}; fn f(elapsed_before: u8) {}", "");
    }

    #[test]
    fn json_trees() {
        let path = "src/admin/mod.rs";
        check(trees, path, "use serde_json::{Value, json};\npub fn view() -> Value { x }", "admin/mod.rs:2");
        check(trees, path, "pub fn view(\n    a: u8,\n) -> serde_json::Value {\n}", "may not cross");
        check(trees, path, "use serde_json::Value;\npub struct S {\n    pub extra: Value,\n}", "admin/mod.rs:3");
        check(trees, path, "use serde_json::Value;\nfn view() -> Value { x }\npub(super) fn v() -> Value { x }", "");
        check(trees, path, "pub fn kind() -> Value { x }", "");
    }

    #[test]
    fn lengths() {
        let body = |lines: usize| {
            format!(
                "impl X {{\n    fn long(\n        &self,\n    ) {{\n{}    }}\n}}\n",
                "        step();\n".repeat(lines)
            )
        };
        check(long, "src/proxy/send.rs", &body(FUNCTION_LINES), "");
        check(long, "src/proxy/send.rs", &body(FUNCTION_LINES + 1), "send.rs:2: `long` has 61 lines");
        check(long, "src/proxy/send.rs", &"// x\n".repeat(FILE_LINES + 1), "601 lines without tests");
        let tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(FILE_LINES + 1));
        check(long, "src/proxy/send.rs", &tests, "");
    }

    #[test]
    fn a_page_without_a_module() {
        assert!(undrawn("`clock` reads the time.", SMALL).join("\n").contains("`proxy` is missing"));
    }

    #[test]
    fn a_page_with_a_module_too_many() {
        let table = |row: &str| format!("| module | is for |\n|---|---|\n| `clock` | `time` |\n{row}\n| `else` | |\n");
        assert!(imagined(&table(""), SMALL).is_empty());
        assert!(imagined(&table("| `purse` | money |"), SMALL).join("\n").contains("no module `purse`"));
    }

    #[test]
    fn a_folder_that_names_not_all_of_its_files() {
        let text = |page: &str| format!("{page}\n\nmod one;\npub mod two;\n#[cfg(test)]\nmod tests;\n");
        assert!(unlisted("x.rs", &text("//! hook ─▶ one    first\n//! | `two` | second |")).is_empty());
        let said = unlisted("x.rs", &text("//! hook ─▶ once\n//! one, two")).join("\n");
        assert!(said.contains("x.rs: `one` is missing") && said.contains("`two` is missing"), "{said}");
    }

    #[test]
    fn modules_for_tests_are_left_out() {
        let text = "#[cfg(test)]\nmod testing;\nmod select;\n#[cfg(test)]\nmod tests {\n}\n#[cfg(test)]\nuse x::y;\n";
        for (path, folder) in
            [("src/upstream/mod.rs", "src/upstream"), ("src/server.rs", "src/server"), ("src/lib.rs", "src")]
        {
            let found = source::test_modules(Path::new(path), text);
            assert_eq!(found, ["testing", "tests"].map(|name| Path::new(folder).join(name)), "{path}");
        }
    }

    #[test]
    fn literals_and_comments_are_told_apart() {
        let source = Source::new(
            "src/x.rs",
            "let a = r#\"fn x() { // \"#; let b = '\"'; /* { */ let c: &'a str = \"\\\"}\"; fn y() {\n1\n}\n",
        );
        let found: Vec<_> = source.functions().into_iter().map(|function| (function.name, function.length)).collect();
        assert_eq!(found, [("y".to_owned(), 1)]);
    }
}
