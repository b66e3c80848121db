//! An error answer, before a format gives it its envelope.

/// Why a request is refused or fails.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
    /// The field at fault, in OpenAI's notation.
    pub(super) param: Option<String>,
    /// OpenAI's `code`; `None` for the status's own.
    pub(super) code: Option<&'static str>,
}

impl Refusal {
    /// An error of the given status.
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None }
    }

    /// A request that is wrong: status 400.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// Names the field at fault.
    pub(super) fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Sets OpenAI's code.
    pub(super) fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }
}
