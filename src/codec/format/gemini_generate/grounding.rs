//! Where an answer's words come from: `groundingMetadata` and `citationMetadata`, read and written.
//!
//! The format counts positions in bytes of UTF-8, the hub in code points.

use super::wire::{OWN, count, fields, loose_text};
use crate::hub::Citation;
use crate::json::{Cursor, Json, JsonError, Kind, Text, Writer};

/// Most sources that are taken of one answer.
const MOST: usize = 512;
/// Most bytes of the answer's words that are repeated beside its sources: their places say which they are.
const MOST_REPEATED: usize = 256 << 10;

/// A source of an answer.
#[derive(Debug, Clone)]
struct Chunk<'a> {
    url: Option<Text<'a>>,
    title: Option<Text<'a>>,
    cited_text: Option<Text<'a>>,
    raw: Json<'a>,
}

/// Which words a source bears out.
#[derive(Debug, Default)]
struct Support {
    bytes: Option<(u64, u64)>,
    part: u64,
    chunks: Vec<u64>,
}

/// The answer's text, for positions in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'t> {
    /// All of it.
    pub text: &'t str,
    /// Where its parts begin, in bytes; the first is 0.
    pub parts: &'t [usize],
}

impl Place<'_> {
    /// Code points of the bytes `from..to` of part `part`; `None` where they cut a character or lie outside.
    fn span(self, (from, to): (u64, u64), part: u64) -> Option<(u64, u64)> {
        let base = usize::try_from(part).ok().and_then(|part| self.parts.get(part)).copied().unwrap_or(0);
        let chars = |at: u64| {
            let before = self.text.get(..base.checked_add(usize::try_from(at).ok()?)?)?;
            u64::try_from(before.chars().count()).ok()
        };
        Some((chars(from)?, chars(to)?))
    }
}

/// Reads a `groundingMetadata`; `each` gets its sources. Returns whether it says more than the hub can.
pub(super) fn read_grounding<'a>(
    cursor: &mut Cursor<'a>,
    place: Place<'_>,
    each: &mut dyn FnMut(Citation<'a>),
) -> Result<bool, JsonError> {
    let (mut chunks, mut supports, mut more) = (Vec::new(), Vec::new(), false);
    fields::<JsonError>(cursor, |name, _, value| {
        match name {
            "groundingChunks" if value.peek()? == Kind::Array => value.array::<JsonError>(|_, element| {
                chunks.push(read_chunk(element)?);
                Ok(())
            })?,
            "groundingSupports" if value.peek()? == Kind::Array => value.array::<JsonError>(|_, element| {
                supports.push(read_support(element)?);
                Ok(())
            })?,
            _ => {
                more |= !value.json()?.is_empty();
            }
        }
        Ok(())
    })?;
    let mut used = vec![false; chunks.len()];
    let mut left = MOST;
    for support in &supports {
        if left == 0 {
            more = true;
            break;
        }
        let span = support.bytes.and_then(|bytes| place.span(bytes, support.part));
        for index in support.chunks.iter().filter_map(|index| usize::try_from(*index).ok()) {
            let (Some(chunk), Some(seen)) = (chunks.get(index), used.get_mut(index)) else { continue };
            *seen = true;
            more |= left == 0;
            if let Some(fewer) = left.checked_sub(1) {
                left = fewer;
                each(chunk.citation(span));
            }
        }
    }
    let mut unused = chunks.iter().zip(&used).filter(|(_, used)| !**used).map(|(chunk, _)| chunk);
    for chunk in unused.by_ref().take(left) {
        each(chunk.citation(None));
    }
    Ok(more || unused.next().is_some())
}

impl<'a> Chunk<'a> {
    fn citation(&self, span: Option<(u64, u64)>) -> Citation<'a> {
        Citation {
            url: self.url.clone(),
            title: self.title.clone(),
            cited_text: self.cited_text.clone(),
            span,
            raw: self.raw.clone(),
            format: OWN,
        }
    }
}

/// `{"web":{"uri":…,"title":…}}`, or another kind of source with the same fields.
fn read_chunk<'a>(cursor: &mut Cursor<'a>) -> Result<Chunk<'a>, JsonError> {
    let mut chunk = Chunk { url: None, title: None, cited_text: None, raw: cursor.clone().json()? };
    if cursor.peek()? != Kind::Object {
        cursor.skip()?;
        return Ok(chunk);
    }
    cursor.object::<JsonError>(|_, value| {
        if value.peek()? != Kind::Object {
            return value.skip();
        }
        fields(value, |name, _, value| {
            match name {
                "uri" => chunk.url = loose_text(value)?,
                "title" => chunk.title = loose_text(value)?,
                "text" => chunk.cited_text = loose_text(value)?,
                _ => value.skip()?,
            }
            Ok(())
        })
    })?;
    Ok(chunk)
}

