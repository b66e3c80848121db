//! The words by which errors are told and counted: what the sources say, and what the operators' page explains.

use crate::source::Source;

/// What stands before the word of an error.
const SAID: &[&str] = &["with_code(", "labelled(", "error = Some(", "get_or_insert(", "code:", "label:", "bad("];

/// Words of errors that the page does not explain.
pub(crate) fn unexplained(sources: &[Source], page: &str) -> Vec<String> {
    let mut words: Vec<_> =
        sources.iter().flat_map(|source| codes(source).map(|word| (word, source.path.as_str()))).collect();
    words.sort_unstable();
    words.dedup_by_key(|(word, _)| *word);
    words.retain(|(word, _)| !page.contains(&format!("`{word}`")));
    let say = |(word, path)| format!("docs/operations.md: the errors lack `{word}`, which {path} says");
    words.into_iter().map(say).collect()
}

/// Words in the first columns of the page's tables of errors that no source says.
pub(crate) fn unsaid(sources: &[Source], page: &str) -> Vec<String> {
    let errors = page.split("\n## Errors\n").nth(1).unwrap_or_default();
    let columns = errors.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let words = columns.flat_map(|column| column.split('`').skip(1).step_by(2));
    let said = |word: &str| sources.iter().any(|source| source.words.contains(&format!("\"{word}\"")));
    words
        .filter(|word| !said(word))
        .map(|word| format!("docs/operations.md: no source says the error `{word}`"))
        .collect()
}

fn codes(source: &Source) -> impl Iterator<Item = &str> {
    // The proxy and the seam below it hand errors on in constants and tuples too, and say few other words that are two in one.
    let handed_on = source.path.starts_with("src/proxy/") || source.path == "src/upstream/seam/mod.rs";
    let kinds = source.path == "src/codec/hub/error.rs";
    source.literals().into_iter().filter_map(move |(before, word)| {
        let marked = SAID.iter().any(|mark| before.trim_end().ends_with(mark));
        let listed = kinds || handed_on && (word.contains('_') || before.ends_with(": &str = "));
        let is_code = word.starts_with(|c: char| c.is_ascii_lowercase())
            && !word.ends_with('_')
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        (is_code && (marked || listed)).then_some(word)
    })
}

#[test]
fn a_word_without_an_explanation_and_one_without_a_source() {
    let text = "fn f() { fault.with_code(\n    \"bad_path\") }\nconst LOST: &str = \"lost\"; let shown = \"shown\";";
    let sources = [Source::new("src/proxy/a.rs", text)];
    assert!(unexplained(&sources, "`bad_path` and `lost`").is_empty());
    assert_eq!(unexplained(&sources, "`bad_path`").len(), 1);
    assert_eq!(unexplained(&sources, "`lost`").len(), 1);
    let page = |codes: &str| format!("\n## Errors\n\n| code | |\n|---|---|\n| {codes} | `other` |\n");
    assert!(unsaid(&sources, &page("`bad_path`, `lost`")).is_empty());
    assert!(unsaid(&sources, &page("`bad_path`, `found`")).join("\n").contains("`found`"));
}
