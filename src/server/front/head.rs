//! A request's head over HTTP/1, read more strictly than the parser behind it: what two readers could take in two ways
//! is refused before either sees it (RFC 9112 sections 2.2, 3, 5 and 6).

use crate::proxy::{Unserved, is_served, unserved};

/// Longest name of a method.
const METHOD_SIZE: usize = 32;

/// Longest target that the `http` crate takes.
const TARGET_SIZE: usize = (u16::MAX - 1) as usize;
const TARGET_TOO_LONG: Fault =
    Fault { status: 414, label: "uri_too_long", message: "The request's line is longer than this server reads." };

/// How much a head may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes in all.
    pub size: usize,
    /// Headers.
    pub count: usize,
}

/// Why a request is refused unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// The status of the answer.
    pub status: u16,
    /// A bounded word for metrics and the log.
    pub label: &'static str,
    /// What the client is told.
    pub message: &'static str,
}

/// A 400.
pub(super) const fn bad(label: &'static str, message: &'static str) -> Fault {
    Fault { status: 400, label, message }
}

/// How a message's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes, or none.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Looks for the end of a head while it comes, each byte once.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Bytes looked at.
    seen: usize,
    /// Where the line begins that is being looked at.
    line: usize,
    /// Lines that are complete.
    lines: usize,
    /// The byte before was CR.
    after_cr: bool,
}

impl Scan {
    /// Goes on through `bytes`, which grow from call to call; the length of the head once it is complete.
    pub(super) fn look(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Option<usize>, Fault> {
        while self.sound_line(bytes, bounds) {
            if self.ends_line(bounds)? {
                return Ok(Some(self.seen));
            }
        }
        self.look_closely(bytes, bounds)
    }

    /// Steps over the rest of a line at once, if all of it is here and there is nothing wrong with it.
    fn sound_line(&mut self, bytes: &[u8], bounds: Bounds) -> bool {
        let rest = bytes.get(self.seen..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest).filter(|end| self.seen + end < bounds.size) else { return false };
        let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        // The fold has no early exit, so that it compiles to wide instructions.
        let sound = line.is_some_and(|line| line.iter().fold(true, |sound, byte| sound & is_plain(*byte)));
        if sound && !self.after_cr {
            self.seen += end + 1;
            return true;
        }
        false
    }

    /// Counts the line that ends here; true if it is the empty one that ends the head.
    fn ends_line(&mut self, bounds: Bounds) -> Result<bool, Fault> {
        if self.seen - self.line == 2 && self.lines > 0 {
            return Ok(true);
        }
        self.lines += 1;
        // The request line is none of them.
        if self.lines > bounds.count + 1 {
            return Err(TOO_MANY);
        }
        self.line = self.seen;
        Ok(false)
    }

    /// Byte by byte: a line that is not whole yet, or is faulty.
    fn look_closely(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Option<usize>, Fault> {
        for byte in bytes.iter().skip(self.seen) {
            self.seen += 1;
            if self.seen > bounds.size {
                return Err(self.too_long());
            }
            match (byte, self.after_cr) {
                (b'\r', false) => self.after_cr = true,
                (b'\n', true) => {
                    self.after_cr = false;
                    if self.ends_line(bounds)? {
                        return Ok(Some(self.seen));
                    }
                }
                (_, true) => return Err(bad("bad_line_end", "A carriage return stands alone in the request's head.")),
                (b'\n', false) => {
                    return Err(bad("bad_line_end", "A line of the request's head ends without a carriage return."));
                }
                (byte, false) if is_plain(*byte) => {}
                _ => return Err(bad("bad_byte", "The request's head holds a control character.")),
            }
        }
        Ok(None)
    }

    fn too_long(&self) -> Fault {
        if self.lines == 0 {
            TARGET_TOO_LONG
        } else {
            Fault {
                status: 431,
                label: "head_too_large",
                message: "The request's head is longer than this server reads.",
            }
        }
    }
}

/// More headers than a request may have.
pub(super) const TOO_MANY: Fault =
    Fault { status: 431, label: "too_many_headers", message: "The request has more headers than this server reads." };

/// Reads a complete head; how its body is framed.
pub(super) fn read(head: &[u8]) -> Result<Framing, Fault> {
    let mut lines = lines(head);
    let line = request_line(lines.next().unwrap_or_default())?;
    let mut fields = Fields::default();
    for text in lines {
        let (name, value) = field(text)?;
        fields.note(name, value)?;
    }
    authority(&line, &fields)?;
    fields.framing(line.old)
}

/// Writes the host of a target in absolute form in the letters of the `Host` header. Large and small ones are the same there
/// (RFC 9110 section 4.2.3), but the parser behind this one compares bytes, and refuses without a word.
pub(super) fn level(head: &mut [u8]) {
    let target = memchr::memchr(b' ', head).map_or(0, |space| space + 1);
    if head.get(target) == Some(&b'/') {
        return;
    }
    let named =
        |line: &[u8]| field(line).ok().filter(|(name, _)| name.eq_ignore_ascii_case(b"host"))?.1.to_vec().into();
    let host: Option<Vec<u8>> = lines(head).skip(1).find_map(named);
    let authority = memchr::memmem::find(head, b"://").map_or(0, |scheme_end| scheme_end + 3);
    if let Some(host) = host
        && let Some(place) = head.get_mut(authority..authority + host.len())
        && place.eq_ignore_ascii_case(&host)
    {
        place.copy_from_slice(&host);
    }
}

/// The target of a request whose head may be faulty or incomplete, to tell where it was to go.
pub(super) fn target(head: &[u8]) -> Option<&str> {
    let line = lines(head).next()?;
    let target = line.split(|byte| *byte == b' ').nth(1)?;
    std::str::from_utf8(target).ok().filter(|target| target.starts_with('/'))
}

/// The method of such a request.
pub(super) fn method(head: &[u8]) -> Option<&str> {
    let line = lines(head).next()?;
    let method = line.split(|byte| *byte == b' ').next()?;
    is_served(method).then(|| std::str::from_utf8(method).ok()).flatten()
}

/// The lines of a head, without their ends and without the empty one.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head);
    let lines = std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr::memchr(b'\n', text);
        rest = end.and_then(|end| text.get(end + 1..));
        text.get(..end.unwrap_or(text.len()))
    });
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
}

