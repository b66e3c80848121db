//! Why a command failed.

use std::fmt;

/// The exit codes, as `--help` documents them.
pub mod exit {
    /// Failed while running.
    pub const FAILED: u8 = 1;
    /// Wrong usage.
    pub const USAGE: u8 = 2;
    /// The input is not what it must be (`EX_DATAERR` of sysexits).
    pub const DATA: u8 = 65;
    /// The input cannot be read (`EX_NOINPUT`).
    pub const NO_INPUT: u8 = 66;
    /// The config has problems (`EX_CONFIG`).
    pub const CONFIG: u8 = 78;
}

/// Why a command failed, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code, one of [`exit`].
    pub code: u8,
    /// What failed, and where.
    pub message: String,
    /// What to do; `None` where the message says it all.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with one of the codes in [`exit`].
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failure to write to standard output; a reader that closed it, such as `head`, is none.
    ///
    /// # Errors
    /// The failure.
    pub(super) fn output(result: std::io::Result<()>) -> Result<(), Self> {
        match result {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Self::new(exit::FAILED, format!("standard output: {e}")))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
