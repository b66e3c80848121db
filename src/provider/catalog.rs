//! The kinds of providers, read from `catalog.yaml`, which is compiled in.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use tidegate_codec::Format;

use super::{Quirks, quirks};

const SOURCE: &str = include_str!("catalog.yaml");

/// What a `kind` stands for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vendor {
    #[serde(rename = "format")]
    format_name: String,
    /// Its address; `None` where the operator must name one.
    #[serde(default)]
    pub url: Option<String>,
    /// Whether it wants a key.
    pub key: KeyNeed,
    /// How the key is sent.
    #[serde(default)]
    pub auth: AuthStyle,
    /// Headers sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Where its paths are, see [`Layout`](super::Layout).
    #[serde(default)]
    pub paths: BTreeMap<String, String>,
    /// What `{api_version}` stands for in them.
    #[serde(default)]
    pub api_version: Option<String>,
    #[serde(default)]
    quirks: quirks::Written,
    /// One line for the reference.
    pub note: String,
}

/// Whether a vendor wants a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyNeed {
    /// Nothing works without.
    Required,
    /// A server of one's own may want one.
    Optional,
}

/// How a vendor's key is sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthStyle {
    /// The header, lower case.
    pub header: String,
    /// What stands before the key.
    #[serde(default)]
    pub prefix: String,
}

impl Default for AuthStyle {
    fn default() -> Self {
        Self { header: "authorization".to_owned(), prefix: "Bearer ".to_owned() }
    }
}

impl Vendor {
    /// The format that it speaks.
    #[must_use]
    pub fn format(&self) -> Format {
        Format::from_name(&self.format_name).unwrap_or(Format::OpenaiChat)
    }

    /// What it deviates from the format in.
    #[must_use]
    pub fn quirks(&self) -> Quirks {
        self.quirks.read()
    }
}

/// Every kind by its name.
#[must_use]
pub fn vendors() -> &'static BTreeMap<String, Vendor> {
    static VENDORS: OnceLock<BTreeMap<String, Vendor>> = OnceLock::new();
    // The text is ours and a test reads it, so the fallback never runs.
    VENDORS.get_or_init(|| serde_yaml::from_str(SOURCE).unwrap_or_default())
}

/// The kind of that name.
#[must_use]
pub fn find(kind: &str) -> Option<&'static Vendor> {
    vendors().get(kind)
}

#[cfg(test)]
mod tests {
    use super::super::Counts;
    use super::*;

    #[test]
    fn the_catalog_is_sound() {
        let read: BTreeMap<String, Vendor> = serde_yaml::from_str(SOURCE).unwrap();
        assert!(read.len() >= 20);
        for (kind, vendor) in &read {
            assert!(Format::from_name(&vendor.format_name).is_some(), "{kind}: format");
            assert!(vendor.quirks.is_known(), "{kind}: quirks {:?}", vendor.quirks);
            for header in vendor.headers.keys().chain([&vendor.auth.header]) {
                assert_eq!(*header, header.to_lowercase(), "{kind}: header");
            }
            for (beginning, template) in &vendor.paths {
                assert_eq!(super::super::layout::fault_of(template), None, "{kind}: {beginning}");
            }
            let layout = super::super::Layout::new(vendor.paths.clone(), vendor.api_version.clone());
            assert_eq!(layout.wants_api_version(), vendor.api_version.is_some(), "{kind}: api_version");
            if let Some(url) = &vendor.url {
                assert!(super::super::address::Address::parse(url).is_ok(), "{kind}: {url}");
            }
            assert!(!vendor.note.is_empty() && kind.as_str() == kind.to_lowercase());
        }
    }

