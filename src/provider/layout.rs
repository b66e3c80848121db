//! Where a provider keeps the paths of its formats: templates, as data.
//!
//! A vendor's paths are mostly the formats' own (`/v1/chat/completions`) behind its base path. Some leave the version
//! out, some name the deployment in the path or the API's version in the query. A template says so:
//!
//! ```text
//! {path}         the format's own path without its version: chat/completions, models/gemini-x:generateContent
//! {version}      the version that it begins with: v1, v1beta
//! {model}        the provider's name of the model, as one segment
//! {api_version}  what the provider's `api_version` says
//! ```

use std::collections::{BTreeMap, BTreeSet};

use tidegate_codec::format::as_segment;
use tidegate_codec::{Format, wire};

use super::services;

/// Stands for all paths that no other template is for.
pub const ANY: &str = "*";

/// Stands before the version in the paths of uploads, of some formats.
const UPLOAD: &str = "/upload";

const PLACEHOLDERS: [&str; 4] = ["{path}", "{version}", "{model}", "{api_version}"];

/// The paths of a provider. The default is the formats' own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Templates by the beginning of the path that they are for, without its version; [`ANY`] for all others.
    templates: BTreeMap<String, String>,
    /// What `{api_version}` stands for.
    api_version: Option<String>,
}

impl Layout {
    /// The layout with `templates`, by the beginning of the path that each is for; see [`fault_of`] for what they may
    /// be.
    #[must_use]
    pub fn new(templates: BTreeMap<String, String>, api_version: Option<String>) -> Self {
        Self { templates, api_version }
    }

    /// The templates, by the beginning of the path that each is for.
    pub fn templates(&self) -> impl Iterator<Item = (&str, &str)> {
        self.templates.iter().map(|(beginning, template)| (beginning.as_str(), template.as_str()))
    }

    /// What `{api_version}` stands for.
    #[must_use]
    pub fn api_version(&self) -> Option<&str> {
        self.api_version.as_deref()
    }

    /// True if a template names the API's version.
    #[must_use]
    pub fn wants_api_version(&self) -> bool {
        self.templates.values().any(|template| template.contains("{api_version}"))
    }

    /// The path and query to ask an endpoint with `base_path` for, in place of `line`: one of a format's own, such as
    /// `/v1/chat/completions`, with a query or without. `model` is the provider's name of the model; empty where the
    /// request is about none.
    ///
    /// What the template begins with may stand at the end of the base path too. A path of uploads
    /// (`/upload/v1beta/files`) is that of what is uploaded, with `/upload` before its version.
    #[must_use]
    pub fn path(&self, base_path: &str, line: &str, model: &str) -> String {
        if let Some(uploaded) = line.strip_prefix(UPLOAD).filter(|line| !apart(line).0.is_empty()) {
            return of_upload(&self.path(base_path, uploaded, model));
        }
        if self.templates.is_empty() {
            return request_path(base_path, line);
        }
        let (own, query) = line.split_once('?').map_or((line, None), |(own, query)| (own, Some(query)));
        let (version, path) = apart(own);
        let Some(template) = self.find(path) else { return request_path(base_path, line) };
        let literal = template.split('{').next().unwrap_or_default();
        let mut out = without_overlap(base_path, literal).to_owned();
        let mut rest = template;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, behind) = behind.split_once('}').unwrap_or((behind, ""));
            out.push_str(before);
            match name {
                "path" => out.push_str(path),
                "version" => out.push_str(version),
                "model" => out.push_str(&as_segment(model)),
                _ => out.push_str(self.api_version.as_deref().unwrap_or_default()),
            }
            rest = behind;
        }
        out.push_str(rest);
        if let Some(query) = query.filter(|query| !query.is_empty()) {
            out.push(if template.contains('?') { '&' } else { '?' });
            out.push_str(query);
        }
        out
    }

    /// The template for `path`: of those whose beginning it has the longest, or the one for all.
    fn find(&self, path: &str) -> Option<&str> {
        let begins = |beginning: &str| {
            path.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
        };
        let fitting = self.templates.iter().filter(|(beginning, _)| begins(beginning));
        let found = fitting.max_by_key(|(beginning, _)| beginning.len()).map(|(_, template)| template);
        found.or_else(|| self.templates.get(ANY)).map(String::as_str)
    }
}

/// Whether a provider is ever asked for a path that begins so, without its version.
#[must_use]
pub fn is_asked(beginning: &str) -> bool {
    own_paths().any(|path| may_begin(path, beginning))
}

/// The beginnings of all paths that providers are asked for, as far as they name no single thing.
#[must_use]
pub fn beginnings() -> BTreeSet<&'static str> {
    own_paths().map(|path| path.split("/{").next().unwrap_or(path)).collect()
}

