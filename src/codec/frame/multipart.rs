//! Forms with files (`multipart/form-data`, RFC 7578 and RFC 2046), watched for one field as they stream through.
//!
//! Nothing is kept but a line's worth of bytes and the head of a part; every byte goes on as it came, but for the value of
//! the field, which may be exchanged. Two readers of one form must not see two different fields, so a form that another
//! reader could take apart in another way is refused rather than guessed at.

use memchr::memmem::Finder;

/// Most bytes of a part's head.
const HEAD_LIMIT: usize = 16 * 1024;
/// Most bytes of the field's value.
const VALUE_LIMIT: usize = 1024;
/// Most bytes of a boundary; RFC 2046 allows 70.
const BOUNDARY_LIMIT: usize = 200;

/// Why a form is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// The content type does not say what stands between the parts.
    #[error("the content-type of a form must be multipart/form-data with one boundary of 1 to 200 characters")]
    Boundary,
    /// What looks like a boundary is not at a line of its own, or something follows it.
    #[error("the form's boundary stands where it is not clear whether a part ends")]
    Unclear,
    /// A part's head is too long or not written as heads are.
    #[error("the head of a part of the form is longer than 16 KiB or cannot be read for certain")]
    Head,
    /// The field stands twice.
    #[error("the field `{0}` stands in the form twice")]
    Twice(&'static str),
    /// The value of the field is too long, encoded or no text.
    #[error("the field `{0}` of the form is no plain text of at most 1024 bytes")]
    Value(&'static str),
    /// The form ends inside of the field.
    #[error("the form ends inside of the field `{0}`")]
    Unfinished(&'static str),
}

/// A form on its way through.
#[derive(Debug, Clone)]
pub struct Multipart {
    /// Finds two dashes and the boundary.
    delimiter: Finder<'static>,
    field: &'static str,
    state: State,
    /// No byte of the content has gone on yet.
    fresh: bool,
    /// Bytes of which it is not yet known what they are.
    held: Vec<u8>,
    seen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first boundary.
    Preamble,
    /// Right behind a boundary.
    Boundary,
    /// In the head of a part.
    Head,
    /// In the content of a part.
    Content,
    /// In the value of the field.
    Value,
    /// Behind the last boundary.
    Epilogue,
}

/// Gets the field's value and gives what is sent in its place; `None` for the value itself.
pub type Exchange<'e, E> = dyn FnMut(&str) -> Result<Option<String>, E> + 'e;

impl Multipart {
    /// A form with this `content-type`, watched for `field`.
    ///
    /// # Errors
    ///
    /// The content type names no boundary.
    pub fn new(content_type: &str, field: &'static str) -> Result<Self, MultipartError> {
        let (kind, parameters) = content_type.split_once(';').ok_or(MultipartError::Boundary)?;
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return Err(MultipartError::Boundary);
        }
        let boundary = parameter(parameters, "boundary").map_err(|_| MultipartError::Boundary)?;
        let boundary = boundary.filter(|boundary| {
            (1..=BOUNDARY_LIMIT).contains(&boundary.len()) && boundary.bytes().all(|b| (b' '..=b'~').contains(&b))
        });
        let delimiter = ["--", boundary.ok_or(MultipartError::Boundary)?].concat();
        Ok(Self {
            delimiter: Finder::new(delimiter.as_bytes()).into_owned(),
            field,
            state: State::Preamble,
            fresh: true,
            held: Vec::new(),
            seen: false,
        })
    }

    /// Whether the field has come.
    #[must_use]
    pub fn seen(&self) -> bool {
        self.seen
    }

    /// Takes the next piece, and appends to `out` what may go on.
    ///
    /// # Errors
    ///
    /// The form is refused, or `exchange` refused the field's value.
    pub fn chunk<E: From<MultipartError>>(
        &mut self,
        piece: &[u8],
        out: &mut Vec<u8>,
        exchange: &mut Exchange<'_, E>,
    ) -> Result<(), E> {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        let mut rest = bytes.as_slice();
        while let Some(used) = self.step(rest, out, exchange)? {
            rest = rest.get(used..).unwrap_or_default();
        }
        self.held = rest.to_vec();
        Ok(())
    }

    /// The form is over: appends what was held back.
    ///
    /// # Errors
    ///
    /// It ended inside of the field.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MultipartError> {
        if self.state == State::Value {
            return Err(MultipartError::Unfinished(self.field));
        }
        out.append(&mut self.held);
        Ok(())
    }

    /// One step: how many bytes of `rest` are done with; `None` if more must come first.
    fn step<E: From<MultipartError>>(
        &mut self,
        rest: &[u8],
        out: &mut Vec<u8>,
        exchange: &mut Exchange<'_, E>,
    ) -> Result<Option<usize>, E> {
        match self.state {
            State::Boundary => Ok(self.behind_boundary(rest, out)?),
            State::Head => Ok(self.head(rest, out)?),
            State::Value => self.value(rest, out, exchange),
            State::Preamble | State::Content | State::Epilogue => Ok(self.content(rest, out)?),
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.fresh = true;
    }

    fn content(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, MultipartError> {
        if let Some((_, end)) = self.find(rest)? {
            if self.state == State::Epilogue {
                return Err(MultipartError::Unclear);
            }
            out.extend_from_slice(rest.get(..end).unwrap_or_default());
            self.enter(State::Boundary);
            return Ok(Some(end));
        }
        // What remains may be the beginning of a line break and a boundary.
        let clear = rest.len().saturating_sub(self.delimiter.needle().len() + 1);
        if clear == 0 {
            return Ok(None);
        }
        out.extend_from_slice(rest.get(..clear).unwrap_or_default());
        self.fresh = false;
        Ok(Some(clear))
    }

    /// The next boundary of `rest`: where its line break begins, and where it ends.
    fn find(&self, rest: &[u8]) -> Result<Option<(usize, usize)>, MultipartError> {
        let width = self.delimiter.needle().len();
        for at in self.delimiter.find_iter(rest) {
            let before = rest.get(..at).unwrap_or_default();
            if before.ends_with(b"\r\n") {
                return Ok(Some((at - 2, at + width)));
            }
            if before.is_empty() && self.fresh {
                // Right behind a head it is a boundary to some readers and content to others.
                return if self.state == State::Preamble { Ok(Some((0, width))) } else { Err(MultipartError::Unclear) };
            }
            if before.ends_with(b"\n") || before.ends_with(b"\r") {
                return Err(MultipartError::Unclear);
            }
        }
        Ok(None)
    }

    fn behind_boundary(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, MultipartError> {
        let Some(next) = rest.get(..2) else { return Ok(None) };
        self.enter(match next {
            b"\r\n" => State::Head,
            b"--" => State::Epilogue,
            _ => return Err(MultipartError::Unclear),
        });
        out.extend_from_slice(next);
        Ok(Some(2))
    }

    fn head(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, MultipartError> {
        let end = if rest.starts_with(b"\r\n") {
            2
        } else {
            match memchr::memmem::find(rest, b"\r\n\r\n") {
                Some(at) if at <= HEAD_LIMIT => at + 4,
                None if rest.len() <= HEAD_LIMIT => return Ok(None),
                _ => return Err(MultipartError::Head),
            }
        };
        let head = rest.get(..end).unwrap_or_default();
        let ours = self.is_field(head)?;
        if ours && std::mem::replace(&mut self.seen, true) {
            return Err(MultipartError::Twice(self.field));
        }
        out.extend_from_slice(head);
        self.enter(if ours { State::Value } else { State::Content });
        Ok(Some(end))
    }

    /// Whether a part with this head is the field.
    fn is_field(&self, head: &[u8]) -> Result<bool, MultipartError> {
        let head = std::str::from_utf8(head).map_err(|_| MultipartError::Head)?;
        let (mut disposition, mut encoded, mut charset) = (None, false, false);
        for line in head.split("\r\n").filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or(MultipartError::Head)?;
            if line.starts_with([' ', '\t']) || line.contains(['\r', '\n', '\0']) {
                return Err(MultipartError::Head);
            }
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "content-disposition" if disposition.is_some() => return Err(MultipartError::Head),
                "content-disposition" => disposition = Some(value),
                "content-transfer-encoding" => {
                    encoded |= !["7bit", "8bit", "binary"].iter().any(|plain| value.eq_ignore_ascii_case(plain));
                }
                "content-type" => {
                    let named = parameter(value.split_once(';').unwrap_or_default().1, "charset")?;
                    let plain = |set: &str| ["utf-8", "us-ascii"].iter().any(|known| set.eq_ignore_ascii_case(known));
                    charset |= named.is_some_and(|set| !plain(set));
                }
                _ => {}
            }
        }
        let Some((_, parameters)) = disposition.and_then(|value| value.split_once(';')) else { return Ok(false) };
        let name = parameter(parameters, "name")?.unwrap_or_default();
        let ours = name == self.field;
        // Some readers decode these, others do not.
        let spelled = name.contains(['%', '\\', '&']) || name.trim() != name || name.eq_ignore_ascii_case(self.field);
        if spelled && !ours && name.to_ascii_lowercase().trim().starts_with(self.field.get(..1).unwrap_or_default()) {
            return Err(MultipartError::Head);
        }
        if ours && (encoded || charset) {
            return Err(MultipartError::Value(self.field));
        }
        Ok(ours)
    }

    fn value<E: From<MultipartError>>(
        &mut self,
        rest: &[u8],
        out: &mut Vec<u8>,
        exchange: &mut Exchange<'_, E>,
    ) -> Result<Option<usize>, E> {
        let fault = MultipartError::Value(self.field);
        let Some((start, end)) = self.find(rest)? else {
            let width = self.delimiter.needle().len() + 2;
            return if rest.len() > VALUE_LIMIT + width { Err(fault.into()) } else { Ok(None) };
        };
        let value = rest.get(..start).filter(|value| value.len() <= VALUE_LIMIT).ok_or(fault)?;
        let value = std::str::from_utf8(value).map_err(|_| fault)?;
        if value.contains(char::is_control) {
            return Err(fault.into());
        }
        match exchange(value)? {
            Some(other) => out.extend_from_slice(other.as_bytes()),
            None => out.extend_from_slice(value.as_bytes()),
        }
        out.extend_from_slice(rest.get(start..end).unwrap_or_default());
        self.enter(State::Boundary);
        Ok(Some(end))
    }
}

/// The value of the parameter `wanted` of a header, behind the first `;` of the header's value.
///
/// Refused is what readers take apart in different ways: a parameter that stands twice, one in the extended notation, a
/// quote inside of quotes.
fn parameter<'t>(parameters: &'t str, wanted: &str) -> Result<Option<&'t str>, MultipartError> {
    let mut found = None;
    let mut rest = parameters;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return Ok(found);
        }
        let end = rest.find(['=', ';']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let key = key.trim().to_ascii_lowercase();
        let Some(after) = after.strip_prefix('=') else {
            rest = after;
            continue;
        };
        let after = after.trim_start_matches([' ', '\t']);
        let (value, behind) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(MultipartError::Head)?,
            None => after.split_at(after.find(';').unwrap_or(after.len())),
        };
        let odd = value.ends_with('\\')
            || !(behind.is_empty() || behind.trim_start().starts_with(';') || behind.trim().is_empty());
        if odd || key.strip_prefix(wanted).is_some_and(|more| more.starts_with('*')) {
            return Err(MultipartError::Head);
        }
        if key == wanted {
            let value = if after.starts_with('"') { value } else { value.trim_end() };
            if found.replace(value).is_some() {
                return Err(MultipartError::Head);
            }
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "multipart/form-data; boundary=XyZ";
    const FILE: &str = "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n\r\n--XyYdata--XyZ \n \r\n-\r\n";
    const MODEL: &str = "--XyZ\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n";
    const END: &str = "--XyZ--\r\n";

    /// What comes out when `form` goes in by pieces of `size`, and the value of the field.
    fn run(kind: &str, form: &[u8], size: usize) -> Result<(Vec<u8>, Option<String>), MultipartError> {
        let mut multipart = Multipart::new(kind, "model")?;
        let (mut out, mut found) = (Vec::new(), None);
        for piece in form.chunks(size) {
            multipart.chunk::<MultipartError>(piece, &mut out, &mut |value| {
                found = Some(value.to_owned());
                Ok((value == "whisper").then(|| "large-v3".to_owned()))
            })?;
            assert!(multipart.held.len() < HEAD_LIMIT + 100);
        }
        multipart.finish(&mut out)?;
        assert_eq!(multipart.seen(), found.is_some());
        Ok((out, found))
    }

    /// The same at every cut.
    #[track_caller]
    fn check(form: &str, expected: Result<Option<&str>, MultipartError>) {
        for size in [1, 2, 3, 5, 7, 11, 23, form.len().max(1)] {
            let found = run(KIND, form.as_bytes(), size);
            if let Ok((out, _)) = &found {
                let sent = form.replace("\r\n\r\nwhisper\r\n", "\r\n\r\nlarge-v3\r\n");
                assert_eq!(String::from_utf8_lossy(out), sent, "by {size}");
            }
            assert_eq!(found.map(|(_, found)| found), expected.map(|v| v.map(str::to_owned)), "by {size}: {form:?}");
        }
    }

    #[test]
    fn the_field_is_found_and_exchanged_at_every_cut() {
        check(&[MODEL, FILE, END].concat(), Ok(Some("whisper")));
        check(&[FILE, MODEL, END].concat(), Ok(Some("whisper")));
        check(&["preamble\r\n", FILE, MODEL, END, "epilogue --XyZ"].concat(), Ok(Some("whisper")));
        check(&[FILE, END].concat(), Ok(None));
        check(&[&MODEL.replace("whisper", "other"), "--XyZ--"].concat(), Ok(Some("other")));
        check(&[&MODEL.replace("\"model\"", "model"), END].concat(), Ok(Some("whisper")));
        check(
            &[&MODEL.replace("\r\n\r\n", "\r\nContent-Type: text/plain; charset=UTF-8\r\n\r\n"), END].concat(),
            Ok(Some("whisper")),
        );
        check(&FILE.replace("name=\"file\"", "name=\"models[]\""), Ok(None));
        check(FILE, Ok(None));
        check("", Ok(None));
    }

    #[test]
    fn trap_a_form_that_two_readers_read_differently_is_refused() {
        let bad = |form: &str, error| check(form, Err(error));
        bad(&[MODEL, MODEL, END].concat(), MultipartError::Twice("model"));
        bad(&[FILE, &MODEL.replace("\r\n", "\n"), END].concat(), MultipartError::Unclear);
        bad(&[FILE, END, &MODEL.replace("--XyZ", "\r\n--XyZ")].concat(), MultipartError::Unclear);
        bad(&MODEL.replace("--XyZ\r\n", "--XyZ \r\n"), MultipartError::Unclear);
        bad(&MODEL.replace("--XyZ\r\n", "--XyZ\n"), MultipartError::Unclear);
        bad(&["--XyZ\r\nA: b\r\n\r\n", MODEL].concat(), MultipartError::Unclear);
        bad(&["x\n", MODEL, END].concat(), MultipartError::Unclear);
        for (from, to) in [
            ("name=\"model\"", "name=\"a\"; name=\"model\""),
            ("name=\"model\"", "name*=utf-8''model"),
            ("name=\"model\"", "name*0=mo; name*1=del"),
            ("name=\"model\"", "filename=\"a\\\"; name=\"model\""),
            ("name=\"model\"", "name=\"mod%65l\""),
            ("name=\"model\"", "name=\"mod\\el\""),
            ("name=\"model\"", "name=\"Model\""),
            ("name=\"model\"", "name=\"model \""),
            ("name=\"model\"", "name=\"model"),
            ("name=\"model\"", "name=\"x\"\r\n ; name=\"model\""),
            ("content-disp", "content-disposition: form-data; name=\"a\"\r\ncontent-disp"),
            ("content-disposition: ", "content-disposition "),
        ] {
            bad(&[&MODEL.replace(from, to), END].concat(), MultipartError::Head);
        }
        let value = MultipartError::Value("model");
        bad(&[&MODEL.replace("\r\n\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\n"), END].concat(), value);
        bad(&[&MODEL.replace("\r\n\r\n", "\r\nContent-Type: text/plain; charset=utf-16\r\n\r\n"), END].concat(), value);
        bad(&[&MODEL.replace("whisper", "a\nb"), END].concat(), value);
        bad(&[&MODEL.replace("whisper", &"x".repeat(2000)), END].concat(), value);
        bad(MODEL, MultipartError::Unfinished("model"));
    }

    #[test]
    fn heads_are_bounded() {
        let long = format!("--XyZ\r\nx: {}", "y".repeat(2 * HEAD_LIMIT));
        assert_eq!(run(KIND, long.as_bytes(), 1000).map(drop), Err(MultipartError::Head));
    }

    #[test]
    fn boundaries_are_read_from_the_content_type() {
        let check = |kind: &str, fine: bool| {
            let form = "--a b\r\ncontent-disposition: form-data; name=model\r\n\r\nwhisper\r\n--a b--";
            assert_eq!(run(kind, form.as_bytes(), 9).is_ok_and(|found| found.1.is_some()), fine, "{kind}");
        };
        check("multipart/form-data; boundary=\"a b\"", true);
        check("Multipart/Form-Data;charset=utf-8; BOUNDARY = \"a b\"", true);
        for bad in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/mixed; boundary=\"a b\"",
            "multipart/form-data; boundary=\"a b\"; boundary=c",
            "multipart/form-data; boundary*=utf-8''a%20b",
        ] {
            check(bad, false);
        }
        let endless = format!("multipart/form-data; boundary={}", "x".repeat(300));
        assert!(Multipart::new(&endless, "model").is_err());
    }
}
