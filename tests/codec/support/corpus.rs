//! Recorded provider traffic, read from beside the repository: it is never part of it.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_codec::Format;

use super::recorded;

/// One recorded exchange.
pub(crate) struct Case {
    /// `folder/name`, for messages.
    pub(crate) name: String,
    /// Format of the provider.
    pub(crate) format: Format,
    /// HTTP status.
    pub(crate) status: u16,
    /// The request's body, if recorded.
    pub(crate) request: Option<Vec<u8>>,
    /// The answer's body, if it is a whole one.
    pub(crate) json: Option<Vec<u8>>,
    /// The answer's body, if it is a stream.
    pub(crate) sse: Option<Vec<u8>>,
    /// What the answer says, as the recorders folded it.
    pub(crate) digest: Option<serde_json::Value>,
}

/// Folders of the corpus and the format that they hold.
const FOLDERS: [(&str, Format); 9] = [
    ("openai_chat", Format::OpenaiChat),
    ("openai_compat", Format::OpenaiChat),
    ("azure_chat", Format::OpenaiChat),
    ("mistral_chat", Format::OpenaiChat),
    ("anthropic_messages", Format::AnthropicMessages),
    ("anthropic_vertex", Format::AnthropicMessages),
    ("gemini", Format::GeminiGenerate),
    ("openai_responses", Format::OpenaiResponses),
    ("azure_responses", Format::OpenaiResponses),
];

/// Every case of the formats that exist; none where the corpus is absent.
pub(crate) fn cases() -> Vec<Case> {
    let Some(root) = recorded::folder() else { return Vec::new() };
    let mut cases = Vec::new();
    for (folder, format) in FOLDERS {
        let mut names: Vec<PathBuf> =
            fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        cases.extend(names.into_iter().filter(|path| path.is_dir()).map(|path| read(&path, folder, format)));
    }
    assert!(cases.len() > 100, "the corpus holds only {} cases", cases.len());
    cases
}

fn read(path: &Path, folder: &str, format: Format) -> Case {
    let meta: serde_json::Value = serde_json::from_slice(&fs::read(path.join("meta.json")).unwrap()).unwrap();
    let file = |name: &str| fs::read(path.join(name)).ok();
    let (mut json, mut sse) = (file("response.json"), file("response.sse"));
    if let Some(array) = json.take_if(|json| json.starts_with(b"[") && meta["status"] == 200) {
        sse = Some(as_events(&array));
    }
    Case {
        name: format!("{folder}/{}", path.file_name().unwrap().to_string_lossy()),
        format,
        status: u16::try_from(meta["status"].as_u64().unwrap()).unwrap(),
        request: file("request.json"),
        json,
        sse,
        digest: file("digest.json").map(|bytes| serde_json::from_slice(&bytes).unwrap()),
    }
}

/// A stream that came as one array, as the same provider sends it with `alt=sse`.
fn as_events(array: &[u8]) -> Vec<u8> {
    let pieces: Vec<serde_json::Value> = serde_json::from_slice(array).unwrap();
    pieces.iter().flat_map(|piece| format!("data: {piece}\n\n").into_bytes()).collect()
}
