//! How much the model thinks, and how long the answer may be.

use super::report::Report;
use super::wire::write_sub_extras;
use crate::format::{Facts, ThinkingForm};
use crate::hub::{Action, Effort, Extra, Field, Reasoning, ReasoningForm, Request};
use crate::json::Writer;

/// Fewest tokens that the provider takes as a budget.
const LEAST_BUDGET: u64 = 1024;

/// Budget for a client that leaves the amount to the model.
const ADAPTIVE_BUDGET: u64 = 8192;

/// What is said of thinking, and the limit that goes with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// `thinking`.
    pub thinking: Thinking,
    /// `output_config.effort`.
    pub effort: Option<Effort>,
    /// `thinking.display`: `summarized` or `omitted`.
    pub show: Option<bool>,
    /// `max_tokens`.
    pub max_tokens: u64,
}

/// `thinking`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Nothing is said.
    Unsaid,
    /// `disabled`
    Disabled,
    /// `adaptive`
    Adaptive,
    /// `enabled`
    Budget(u64),
}

impl Thinking {
    /// True when the model is told to think.
    pub(super) fn is_on(self) -> bool {
        matches!(self, Self::Adaptive | Self::Budget(_))
    }
}

/// What else of the request bears on thinking.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    /// The model must call a tool, which excludes thinking.
    pub forced_tool: bool,
    /// A loop of tool calls goes on whose thinking is lost.
    pub lacks_thinking: bool,
}

/// Plans thinking and the limit by what the model takes.
pub(super) fn plan(request: &Request<'_>, facts: &Facts, around: Around, report: &mut Report<'_>) -> Plan {
    let asked = &request.reasoning;
    let (mut thinking, mut effort) = match facts.thinking {
        ThinkingForm::None => {
            let wanted = wants(asked) || asked.show == Some(true);
            report.gone(Field::Reasoning, wanted, "this model does not think");
            (Thinking::Unsaid, None)
        }
        ThinkingForm::Budget => budgeted(request, facts, report),
        ThinkingForm::Adaptive | ThinkingForm::Always => adaptive(request, facts, report),
    };
    let unasked = facts.thinks_unasked && thinking == Thinking::Unsaid && !report.is_own();
    if around.forced_tool && (thinking.is_on() || unasked) {
        report.gone(Field::Reasoning, thinking.is_on(), "no thinking where the model must call a tool");
        thinking = if facts.thinking == ThinkingForm::Adaptive { Thinking::Disabled } else { Thinking::Unsaid };
        if effort > Some(Effort::High) && thinking == Thinking::Disabled {
            report.field(Field::Reasoning, Action::Converted, "an effort above high goes with thinking alone");
            effort = Some(Effort::High);
        }
    }
    if around.lacks_thinking && matches!(thinking, Thinking::Budget(_)) {
        report.field(
            Field::Reasoning,
            Action::Dropped,
            "the thinking that these tool calls began with did not come back",
        );
        thinking = Thinking::Unsaid;
    }
    let max_tokens = max_tokens(request, facts, thinking, report);
    // Such models show nothing unless asked; a client of another format that asked for effort wants to see it.
    let by_default = (thinking == Thinking::Adaptive && !report.is_own()).then_some(true);
    let show = if thinking.is_on() { asked.show.or(by_default) } else { None };
    Plan { thinking, effort, show, max_tokens }
}

/// True when the request asks for thinking.
fn wants(asked: &Reasoning) -> bool {
    asked.effort.is_some_and(|effort| effort != Effort::None)
        || asked.budget.is_some_and(|budget| budget > 0)
        || asked.form == Some(ReasoningForm::Adaptive)
}

/// True when the request asks for none.
fn refuses(asked: &Reasoning) -> bool {
    asked.form == Some(ReasoningForm::Disabled) || asked.effort == Some(Effort::None) || asked.budget == Some(0)
}

/// For models that think by a budget of tokens.
fn budgeted(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>) -> (Thinking, Option<Effort>) {
    let asked = &request.reasoning;
    // A client of this format that gives an effort beside a form knows that its model takes it.
    let effort = if report.is_own() { asked.effort } else { None };
    if refuses(asked) {
        return (Thinking::Disabled, effort.filter(|effort| *effort != Effort::None));
    }
    let budget = match (asked.budget, asked.effort) {
        (Some(budget), _) => budget,
        (None, _) if asked.form == Some(ReasoningForm::Adaptive) => {
            report.field(Field::Reasoning, Action::Converted, "this model takes a budget, not `adaptive`");
            asked.effort.map_or(ADAPTIVE_BUDGET, budget_of)
        }
        (None, Some(_)) if report.is_own() => return (Thinking::Unsaid, effort),
        (None, Some(effort)) => {
            report.field(Field::Reasoning, Action::Converted, "an effort in words is a budget of tokens");
            budget_of(effort)
        }
        (None, None) => {
            unshown(asked, report);
            return (Thinking::Unsaid, effort);
        }
    };
    // The client's limit covers thinking; it is never raised. Without one, a quarter of what the model gives at most is
    // left to the answer.
    let most = request.limits.max_output.map_or(facts.most_output / 4 * 3, |limit| limit.saturating_sub(1));
    let bounded = budget.min(most);
    if bounded < LEAST_BUDGET {
        report.field(
            Field::Reasoning,
            Action::Dropped,
            "the limit leaves no room for the 1024 tokens that thinking takes",
        );
        return (Thinking::Unsaid, effort);
    }
    if bounded < budget {
        report.field(Field::Reasoning, Action::Converted, "the budget is kept below the limit of the answer");
    }
    (Thinking::Budget(bounded), effort)
}