struct Line<'h> {
    /// Authority of a target in absolute form.
    authority: Option<&'h [u8]>,
    /// HTTP/1.0.
    old: bool,
}

fn request_line(line: &[u8]) -> Result<Line<'_>, Fault> {
    const FORM: Fault = bad("bad_request_line", "The request's line is not `METHOD TARGET HTTP/1.1`.");
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(FORM);
    };
    if method.is_empty() || method.len() > METHOD_SIZE || !method.iter().all(|byte| is_token(*byte)) {
        return Err(FORM);
    }
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ if version.starts_with(b"HTTP/") => {
            let message = "This server speaks HTTP/1.1, HTTP/1.0 and HTTP/2.";
            return Err(Fault { status: 505, label: "bad_version", message });
        }
        _ => return Err(FORM),
    };
    if let Some(Unserved { status, label, message }) = unserved(method) {
        return Err(Fault { status, label, message });
    }
    Ok(Line { authority: target_authority(method, target)?, old })
}

/// The authority in `target`, which must be in origin form, in absolute form, or `*` of OPTIONS.
fn target_authority<'h>(method: &[u8], target: &'h [u8]) -> Result<Option<&'h [u8]>, Fault> {
    const TARGET: Fault = bad("bad_target", "The request's target is neither a path nor an http URL.");
    if target.iter().any(|byte| !matches!(byte, b'!'..=b'~') || *byte == b'#') {
        return Err(TARGET);
    }
    if target.len() > TARGET_SIZE {
        return Err(TARGET_TOO_LONG);
    }
    // The parser behind this one refuses more, and without a word.
    if !target.iter().all(|byte| is_common(*byte)) && http::Uri::try_from(target).is_err() {
        return Err(bad("bad_target", "The request's target holds a character that must be written as %XX there."));
    }
    if target.starts_with(b"/") || (target == b"*" && method == b"OPTIONS") {
        return Ok(None);
    }
    let scheme_end = target.windows(3).position(|part| part == b"://").ok_or(TARGET)?;
    let (scheme, rest) = target.split_at_checked(scheme_end).ok_or(TARGET)?;
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(TARGET);
    }
    let rest = rest.get(3..).unwrap_or_default();
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default();
    if is_authority(authority) { Ok(Some(authority)) } else { Err(TARGET) }
}