    /// Where the paths of every kind lead, by what its vendor documents.
    #[test]
    fn paths_are_the_vendors() {
        let check = |kind: &str, url: &str, line: &str, expect: &str| {
            let vendor = find(kind).unwrap();
            let address = super::super::address::Address::parse(vendor.url.as_deref().unwrap_or(url)).unwrap();
            let layout = super::super::Layout::new(vendor.paths.clone(), vendor.api_version.clone());
            let path = layout.path(&address.base_path, line, "m-1");
            assert_eq!(format!("{}{path}", address.host), expect, "{kind}");
        };
        let chat = "/v1/chat/completions";
        for (kind, expect) in [
            ("cerebras", "api.cerebras.ai/v1/chat/completions"),
            ("cohere", "api.cohere.ai/compatibility/v1/chat/completions"),
            ("deepseek", "api.deepseek.com/chat/completions"),
            ("fireworks", "api.fireworks.ai/inference/v1/chat/completions"),
            ("groq", "api.groq.com/openai/v1/chat/completions"),
            ("llama-cpp", "127.0.0.1/v1/chat/completions"),
            ("lm-studio", "127.0.0.1/v1/chat/completions"),
            ("mistral", "api.mistral.ai/v1/chat/completions"),
            ("ollama", "127.0.0.1/v1/chat/completions"),
            ("openai", "api.openai.com/v1/chat/completions"),
            ("openrouter", "openrouter.ai/api/v1/chat/completions"),
            ("perplexity", "api.perplexity.ai/chat/completions"),
            ("sglang", "127.0.0.1/v1/chat/completions"),
            ("together", "api.together.ai/v1/chat/completions"),
            ("vllm", "127.0.0.1/v1/chat/completions"),
            ("xai", "api.x.ai/v1/chat/completions"),
        ] {
            check(kind, "", chat, expect);
        }
        check("cohere", "", "/v2/rerank", "api.cohere.ai/v2/rerank");
        let cohere = find("cohere").unwrap();
        let layout = super::super::Layout::new(cohere.paths.clone(), cohere.api_version.clone());
        assert_eq!(
            layout.path("/compatibility", chat, "m-1"),
            "/compatibility/v1/chat/completions",
            "as it was told once"
        );
        let azure = "https://r.openai.azure.com";
        for url in [azure.to_owned(), format!("{azure}/openai"), format!("{azure}/openai/v1/")] {
            check("azure", &url, chat, "r.openai.azure.com/openai/v1/chat/completions");
            check("azure", &url, "/v1/embeddings", "r.openai.azure.com/openai/v1/embeddings");
            let version = find("azure-deployments").unwrap().api_version.as_deref().unwrap();
            let deployment = "r.openai.azure.com/openai/deployments/m-1";
            check("azure-deployments", &url, chat, &format!("{deployment}/chat/completions?api-version={version}"));
            check("azure-deployments", &url, "/v1/responses", "r.openai.azure.com/openai/v1/responses");
            let files = format!("r.openai.azure.com/openai/files/f?api-version={version}");
            check("azure-deployments", &url, "/v1/files/f", &files);
        }
        check("anthropic", "", "/v1/messages", "api.anthropic.com/v1/messages");
        check("anthropic-compatible", "https://h/anthropic", "/v1/messages", "h/anthropic/v1/messages");
        let gemini = "/v1beta/models/g:generateContent";
        check("gemini", "", gemini, "generativelanguage.googleapis.com/v1beta/models/g:generateContent");
        let google = "/v1/projects/p/locations/l/publishers/google";
        check("vertex", &format!("https://h{google}"), gemini, &format!("h{google}/models/g:generateContent"));
    }

    #[test]
    fn vendors_are_found() {
        let anthropic = find("anthropic").unwrap();
        assert_eq!(anthropic.format(), Format::AnthropicMessages);
        assert_eq!((anthropic.auth.header.as_str(), anthropic.auth.prefix.as_str()), ("x-api-key", ""));
        let mistral = find("mistral").unwrap();
        assert!(mistral.quirks().no_stream_options && mistral.quirks().legacy_max_tokens);
        assert_eq!(mistral.quirks().rename_fields.get("seed").map(String::as_str), Some("random_seed"));
        let counts = Some(Counts::By(Format::OpenaiResponses));
        assert_eq!(find("openai").unwrap().quirks(), Quirks { counts, ..Quirks::default() });
        let google = ["gemini", "vertex"].map(|kind| find(kind).unwrap().quirks().strip_fields);
        assert_eq!(google, [vec![], vec!["store".to_owned()]], "only the vendor's own address has it");
        let mut facts = tidegate_codec::Facts::default();
        find("vertex").unwrap().quirks().apply(&mut facts);
        assert!(facts.exact, "what a server keeps says nothing of its answers");
        assert_eq!(find("openai").unwrap().auth.prefix, "Bearer ");
        assert!(find("nobody").is_none());
    }
}
