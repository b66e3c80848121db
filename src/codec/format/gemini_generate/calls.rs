//! Calls of a stream on their way to the client: gathered until they are whole, in the order in which they began.

use std::collections::VecDeque;

use super::part;
use super::thoughts::Carried;
use super::wire::is_own;
use crate::format::kept::keep;
use crate::hub::{Flavor, Opaque};
use crate::json::{Json, Text};

/// Most bytes of arguments that are gathered at a time.
const LIMIT: usize = 8 << 20;

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    block: u32,
    /// Place of its answer.
    pub choice: usize,
    /// Its id, as the client knows it.
    pub id: String,
    /// The tool.
    pub name: String,
    flavor: Flavor,
    /// Arguments so far, escaped.
    text: String,
    /// The state that stands at it.
    pub states: Vec<Carried>,
    /// It is the first of its answer.
    pub first: bool,
    complete: bool,
}

impl Call {
    /// A call that begins.
    pub(super) fn new(
        block: u32,
        choice: usize,
        (id, name): (String, String),
        flavor: Flavor,
        (states, first): (Vec<Carried>, bool),
    ) -> Self {
        Self { block, choice, id, name, flavor, text: String::new(), states, first, complete: false }
    }

    /// Its arguments; `None` where they are no object.
    pub(super) fn arguments(&self) -> Option<Json<'static>> {
        let json = match self.flavor {
            Flavor::Custom => Json::from_valid(format!("\"{}\"", self.text)),
            Flavor::Function => {
                let plain = Text::from_escaped(self.text.as_str()).into_plain();
                if plain.trim().is_empty() {
                    return Some(Json::EMPTY_OBJECT);
                }
                Json::parse(plain.into_owned()).ok()?
            }
        };
        part::arguments(&json, self.flavor).map(Json::into_owned)
    }
}

/// The calls that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Calls {
    waiting: VecDeque<Call>,
    bytes: usize,
}

impl Calls {
    /// Takes a call that begins.
    pub(super) fn begin(&mut self, call: Call) {
        self.waiting.push_back(call);
    }

    /// Takes a piece of arguments; `false` where the bound is met.
    pub(super) fn grow(&mut self, block: u32, piece: &str) -> bool {
        self.bytes = self.bytes.saturating_add(piece.len());
        if self.bytes > LIMIT {
            return false;
        }
        if let Some(call) = self.find(block) {
            keep(&mut call.text, piece);
        }
        true
    }

    /// Takes state of a call.
    pub(super) fn sign(&mut self, block: u32, opaque: Opaque<'static>) {
        let Some(call) = self.find(block) else { return };
        if is_own(&opaque) {
            call.states.clear();
        }
        call.states.push(Carried::new(opaque, String::new()));
    }

    /// The call is complete.
    pub(super) fn stop(&mut self, block: u32) {
        if let Some(call) = self.find(block) {
            call.complete = true;
        }
    }

    /// The next call that may be written.
    pub(super) fn next_complete(&mut self) -> Option<Call> {
        self.waiting.front().filter(|call| call.complete)?;
        let call = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(call.text.len());
        Some(call)
    }

    fn find(&mut self, block: u32) -> Option<&mut Call> {
        self.waiting.iter_mut().find(|call| call.block == block)
    }
}
