//! `docs/formats.md` says what the code says. `UPDATE_EXPECT=1 cargo test -p tidegate-codec --test docs` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    clippy::string_slice,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads what it needs"
)]

use std::fmt::Write as _;
use std::path::Path;

use tidegate_codec::{Format, wire};

const INTRODUCTION: &str = "\
# Formats

This page is generated from the code (`src/codec/format/*/mod.rs`); a test keeps it true.

Where client and provider speak the same format, the body passes byte for byte: nothing below applies. Where they
differ, the request goes through the hub (`src/codec/hub`) and is written in the provider's format, and the answer the
other way. What the other format cannot carry is never dropped silently: it stands in the loss report (header
`x-tidegate-loss`, metric `gateway_translation_dropped_fields_total`, access log, `tidegate explain`), and a route with
`on_loss: refuse` answers 400 instead.

Requests for the number of tokens of a prompt are translated as the request that they count, without what bears on the answer
alone (limits, sampling, storage and the like), which is no loss: the three formats that have such a path reach each other's
providers, and those of Chat Completions that count in another format (`quirks.counts`, as OpenAI by its Responses).
";

const CLIENTS: &str = "
## Real clients through every pair

What the official SDKs saw and what strict mock providers were sent, in each scenario of `tests/clients/cases.py`, streamed
and whole: the checks that pass, of those made. `./x matrix` runs them and writes these tables; `./x sdk` fails where they
say otherwise. The row `wire grammar` is of clients without an SDK, which hold every event against the SDKs' types and the
format's grammar. Where the numbers of a row differ, the scenario has no meaning for a client or a provider; `cases.py` says why.

";

/// Written by `./x matrix`.
const MATRIX: &str = include_str!("../clients/matrix.md");

fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    for format in Format::ALL {
        let spec = wire(format).spec();
        let _ = write!(page, "\n## {} (`{}`)\n\n", spec.title, format.name());
        let _ = writeln!(page, "* path: `POST {}`", spec.path);
        if let Some(counting) = spec.counting {
            let _ = writeln!(page, "* path that counts the tokens of a request: `POST {}`", counting.path);
        }
        for path in spec.same_format_paths {
            let _ = writeln!(page, "* path that only a provider of the same format serves: `POST {path}`");
        }
        if let Some(header) = spec.version_header {
            let _ = writeln!(page, "* version header: `{header}`");
        }
        let _ = writeln!(page, "* written by: {}", spec.source);
        table(&mut page, "What a request in this format cannot carry from another", spec.request_losses);
        table(&mut page, "What an answer in this format cannot carry from another", spec.response_losses);
    }
    page.push_str(CLIENTS);
    page.push_str(MATRIX);
    page
}

fn table(page: &mut String, title: &str, losses: &[(tidegate_codec::hub::Field, &str)]) {
    let _ = write!(page, "\n### {title}\n\n| class | what happens |\n|---|---|\n");
    for (field, reason) in losses {
        let _ = writeln!(page, "| `{}` | {reason} |", field.label());
    }
}

#[test]
fn the_page_says_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
    let page = page();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/formats.md is out of date: run the test with UPDATE_EXPECT=1 and commit the page");
}
