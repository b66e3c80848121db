//! Puts every mutant of a file into it at once, each behind a switch: `crate::planted::on(id)` is true where it is the one
//! that is tried.
//!
//! The switch is asked only where the mutant would give another value, as far as that is known on the spot: a comparison asks
//! where the other operator's result differs. A test in which it is never asked cannot notice the mutant.

use std::collections::BTreeSet;
use std::ops::Range;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, Block, Expr, ExprBinary, ExprMatch, ExprStruct, ExprUnary, Ident, Pat, PatGuard, Token};

use crate::list::{Genre, Mutant, Position};
use crate::splice::{Edit, Kind, Piece, Spliced, splice};

/// A file with its mutants.
#[derive(Debug, Default)]
pub(crate) struct Planted {
    pub(crate) spliced: Spliced,
    /// Ids of those that are in it; for the others there is no form.
    pub(crate) ids: BTreeSet<usize>,
    /// Functions that are no longer `const`, as a switch cannot be asked while compiling, with their mutants.
    pub(crate) thawed: Vec<(String, Vec<usize>)>,
}

/// Plants `mutants` in their file `source`.
///
/// # Errors
///
/// The source is no Rust.
pub(crate) fn plant(source: &str, mutants: &[&Mutant]) -> Result<Planted, String> {
    let file = syn::parse_file(source).map_err(|error| error.to_string())?;
    let lines = Lines::of(source);
    let sites = mutants.iter().filter_map(|mutant| {
        let place = lines.byte(mutant.listed.span.start)?..lines.byte(mutant.listed.span.end)?;
        Some(Site { id: mutant.id, genre: mutant.listed.genre, replacement: &mutant.listed.replacement, place })
    });
    let mut gardener = Gardener { source, sites: sites.collect(), edits: Vec::new(), planted: Planted::default() };
    gardener.visit_file(&file);
    let Gardener { edits, mut planted, .. } = gardener;
    planted.spliced = splice(source, edits);
    Ok(planted)
}

/// Where the lines of a source begin.
struct Lines<'a> {
    source: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(source: &'a str) -> Self {
        let starts = std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { source, starts }
    }

    fn byte(&self, position: Position) -> Option<usize> {
        let start = *self.starts.get(position.line.checked_sub(1)?)?;
        let column = position.column.checked_sub(1)?;
        let rest = self.source.get(start..)?;
        Some(rest.char_indices().nth(column).map_or(self.source.len(), |(at, _)| start + at))
    }
}

/// A mutant and the bytes of the source that it is about.
struct Site<'a> {
    id: usize,
    genre: Genre,
    replacement: &'a str,
    place: Range<usize>,
}

struct Gardener<'a> {
    source: &'a str,
    sites: Vec<Site<'a>>,
    edits: Vec<Edit>,
    planted: Planted,
}

impl<'a> Gardener<'a> {
    /// Id and replacement of those of a genre whose place is `wanted`.
    fn at(&self, genre: Genre, wanted: impl Fn(&Range<usize>) -> bool) -> Vec<(usize, &'a str)> {
        let found = self.sites.iter().filter(|site| site.genre == genre && wanted(&site.place));
        found.map(|site| (site.id, site.replacement)).collect()
    }

    fn edit(&mut self, place: Range<usize>, mutants: Vec<usize>, pieces: Vec<Piece>) {
        self.planted.ids.extend(&mutants);
        self.edits.push(Edit { place, mutants, kind: Kind::Text, pieces });
    }

