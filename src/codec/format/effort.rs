//! How much a model is to think, where that is said in a word and in no other way.

use super::{Efforts, Facts, ThinkingForm};
use crate::hub::{Action, Effort, Reasoning, ReasoningForm};

/// The word that says what is `asked` of a model with `facts`; what it does not say is `told`. A client of the same
/// format, `own`, knows what its model takes.
pub(super) fn in_words(
    asked: &Reasoning,
    facts: &Facts,
    own: bool,
    told: &mut dyn FnMut(Action, &'static str),
) -> Option<Effort> {
    if !thinks(facts, own) {
        if wants(asked) {
            told(Action::Dropped, "this model does not think");
        }
        return None;
    }
    let meant = match (asked.effort, asked.form, asked.budget) {
        // It was fitted to the model before.
        (Some(effort), ..) => return Some(effort),
        (None, Some(ReasoningForm::Disabled), _) => Effort::None,
        (None, _, Some(budget)) => {
            told(Action::Converted, "a budget in tokens is said as an effort");
            of_budget(budget)
        }
        (None, form, None) => {
            if form == Some(ReasoningForm::Adaptive) {
                told(Action::Converted, "the model thinks as much as it does by itself");
            }
            return None;
        }
    };
    if meant == Effort::None && facts.off_switch().is_some() {
        return Some(meant);
    }
    if meant == Effort::None && !own && facts.efforts == Efforts::ALL {
        // A model that does not think refuses the whole field.
        told(Action::Converted, "whether the model can be told not to think is not known, so that it is told nothing");
        return None;
    }
    let taken = facts.efforts.nearest(meant).or(own.then_some(meant));
    match taken {
        Some(taken) if taken != meant => told(Action::Converted, NEAREST),
        Some(_) => {}
        None => told(Action::Dropped, UNTOLD),
    }
    taken
}

/// What stands for an effort that the model does not know.
pub(crate) const NEAREST: &str = "the model knows no such effort: the nearest is asked for";

/// What becomes of an effort that no other can stand for.
pub(crate) const UNTOLD: &str = "the model cannot be told how much to think";

/// False for a model that is known not to think.
pub(super) fn thinks(facts: &Facts, own: bool) -> bool {
    own || facts.thinking != ThinkingForm::None
}

/// True where thinking is asked for.
fn wants(asked: &Reasoning) -> bool {
    match (asked.effort, asked.budget, asked.form) {
        (Some(effort), ..) => effort != Effort::None,
        (None, Some(budget), _) => budget > 0,
        (None, None, form) => matches!(form, Some(ReasoningForm::Adaptive | ReasoningForm::Budget)),
    }
}

fn of_budget(budget: u64) -> Effort {
    match budget {
        0 => Effort::None,
        1..=512 => Effort::Minimal,
        513..=1024 => Effort::Low,
        1025..=8192 => Effort::Medium,
        8193..=24_576 => Effort::High,
        _ => Effort::Xhigh,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of `asked`, and the actions that are told.
    fn said(asked: &Reasoning, own: bool, change: impl FnOnce(&mut Facts)) -> (Option<Effort>, Vec<&'static str>) {
        let mut facts = Facts::default();
        change(&mut facts);
        let mut told = Vec::new();
        let effort = in_words(asked, &facts, own, &mut |action, _| told.push(action.label()));
        (effort, told)
    }

    fn effort(effort: Effort) -> Reasoning {
        Reasoning { effort: Some(effort), ..Reasoning::default() }
    }

    fn budget(budget: u64) -> Reasoning {
        Reasoning { budget: Some(budget), form: Some(ReasoningForm::Budget), ..Reasoning::default() }
    }

    fn form(form: ReasoningForm) -> Reasoning {
        Reasoning { form: Some(form), ..Reasoning::default() }
    }

    #[test]
    fn a_model_that_does_not_think_is_told_nothing_of_it() {
        let never = |facts: &mut Facts| facts.thinking = ThinkingForm::None;
        for asked in [form(ReasoningForm::Disabled), budget(0), effort(Effort::None), Reasoning::default()] {
            assert_eq!(said(&asked, false, never), (None, vec![]), "{asked:?}");
        }
        for asked in [form(ReasoningForm::Adaptive), budget(9), effort(Effort::Low)] {
            assert_eq!(said(&asked, false, never), (None, vec!["dropped"]), "{asked:?}");
        }
        assert_eq!(said(&effort(Effort::Low), true, never), (Some(Effort::Low), vec![]));
    }

    #[test]
    fn a_model_that_nobody_knows_is_not_told_to_stop_thinking() {
        for asked in [form(ReasoningForm::Disabled), Reasoning { form: None, ..budget(0) }] {
            let (effort, told) = said(&asked, false, |_| {});
            assert_eq!((effort, told.last()), (None, Some(&"converted")), "{asked:?}");
        }
        assert_eq!(said(&form(ReasoningForm::Disabled), true, |_| {}), (Some(Effort::None), vec![]));
        assert_eq!(said(&effort(Effort::None), false, |_| {}), (Some(Effort::None), vec![]));
        assert_eq!(said(&budget(9000), false, |_| {}), (Some(Effort::High), vec!["converted"]));
    }

    #[test]
    fn a_model_that_knows_no_effort_is_told_none() {
        let fixed = |facts: &mut Facts| facts.efforts = Efforts::of(&[]);
        let switch = |facts: &mut Facts| facts.efforts = Efforts::of(&[Effort::None]);
        assert_eq!(said(&budget(9000), false, fixed), (None, vec!["converted", "dropped"]));
        assert_eq!(said(&form(ReasoningForm::Disabled), false, fixed), (None, vec!["dropped"]));
        assert_eq!(said(&budget(9000), false, switch), (None, vec!["converted", "dropped"]));
        assert_eq!(said(&form(ReasoningForm::Disabled), false, switch), (Some(Effort::None), vec![]));
    }

    #[test]
    fn the_effort_is_one_that_the_model_knows_however_it_was_asked_for() {
        let old = |facts: &mut Facts| facts.efforts = Efforts::of(&[Effort::Minimal, Effort::Low, Effort::High]);
        let new = |facts: &mut Facts| facts.efforts = Efforts::of(&[Effort::None, Effort::Low, Effort::Xhigh]);
        assert_eq!(said(&form(ReasoningForm::Disabled), false, old), (Some(Effort::Minimal), vec!["converted"]));
        assert_eq!(said(&form(ReasoningForm::Disabled), false, new), (Some(Effort::None), vec![]));
        assert_eq!(said(&budget(31_999), false, old), (Some(Effort::High), vec!["converted", "converted"]));
        assert_eq!(said(&budget(31_999), false, new), (Some(Effort::Xhigh), vec!["converted"]));
    }
}