/// `{"segment":{"startIndex":0,"endIndex":9},"groundingChunkIndices":[0]}`
fn read_support(cursor: &mut Cursor<'_>) -> Result<Support, JsonError> {
    let mut support = Support::default();
    if cursor.peek()? != Kind::Object {
        cursor.skip()?;
        return Ok(support);
    }
    fields::<JsonError>(cursor, |name, _, value| {
        match name {
            "segment" if value.peek()? == Kind::Object => {
                let (mut from, mut to) = (0, None);
                fields::<JsonError>(value, |name, _, value| {
                    match name {
                        "startIndex" => from = count(value)?.unwrap_or(0),
                        "endIndex" => to = count(value)?,
                        "partIndex" => support.part = count(value)?.unwrap_or(0),
                        _ => value.skip()?,
                    }
                    Ok(())
                })?;
                support.bytes = to.map(|to| (from, to));
            }
            "groundingChunkIndices" if value.peek()? == Kind::Array => value.array::<JsonError>(|_, element| {
                support.chunks.extend(count(element)?);
                Ok(())
            })?,
            _ => value.skip()?,
        }
        Ok(())
    })?;
    Ok(support)
}

/// Reads a `citationMetadata`: words that stand in a known work. Returns whether there are more than are taken.
pub(super) fn read_citations<'a>(
    cursor: &mut Cursor<'a>,
    place: Place<'_>,
    each: &mut dyn FnMut(Citation<'a>),
) -> Result<bool, JsonError> {
    let (mut left, mut more) = (MOST, false);
    fields::<JsonError>(cursor, |name, _, value| {
        if !matches!(name, "citationSources" | "citations") || value.peek()? != Kind::Array {
            return value.skip();
        }
        value.array(|_, element| {
            let raw = element.clone().json()?;
            more |= left == 0;
            if element.peek()? != Kind::Object || left == 0 {
                return element.skip();
            }
            let (mut from, mut to, mut url, mut title) = (0, None, None, None);
            fields::<JsonError>(element, |name, _, value| {
                match name {
                    "startIndex" => from = count(value)?.unwrap_or(0),
                    "endIndex" => to = count(value)?,
                    "uri" => url = loose_text(value)?,
                    "title" => title = loose_text(value)?,
                    _ => value.skip()?,
                }
                Ok(())
            })?;
            let span = to.and_then(|to| place.span((from, to), 0));
            left -= 1;
            each(Citation { url, title, cited_text: None, span, raw, format: OWN });
            Ok(())
        })
    })?;
    Ok(more)
}

/// Sources on their way to a client.
#[derive(Debug, Default)]
pub(super) struct Sources {
    list: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    /// Empty for a source of this format's own that has no address.
    url: String,
    title: String,
    /// It is this format's own, whose sources may have no place.
    own: bool,
    /// The whole source, where it is this format's own and has no address.
    raw: Option<Json<'static>>,
    span: Option<(u64, u64)>,
}

impl Sources {
    /// Takes a source of a block that begins at character `begin` of the answer's text; `false` for one that cannot be said:
    /// it has no address, or is one too many.
    pub(super) fn take(&mut self, citation: &Citation<'_>, begin: u64) -> bool {
        let own = citation.format == OWN && citation.raw.kind() == Kind::Object;
        if citation.url.is_none() && !own {
            return false;
        }
        if self.list.len() >= MOST {
            return false;
        }
        let title = citation.title.as_ref().map(|title| title.escaped().to_owned()).unwrap_or_default();
        let url = citation.url.as_ref().map(|url| url.escaped().to_owned()).unwrap_or_default();
        let raw = (own && url.is_empty()).then(|| citation.raw.clone().into_owned());
        let span = citation.span.map(|(from, to)| (begin.saturating_add(from), begin.saturating_add(to)));
        self.list.push(Source { url, title, own, raw, span });
        true
    }

    /// Gives the sources of other formats that came without a place, from number `from` on, that of their block.
    pub(super) fn place(&mut self, from: usize, span: (u64, u64)) {
        for source in self.list.iter_mut().skip(from).filter(|source| source.raw.is_none() && !source.own) {
            source.span.get_or_insert(span);
        }
    }

    /// Sources so far.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// True when there is nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Writes `groundingMetadata` as the next field; `text` is the answer's.
    pub(super) fn write(&self, text: &str, json: &mut Writer<'_>) {
        if self.list.is_empty() {
            return;
        }
        let mut chunks: Vec<&Source> = Vec::new();
        let mut index = Vec::with_capacity(self.list.len());
        for source in &self.list {
            let found = chunks.iter().position(|known| known.url == source.url && known.raw == source.raw);
            index.push(found.unwrap_or(chunks.len()));
            if found.is_none() {
                chunks.push(source);
            }
        }
        json.key("groundingMetadata").open_object().key("groundingChunks").open_array();
        for chunk in chunks {
            if let Some(raw) = &chunk.raw {
                json.json(raw);
                continue;
            }
            json.open_object().key("web").open_object();
            json.key("uri").text(&Text::from_escaped(chunk.url.as_str()));
            json.key("title").text(&Text::from_escaped(chunk.title.as_str())).close_object().close_object();
        }
        json.close_array().key("groundingSupports").open_array();
        let mut repeated = 0_usize;
        for (source, chunk) in self.list.iter().zip(index) {
            let Some((from, to)) = source.span.and_then(|span| bytes_of(text, span)) else { continue };
            json.open_object().key("segment").open_object();
            json.key("startIndex").number(from as u64).key("endIndex").number(to as u64);
            let words = text.get(from..to).unwrap_or_default();
            repeated = repeated.saturating_add(words.len());
            if repeated <= MOST_REPEATED {
                json.key("text").plain(words);
            }
            json.close_object();
            json.key("groundingChunkIndices").open_array().number(chunk as u64).close_array().close_object();
        }
        json.close_array().close_object();
    }
}

