//! The order in which hub events may come; what every reader must keep and every writer may rely on.

use std::collections::BTreeMap;

use super::event::{Event, Head};

/// Checks a stream's events one by one.
#[derive(Debug, Default)]
pub struct Grammar {
    started: bool,
    ended: bool,
    /// Block number to whether it is still open and which candidate it belongs to.
    blocks: BTreeMap<u32, Block>,
    stopped: Vec<u32>,
}

#[derive(Debug)]
struct Block {
    open: bool,
    candidate: u32,
    grows: Grows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grows {
    Text,
    Arguments,
    Not,
}

impl Grammar {
    /// Takes the next event.
    ///
    /// # Errors
    ///
    /// The event may not come here; says why.
    pub fn next(&mut self, event: &Event<'_>) -> Result<(), String> {
        if self.ended {
            return Err(format!("{event:?} after the end"));
        }
        match event {
            Event::Start { .. } if self.started => return Err("a second start".to_owned()),
            Event::Start { .. } => self.started = true,
            Event::Fault(_) => self.ended = true,
            Event::Ping | Event::Dropped { .. } => {}
            _ if !self.started => return Err(format!("{event:?} before the start")),
            Event::BlockStart { block, candidate, head } => self.open(*block, *candidate, head)?,
            Event::TextDelta { block, .. } => self.grow(*block, Grows::Text)?,
            Event::ArgumentsDelta { block, .. } => self.grow(*block, Grows::Arguments)?,
            Event::Opaque { block, .. } => {
                self.opened(*block)?;
            }
            Event::Citation { block, .. } => self.cited(*block)?,
            Event::BlockStop { block } => self.opened(*block)?.open = false,
            Event::Logprobs { .. } | Event::Usage(_) | Event::Tier { .. } | Event::Apart { .. } => {}
            Event::Stop { candidate, .. } => self.stop(*candidate)?,
            Event::End => self.end()?,
        }
        Ok(())
    }

    /// True once nothing more may come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn open(&mut self, block: u32, candidate: u32, head: &Head<'_>) -> Result<(), String> {
        if self.stopped.contains(&candidate) {
            return Err(format!("block {block} of answer {candidate}, which has stopped"));
        }
        if usize::try_from(block) != Ok(self.blocks.len()) {
            return Err(format!("block {block} begins, but {} is next", self.blocks.len()));
        }
        let grows = match head {
            Head::Text | Head::Refusal | Head::Thinking(_) => Grows::Text,
            Head::ToolCall { .. } => Grows::Arguments,
            Head::Redacted | Head::ServerTool { .. } => Grows::Not,
        };
        self.blocks.insert(block, Block { open: true, candidate, grows });
        Ok(())
    }

    fn opened(&mut self, block: u32) -> Result<&mut Block, String> {
        match self.blocks.get_mut(&block) {
            Some(found) if found.open => Ok(found),
            _ => Err(format!("block {block} is not open")),
        }
    }

    fn cited(&self, block: u32) -> Result<(), String> {
        match self.blocks.get(&block) {
            Some(found) if found.open || !self.stopped.contains(&found.candidate) => Ok(()),
            _ => Err(format!("a source of block {block}, which is not there or whose answer stopped")),
        }
    }

    fn grow(&mut self, block: u32, how: Grows) -> Result<(), String> {
        let found = self.opened(block)?;
        if found.grows == how { Ok(()) } else { Err(format!("block {block} does not grow by {how:?}")) }
    }

    fn stop(&mut self, candidate: u32) -> Result<(), String> {
        if self.stopped.contains(&candidate) {
            return Err(format!("answer {candidate} stops twice"));
        }
        if let Some((block, _)) = self.blocks.iter().find(|(_, block)| block.open && block.candidate == candidate) {
            return Err(format!("answer {candidate} stops while block {block} is open"));
        }
        self.stopped.push(candidate);
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        if let Some((block, _)) = self.blocks.iter().find(|(_, block)| block.open) {
            return Err(format!("the end while block {block} is open"));
        }
        if let Some(block) = self.blocks.values().find(|block| !self.stopped.contains(&block.candidate)) {
            return Err(format!("the end, but answer {} did not stop", block.candidate));
        }
        self.ended = true;
        Ok(())
    }
}
