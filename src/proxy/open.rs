//! Whether JSON that passes piece by piece is whole, where its transport does not say so.

/// What of a JSON text is open.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Something came.
    begun: bool,
    /// Objects and lists.
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Open {
    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.begun |= !piece.trim_ascii().is_empty();
        for byte in piece {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => self.quoted = !self.quoted,
                _ if self.quoted => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// True where nothing is, of a text that has begun.
    pub(super) fn is_closed(&self) -> bool {
        self.begun && self.depth == 0 && !self.quoted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_whole_where_nothing_is_open() {
        let whole = r#"{"data": [{"a": "}]\"{"}, {}], "usage": null}"#;
        for at in 0..=whole.len() {
            let mut open = Open::default();
            let (one, two) = whole.as_bytes()[..at].split_at(at / 2);
            open.push(one);
            open.push(two);
            assert_eq!(open.is_closed(), at == whole.len(), "{at}");
        }
    }
}
