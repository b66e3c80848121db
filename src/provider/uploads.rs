//! Uploads that take several requests, as Google's servers have them: what their headers and addresses say.
//!
//! The first request says what will come. Its answer names the address that the bytes are to be sent to, piece by piece,
//! with what the server calls the upload by (`upload_id`), and that address wants no key: whoever has it may go on.
//! A client must come back to us with the pieces, so it is given an address of ours, see [`come_back`]. The upload's
//! name stands in it as it came, and beside it a ticket, which says whose upload it is and which provider has it.
//!
//! Sources: <https://ai.google.dev/gemini-api/docs/files> and <https://ai.google.dev/api/files>;
//! <https://developers.google.com/photos/library/guides/resumable-uploads> for the commands and answers of the protocol;
//! google-genai 3.4, which sends the pieces without a key (`_api_client.py`, `_upload_fd`).

use http::Uri;
use http::uri::Authority;
use tidegate_codec::hub::media::percent_decode;

/// Headers of a client's that belong to an upload and say nothing secret; lower case.
pub const REQUEST_HEADERS: [&str; 6] = [
    "x-goog-upload-protocol",
    "x-goog-upload-command",
    "x-goog-upload-offset",
    "x-goog-upload-header-content-length",
    "x-goog-upload-header-content-type",
    "x-goog-upload-file-name",
];

/// Headers of an answer that say how far an upload has come.
pub const ANSWER_HEADERS: [&str; 3] =
    ["x-goog-upload-status", "x-goog-upload-chunk-granularity", "x-goog-upload-size-received"];

/// The header of an answer with the address that the pieces go to.
pub const ADDRESS_HEADER: &str = "x-goog-upload-url";

/// The parameter of that address that holds the ticket.
pub const TICKET: &str = "tidegate_ticket";

/// Headers with addresses of the provider's own, which no client gets as they are.
pub const OWN_HEADERS: [&str; 2] = [ADDRESS_HEADER, "x-goog-upload-control-url"];

/// How the paths of uploads begin.
const PATH: &str = "/upload/";

/// The parameter that the upload is called by.
const UPLOAD: &str = "upload_id";

/// Parameters in which such servers take credentials, or headers and a method in place of the request's own.
/// (<https://cloud.google.com/apis/docs/system-parameters>; Closure Library, `goog/net/rpc/httpcors.js`)
const REPLACING: [&str; 8] =
    ["key", "$key", "access_token", "oauth_token", "bearer_token", "api_key", "$httpHeaders", "$httpMethod"];

/// What a query says of the upload that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upload<'q> {
    /// It belongs to none.
    None,
    /// To the one that is called so, as it is written.
    One(&'q str),
    /// To several, or to one that is spelt in a way that servers may read differently.
    Unclear,
}

/// Whether `path` is one of uploads.
#[must_use]
pub fn are_at(path: &str) -> bool {
    path.starts_with(PATH)
}

/// Whether `query` asks for the older protocol of several requests, whose answers lead on by `location`.
#[must_use]
pub fn is_older(query: &str) -> bool {
    query.split('&').any(|pair| holds(pair, &["uploadType", "upload_type"]) && pair.contains("resumable"))
}

/// Which upload `query` belongs to.
#[must_use]
pub fn upload_in(query: &str) -> Upload<'_> {
    let mut found = query.split('&').filter(|pair| holds(pair, &[UPLOAD]));
    match (found.next(), found.next()) {
        (None, _) => Upload::None,
        (Some(pair), None) => match plain_value(pair, UPLOAD) {
            Some(name) => Upload::One(name),
            None => Upload::Unclear,
        },
        (Some(_), Some(_)) => Upload::Unclear,
    }
}

/// The ticket in `query`, if there is one.
#[must_use]
pub fn ticket_in(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| plain_value(pair, TICKET))
}

/// What of `query` goes to a provider: all but credentials, which are its client's, what stands for parts of the request
/// that were judged as they are, and what is ours.
#[must_use]
pub fn passed(query: &str) -> String {
    let ours = |pair: &&str| holds(pair, &REPLACING) || holds(pair, &[TICKET]);
    query.split('&').filter(|pair| !ours(pair)).collect::<Vec<_>>().join("&")
}

/// Why a provider's address cannot be come back to: it leads to another place than the one that was asked, or the upload
/// is not called by a parameter of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Astray;

/// The name of the upload and what stands in the query, of the `address` that a provider gave where it was asked at the
/// path `asked`.
///
/// Only the query is taken: where the pieces go is configured, whatever host the provider names.
///
/// # Errors
///
/// See [`Astray`].
pub fn read_address(address: &str, asked: &str) -> Result<(String, String), Astray> {
    let uri: Uri = address.parse().map_err(|_| Astray)?;
    // What stands before the provider or before us may know both by a longer path.
    let same = asked.ends_with(uri.path()) || uri.path().ends_with(asked);
    if !same || uri.path().len() < 2 || address.contains('#') {
        return Err(Astray);
    }
    let query = passed(uri.query().unwrap_or_default());
    match upload_in(&query) {
        Upload::One(name) => Ok((name.to_owned(), query)),
        Upload::None | Upload::Unclear => Err(Astray),
    }
}

/// The address that leads a client back: `origin` and `path` as it wrote them itself, the provider's `query`, and the
/// ticket.
#[must_use]
pub fn come_back((origin, path): (&str, &str), query: &str, ticket: &str) -> String {
    [origin, path, "?", query, "&", TICKET, "=", ticket].concat()
}

