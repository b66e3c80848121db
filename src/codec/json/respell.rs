//! Replacing strings at known places of a document.

use super::{Cursor, JsonError, Kind, Span, Text, splice};

/// `document` with every string at `path` replaced by what `with` makes of it; every other byte as it was. A path is
/// the keys from the outermost object inward, and leads through each element of an array on its way.
///
/// `None` where nothing is replaced, and for a document that cannot be read.
#[must_use]
pub fn respell(document: &[u8], path: &[&str], with: impl Fn(&str) -> Option<String>) -> Option<Vec<u8>> {
    let mut found: Vec<(Span, String)> = Vec::new();
    let mut cursor = Cursor::over_bytes(document).ok()?;
    walk(&mut cursor, path, &mut |span, text| found.extend(with(text).map(|new| (span, new)))).ok()?;
    let mut out: Option<Vec<u8>> = None;
    // From the end, so that the spans before stay true.
    for (span, new) in found.iter().rev() {
        let new = ["\"", Text::from_plain(new).escaped(), "\""].concat();
        out = Some(splice(out.as_deref().unwrap_or(document), span, new.as_bytes()));
    }
    out
}

/// Hands every string at `path`, which leads as that of [`respell`] does, to `each`; of a document that cannot be read
/// those before its fault.
pub fn strings_at(document: &[u8], path: &[&str], mut each: impl FnMut(&str)) {
    if let Ok(mut cursor) = Cursor::over_bytes(document) {
        let _ = walk(&mut cursor, path, &mut |_, text| each(text));
    }
}

fn walk(cursor: &mut Cursor<'_>, path: &[&str], each: &mut dyn FnMut(Span, &str)) -> Result<(), JsonError> {
    match (cursor.peek()?, path.split_first()) {
        (Kind::Array, _) => cursor.array(|_, element| walk(element, path, each)),
        (Kind::Object, Some((first, rest))) => {
            cursor.object(|key, value| if key == *first { walk(value, rest, each) } else { value.skip() })
        }
        (Kind::String, None) => {
            let start = cursor.offset();
            let text = cursor.string()?;
            each(start..cursor.position(), &text);
            Ok(())
        }
        _ => cursor.skip(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_at_a_path_are_found() {
        let mut found = Vec::new();
        strings_at(br#"{"r":[{"m":"a"},{"m":1},{"m":"\u0062"}],"m":"x","r":{"m":"c"},"#, &["r", "m"], |text| {
            found.push(text.to_owned());
        });
        assert_eq!(found, ["a", "b", "c"]);
    }

    #[test]
    fn strings_at_a_path_are_replaced() {
        let check = |document: &str, path: &[&str], expected: Option<&str>| {
            let with = |text: &str| (text == "a").then(|| "b\"c".to_owned());
            let found = respell(document.as_bytes(), path, with).map(|out| String::from_utf8(out).unwrap());
            assert_eq!(found.as_deref(), expected, "{document}");
        };
        check(r#"{ "m" : "a" , "n":"a"}"#, &["m"], Some(r#"{ "m" : "b\"c" , "n":"a"}"#));
        check(
            r#"{"r":[{"m":"a"},{"m":"x"},{"m":"\u0061"}]}"#,
            &["r", "m"],
            Some(r#"{"r":[{"m":"b\"c"},{"m":"x"},{"m":"b\"c"}]}"#),
        );
        check(r#"{"r":{"m":{"m":"a"}}}"#, &["r", "m"], None);
        check(r#"{"m":1}"#, &["m"], None);
        check(r#"{"m":"a""#, &["m"], None);
        check("[]", &["m"], None);
    }
}