    /// A function that returns something else at once.
    fn function(&mut self, constness: Option<&Token![const]>, name: &Ident, block: &Block) {
        let body = bytes(block.span());
        if let Some(constness) = constness {
            let within = self.sites.iter().filter(|site| body.start <= site.place.start && site.place.end <= body.end);
            let ids: Vec<usize> = within.map(|site| site.id).collect();
            if !ids.is_empty() {
                self.edits.push(Edit {
                    place: bytes(constness.span()),
                    mutants: vec![],
                    kind: Kind::Text,
                    pieces: vec![],
                });
                self.planted.thawed.push((name.to_string(), ids));
            }
        }
        let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) else { return };
        let (start, end) = (bytes(first.span()).start, bytes(last.span()).end);
        let whole = |place: &Range<usize>| {
            body.start < place.start && place.end < body.end && (place.start == start || place.end == end)
        };
        for (id, value) in self.at(Genre::FnValue, whole) {
            if !self.planted.ids.contains(&id) {
                let place = body.start + 1..body.start + 1;
                self.edit(place, vec![id], vec![text(format!(" if {} {{ return {value}; }} ", on(id)))]);
            }
        }
    }

    fn operator(&mut self, binary: &ExprBinary) {
        let place = bytes(binary.op.span());
        let sites = self.at(Genre::BinaryOperator, |at| *at == place);
        // A pattern within it is no value that could be held.
        if sites.is_empty() || has_let(&binary.left) || has_let(&binary.right) {
            return;
        }
        let written = self.source.get(place).unwrap_or_default();
        let (left, right) = (bytes(binary.left.span()), bytes(binary.right.span()));
        let whole = bytes(binary.span());
        let ids = sites.iter().map(|(id, _)| *id).collect();
        let pieces = match written {
            "==" | "!=" => equality(&sites, whole.clone()),
            "&&" | "||" => logic(&sites, written == "&&", left, &right),
            "<" | ">" | "<=" | ">=" => comparison(&sites, written, left, right),
            _ if written.ends_with('=') => assignment(&sites, written, &left, &right),
            _ => arithmetic(&sites, written, left, right),
        };
        self.edit(whole, ids, pieces);
    }

    fn unary(&mut self, unary: &ExprUnary) {
        let place = bytes(unary.op.span());
        let Some(&(id, _)) = self.at(Genre::UnaryOperator, |at| *at == place).first() else { return };
        let operator = self.source.get(place).unwrap_or_default();
        let end = format!(") {{ value => if {} {{ value }} else {{ {operator}value }} }})", on(id));
        let operand = Piece::Source(bytes(unary.expr.span()));
        self.edit(bytes(unary.span()), vec![id], vec![text("(match ("), operand, text(end)]);
    }

    /// A guard that lets nothing through stands for an arm that is not there.
    fn arm(&mut self, arm: &Arm) {
        let start = bytes(arm.span()).start;
        let deleted = self.at(Genre::MatchArm, |place| place.start == start);
        let Pat::Guard(PatGuard { guard, .. }) = &arm.pat else {
            let end = bytes(arm.pat.span()).end;
            for (id, _) in deleted {
                self.edit(end..end, vec![id], vec![text(format!(" if !{}", on(id)))]);
            }
            return;
        };
        if has_let(guard) {
            return;
        }
        let place = bytes(guard.span());
        let set = self.at(Genre::MatchArmGuard, |at| *at == place);
        if set.is_empty() && deleted.is_empty() {
            return;
        }
        let mut pieces = vec![text("(("), Piece::Source(place.clone()), text(")")];
        let (open, shut): (Vec<_>, Vec<_>) = set.iter().partition(|(_, value)| *value == "true");
        pieces.extend(open.iter().map(|(id, _)| Piece::Own(*id, format!(" || {}", on(*id)))));
        pieces.push(text(")"));
        pieces.extend(shut.iter().chain(&deleted).map(|(id, _)| Piece::Own(*id, format!(" && !{}", on(*id)))));
        self.edit(place, set.iter().chain(&deleted).map(|(id, _)| *id).collect(), pieces);
    }

    /// Marks the value of a `match` with arms that may be deleted: there the compiler says that the others do not do.
    fn scrutinee(&mut self, matched: &ExprMatch) {
        let deleted = |arm: &Arm| {
            let start = bytes(arm.span()).start;
            self.at(Genre::MatchArm, |place| place.start == start).into_iter().map(|(id, _)| id)
        };
        let all: Vec<usize> = matched.arms.iter().flat_map(deleted).collect();
        // Where one takes all the rest, the others can go.
        let rest = matched.arms.iter().filter(|arm| takes_all(&arm.pat));
        let rest: Vec<usize> = rest.flat_map(deleted).collect();
        let mutants = if rest.is_empty() { all } else { rest };
        if !mutants.is_empty() {
            let place = bytes(matched.expr.span());
            self.edits.push(Edit {
                place: place.clone(),
                mutants,
                kind: Kind::Scrutinee,
                pieces: vec![Piece::Source(place)],
            });
        }
    }

    /// A field that is left to what stands behind `..`.
    fn fields(&mut self, literal: &ExprStruct) {
        let Some(rest) = literal.dot2_token.filter(|_| literal.rest.is_some()) else { return };
        let whole = bytes(literal.span());
        let starts: Vec<usize> = literal.fields.iter().map(|field| bytes(field.span()).start).collect();
        let nexts = starts.iter().skip(1).copied().chain([bytes(rest.span()).start]);
        let (mut pieces, mut ids) = (vec![text("(")], vec![]);
        for (&start, next) in starts.iter().zip(nexts) {
            for (id, _) in self.at(Genre::StructField, |place| place.start == start) {
                pieces.push(text(format!("if {} {{ ", on(id))));
                pieces.extend([Piece::Source(whole.start..start), Piece::Source(next..whole.end), text(" } else ")]);
                ids.push(id);
            }
        }
        if !ids.is_empty() {
            pieces.extend([text("{ "), Piece::Source(whole.clone()), text(" })")]);
            self.edit(whole, ids, pieces);
        }
    }
}