/// True for what may stand anywhere in a path or a query (RFC 3986 sections 2, 3.3 and 3.4).
fn is_common(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(&byte)
}

/// One header, or one trailer: its name and its value without the white space around it.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(bad("folded_header", "A header goes on in a second line, which is obsolete."));
    }
    let colon = memchr::memchr(b':', line);
    let named = colon.and_then(|colon| Some((line.get(..colon)?, line.get(colon + 1..)?)));
    let Some((name, value)) = named.filter(|(name, _)| !name.is_empty() && name.iter().all(|byte| is_token(*byte)))
    else {
        return Err(bad("bad_header", "A line of the request's head is not `name: value`."));
    };
    Ok((name, value.trim_ascii()))
}

/// What the headers say that matters to where the message ends and whom it is for.
#[derive(Default)]
struct Fields<'h> {
    host: Option<&'h [u8]>,
    length: Option<u64>,
    chunked: bool,
}

impl<'h> Fields<'h> {
    fn note(&mut self, name: &'h [u8], value: &'h [u8]) -> Result<(), Fault> {
        // Of most names the length alone tells that they are none of these.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.note_host(value),
            6 if name.eq_ignore_ascii_case(b"expect") => expect(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => upgrade(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.note_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.note_encoding(value),
            _ => Ok(()),
        }
    }

    fn note_host(&mut self, value: &'h [u8]) -> Result<(), Fault> {
        if self.host.replace(value).is_some() {
            return Err(bad("double_host", "The request has two Host headers."));
        }
        if is_authority(value) { Ok(()) } else { Err(bad("bad_host", "The Host header is not `host` or `host:port`.")) }
    }

    fn note_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let digits = !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        let length = number.ok_or(bad("bad_length", "The Content-Length header is not one number."))?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(bad("double_length", "The request has two Content-Length headers.")),
        }
    }

    fn note_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.chunked {
            return Err(bad("bad_encoding", "The request has two Transfer-Encoding headers."));
        }
        self.chunked = value.eq_ignore_ascii_case(b"chunked");
        if self.chunked {
            return Ok(());
        }
        let known = [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"x-compress", b"br", b"zstd"];
        let message = "Of transfer encodings only `chunked` is read here.";
        let status = if known.iter().any(|name| value.eq_ignore_ascii_case(name)) { 501 } else { 400 };
        Err(Fault { status, label: "bad_encoding", message })
    }

    fn framing(&self, old: bool) -> Result<Framing, Fault> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(bad("double_framing", "The request has both Transfer-Encoding and Content-Length.")),
            (true, None) if old => Err(bad("bad_encoding", "HTTP/1.0 knows no Transfer-Encoding.")),
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

fn expect(value: &[u8]) -> Result<(), Fault> {
    if value.eq_ignore_ascii_case(b"100-continue") {
        return Ok(());
    }
    Err(Fault { status: 417, label: "bad_expect", message: "Only `100-continue` can be expected here." })
}

/// An upgrade to HTTP/2 is an offer that a server may pass over, and clients exist that make it with every first request;
/// whoever asks for another protocol cannot go on without it.
fn upgrade(value: &[u8]) -> Result<(), Fault> {
    if value.eq_ignore_ascii_case(b"h2c") {
        return Ok(());
    }
    Err(Fault { status: 501, label: "upgrade_refused", message: "No other protocol is served on this connection." })
}

