//! A request cut to what its model and server take, before a writer sees it.
//!
//! What each format says in its own way is its writer's business (see [`Facts`]); what is the same for all of them is
//! here: media that a model cannot see, ids of calls, the freedom to use tools, the form of an answer, levels and limits.

use std::borrow::Cow;

use crate::format::effort::{NEAREST, UNTOLD};
use crate::format::{AnswerForms, Facts, Spec, ToolChoices, ToolIds, WireFormat, of_answer, wire};
use crate::hub::ids::{Distinct, Nines};
use crate::hub::{Action, Block, BlockKind, Effort, Field, Losses, OutputSpec, Place, Request, Role, Source, ToolMode};
use crate::json::{Json, Text};

/// Fits `request` to the format `to` and to `facts`; what it loses goes into `losses`.
pub(crate) fn fit(request: &mut Request<'_>, to: &Spec, facts: &Facts, losses: &mut Losses) {
    let mut fitting = Fitting { origin: wire(request.origin.format), losses };
    if !facts.vision || !facts.documents {
        fitting.media(request, facts);
    }
    if !facts.names {
        fitting.names(request);
    }
    if to.format != request.origin.format {
        request.turns.iter_mut().for_each(|turn| fitting.within(&mut turn.blocks));
    }
    fitting.tools(request, facts);
    if to.object_answers && !fitting.origin.spec().object_answers {
        fitting.object_answer(request, facts);
    }
    fitting.answer(request, facts);
    if to.json_by_name && to.format != request.origin.format {
        fitting.json_by_name(request);
    }
    fitting.limits(request, facts);
    match facts.tool_ids {
        ToolIds::Portable => {}
        ToolIds::Alnum9 => nine(request),
    }
}

/// Gives calls and their results ids of nine letters and digits. They are told apart turn by turn as writers do, who
/// find nothing to tell apart any more.
fn nine(request: &mut Request<'_>) {
    let (mut nines, mut distinct) = (Nines::default(), Distinct::default());
    let mut last = Role::Assistant;
    for turn in &mut request.turns {
        if (turn.role, last) != (Role::User, Role::User) {
            distinct = Distinct::default();
        }
        last = turn.role;
        for block in &mut turn.blocks {
            if let BlockKind::ToolCall { id, .. } | BlockKind::ToolResult { id, .. } = &mut block.kind {
                *id = Cow::Owned(nines.of(&distinct.next(id)));
            }
        }
    }
}

struct Fitting<'l> {
    origin: &'static dyn WireFormat,
    losses: &'l mut Losses,
}