/// Scheme and host of our own as a client knows them; `None` where `host` is no host.
#[must_use]
pub fn origin(tls: bool, host: &str) -> Option<String> {
    let host: Authority = host.parse().ok().filter(|host: &Authority| !host.as_str().contains('@'))?;
    Some(format!("{}://{host}", if tls { "https" } else { "http" }))
}

/// Whether a pair of a query is one of `names`, to whichever reader: some decode it, and some take `;` for `&`.
fn holds(pair: &str, names: &[&str]) -> bool {
    pair.split(';').any(|piece| {
        let name = percent_decode(piece.split('=').next().unwrap_or_default());
        names.iter().any(|known| known.as_bytes() == name)
    })
}

/// The value of a pair that nobody can read differently.
fn plain_value<'p>(pair: &'p str, name: &str) -> Option<&'p str> {
    let value = pair.strip_prefix(name)?.strip_prefix('=')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$*,:@/=".contains(&byte);
    Some(value).filter(|value| !value.is_empty() && value.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_one_or_unclear() {
        for (query, expected) in [
            ("", Upload::None),
            ("upload_protocol=resumable", Upload::None),
            ("upload_idx=a&xupload_id=b", Upload::None),
            ("upload_id=AHm_U-1&upload_protocol=resumable", Upload::One("AHm_U-1")),
            ("a=b&upload_id=%2B%2f=", Upload::One("%2B%2f=")),
            ("upload_id=a&upload_id=b", Upload::Unclear),
            ("upload_id=a&upload%5Fid=b", Upload::Unclear),
            ("upload%5fid=b", Upload::Unclear),
            ("upload_id=a;upload_id=b", Upload::Unclear),
            ("x=y;upload_id=b", Upload::Unclear),
            ("upload_id=", Upload::Unclear),
            ("upload_id", Upload::Unclear),
            ("upload_id=a+b", Upload::Unclear),
            ("upload_id=a\"b", Upload::Unclear),
            ("upload_id=a\\b", Upload::Unclear),
        ] {
            assert_eq!(upload_in(query), expected, "{query}");
        }
    }

    #[test]
    fn credentials_and_tickets_go_nowhere() {
        for (query, left) in [
            ("alt=media", "alt=media"),
            ("alt=media&key=k&a=%20b", "alt=media&a=%20b"),
            ("k%65y=k&%24key=l&access_token=m&oauth_token=n", ""),
            ("a=b;key=k&c", "c"),
            ("$httpMethod=DELETE&%24httpHeaders=x-goog-api-key%3Ak&alt=json", "alt=json"),
            ("tidegate_ticket=t&upload_id=u&tidegate%5Fticket=v", "upload_id=u"),
            ("monkey=1&pageToken=a;b", "monkey=1&pageToken=a;b"),
        ] {
            assert_eq!(passed(query), left, "{query}");
        }
        for (query, older) in
            [("uploadType=resumable", true), ("a&upload%54ype=resumable", true), ("uploadType=media", false)]
        {
            assert_eq!(is_older(query), older, "{query}");
        }
        assert_eq!(ticket_in("a=b&tidegate_ticket=t-_"), Some("t-_"));
        assert_eq!(ticket_in("tidegate%5Fticket=t&tidegate_ticket="), None);
    }

    #[test]
    fn an_address_is_read_for_its_upload_alone() {
        let check = |address: &str, expected: Option<&str>| {
            let read = read_address(address, "/google/upload/v1beta/files");
            assert_eq!(read.map(|(_, query)| query).ok().as_deref(), expected, "{address}");
        };
        let id = "upload_id=u-1&upload_protocol=resumable";
        for place in [
            "https://generativelanguage.googleapis.com/upload/v1beta/files",
            "http://127.0.0.1:9/google/upload/v1beta/files",
            "https://evil.example/upload/v1beta/files",
            "https://gateway.example/a/google/upload/v1beta/files",
            "/google/upload/v1beta/files",
        ] {
            check(&format!("{place}?{id}"), Some(id));
            check(&format!("{place}?key=AIza&{id}"), Some(id));
            check(&format!("{place}?{id}&tidegate_ticket=forged"), Some(id));
        }
        let place = "https://g.example/upload/v1beta/files";
        for astray in [
            "",
            "x",
            "https://g.example/",
            "https://g.example",
            "https://g.example/elsewhere?upload_id=u",
            "https://g.example/upload/v1beta/files/../../x?upload_id=u",
            &format!("{place}?upload_protocol=resumable"),
            &format!("{place}?upload_id=a&upload_id=b"),
            &format!("{place}?upload_id=a b"),
            &format!("{place}?upload_id=a\"b"),
            &format!("{place}?upload_id=a#b"),
            &format!("{place}/u"),
        ] {
            check(astray, None);
        }
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for (tls, host, expected) in [
            (false, "edge.example:8080", Some("http://edge.example:8080")),
            (true, "[::1]:443", Some("https://[::1]:443")),
            (true, "a@evil.example", None),
            (true, "a/b", None),
            (true, "a b", None),
            (true, "a?b", None),
            (true, "", None),
        ] {
            assert_eq!(origin(tls, host).as_deref(), expected, "{host}");
        }
        let back = come_back(("https://e", "/upload/v1/files"), "upload_id=u", "t");
        assert_eq!(back, "https://e/upload/v1/files?upload_id=u&tidegate_ticket=t");
    }
}