fn authority(line: &Line<'_>, fields: &Fields<'_>) -> Result<(), Fault> {
    match (line.authority, fields.host) {
        (_, None) if !line.old => Err(bad("no_host", "The request has no Host header.")),
        (Some(named), Some(host)) if !named.eq_ignore_ascii_case(host) => {
            Err(bad("bad_host", "The request's URL and its Host header name different hosts."))
        }
        _ => Ok(()),
    }
}

/// True for `host` and `host:port`; never for user information.
fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text.iter().rposition(|byte| *byte == b':') {
        // The colons of an IPv6 address stand in brackets.
        Some(colon) if !text.ends_with(b"]") => text.split_at(colon),
        _ => (text, &b""[..]),
    };
    let port = port.strip_prefix(b":").unwrap_or_default();
    let port_fits = port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    let inside = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let host_fits = match inside {
        Some(address) => {
            !address.is_empty() && address.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
        }
        None => {
            !host.is_empty() && host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~'))
        }
    };
    port_fits && host_fits
}

/// No control character, or a tab.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Which bytes names are made of.
#[expect(clippy::indexing_slicing, reason = "run by the compiler, and no byte is beyond 255")]
const TOKENS: [bool; 256] = {
    let mut tokens = [false; 256];
    let mut rest: &[u8] = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    while let [byte, behind @ ..] = rest {
        tokens[*byte as usize] = true;
        rest = behind;
    }
    tokens
};

