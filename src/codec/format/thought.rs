//! A thought whose words and signature come apart.

/// How much of an open thought has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Thought {
    /// Words.
    pub worded: bool,
    /// Its signature.
    pub signed: bool,
}

impl Thought {
    /// True where a piece with `next` in it is of another thought: one has one signature, which signs the words before it.
    pub(super) fn is_over(self, next: Self) -> bool {
        self.signed && (next.signed || (self.worded && next.worded))
    }

    /// Takes the next piece; true where it is of another thought.
    pub(super) fn takes(&mut self, next: Self) -> bool {
        let over = self.is_over(next);
        let before = if over { Self::default() } else { *self };
        *self = Self { worded: before.worded || next.worded, signed: before.signed || next.signed };
        over
    }
}
