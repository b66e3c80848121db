//! Exchanging places of a source for other text, one within the other, and knowing afterwards whose text is where.

use std::cmp::Reverse;
use std::ops::Range;

/// What stands for a place of a source; the pieces one behind the other.
#[derive(Debug)]
pub(crate) struct Edit {
    /// Bytes of the source that are replaced; an empty range inserts.
    pub(crate) place: Range<usize>,
    /// Mutants that an error of the compiler in this text is laid to, where none of its pieces is one's own.
    pub(crate) mutants: Vec<usize>,
    /// What the compiler says of this place.
    pub(crate) kind: Kind,
    pub(crate) pieces: Vec<Piece>,
}

/// Which errors tell of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Those within it.
    Text,
    /// That the arms of the `match` on this value do not cover all.
    Scrutinee,
}

/// One part of an edit's text.
#[derive(Debug)]
pub(crate) enum Piece {
    Text(String),
    /// Text of one mutant alone.
    Own(usize, String),
    /// Bytes of the source, with the edits within them.
    Source(Range<usize>),
}

/// A source with its edits made.
#[derive(Debug, Default)]
pub(crate) struct Spliced {
    pub(crate) text: String,
    /// Where each edit and each mutant's own text came to stand; outer ones behind those within them.
    pub(crate) spots: Vec<Spot>,
}

/// A place in a spliced text.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    /// Bytes of the text.
    pub(crate) place: Range<usize>,
    pub(crate) mutants: Vec<usize>,
    pub(crate) kind: Kind,
}

/// `source` with `edits`, of which any two are apart or one within the other. Of two at the same place, the first is the
/// outer one.
pub(crate) fn splice(source: &str, mut edits: Vec<Edit>) -> Spliced {
    // An insertion stands before what begins at its place, never within it.
    edits.sort_by_key(|edit| (edit.place.start, !edit.place.is_empty(), Reverse(edit.place.end)));
    let mut spliced = Spliced::default();
    Splicer { source, edits: &edits, out: &mut spliced }.copy(0..source.len(), 0);
    spliced
}

struct Splicer<'a> {
    source: &'a str,
    /// Outer ones before those within them.
    edits: &'a [Edit],
    out: &'a mut Spliced,
}

impl Splicer<'_> {
    /// Copies a part of the source with those of its edits that are number `first` or behind it.
    fn copy(&mut self, part: Range<usize>, first: usize) {
        let mut at = part.start;
        for (number, edit) in self.edits.iter().enumerate().skip(first) {
            if edit.place.start > part.end {
                break;
            }
            if edit.place.start < at || edit.place.end > part.end {
                continue;
            }
            self.verbatim(at..edit.place.start);
            self.make(edit, number + 1);
            at = edit.place.end;
        }
        self.verbatim(at..part.end);
    }

    /// Writes an edit; those within it are number `first` or behind it.
    fn make(&mut self, edit: &Edit, first: usize) {
        let start = self.out.text.len();
        for piece in &edit.pieces {
            match piece {
                Piece::Text(text) => self.out.text.push_str(text),
                Piece::Own(mutant, text) => {
                    let from = self.out.text.len();
                    self.out.text.push_str(text);
                    self.spot(from, vec![*mutant], Kind::Text);
                }
                Piece::Source(part) => self.copy(part.clone(), first),
            }
        }
        if !edit.mutants.is_empty() {
            self.spot(start, edit.mutants.clone(), edit.kind);
        }
    }

    fn spot(&mut self, start: usize, mutants: Vec<usize>, kind: Kind) {
        self.out.spots.push(Spot { place: start..self.out.text.len(), mutants, kind });
    }

    fn verbatim(&mut self, part: Range<usize>) {
        self.out.text.push_str(self.source.get(part).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(place: Range<usize>, mutant: usize, pieces: Vec<Piece>) -> Edit {
        Edit { place, mutants: vec![mutant], kind: Kind::Text, pieces }
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    #[test]
    fn edits_within_edits_are_made_wherever_their_source_is_copied() {
        let inner = edit(2..3, 2, vec![text("<"), Piece::Source(2..3), text(">")]);
        let twice = vec![text("("), Piece::Source(0..5), Piece::Own(7, " or ".into()), Piece::Source(0..3), text(")")];
        let spliced = splice("a b c", vec![edit(0..5, 1, twice), inner]);
        assert_eq!(spliced.text, "(a <b> c or a <b>)");
        let spots: Vec<_> =
            spliced.spots.iter().map(|spot| (spliced.text.get(spot.place.clone()).unwrap(), spot.mutants[0])).collect();
        assert_eq!(spots, [("<b>", 2), (" or ", 7), ("<b>", 2), ("(a <b> c or a <b>)", 1)]);
    }

    #[test]
    fn of_two_at_one_place_the_first_is_the_outer_one() {
        let around = |open: &str, close: &str| vec![text(open), Piece::Source(0..1), text(close)];
        let spliced = splice("a", vec![edit(0..1, 1, around("(", ")")), edit(0..1, 2, around("[", "]"))]);
        assert_eq!(spliced.text, "([a])");
    }

    #[test]
    fn an_insertion_stands_before_what_begins_there() {
        let spliced = splice(
            "{a}",
            vec![
                edit(1..2, 1, vec![text("("), Piece::Source(1..2), text(")")]),
                edit(1..1, 2, vec![text("x;")]),
                edit(1..1, 3, vec![text("y;")]),
            ],
        );
        assert_eq!(spliced.text, "{x;y;(a)}");
    }

    #[test]
    fn nothing_takes_a_place_away() {
        assert_eq!(splice("const fn f() {}", vec![edit(0..5, 1, vec![])]).text, " fn f() {}");
    }
}
