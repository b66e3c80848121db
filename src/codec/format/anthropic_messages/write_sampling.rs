//! How words are chosen and where they end, written.

use super::wire::OWN;
use super::write_block::Pen;
use super::write_reasoning::Thinking;
use crate::hub::{Action, Field, Request};
use crate::json::{Json, Text};

/// What stands against sampling parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The dialect of version 2026-10-21 has none.
    pub strict: bool,
    /// The model takes them.
    pub sampling: bool,
    /// Thinking takes nearly none.
    pub thinking: Thinking,
}

/// Writes `stop_sequences`, `temperature`, `top_p` and `top_k`.
pub(super) fn write(pen: &mut Pen<'_, '_>, request: &Request<'_>, limits: Limits) {
    stop(pen, &request.limits.stop);
    let sampling = &request.sampling;
    let (temperature, top_p, top_k) = (&sampling.temperature, &sampling.top_p, &sampling.top_k);
    let is_own = request.origin.format == OWN;
    let refused = if limits.strict {
        Some("refused since version 2026-10-21")
    } else if limits.sampling {
        None
    } else {
        Some("this model takes no sampling parameters")
    };
    if let Some(reason) = refused {
        pen.report.gone(Field::Temperature, temperature.is_some(), reason);
        pen.report.gone(Field::TopP, top_p.is_some(), reason);
        pen.report.gone(Field::TopK, top_k.is_some(), reason);
        return;
    }
    let thinks = limits.thinking.is_on();
    if let Some(value) = temperature {
        temperature_of(pen, value, thinks);
    }
    match top_p {
        // One says nothing.
        Some(value) if temperature.is_some() && !is_own && number(value) >= 1.0 => {}
        Some(_) if temperature.is_some() && !is_own => {
            pen.report.field(Field::TopP, Action::Dropped, "newer models take `temperature` or `top_p`, not both");
        }
        Some(value) if thinks && number(value) < 0.95 => {
            pen.report.field(Field::TopP, Action::Dropped, "with thinking, top_p is 0.95 or more");
        }
        Some(value) => {
            pen.json.key("top_p").json(value);
        }
        None => {}
    }
    match top_k {
        Some(_) if thinks => pen.report.field(Field::TopK, Action::Dropped, "not with thinking"),
        Some(value) => {
            pen.json.key("top_k").json(&value.whole());
        }
        None => {}
    }
}

fn temperature_of(pen: &mut Pen<'_, '_>, value: &Json<'_>, thinks: bool) {
    let asked = number(value);
    if thinks && (asked - 1.0).abs() > f64::EPSILON {
        pen.report.field(Field::Temperature, Action::Dropped, "with thinking, temperature is 1");
    } else if asked > 1.0 {
        pen.report.field(Field::Temperature, Action::Converted, "the highest temperature is 1");
        pen.json.key("temperature").number(1);
    } else {
        pen.json.key("temperature").json(value);
    }
}

fn number(json: &Json<'_>) -> f64 {
    json.as_str().trim().parse().unwrap_or(0.0)
}

fn stop(pen: &mut Pen<'_, '_>, stops: &[Text<'_>]) {
    if stops.iter().any(Text::is_blank) {
        pen.report.field(Field::Stop, Action::Dropped, "a stop text of white space only is refused");
    }
    if stops.iter().all(Text::is_blank) {
        return;
    }
    pen.json.key("stop_sequences").open_array();
    for stop in stops.iter().filter(|stop| !stop.is_blank()) {
        pen.json.text(stop);
    }
    pen.json.close_array();
}