/// Bytes of the code points `from..to` of `text`.
fn bytes_of(text: &str, (from, to): (u64, u64)) -> Option<(usize, usize)> {
    let at = |point: u64| {
        let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        starts.nth(usize::try_from(point).ok()?)
    };
    Some((at(from)?, at(to)?)).filter(|(from, to)| from <= to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_code_points_and_back() {
        let text = "北京 is big. It is old.";
        let metadata = r#"{"groundingChunks":[{"web":{"uri":"https://a","title":"A"}},{"web":{"uri":"https://b"}}],
            "groundingSupports":[{"segment":{"endIndex":14,"text":"x"},"groundingChunkIndices":[0]}],"webSearchQueries":["q"]}"#;
        let mut seen = Vec::new();
        let place = Place { text, parts: &[0] };
        let more = read_grounding(&mut Cursor::over(metadata), place, &mut |citation| seen.push(citation)).unwrap();
        assert!(more);
        assert_eq!(seen[0].span, Some((0, 10)));
        assert_eq!((seen[1].span, seen[1].url.as_ref().unwrap().escaped()), (None, "https://b"));
        let mut sources = Sources::default();
        assert!(seen.iter().all(|citation| sources.take(citation, 0)));
        let mut out = Vec::new();
        let mut json = Writer::new(&mut out);
        json.open_object();
        sources.write(text, &mut json);
        json.close_object();
        let written: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let segment = &written["groundingMetadata"]["groundingSupports"][0]["segment"];
        assert_eq!((segment["startIndex"].as_u64(), segment["endIndex"].as_u64()), (Some(0), Some(14)));
        assert_eq!(segment["text"], "北京 is big.");
    }

    #[test]
    fn sources_are_bounded_and_what_is_left_out_is_told() {
        let text = "x".repeat(1_000);
        let chunk = |at: usize| format!(r#"{{"web":{{"uri":"https://a/{at}"}}}}"#);
        let chunks: Vec<String> = (0..=MOST).map(chunk).collect();
        for (count, more) in [(MOST, false), (MOST + 1, true)] {
            let metadata = format!(r#"{{"groundingChunks":[{}]}}"#, chunks[..count].join(","));
            let mut seen = Vec::new();
            let place = Place { text: &text, parts: &[0] };
            let told =
                read_grounding(&mut Cursor::over(&metadata), place, &mut |citation| seen.push(citation)).unwrap();
            assert_eq!((told, seen.len()), (more, MOST));
            let all: Vec<String> = (0..count).map(|at| at.to_string()).collect();
            let support = format!(r#"{{"segment":{{"endIndex":1000}},"groundingChunkIndices":[{}]}}"#, all.join(","));
            let metadata =
                format!(r#"{{"groundingChunks":[{}],"groundingSupports":[{support}]}}"#, chunks[..count].join(","));
            let mut seen = Vec::new();
            let told =
                read_grounding(&mut Cursor::over(&metadata), place, &mut |citation| seen.push(citation)).unwrap();
            assert_eq!((told, seen.len()), (more, MOST));
            let works = vec![r#"{"endIndex":1000,"uri":"https://a"}"#; count];
            let metadata = format!(r#"{{"citationSources":[{}]}}"#, works.join(","));
            let mut seen = Vec::new();
            let told =
                read_citations(&mut Cursor::over(&metadata), place, &mut |citation| seen.push(citation)).unwrap();
            assert_eq!((told, seen.len()), (more, MOST));
            let mut sources = Sources::default();
            let taken = (0..count).filter(|_| sources.take(&seen[0], 0)).count();
            assert_eq!(taken, MOST);
            let mut out = Vec::new();
            let mut json = Writer::new(&mut out);
            json.open_object();
            sources.write(&text, &mut json);
            json.close_object();
            let written: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let supports = written["groundingMetadata"]["groundingSupports"].as_array().unwrap();
            let said = supports.iter().filter(|support| support["segment"].get("text").is_some()).count();
            assert_eq!((supports.len(), said), (MOST, MOST_REPEATED / 1_000));
        }
    }

    #[test]
    fn a_span_that_cuts_a_character_is_none() {
        let place = Place { text: "北京", parts: &[0, 3] };
        assert_eq!(place.span((0, 1), 0), None);
        assert_eq!(place.span((0, 3), 1), Some((1, 2)));
        assert_eq!(place.span((0, 99), 0), None);
    }
}
