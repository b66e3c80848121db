//! Where in a document a byte stands, as a JSON pointer (RFC 6901).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::vec::IntoIter;

use super::{Cursor, JsonError, Kind};

/// The JSON pointer (RFC 6901) of the innermost value of `document` that holds byte `offset`.
///
/// The empty pointer is the whole document, and the answer for a document that cannot be read that far.
#[must_use]
pub fn pointer_at(document: &[u8], offset: usize) -> String {
    pointers_at(document, &[offset]).pop().unwrap_or_default()
}

/// The pointers of all `offsets`, in their order: the document is read once, however many there are.
#[must_use]
pub fn pointers_at(document: &[u8], offsets: &[usize]) -> Vec<String> {
    let mut sorted: Vec<_> = offsets.iter().copied().enumerate().map(|(index, offset)| (offset, index)).collect();
    sorted.sort_unstable();
    let mut search =
        Search { wanted: sorted.into_iter().peekable(), found: vec![String::new(); offsets.len()], path: Vec::new() };
    if !offsets.is_empty()
        && let Ok(mut cursor) = Cursor::over_bytes(document)
    {
        // What is left stands where the reading ended: in what is malformed, or behind everything.
        let _ = search.value(&mut cursor);
        search.settle(None);
    }
    search.found
}

/// Offsets on their way to a name.
struct Search<'a> {
    /// Offsets without a pointer and their places in `found`, the first in the document first.
    wanted: Peekable<IntoIter<(usize, usize)>>,
    found: Vec<String>,
    /// Where the cursor is.
    path: Vec<Step<'a>>,
}

/// One step into a value; most are never named.
enum Step<'a> {
    Key(Cow<'a, str>),
    Index(usize),
}

/// The reading is over: everything is found, or the rest is malformed.
struct Ended;

impl From<JsonError> for Ended {
    fn from(_: JsonError) -> Self {
        Self
    }
}

impl<'a> Search<'a> {
    fn value(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Ended> {
        match cursor.peek()? {
            Kind::Object => cursor.object(|key, value| self.inner(Step::Key(key), value)),
            Kind::Array => cursor.array(|index, value| self.inner(Step::Index(index), value)),
            _ => Ok(cursor.skip()?),
        }
    }

    fn inner(&mut self, step: Step<'a>, value: &mut Cursor<'a>) -> Result<(), Ended> {
        self.settle(Some(value.offset()));
        if self.wanted.peek().is_none() {
            return Err(Ended);
        }
        self.path.push(step);
        self.value(value)?;
        self.settle(Some(value.position()));
        self.path.pop();
        Ok(())
    }

    /// Gives the present path to every offset before `end`.
    fn settle(&mut self, end: Option<usize>) {
        while let Some((_, index)) = self.wanted.next_if(|(offset, _)| end.is_none_or(|end| *offset < end)) {
            if let Some(found) = self.found.get_mut(index) {
                write_path(&self.path, found);
            }
        }
    }
}

fn write_path(path: &[Step<'_>], out: &mut String) {
    for step in path {
        let _ = match step {
            Step::Key(key) => write!(out, "/{}", key.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => write!(out, "/{index}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One offset at a time, each from the beginning and level by level: slow, and what the search is held against.
    fn slowly<'a>(document: &'a str, offset: usize) -> String {
        let mut pointer = String::new();
        let mut rest = Cursor::over(document);
        while let Ok(kind @ (Kind::Object | Kind::Array)) = rest.peek() {
            if rest.position() == offset {
                break;
            }
            let mut inside: Option<(String, Cursor<'a>)> = None;
            let mut visit = |name: String, value: &mut Cursor<'a>| {
                let start = value.offset();
                let before = value.clone();
                let read = value.skip();
                if start <= offset && (offset < value.position() || read.is_err()) {
                    inside = Some((name, before));
                }
                read
            };
            let _ = match kind {
                Kind::Object => rest.object(|key, value| visit(key.replace('~', "~0").replace('/', "~1"), value)),
                _ => rest.array(|index, element| visit(index.to_string(), element)),
            };
            let Some((name, before)) = inside else { break };
            pointer.push('/');
            pointer.push_str(&name);
            rest = before;
        }
        pointer
    }

    fn agrees(document: &str) {
        // From the last to the first, so that the order is not that of the document.
        let offsets: Vec<usize> = (0..document.len() + 3).rev().chain([usize::MAX, 0, 1]).collect();
        let found = pointers_at(document.as_bytes(), &offsets);
        for (offset, pointer) in offsets.iter().zip(found) {
            assert_eq!(pointer, slowly(document, *offset), "byte {offset} of {document:?}");
            assert_eq!(pointer, pointer_at(document.as_bytes(), *offset), "byte {offset} of {document:?}");
        }
    }

    #[test]
    fn agrees_with_the_slow_way() {
        for document in [
            r#"{"a/b":[{"c~":"x"},{"d":[1,{"e":2}]}]}"#,
            " { \"a\\\"b\\u002f~\" : [ 1 , [ ] , { } , \"\\n\" ] , \"é\" : -1.5e3 , \"\" : { \"\" : null } } \n",
            r#"{"a":1,"a":{"a":[true]},"~/~1":[[[]],false]}"#,
            "[[1,2],{\"x\":[3,{\"y\":4}]},5]  ",
            "\"text\"",
            "17",
            "",
            "  ",
            r#"{"a":[1 2],"b":3}"#,
            r#"{"a":[1,],"b":3}"#,
            r#"{"a":[1,2],"b" 3,"c":4}"#,
            r#"{"a":{"b":[1,{"c":tru}]},"d":1}"#,
            r#"{"a":{"b":[1,{"c":"cut"#,
            "[1,",
            r#"{"a":1}{"b":2}"#,
        ] {
            agrees(document);
        }
        assert_eq!(pointers_at(b"{\"a\":\"\xff\"}", &[5, 0]), ["", ""]);
        assert!(pointers_at(b"[]", &[]).is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_the_slow_way_on_noise(document in r#"[\[{](\[|\]|\{|\}|,|:|"[a~/]?\\?"|"[a~/]":|1| |null){0,24}"#) {
            agrees(&document);
        }
    }

    #[test]
    fn names_the_place_of_a_fault() {
        let document = br#"{"a/b":[{"c~":"x"},{"d":[1,{"e":2}]}]}"#;
        for (needle, pointer) in
            [("\"x\"", "/a~1b/0/c~0"), ("2}", "/a~1b/1/d/1/e"), ("{\"e\"", "/a~1b/1/d/1"), ("{\"a", "")]
        {
            let at = memchr::memmem::find(document, needle.as_bytes()).unwrap();
            assert_eq!(pointer_at(document, at), pointer);
        }
    }

    /// Thousands of places are found in one pass: one pass for each would take minutes.
    #[test]
    fn finds_thousands_of_places_at_once() {
        let document = format!("[{}0]", "{\"a\":1},".repeat(150_000));
        let offsets: Vec<usize> = (0..150_000).rev().map(|n| 8 * n + 6).collect();
        let found = pointers_at(document.as_bytes(), &offsets);
        assert_eq!((found.first().unwrap().as_str(), found.last().unwrap().as_str()), ("/149999/a", "/0/a"));
    }
}