/// For models that decide themselves, given an effort.
fn adaptive(request: &Request<'_>, facts: &Facts, report: &mut Report<'_>) -> (Thinking, Option<Effort>) {
    let (asked, always) = (&request.reasoning, facts.thinking == ThinkingForm::Always);
    let effort = asked.effort.filter(|effort| *effort != Effort::None).map(|effort| least_low(effort, report));
    if refuses(asked) {
        if !always {
            return (Thinking::Disabled, effort);
        }
        report.field(Field::Reasoning, Action::Converted, "this model always thinks; it is told to think little");
        return (Thinking::Unsaid, Some(Effort::Low));
    }
    match (asked.budget, asked.form) {
        (Some(budget), _) => {
            report.field(Field::Reasoning, Action::Converted, "this model takes an effort in words, not a budget");
            let known = |effort| facts.efforts.nearest(effort).filter(|known| *known >= Effort::Low).unwrap_or(effort);
            (Thinking::Adaptive, effort.or_else(|| Some(known(effort_of(budget)))))
        }
        (None, Some(ReasoningForm::Adaptive | ReasoningForm::Budget)) => (Thinking::Adaptive, effort),
        // In this format an effort does not ask for thinking.
        (None, _) if effort.is_some() && !report.is_own() => (Thinking::Adaptive, effort),
        // It thinks anyway, and shows nothing unless it is told to.
        (None, _) if always && asked.show == Some(true) && !report.is_own() => (Thinking::Adaptive, effort),
        (None, _) => {
            unshown(asked, report);
            (Thinking::Unsaid, effort)
        }
    }
}

/// Reports that thoughts were asked for and the model is not told to think.
fn unshown(asked: &Reasoning, report: &mut Report<'_>) {
    let wanted = asked.show == Some(true) && !report.is_own();
    report.gone(
        Field::Reasoning,
        wanted,
        "without an effort this model is not told to think, so that it shows nothing",
    );
}

fn least_low(effort: Effort, report: &mut Report<'_>) -> Effort {
    if effort == Effort::Minimal {
        report.field(Field::Reasoning, Action::Converted, "the least effort is `low`");
        return Effort::Low;
    }
    effort
}

fn budget_of(effort: Effort) -> u64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal => 1024,
        Effort::Low => 2048,
        Effort::Medium => 8192,
        Effort::High => 16384,
        Effort::Xhigh => 24576,
        Effort::Max => 32000,
    }
}

fn effort_of(budget: u64) -> Effort {
    match budget {
        0..=1024 => Effort::Low,
        1025..=8192 => Effort::Medium,
        8193..=24576 => Effort::High,
        _ => Effort::Xhigh,
    }
}

fn max_tokens(request: &Request<'_>, facts: &Facts, thinking: Thinking, report: &mut Report<'_>) -> u64 {
    if let Some(most) = request.limits.max_output {
        return most;
    }
    report.field(Field::MaxOutput, Action::Defaulted, "the format demands a limit; the model's own is set");
    let wanted = match thinking {
        Thinking::Budget(budget) => facts.max_output.saturating_add(budget),
        Thinking::Unsaid | Thinking::Disabled | Thinking::Adaptive => facts.max_output,
    };
    wanted.min(facts.most_output)
}

/// Writes `thinking`.
pub(super) fn write_thinking(plan: &Plan, own: &[Extra<'_>], json: &mut Writer<'_>) {
    if plan.thinking == Thinking::Unsaid {
        return;
    }
    json.key("thinking").open_object().key("type");
    match plan.thinking {
        Thinking::Unsaid | Thinking::Disabled => json.plain("disabled"),
        Thinking::Adaptive => json.plain("adaptive"),
        Thinking::Budget(budget) => json.plain("enabled").key("budget_tokens").number(budget),
    };
    if let Some(show) = plan.show {
        json.key("display").plain(if show { "summarized" } else { "omitted" });
    }
    write_sub_extras("thinking.", own, json);
    json.close_object();
}