impl<'ast> Visit<'ast> for Gardener<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(item.sig.constness.as_ref(), &item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(item.sig.constness.as_ref(), &item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(item.sig.constness.as_ref(), &item.sig.ident, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_binary(&mut self, binary: &'ast ExprBinary) {
        self.operator(binary);
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast ExprUnary) {
        self.unary(unary);
        visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_match(&mut self, matched: &'ast ExprMatch) {
        self.scrutinee(matched);
        visit::visit_expr_match(self, matched);
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        self.arm(arm);
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, literal: &'ast ExprStruct) {
        self.fields(literal);
        visit::visit_expr_struct(self, literal);
    }
}

type Replacements<'a> = [(usize, &'a str)];

/// Each of the two is the other's opposite: they always differ.
fn equality(sites: &Replacements, whole: Range<usize>) -> Vec<Piece> {
    let switches = sites.iter().map(|(id, _)| Piece::Own(*id, format!(" != {}", on(*id))));
    let operation = [text("(("), Piece::Source(whole), text(")")];
    operation.into_iter().chain(switches).chain([text(")")]).collect()
}

/// The right side is run only where one of the two operators does.
fn logic(sites: &Replacements, is_and: bool, left: Range<usize>, right: &Range<usize>) -> Vec<Piece> {
    let switch = sites.first().map_or_else(String::new, |(id, _)| on(*id));
    let (before, between, behind) = if is_and {
        ("(".to_owned(), format!(") || {switch} }} else {{ {switch} && ("), ") })".to_owned())
    } else {
        (format!("!{switch} || ("), ") } else { (".to_owned(), format!(") && !{switch} }})"))
    };
    let right = || Piece::Source(right.clone());
    vec![
        text("(if ("),
        Piece::Source(left),
        text(") { ".to_owned() + &before),
        right(),
        text(between),
        right(),
        text(behind),
    ]
}

fn comparison(sites: &Replacements, written: &str, left: Range<usize>, right: Range<usize>) -> Vec<Piece> {
    let mut pieces = vec![text("(match (&("), Piece::Source(left), text("), &("), Piece::Source(right)];
    pieces.push(text(format!(")) {{ (left, right) => {{ let kept = *left {written} *right; kept != (false")));
    pieces.extend(
        sites.iter().map(|(id, other)| Piece::Own(*id, format!(" || kept != (*left {other} *right) && {}", on(*id)))),
    );
    pieces.push(text(") } })"));
    pieces
}

fn arithmetic(sites: &Replacements, written: &str, left: Range<usize>, right: Range<usize>) -> Vec<Piece> {
    let mut pieces = vec![text("(match (("), Piece::Source(left), text("), ("), Piece::Source(right)];
    pieces.push(text(")) { (left, right) => "));
    pieces.extend(
        sites.iter().map(|(id, other)| Piece::Own(*id, format!("if {} {{ left {other} right }} else ", on(*id)))),
    );
    pieces.push(text(format!("{{ left {written} right }} }})")));
    pieces
}

fn assignment(sites: &Replacements, written: &str, left: &Range<usize>, right: &Range<usize>) -> Vec<Piece> {
    let with =
        |operator: &str| [Piece::Source(left.clone()), text(format!(" {operator} ")), Piece::Source(right.clone())];
    let mut pieces = vec![text("(")];
    for (id, other) in sites {
        pieces.push(Piece::Own(*id, format!("if {} {{ ", on(*id))));
        pieces.extend(with(other));
        pieces.push(text(" } else "));
    }
    pieces.push(text("{ "));
    pieces.extend(with(written));
    pieces.push(text(" })"));
    pieces
}

fn on(id: usize) -> String {
    format!("crate::planted::on({id})")
}

fn text(text: impl Into<String>) -> Piece {
    Piece::Text(text.into())
}

fn bytes(span: Span) -> Range<usize> {
    span.byte_range()
}

/// True if an operand is a pattern's `let`, or a chain with one.
fn has_let(side: &Expr) -> bool {
    match side {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

/// True if a pattern fits every value, as far as its form tells.
fn takes_all(pattern: &Pat) -> bool {
    match pattern {
        Pat::Wild(_) | Pat::Rest(_) => true,
        Pat::Ident(name) => name.subpat.is_none() && name.ident.to_string().starts_with(|c: char| c.is_lowercase()),
        Pat::Tuple(tuple) => tuple.elems.iter().all(takes_all),
        Pat::Reference(reference) => takes_all(&reference.pat),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