/// `path` without the version that it begins with, and without slashes around it.
#[must_use]
pub fn without_version(path: &str) -> &str {
    apart(path.strip_prefix(UPLOAD).unwrap_or(path).trim_matches('/')).1
}

/// The paths of all formats and operations, without their versions; in braces stands what differs from thing to thing.
fn own_paths() -> impl Iterator<Item = &'static str> {
    let of_formats = Format::ALL.into_iter().flat_map(|format| {
        let spec = wire(format).spec();
        let counting = spec.counting.map(|counting| counting.path);
        let stream = spec.addressing.map(|addressing| addressing.stream_path);
        [spec.path].into_iter().chain(counting).chain(stream).chain(spec.same_format_paths.iter().copied())
    });
    let of_services = services::ALL.iter().flat_map(|service| service.lines).map(|(_, path)| *path);
    of_formats.chain(of_services).map(without_version)
}

/// Whether what `path` stands for may begin with `beginning`, up to a `/` or a `:` in it.
fn may_begin(path: &str, beginning: &str) -> bool {
    let mut segments = path.split('/');
    beginning.split('/').all(|written| segments.next().is_some_and(|own| may_be(own, written)))
}

fn may_be(own: &str, written: &str) -> bool {
    let (name, verb) = own.split_once(':').map_or((own, None), |(name, verb)| (name, Some(verb)));
    let (written, says) = written.split_once(':').map_or((written, None), |(name, verb)| (name, Some(verb)));
    (name == written || name.starts_with('{')) && (says.is_none() || says == verb)
}

/// What is wrong with a template; `None` for a good one.
#[must_use]
pub fn fault_of(template: &str) -> Option<&'static str> {
    let mut bare = template.to_owned();
    for name in PLACEHOLDERS {
        bare = bare.replace(name, "x");
    }
    let path = bare.split('?').next().unwrap_or_default();
    if bare.contains(['{', '}']) {
        return Some("`{path}`, `{version}`, `{model}` and `{api_version}` can stand in it, and no other braces");
    }
    if !path.starts_with('/') || path.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return Some("write a path like `/{path}` or `/openai/{version}/{path}`, without `//` and `..`");
    }
    if bare.matches('?').count() > 1 || bare.contains(['#', '%', '\\']) || !bare.bytes().all(|b| b.is_ascii_graphic()) {
        return Some("write it plainly: one query at most, no `#`, `%` or space");
    }
    None
}

/// The version that a format's own path begins with, and what follows.
fn apart(own: &str) -> (&str, &str) {
    let path = own.strip_prefix('/').unwrap_or(own);
    path.split_once('/').filter(|(first, _)| is_version(first)).unwrap_or(("", path))
}

/// True for a segment such as `v1` or `v1beta`.
pub(super) fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The path to ask an endpoint for, of one of a format's own such as `/v1/chat/completions`. Where the base path names
/// the API's version itself, as `/v1beta/openai` does, the format's own `/v1` or `/v1beta` is left out.
fn request_path(base_path: &str, path: &str) -> String {
    if base_path.split('/').any(is_version) {
        let (own, rest) = apart(path);
        if !own.is_empty() {
            return [base_path, "/", rest].concat();
        }
    }
    [base_path, path].concat()
}

/// `line` with [`UPLOAD`] before its version, or before all of it where it has none.
fn of_upload(line: &str) -> String {
    let path = line.split('?').next().unwrap_or_default();
    let version = path.match_indices('/').map(|(at, _)| at).find(|at| {
        let segment = path.get(at + 1..).and_then(|rest| rest.split('/').next());
        segment.is_some_and(is_version)
    });
    let (before, behind) = line.split_at_checked(version.unwrap_or_default()).unwrap_or(("", line));
    [before, UPLOAD, behind].concat()
}

