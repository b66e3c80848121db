//! `generationConfig`, read.

use std::borrow::Cow;

use super::schema_read::json_schema;
use super::wire::{count, fields, keep, keep_unwritable, loose_text, whole};
use crate::hub::{Asked, Effort, Extra, Field, OutputSpec, ReasoningForm, Refusal, Request, Strict};
use crate::json::{Cursor, Json, JsonError, Kind, Text};

/// Reads `generationConfig` into `request`.
pub(super) fn read_config<'a>(request: &mut Request<'a>, cursor: &mut Cursor<'a>) -> Result<(), Refusal> {
    let mut form = Form::default();
    fields::<JsonError>(cursor, |name, key, value| {
        let Request { limits, sampling, extras, .. } = request;
        match name {
            "maxOutputTokens" => limits.max_output = count(value)?,
            "stopSequences" => limits.stop = value.nullable(texts)?.unwrap_or_default(),
            "temperature" => sampling.temperature = value.nullable(Cursor::number)?,
            "topP" => sampling.top_p = value.nullable(Cursor::number)?,
            "topK" => sampling.top_k = value.nullable(Cursor::number)?,
            "seed" => sampling.seed = value.nullable(Cursor::number)?,
            "presencePenalty" => sampling.presence_penalty = value.nullable(Cursor::number)?,
            "frequencyPenalty" => sampling.frequency_penalty = value.nullable(Cursor::number)?,
            "candidateCount" => sampling.n = count(value)?,
            "responseLogprobs" => sampling.logprobs = value.nullable(Cursor::bool)?,
            "logprobs" => sampling.top_logprobs = count(value)?,
            "thinkingConfig" => {
                value.nullable(|value| read_thinking(request, value))?;
            }
            "responseMimeType" => {
                form.at = value.offset();
                form.mime = loose_text(value)?;
            }
            "responseSchema" => {
                form.schema_at = value.offset();
                form.schema = value.nullable(Cursor::json)?;
            }
            "responseJsonSchema" => {
                form.schema_at = value.offset();
                form.json_schema = value.nullable(Cursor::json)?;
            }
            name => keep(extras, class_of(name), dotted(&key), value)?,
        }
        Ok(())
    })?;
    form.apply(request);
    Ok(())
}

fn dotted<'a>(key: &str) -> Cow<'a, str> {
    Cow::Owned(format!("generationConfig.{key}"))
}

/// What a field of the config counts as when it cannot be carried.
fn class_of(name: &str) -> Field {
    match name {
        "responseModalities" | "speechConfig" | "imageConfig" => Field::Modalities,
        "mediaResolution" => Field::ImageDetail,
        "audioTimestamp" => Field::Audio,
        "enableEnhancedCivicAnswers" => Field::Safety,
        _ => Field::Unknown,
    }
}

fn texts<'a>(value: &mut Cursor<'a>) -> Result<Vec<Text<'a>>, JsonError> {
    let mut texts = Vec::new();
    value.array::<JsonError>(|_, element| {
        texts.push(element.text()?);
        Ok(())
    })?;
    Ok(texts)
}

/// What is said of the answer's form, in several fields.
#[derive(Default)]
struct Form<'a> {
    mime: Option<Text<'a>>,
    at: usize,
    schema: Option<Json<'a>>,
    schema_at: usize,
    json_schema: Option<Json<'a>>,
}

impl<'a> Form<'a> {
    fn apply(self, request: &mut Request<'a>) {
        let mime = self.mime.as_ref().map_or("", Text::escaped).replace("\\/", "/");
        if mime == ENUM {
            return self.one_of_a_list(request);
        }
        let schema = self.json_schema.or_else(|| {
            let (schema, unwritable) = json_schema(&self.schema?);
            keep_unwritable(&mut request.extras, Field::Output, unwritable, self.schema_at);
            Some(schema)
        });
        match (mime.as_str(), schema) {
            ("application/json", None) => request.output = OutputSpec::JsonObject,
            ("text/plain" | "", None) => {}
            ("application/json" | "", Some(schema)) => {
                request.output = OutputSpec::JsonSchema {
                    name: None,
                    schema: Some(schema),
                    strict: Strict::Always,
                    description: None,
                };
            }
            (mime, schema) => {
                // YAML and the like.
                let (field, at) = (Field::Output, self.at);
                let value = Json::from_valid(format!("\"{}\"", Text::from_plain(mime).escaped()));
                request.extras.push(Extra { field, key: dotted("responseMimeType"), value, at });
                if let Some(value) = schema {
                    request.extras.push(Extra { field, key: dotted("responseJsonSchema"), value, at });
                }
            }
        }
    }

    /// One of the words of a list, and no JSON: who asked for that can use nothing else.
    fn one_of_a_list(self, request: &mut Request<'a>) {
        let (field, at) = (Field::Output, self.at);
        let key = dotted("responseMimeType");
        request.state.asked.push(Asked { key: key.clone(), code: "unsupported_parameter", at });
        let mime = Json::from_valid(format!("\"{ENUM}\""));
        request.extras.push(Extra { field, key, value: mime, at });
        let schemas = [("responseSchema", self.schema), ("responseJsonSchema", self.json_schema)];
        for (name, value) in schemas.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            request.extras.push(Extra { field, key: dotted(name), value, at: self.schema_at });
        }
    }
}

/// The type of an answer that is one of a list of words
/// (<https://ai.google.dev/gemini-api/docs/structured-output>).
const ENUM: &str = "text/x.enum";

/// `{"thinkingLevel":…,"thinkingBudget":…,"includeThoughts":…}`
fn read_thinking<'a>(request: &mut Request<'a>, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
    let Request { reasoning, extras, .. } = request;
    fields::<JsonError>(cursor, |name, key, value| {
        match name {
            "includeThoughts" => reasoning.show = value.nullable(Cursor::bool)?,
            "thinkingBudget" => match whole(value)? {
                Some(0) => reasoning.form = Some(ReasoningForm::Disabled),
                Some(budget @ 1..) => {
                    reasoning.form = Some(ReasoningForm::Budget);
                    reasoning.budget = u64::try_from(budget).ok();
                }
                Some(_) => reasoning.form = Some(ReasoningForm::Adaptive),
                None => {}
            },
            "thinkingLevel" if value.peek()? == Kind::String => {
                let start = value.clone();
                let word = value.string()?.to_ascii_lowercase();
                match Effort::from_word(&word) {
                    Some(effort) => reasoning.effort = Some(effort),
                    None if word.ends_with("unspecified") => {}
                    None => keep(extras, Field::Reasoning, dotted("thinkingConfig"), &mut start.clone())?,
                }
            }
            _ => {
                let key = format!("thinkingConfig.{key}");
                keep(extras, Field::Reasoning, dotted(&key), value)?;
            }
        }
        Ok(())
    })
}
