//! Log probabilities: `logprobsResult`, and the shape in which the hub has them.
//!
//! ```text
//! {"chosenCandidates":[{"token":"a","logProbability":-1}],"topCandidates":[{"candidates":[…]}]}
//! {"content":[{"token":"a","logprob":-1,"bytes":null,"top_logprobs":[…]}],"refusal":null}
//! ```

use super::wire::{fields, loose_text};
use crate::json::{Cursor, Json, JsonError, Kind, Text, Writer};

/// A token and its log probability.
#[derive(Debug, Clone)]
struct Token<'a> {
    token: Text<'a>,
    logprob: Json<'a>,
}

/// Reads a `logprobsResult` into the hub's shape.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Option<Json<'static>>, JsonError> {
    let (mut chosen, mut top) = (Vec::new(), Vec::new());
    fields::<JsonError>(cursor, |name, _, value| {
        match name {
            "chosenCandidates" if value.peek()? == Kind::Array => chosen = tokens(value)?,
            "topCandidates" if value.peek()? == Kind::Array => value.array::<JsonError>(|_, element| {
                let mut list = Vec::new();
                if element.peek()? == Kind::Object {
                    fields::<JsonError>(element, |name, _, value| {
                        if name == "candidates" && value.peek()? == Kind::Array {
                            list = tokens(value)?;
                        }
                        Ok(())
                    })?;
                }
                top.push(list);
                Ok(())
            })?,
            _ => value.skip()?,
        }
        Ok(())
    })?;
    if chosen.is_empty() {
        return Ok(None);
    }
    let mut out = Vec::new();
    let mut json = Writer::new(&mut out);
    json.open_object().key("content").open_array();
    for (at, token) in chosen.iter().enumerate() {
        write_token(token, &mut json);
        json.key("top_logprobs").open_array();
        for other in top.get(at).into_iter().flatten() {
            write_token(other, &mut json);
            json.close_object();
        }
        json.close_array().close_object();
    }
    json.close_array().key("refusal").null().close_object();
    Ok(String::from_utf8(out).ok().map(Json::from_valid))
}

fn write_token(token: &Token<'_>, json: &mut Writer<'_>) {
    json.open_object().key("token").text(&token.token).key("logprob").json(&token.logprob).key("bytes").null();
}

fn tokens<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<Token<'a>>, JsonError> {
    let mut tokens = Vec::new();
    cursor.array::<JsonError>(|_, element| {
        if element.peek()? != Kind::Object {
            return element.skip();
        }
        tokens.push(token(element)?);
        Ok(())
    })?;
    Ok(tokens)
}

fn token<'a>(cursor: &mut Cursor<'a>) -> Result<Token<'a>, JsonError> {
    let mut token = Token { token: Text::EMPTY, logprob: Json::from_valid("0") };
    fields::<JsonError>(cursor, |name, _, value| {
        match name {
            "token" => token.token = loose_text(value)?.unwrap_or_default(),
            "logProbability" | "logprob" if value.peek()? == Kind::Number => token.logprob = value.number()?,
            _ => value.skip()?,
        }
        Ok(())
    })?;
    Ok(token)
}

/// Writes the hub's shape as a `logprobsResult`; `false` for one of another shape, of which nothing is written.
pub(super) fn write(raw: &Json<'_>, json: &mut Writer<'_>) -> bool {
    let mut list: Vec<(Token<'_>, Vec<Token<'_>>)> = Vec::new();
    let read = raw.cursor().object::<JsonError>(|key, value| {
        if key != "content" || value.peek()? != Kind::Array {
            return value.skip();
        }
        value.array(|_, element| {
            if element.peek()? != Kind::Object {
                return element.skip();
            }
            let mut top = Vec::new();
            element.clone().object::<JsonError>(|key, value| {
                if key == "top_logprobs" && value.peek()? == Kind::Array {
                    top = tokens(value)?;
                }
                Ok(())
            })?;
            list.push((token(element)?, top));
            Ok(())
        })
    });
    if read.is_err() || list.is_empty() {
        return false;
    }
    json.key("logprobsResult").open_object().key("chosenCandidates").open_array();
    for (token, _) in &list {
        own(token, json);
    }
    json.close_array().key("topCandidates").open_array();
    for (_, top) in &list {
        json.open_object().key("candidates").open_array();
        for token in top {
            own(token, json);
        }
        json.close_array().close_object();
    }
    json.close_array().close_object();
    true
}

fn own(token: &Token<'_>, json: &mut Writer<'_>) {
    json.open_object().key("token").text(&token.token).key("logProbability").json(&token.logprob).close_object();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_turn_into_each_other() {
        let own = r#"{"chosenCandidates":[{"token":"a\n","logProbability":-0.25}],"topCandidates":[{"candidates":[{"token":"b","logProbability":-3}]}]}"#;
        let hub = read(&mut Cursor::over(own)).unwrap().unwrap();
        assert_eq!(
            hub.as_str(),
            r#"{"content":[{"token":"a\n","logprob":-0.25,"bytes":null,"top_logprobs":[{"token":"b","logprob":-3,"bytes":null}]}],"refusal":null}"#
        );
        let mut out = Vec::new();
        let mut json = Writer::new(&mut out);
        json.open_object();
        assert!(write(&hub, &mut json));
        json.close_object();
        assert_eq!(String::from_utf8(out).unwrap(), format!(r#"{{"logprobsResult":{own}}}"#));
        assert!(!write(&Json::from_valid("[1]"), &mut Writer::new(&mut Vec::new())));
    }
}