impl Fitting<'_> {
    fn field(&mut self, field: Field, action: Action, reason: &'static str) {
        let place = Place::Pointer(Cow::Borrowed(self.origin.pointer(field)));
        self.losses.add(field, action, place, reason);
    }

    fn media(&mut self, request: &mut Request<'_>, facts: &Facts) {
        self.blocks(&mut request.instructions, facts);
        for turn in &mut request.turns {
            self.blocks(&mut turn.blocks, facts);
        }
    }

    /// Puts a line of text in the place of each thing that the model cannot see: the conversation keeps its shape, and
    /// the model knows that something was there.
    fn blocks(&mut self, blocks: &mut [Block<'_>], facts: &Facts) {
        for block in blocks {
            let words = match &mut block.kind {
                BlockKind::Image { .. } if !facts.vision => {
                    self.losses.dropped(
                        Field::Image,
                        block.at,
                        "the model sees no images: a line says that one was there",
                    );
                    "[An image stood here; this model cannot see images.]"
                }
                BlockKind::Document { source: Source::Base64 { .. } | Source::Url(_) | Source::FileId(_), .. }
                    if !facts.documents =>
                {
                    let reason = "the model reads no documents: a line says that one was there";
                    self.losses.dropped(Field::Document, block.at, reason);
                    "[A document stood here; this model cannot read documents.]"
                }
                BlockKind::Document { source: Source::Blocks(content), .. } | BlockKind::ToolResult { content, .. } => {
                    self.blocks(content, facts);
                    continue;
                }
                BlockKind::Text { .. }
                | BlockKind::Refusal { .. }
                | BlockKind::Thinking { .. }
                | BlockKind::Redacted
                | BlockKind::Image { .. }
                | BlockKind::Document { .. }
                | BlockKind::Audio { .. }
                | BlockKind::SearchResult { .. }
                | BlockKind::ToolCall { .. }
                | BlockKind::ServerTool { .. }
                | BlockKind::Reference { .. }
                | BlockKind::Unknown { .. } => continue,
            };
            block.kind = BlockKind::Text { text: Text::from_plain(words), citations: Vec::new() };
            block.extras.clear();
        }
    }

    /// What other formats have no place for within a document of blocks, which is one thing there, or within a result: a
    /// mark stands behind the whole document, and words have no sources.
    fn within(&mut self, blocks: &mut [Block<'_>]) {
        for Block { kind, cache, .. } in blocks {
            match kind {
                BlockKind::Document { source: Source::Blocks(inner), .. } => {
                    for block in inner {
                        self.sources(block);
                        if let Some(mark) = block.cache.take() {
                            *cache = Some(cache.map_or(mark, |before| before.longer(mark)));
                            let reason = "a mark within a document stands behind all of it";
                            self.losses.converted(Field::CacheMark, block.at, reason);
                        }
                    }
                }
                BlockKind::ToolResult { content, .. } => {
                    for block in content.iter_mut() {
                        self.sources(block);
                    }
                    self.within(content);
                }
                _ => {}
            }
        }
    }

    fn sources(&mut self, block: &mut Block<'_>) {
        if let BlockKind::Text { citations, .. } = &mut block.kind
            && !std::mem::take(citations).is_empty()
        {
            self.losses.dropped(
                Field::Citations,
                block.at,
                "words of a document or a result have no sources elsewhere",
            );
        }
    }

    fn names(&mut self, request: &mut Request<'_>) {
        for turn in &mut request.turns {
            if turn.name.take().is_some() {
                self.losses.dropped(Field::TurnName, turn.at, "the server takes no names of speakers");
            }
        }
    }

    fn tools(&mut self, request: &mut Request<'_>, facts: &Facts) {
        let alone = request.tools.len() == 1;
        let policy = &mut request.tool_policy;
        if !facts.parallel_tools && policy.parallel.take().is_some() {
            self.field(Field::ParallelTools, Action::Dropped, "the server does not let several calls be asked for");
        }
        if facts.tool_choice == ToolChoices::All {
            return;
        }
        if policy.allowed.take().is_some() {
            self.field(Field::ToolChoice, Action::Dropped, "the server takes no set of allowed tools");
        }
        match (facts.tool_choice, &policy.mode) {
            (ToolChoices::Unnamed, Some(ToolMode::Named { .. })) => {
                let action = if alone { Action::Converted } else { Action::Dropped };
                policy.mode = Some(ToolMode::Any);
                self.field(Field::ToolChoice, action, "the server takes no tool by name: some tool must be called");
            }
            (ToolChoices::Auto, Some(ToolMode::Named { .. } | ToolMode::Any)) => {
                policy.mode = Some(ToolMode::Auto);
                self.field(Field::ToolChoice, Action::Dropped, "the server cannot be told that a tool must be called");
            }
            (ToolChoices::All, _)
            | (ToolChoices::Unnamed, None | Some(ToolMode::Auto | ToolMode::None | ToolMode::Any))
            | (ToolChoices::Auto, None | Some(ToolMode::Auto | ToolMode::None)) => {}
        }
    }

    /// Where the schema of an answer must be an object's, another is asked for in words. Servers of other makers take
    /// what their models can be held to, and what takes no schema at all is refused by the writer.
    fn object_answer(&mut self, request: &mut Request<'_>, facts: &Facts) {
        if facts.compatible_extensions || !facts.structured || facts.answers != AnswerForms::Schema {
            return;
        }
        let OutputSpec::JsonSchema { schema: Some(schema), .. } = &mut request.output else { return };
        let Some((object, change)) = of_answer(schema).map(|(object, change)| (object.into_owned(), change)) else {
            let words = by_schema(schema);
            request.output = OutputSpec::Text;
            return self.in_words(request, &words, "a schema must be an object's: the instructions ask for this one");
        };
        *schema = object;
        if let Some(reason) = change {
            self.field(Field::Output, Action::Converted, reason);
        }
    }

    /// A form that the server cannot be told is asked for in words.
    fn answer(&mut self, request: &mut Request<'_>, facts: &Facts) {
        let words = match (&request.output, facts.answers) {
            (_, AnswerForms::Schema) | (OutputSpec::Text, _) | (OutputSpec::JsonObject, AnswerForms::Object) => return,
            (OutputSpec::JsonObject, AnswerForms::Text) | (OutputSpec::JsonSchema { schema: None, .. }, _) => {
                IN_JSON.to_owned()
            }
            (OutputSpec::JsonSchema { schema: Some(schema), .. }, _) => by_schema(schema),
        };
        let is_object = match &request.output {
            OutputSpec::JsonSchema { schema: Some(schema), .. } => of_answer(schema).is_some(),
            OutputSpec::Text | OutputSpec::JsonObject | OutputSpec::JsonSchema { schema: None, .. } => true,
        };
        request.output = match facts.answers {
            AnswerForms::Object if is_object => OutputSpec::JsonObject,
            AnswerForms::Object | AnswerForms::Schema | AnswerForms::Text => OutputSpec::Text,
        };
        let reason = "the server takes no such form of an answer: the instructions ask for it";
        self.in_words(request, &words, reason);
    }

    /// Says that JSON is wanted where the vendor refuses to give it otherwise. What a conversation begins with decides:
    /// the line must not come and go from turn to turn, or no prompt would be found in a cache.
    fn json_by_name(&mut self, request: &mut Request<'_>) {
        if *request.output.elsewhere() != OutputSpec::JsonObject {
            return;
        }
        let begin = request.turns.iter().take_while(|turn| turn.role != Role::Assistant);
        let mut blocks = request.instructions.iter().chain(begin.flat_map(|turn| &turn.blocks));
        if !blocks.any(speaks_of_json) {
            self.in_words(request, IN_JSON, "JSON is given only where the words ask for it: the instructions do");
        }
    }

    fn in_words(&mut self, request: &mut Request<'_>, words: &str, reason: &'static str) {
        self.field(Field::Output, Action::Converted, reason);
        request.instructions.push(Block::text(Text::from_plain(words).into_owned(), 0));
    }

    fn limits(&mut self, request: &mut Request<'_>, facts: &Facts) {
        if request.limits.max_output.is_some_and(|asked| asked > facts.most_output) {
            request.limits.max_output = Some(facts.most_output);
            self.field(Field::MaxOutput, Action::Converted, "the model gives fewer tokens than the limit asked for");
        }
        if request.reasoning.effort == Some(Effort::None) && facts.off_switch().is_some() {
            // It has another word for that.
            request.native.retain(|native| native.key != "reasoning_effort");
        } else if let Some(asked) = request.reasoning.effort
            && !facts.efforts.has(asked)
        {
            request.reasoning.effort = facts.efforts.nearest(asked);
            request.native.retain(|native| native.key != "reasoning_effort");
            match request.reasoning.effort {
                Some(_) => self.field(Field::Reasoning, Action::Converted, NEAREST),
                None => self.field(Field::Reasoning, Action::Dropped, UNTOLD),
            }
        }
    }
}

fn speaks_of_json(block: &Block<'_>) -> bool {
    let BlockKind::Text { text, .. } = &block.kind else { return false };
    text.plain().as_bytes().windows(4).any(|word| word.eq_ignore_ascii_case(b"json"))
}

/// Asks for JSON by `schema` in words.
fn by_schema(schema: &Json<'_>) -> String {
    let what = if of_answer(schema).is_some() { IN_JSON } else { "Answer with one JSON value and nothing else." };
    format!("{what} It must be valid by this JSON Schema: {}", schema.as_str())
}

/// Asks for some JSON object in words.
const IN_JSON: &str = "Answer with one JSON object and nothing else.";