/// `base_path` without those of its last segments that `literal` begins with.
fn without_overlap<'b>(base_path: &'b str, literal: &str) -> &'b str {
    let whole =
        |prefix: &str| literal.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let mut slashes = base_path.match_indices('/').map(|(at, _)| at);
    let cut = slashes.find(|at| base_path.get(*at..).is_some_and(whole));
    cut.and_then(|at| base_path.get(..at)).unwrap_or(base_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(templates: &[(&str, &str)]) -> Layout {
        let templates = templates.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Layout::new(templates, Some("2024-10-21".to_owned()))
    }

    #[test]
    fn without_templates_the_formats_own_paths_hold() {
        let check = |base: &str, line: &str, expect: &str| {
            assert_eq!(Layout::default().path(base, line, "m"), expect, "{base} {line}");
        };
        check("", "/v1/chat/completions", "/v1/chat/completions");
        check("/openai", "/v1/embeddings", "/openai/v1/embeddings");
        check("/v1beta/openai", "/v1/chat/completions", "/v1beta/openai/chat/completions");
        check("/v1beta", "/v1beta/models/g:generateContent?alt=sse", "/v1beta/models/g:generateContent?alt=sse");
        check("/api/paas/v4", "/v1/chat/completions", "/api/paas/v4/chat/completions");
        check("/v1/acc/gw/anthropic/v1", "/v1/messages", "/v1/acc/gw/anthropic/v1/messages");
        check("/client/v4/accounts/a/ai/v1", "/v1/embeddings", "/client/v4/accounts/a/ai/v1/embeddings");
        check("/x", "/v1/files?limit=2", "/x/v1/files?limit=2");
        for (base, expect) in [
            ("", "/upload/v1beta/files?a=/v1/b"),
            ("/v1beta", "/upload/v1beta/files?a=/v1/b"),
            ("/google", "/google/upload/v1beta/files?a=/v1/b"),
            ("/google/v1beta", "/google/upload/v1beta/files?a=/v1/b"),
        ] {
            check(base, "/upload/v1beta/files?a=/v1/b", expect);
        }
        check("/v1", "/upload/files", "/v1/upload/files");
    }

    #[test]
    fn beginnings_of_paths_that_are_asked_for() {
        for beginning in [
            "chat",
            "chat/completions",
            "responses/resp_1/cancel",
            "messages/count_tokens",
            "files",
            "files/x/content",
            "files:register",
            "models",
            "models/gemini-x",
            "models/gemini-x:generateContent",
            "models/gemini-x:streamGenerateContent",
            "fileSearchStores",
            "audio/speech",
        ] {
            assert!(is_asked(beginning), "{beginning}");
        }
        for beginning in ["v1", "v1/files", "chat/completion", "chat/completions/x", "files:list", "upload/files", "x"]
        {
            assert!(!is_asked(beginning), "{beginning}");
        }
        for vendor in super::super::catalog::vendors().values() {
            assert!(vendor.paths.keys().all(|key| key == ANY || is_asked(key)), "{:?}", vendor.paths);
        }
        assert!(beginnings().contains("models") && beginnings().iter().all(|beginning| is_asked(beginning)));
        assert_eq!(["/v1beta/files/", "v1/chat", "chat"].map(without_version), ["files", "chat", "chat"]);
    }

    #[test]
    fn a_template_makes_the_path() {
        let check = |templates: &[(&str, &str)], base: &str, line: &str, expect: &str| {
            assert_eq!(layout(templates).path(base, line, "my gpt"), expect, "{base} {line}");
        };
        check(&[(ANY, "/{path}")], "", "/v1/chat/completions", "/chat/completions");
        check(&[(ANY, "/{path}")], "/chat", "/v1/chat/completions", "/chat/chat/completions");
        check(&[(ANY, "/{path}")], "", "/v1/files?limit=2", "/files?limit=2");
        let azure: &[(&str, &str)] = &[
            (ANY, "/openai/deployments/{model}/{path}?api-version={api_version}"),
            ("responses", "/openai/{version}/{path}"),
            ("files", "/openai/{path}?api-version={api_version}"),
        ];
        let chat = "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21";
        check(azure, "", "/v1/chat/completions", chat);
        check(azure, "/openai", "/v1/chat/completions", chat);
        check(azure, "/proxy/openai", "/v1/chat/completions", &format!("/proxy{chat}"));
        check(azure, "", "/v1/responses", "/openai/v1/responses");
        check(azure, "", "/v1/responses/compact", "/openai/v1/responses/compact");
        check(azure, "", "/v1/files/f_1/content", "/openai/files/f_1/content?api-version=2024-10-21");
        check(azure, "", "/v1/files?limit=2", "/openai/files?api-version=2024-10-21&limit=2");
        let embeddings = "/openai/deployments/my%20gpt/embeddings?api-version=2024-10-21";
        check(azure, "", "/v1/embeddings", embeddings);
        check(&[("files", "/f/{path}")], "", "/v1/filesystem", "/v1/filesystem");
        check(&[(ANY, "/g/{version}/{path}")], "/g", "/upload/v1/files?a=b", "/g/upload/v1/files?a=b");
        check(&[("files", "/f/{path}")], "", "/upload/v1/files", "/upload/f/files");
    }

    #[test]
    fn bad_templates_are_told() {
        for good in ["/{path}", "/openai/{version}/{path}", "/d/{model}/{path}?api-version={api_version}"] {
            assert_eq!(fault_of(good), None, "{good}");
        }
        for bad in ["", "x", "//{path}", "/../{path}", "/{path", "/{host}", "/a?b?c", "/a b", "/a#b", "/%2e"] {
            assert!(fault_of(bad).is_some(), "{bad}");
        }
    }
}
