//! Requests for the number of tokens of a prompt, and their answers.
//!
//! What is counted is a request for an answer without what bears on the answer alone: it is read and written as that, and
//! then cut. How a format says it is data of its [`Spec`], and this is the one place that goes by it.

use super::{Addressing, Operation, Spec, Target};
use crate::hub::Field;
use crate::json::{Cursor, Json, JsonError, Member, Problem, Writer, members};

/// How a format counts tokens.
#[derive(Debug)]
pub struct Counting {
    /// Path of such requests, as [`Spec::path`] is of those for answers.
    pub path: &'static str,
    /// Fields of a request that may stand in it; a vendor refuses others.
    pub fields: &'static [&'static str],
    /// How a whole request may stand in it; `None` where it may not.
    pub whole: Option<Whole>,
    /// The member of an answer that is the number.
    pub total: &'static str,
    /// What an answer says that it is: a member, and its value.
    pub kind: Option<(&'static str, &'static str)>,
}

/// A request within a count, with its model, behind [`Addressing::FOLDER`].
#[derive(Debug)]
pub struct Whole {
    /// Names of the member that is the request; the first is written.
    pub names: &'static [&'static str],
    /// Fields of a request that may stand in it and bear on its length.
    pub fields: &'static [&'static str],
}

/// Classes of what bears on an answer and not on the length of its prompt: a count without is no other count.
const UNCOUNTED: [Field; 21] = [
    Field::Cache,
    Field::FrequencyPenalty,
    Field::Identity,
    Field::LogitBias,
    Field::Logprobs,
    Field::MaxOutput,
    Field::Metadata,
    Field::Modalities,
    Field::N,
    Field::Prediction,
    Field::PresencePenalty,
    Field::Safety,
    Field::Sampling,
    Field::Seed,
    Field::Stop,
    Field::Store,
    Field::StreamOptions,
    Field::Temperature,
    Field::Tier,
    Field::TopK,
    Field::TopP,
];

/// True for what changes the number of tokens where it is left out.
pub(crate) fn counts(field: Field) -> bool {
    !UNCOUNTED.contains(&field)
}

impl Spec {
    /// The request that `body` is, or holds as a whole where it asks for its number of tokens.
    #[must_use]
    pub fn request_in<'b>(&self, operation: Operation, body: &'b [u8]) -> &'b [u8] {
        let held = if operation == Operation::Count { self.held(body) } else { None };
        held.and_then(|member| body.get(member.value)).unwrap_or(body)
    }

    /// Whether the count `body` holds a request as a whole.
    #[must_use]
    pub fn counts_whole(&self, body: &[u8]) -> bool {
        self.held(body).is_some()
    }

    /// The member of the count `body` that is a request as a whole.
    pub(crate) fn held<'b>(&self, body: &'b [u8]) -> Option<Member<'b>> {
        let whole = self.counting?.whole.as_ref()?;
        let found = members(body, &mut Cursor::over_bytes(body).ok()?).ok()?;
        let is_it = |member: &Member<'_>| {
            whole.names.contains(&member.key.as_ref()) && body.get(member.value.start) == Some(&b'{')
        };
        found.into_iter().find(is_it)
    }
}

impl Counting {
    /// `body`, a request of the format, as the count of it that `target` takes.
    ///
    /// # Errors
    ///
    /// The body is no JSON object.
    pub(crate) fn of(&self, body: &[u8], target: &Target<'_>) -> Result<Vec<u8>, JsonError> {
        let whole = self.whole.as_ref().filter(|_| !target.facts.flat_counts);
        let fields = whole.map_or(self.fields, |whole| whole.fields);
        let mut out = Vec::with_capacity(body.len() + 96);
        let mut json = Writer::new(&mut out);
        json.open_object();
        if let Some(name) = whole.and_then(|whole| whole.names.first()) {
            let model = target.model.strip_prefix(Addressing::FOLDER).unwrap_or(target.model);
            json.key(name).open_object().key("model").plain(&[Addressing::FOLDER, model].concat());
        }
        for member in members(body, &mut Cursor::over_bytes(body)?)? {
            let raw = body.get(member.value).and_then(|bytes| std::str::from_utf8(bytes).ok());
            if let (Some(raw), Some(field)) = (raw, fields.iter().find(|field| **field == member.key)) {
                json.key(field).json(&Json::from_valid(raw));
            }
        }
        if whole.is_some() {
            json.close_object();
        }
        json.close_object();
        Ok(out)
    }

    /// The number that the answer `body` tells.
    ///
    /// # Errors
    ///
    /// It tells none.
    pub(crate) fn read(&self, body: &[u8]) -> Result<u64, JsonError> {
        let mut total = None;
        let mut cursor = Cursor::over_bytes(body)?;
        cursor.object::<JsonError>(|key, value| {
            if key == self.total {
                total = Some(value.u64()?);
                return Ok(());
            }
            value.skip()
        })?;
        cursor.finish()?;
        total.ok_or(JsonError { offset: 0, problem: Problem::Syntax("a number of tokens") })
    }

    /// The answer that tells `total`.
    pub(crate) fn write(&self, total: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let mut json = Writer::new(&mut out);
        json.open_object();
        if let Some((name, word)) = self.kind {
            json.key(name).plain(word);
        }
        json.key(self.total).number(total).close_object();
        out
    }
}