fn is_token(byte: u8) -> bool {
    TOKENS.get(usize::from(byte)).is_some_and(|token| *token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { size: 1000, count: 10 };

    fn look(text: &[u8]) -> Result<Option<Framing>, Fault> {
        let at_once = Scan::default().look(text, BOUNDS);
        let mut scan = Scan::default();
        let by_byte = (0..=text.len()).find_map(|end| match scan.look(&text[..end], BOUNDS) {
            Ok(None) => None,
            found => Some(found),
        });
        assert_eq!(by_byte.unwrap_or(Ok(None)), at_once, "however it comes: {:?}", String::from_utf8_lossy(text));
        at_once?.map(|end| read(&text[..end])).transpose()
    }

    fn label(text: &str) -> (u16, &'static str) {
        look(text.as_bytes())
            .map_or_else(|fault| (fault.status, fault.label), |found| (0, if found.is_some() { "ok" } else { "more" }))
    }

    #[test]
    fn what_clients_send_is_read() {
        for (head, framing) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            (
                "POST /v1/x?y=%20&z=%7B HTTP/1.1\r\nhost: a.example:8080\r\ncontent-length: 12\r\n\r\n",
                Framing::Length(12),
            ),
            ("POST / HTTP/1.1\r\nHOST:[::1]:80\r\nTransfer-Encoding:\tChunked \r\n\r\n", Framing::Chunked),
            ("GET / HTTP/1.0\r\n\r\n", Framing::Length(0)),
            ("POST http://a/x HTTP/1.1\r\nhost: A\r\ncontent-length: 007\r\n\r\n", Framing::Length(7)),
            ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.1\r\nhost: a\r\nx: caf\u{e9} 北\r\nexpect: 100-Continue\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.1\r\nhost: a\r\nempty:\r\n\r\n", Framing::Length(0)),
        ] {
            assert_eq!(look(head.as_bytes()), Ok(Some(framing)), "{head}");
        }
        assert_eq!(label("POST / HTTP/1.1\r\nhost: a\r\n"), (0, "more"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let post = |fields: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n");
        for (fields, status, word) in [
            ("content-length: 1\r\ntransfer-encoding: chunked", 400, "double_framing"),
            ("transfer-encoding: chunked\r\ncontent-length: 1", 400, "double_framing"),
            ("content-length: 1\r\ncontent-length: 2", 400, "double_length"),
            ("content-length: 1\r\ncontent-length: 1", 400, "double_length"),
            ("content-length: 1, 1", 400, "bad_length"),
            ("content-length: 1,2", 400, "bad_length"),
            ("content-length: +1", 400, "bad_length"),
            ("content-length: -1", 400, "bad_length"),
            ("content-length: 0x1", 400, "bad_length"),
            ("content-length: 1 1", 400, "bad_length"),
            ("content-length:", 400, "bad_length"),
            ("content-length: 99999999999999999999", 400, "bad_length"),
            ("content-length : 1", 400, "bad_header"),
            ("content-length\t: 1", 400, "bad_header"),
            (" content-length: 1", 400, "folded_header"),
            ("x: 1\r\n content-length: 1", 400, "folded_header"),
            ("x: 1\r\n\tmore", 400, "folded_header"),
            ("transfer-encoding: xchunked", 400, "bad_encoding"),
            ("transfer-encoding: chunked, chunked", 400, "bad_encoding"),
            ("transfer-encoding: chunked, identity", 400, "bad_encoding"),
            ("transfer-encoding: identity", 400, "bad_encoding"),
            ("transfer-encoding: \"chunked\"", 400, "bad_encoding"),
            ("transfer-encoding: chunked;q=1", 400, "bad_encoding"),
            ("transfer-encoding: \u{b}chunked", 400, "bad_byte"),
            ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", 400, "bad_encoding"),
            ("transfer-encoding: chunked\r\ntransfer-encoding: identity", 400, "bad_encoding"),
            ("transfer-encoding: gzip", 501, "bad_encoding"),
            ("transfer\u{17f}encoding: chunked", 400, "bad_header"),
            (": nameless", 400, "bad_header"),
            ("no colon", 400, "bad_header"),
            ("a b: 1", 400, "bad_header"),
            ("a(b): 1", 400, "bad_header"),
            ("x: a\0b", 400, "bad_byte"),
            ("x: a\u{7f}b", 400, "bad_byte"),
            ("x: a\rb", 400, "bad_line_end"),
            ("x: a\nb: c", 400, "bad_line_end"),
            ("x: a\r\r\nb: c", 400, "bad_line_end"),
            ("host: a", 400, "double_host"),
            ("host: b", 400, "double_host"),
            ("expect: 200-ok", 417, "bad_expect"),
            ("upgrade: websocket", 501, "upgrade_refused"),
            ("upgrade: h2c, websocket", 501, "upgrade_refused"),
        ] {
            assert_eq!(label(&post(fields)), (status, word), "{fields:?}");
        }
    }

    #[test]
    fn faulty_lines_and_hosts_are_refused() {
        for (head, status, word) in [
            ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_request_line"),
            ("GET / HTTP/1.1 \r\nhost: a\r\n\r\n", 400, "bad_request_line"),
            (" GET / HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_request_line"),
            ("GET /\r\nhost: a\r\n\r\n", 400, "bad_request_line"),
            ("GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_request_line"),
            ("GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_request_line"),
            ("G(T / HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_request_line"),
            ("GET / http/1.1\r\nhost: a\r\n\r\n", 400, "bad_request_line"),
            ("GET / HTTP/1.2\r\nhost: a\r\n\r\n", 505, "bad_version"),
            ("GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505, "bad_version"),
            ("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", 405, "method_refused"),
            ("CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 405, "method_refused"),
            ("BREW / HTTP/1.1\r\nhost: a\r\n\r\n", 501, "method_unknown"),
            ("get / HTTP/1.1\r\nhost: a\r\n\r\n", 501, "method_unknown"),
            ("GET a HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_target"),
            ("GET * HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_target"),
            ("GET /#x HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_target"),
            ("GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_target"),
            ("GET /?a=\"b\" HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_target"),
            ("GET /<a> HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_target"),
            ("GET /` HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_target"),
            ("GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_target"),
            ("GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_target"),
            ("GET http:///x HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_target"),
            ("GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n", 400, "bad_host"),
            ("GET / HTTP/1.1\r\nx: a\r\n\r\n", 400, "no_host"),
            ("GET / HTTP/1.1\r\nhost:\r\n\r\n", 400, "bad_host"),
            ("GET / HTTP/1.1\r\nhost: u:p@a\r\n\r\n", 400, "bad_host"),
            ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400, "bad_host"),
            ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", 400, "bad_host"),
            ("GET / HTTP/1.1\r\nhost: a,b\r\n\r\n", 400, "bad_host"),
            ("GET / HTTP/1.1\r\nhost: a:x\r\n\r\n", 400, "bad_host"),
            ("GET / HTTP/1.1\r\nhost: a:123456\r\n\r\n", 400, "bad_host"),
            ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 400, "bad_encoding"),
            ("GET / HTTP/1.1\nhost: a\n\n", 400, "bad_line_end"),
            ("\u{16}\u{3}\u{1}", 400, "bad_byte"),
        ] {
            assert_eq!(label(head), (status, word), "{head:?}");
        }
    }

    #[test]
    fn a_head_is_bounded_in_size_and_number() {
        let fits = |fields: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(fields));
        assert_eq!(label(&fits(9)), (0, "ok"));
        assert_eq!(label(&fits(10)), (431, "too_many_headers"));
        let sized = |size: usize| format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(size));
        let rest = sized(0).len();
        assert_eq!(label(&sized(1000 - rest)), (0, "ok"));
        assert_eq!(label(&sized(1001 - rest)), (431, "head_too_large"));
        assert_eq!(label(&format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(1000))), (414, "uri_too_long"));
        assert_eq!(label(&"a".repeat(1001)), (414, "uri_too_long"));
    }

    #[test]
    fn what_passes_is_taken_by_the_parser_behind() {
        let taken = |target: &[u8]| http::Uri::try_from(target).is_ok();
        for byte in 0..=u8::MAX {
            for target in [[b"/a".as_slice(), &[byte]].concat(), [b"/a?b".as_slice(), &[byte]].concat()] {
                let passes = target_authority(b"GET", &target).is_ok();
                assert!(!passes || taken(&target), "{:?}", String::from_utf8_lossy(&target));
                assert!(!is_common(byte) || passes, "{byte}");
            }
        }
        for (length, status) in [(TARGET_SIZE, None), (TARGET_SIZE + 1, Some(414))] {
            let target = ["/", &"a".repeat(length - 1)].concat();
            assert_eq!(target_authority(b"GET", target.as_bytes()).err().map(|fault| fault.status), status);
            assert_eq!(taken(target.as_bytes()), status.is_none());
        }
    }

    #[test]
    fn a_host_is_written_in_one_way() {
        let check = |head: &str, expected: &str| {
            let mut bytes = head.as_bytes().to_vec();
            level(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        };
        let same = |head: &str| check(head, head);
        let lower = |host: &str| format!("GET http://{host}/A HTTP/1.1\r\nx: y\r\nHOST: local:80\r\n\r\n");
        check(&lower("LOCAL:80"), &lower("local:80"));
        check("GET HTTP://a?B HTTP/1.1\r\nhost: A\r\n\r\n", "GET HTTP://A?B HTTP/1.1\r\nhost: A\r\n\r\n");
        same("GET /x://A HTTP/1.1\r\nhost: a\r\n\r\n");
        same("GET http://b/ HTTP/1.1\r\nhost: A\r\n\r\n");
        same("OPTIONS * HTTP/1.1\r\nhost: A\r\n\r\n");
        same("GET http://a/ HTTP/1.0\r\n\r\n");
    }

    #[test]
    fn a_faulty_head_still_tells_where_it_was_to_go() {
        assert_eq!(target(b"POST /v1/messages HTTP/1.1\r\nhost"), Some("/v1/messages"));
        assert_eq!((method(b"POST /v1 HT"), method(b"BREW /")), (Some("POST"), None));
        assert_eq!((target(b"\x16\x03"), target(b""), target(b"GET x y")), (None, None, None));
    }
}
