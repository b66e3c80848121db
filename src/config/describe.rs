//! `docs/config.md`, printed from the schema and the catalogue of kinds.

use crate::provider::catalog::{self, KeyNeed};

use super::schema::{self, Absent, Section};

const HEAD: &str = "\
# Configuration

Printed from the code's own tables; `UPDATE_EXPECT=1 cargo test --test examples` prints it anew. `conf/tidegate.yaml`
shows every key at its place, `conf/examples/` whole configurations.

One YAML file. `tidegate check FILE` reports all that is wrong with it at once, each fault with line, column and a way
to mend it. A running process takes on a changed file by itself, on SIGHUP, or on `POST /reload` at the admin listener;
a faulty file changes nothing.

* **Placeholders** in any value: `${NAME}` is an environment variable, `${NAME:-default}` one with a default,
  `${file:/path}` a file's text without its last line break. With `${NAME:-}` a key counts as absent where the variable
  is not set. `$${` stands for `${`. What is filled in is never shown.
* **Overrides**: the environment variable `TIDEGATE__SERVER__BODY_LIMIT` sets `server.body_limit`, and so on for any key.
  Case does not matter; what a variable's name cannot hold (`-`, `.`, `/`) is written `_`; a number is an item of a list,
  from 0, and the one after the last adds an item. A value that begins with `[`, `{` or a quote is read as YAML.
* **Durations**: `250ms`, `5s`, `1m30s`, `1h`. **Sizes**: `65536`, `10MB`, `32MiB`.
* **Anchors, aliases and merge keys** (`&a`, `*a`, `<<: *a`) work.
* **Relative paths** begin at the configuration's folder.
";

/// The reference of every key, as Markdown.
#[must_use]
pub fn describe() -> String {
    let mut text = HEAD.to_owned();
    for section in schema::ALL {
        describe_section(section, &mut text);
    }
    text.push_str("\n## Kinds of providers\n\n");
    text.push_str("| kind | format | address | key | sent as | quirks | |\n|---|---|---|---|---|---|---|\n");
    for (kind, vendor) in catalog::vendors() {
        let url = vendor.url.as_ref().map_or_else(|| "must be written".to_owned(), |url| format!("`{url}`"));
        let key = match vendor.key {
            KeyNeed::Required => "required",
            KeyNeed::Optional => "optional",
        };
        let quirks = vendor.quirks().lines().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let sent = format!("`{}: {}…`", vendor.auth.header, vendor.auth.prefix);
        let format = vendor.format().name();
        let line = format!("| `{kind}` | `{format}` | {url} | {key} | {sent} | {quirks} | {} |\n", vendor.note);
        text.push_str(&line);
    }
    text
}

fn describe_section(section: &Section, text: &mut String) {
    let title = if section.path.is_empty() { "The file".to_owned() } else { format!("`{}`", section.path) };
    text.extend(["\n## ", &title, "\n\n", section.about, "\n\n"]);
    text.push_str("| key | value | without it | |\n|---|---|---|---|\n");
    for field in section.fields {
        let absent = match field.absent {
            Absent::Required => "required".to_owned(),
            Absent::Default(value) => format!("`{value}`"),
            Absent::Otherwise(words) => words.to_owned(),
        };
        let cells = [field.form, &absent, field.about].map(|cell| cell.replace('|', "\\|"));
        text.extend(["| `", field.name, "` | ", &cells.join(" | "), " |\n"]);
    }
}
