//! Placeholder that keeps the workspace building until the format's own commit.
mod models;

use std::sync::Arc;

use super::{Outgoing, Reply, RequestHead, Spec, StreamReader, StreamWriter, Target, WireFormat};
use crate::frame::sse::Frame;
use crate::hub::{Event, Fault, FaultKind, Field, Losses, Refusal, Request, Response, Usage};
use crate::json::{JsonError, Problem};

/// The format.
#[derive(Debug)]
pub struct OpenaiChat;
struct Nothing;
impl StreamReader for Nothing {
    fn frame(&mut self, _: &Frame<'_>, _: &mut dyn FnMut(Event<'_>)) -> Result<(), Fault<'static>> {
        Ok(())
    }
    fn end(&mut self, _: &mut dyn FnMut(Event<'_>)) {}
}
impl StreamWriter for Nothing {
    fn event(&mut self, _: &Event<'_>, _: &mut Vec<u8>) {}
}
impl WireFormat for OpenaiChat {
    fn spec(&self) -> &'static Spec {
        &Spec {
            format: crate::Format::OpenaiChat,
            title: "",
            path: "/v1/chat/completions",
            same_format_paths: &[],
            version_header: None,
            beta_header: Some("openai-beta"),
            request_id_header: None,
            source: "",
            request_losses: &[],
            response_losses: &[],
        }
    }
    fn pointer(&self, field: Field) -> &'static str {
        pointer(field)
    }
    fn read_request<'a>(&self, _: &'a [u8], _: &RequestHead<'a>) -> Result<Request<'a>, Refusal> {
        Err(Refusal::of("", "not written"))
    }
    fn write_request(&self, _: &Request<'_>, _: &Target<'_>, _: &mut Outgoing) -> Result<(), Refusal> {
        Err(Refusal::of("", "not written"))
    }
    fn read_response<'a>(&self, _: &'a [u8]) -> Result<Response<'a>, JsonError> {
        Err(JsonError { offset: 0, problem: Problem::TooShort })
    }
    fn write_response(&self, _: &Response<'_>, _: &Reply, _: &mut Losses) -> Result<Vec<u8>, Fault<'static>> {
        Err(Fault::new(FaultKind::Api, "not written"))
    }
    fn read_error<'a>(&self, status: u16, _: &'a [u8]) -> Fault<'a> {
        Fault::new(FaultKind::from_status(status), "")
    }
    fn write_error(&self, fault: &Fault<'_>, _: Option<&str>) -> (u16, Vec<u8>) {
        (fault.status, Vec::new())
    }
    fn write_models(&self, names: &[&str], out: &mut Vec<u8>) {
        models::write_list(names, out);
    }
    fn write_model(&self, name: &str, out: &mut Vec<u8>) {
        models::write_one(name, out);
    }
    fn stream_reader(&self) -> Box<dyn StreamReader> {
        Box::new(Nothing)
    }
    fn stream_writer(&self, _: Arc<Reply>) -> Box<dyn StreamWriter> {
        Box::new(Nothing)
    }
    fn is_telling(&self, _: &Frame<'_>) -> bool {
        true
    }
    fn find_usage(&self, _: &[u8]) -> Option<Usage> {
        None
    }
}

/// Where a request says `field`.
fn pointer(field: Field) -> &'static str {
    match field {
        Field::Model => "/model",
        Field::Instructions | Field::Turn => "/messages",
        Field::Tool | Field::Strict | Field::ServerTool => "/tools",
        Field::ToolChoice => "/tool_choice",
        Field::ParallelTools => "/parallel_tool_calls",
        Field::Cache => "/prompt_cache_key",
        Field::MaxOutput => "/max_completion_tokens",
        Field::Stop => "/stop",
        Field::Temperature => "/temperature",
        Field::TopP => "/top_p",
        Field::TopK => "/top_k",
        Field::Seed => "/seed",
        Field::PresencePenalty => "/presence_penalty",
        Field::FrequencyPenalty => "/frequency_penalty",
        Field::LogitBias => "/logit_bias",
        Field::N => "/n",
        Field::Logprobs => "/logprobs",
        Field::Prediction => "/prediction",
        Field::Output => "/response_format",
        Field::Verbosity => "/verbosity",
        Field::Reasoning => "/reasoning_effort",
        Field::Tier => "/service_tier",
        Field::Identity => "/safety_identifier",
        Field::Metadata => "/metadata",
        Field::Store => "/store",
        Field::StreamOptions => "/stream_options",
        Field::Modalities => "/modalities",
        Field::Safety => "/moderation",
        _ => "",
    }
}
