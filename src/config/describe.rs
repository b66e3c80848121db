//! `docs/config.md`, printed from the schema and the catalogue of kinds.

use crate::provider::catalog::{self, KeyNeed};
use crate::provider::services::{self, ModelAt};

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

const OPERATIONS: &str = "
## Operations

Beside answers of models, these are passed through byte for byte, each to a provider that speaks one of its formats.

* A body that names a model goes where `models` sends it, under the model's name there; the header
  `x-tidegate-provider` chooses among its targets, but not among those of a request for an answer. JSON is held within `body_limit` and
  may fall back to another target; a form with files is streamed, and the field `model` is best put before the files.
* A form whose `model` comes behind a file of more than 48 KiB is held as JSON is, so that its target is known before any of
  it is sent. One longer than `body_limit`, or sent in chunks where one provider alone can be meant, goes where a request
  goes that names no model; the name is checked, and exchanged where it can be, when it comes.
* What names no model goes to the provider that the header `x-tidegate-provider` names, else the one that this process saw to
  have what the path asks for by its id, for the same client, else the one that `operations` names, else the only one that
  can serve it. A POST or PATCH of this kind, as by a raw path, is sent again only after 429, where no connection could be made, or where a kept
  one ended as soon as it was used: what was begun may have been made. A client may call a provider so if its `providers`
  list it or, without that list, if it may ask for every model.
* A path with `v1beta` is served under `v1` too, where the client shows by its key's header or parameter that it speaks so. Keys and
  tokens in the query go to no provider.
* An upload in several requests comes back here: the address in `x-goog-upload-url` is one of the edge's own, by the scheme and host
  that the client asked at, or that a trusted proxy tells of. It holds a ticket that is good for that upload at its provider alone
  and stands for the client's key, which SDKs do not send with the pieces; a key that is sent must be the same client's.
* `/raw/PROVIDER/PATH` passes any method and path on to the provider's address, for clients whose `raw` lists it.

| served at | operation | model | formats of providers |
|---|---|---|---|
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
    text.push_str(OPERATIONS);
    for service in services::ALL {
        let lines = service.lines.iter().map(|(methods, path)| format!("{methods} `{path}`"));
        let model = match service.model {
            ModelAt::Body => "in the body",
            ModelAt::Made => "in the body of what is made",
            ModelAt::Nowhere => "none",
        };
        let formats = service.formats.iter().map(|format| format!("`{}`", format.name()));
        let [lines, formats] = [lines.collect::<Vec<_>>().join("<br>"), formats.collect::<Vec<_>>().join(", ")];
        text.push_str(&format!("| {lines} | `{}` | {model} | {formats} |\n", service.name));
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
