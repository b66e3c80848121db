//! Tiny sources with their mutants.

use super::*;
use crate::list::{Listed, Span};

/// A mutant of `genre` at the one place where `found` stands in `source`.
fn mutant(source: &str, id: usize, genre: Genre, found: &str, replacement: &str) -> Mutant {
    let at = source.find(found).unwrap();
    let position = |at: usize| {
        let before = source.get(..at).unwrap();
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        Position { line: before.matches('\n').count() + 1, column: before.get(line..).unwrap().chars().count() + 1 }
    };
    let span = Span { start: position(at), end: position(at + found.len()) };
    let (file, name) = ("a.rs".to_owned(), String::new());
    Mutant { id, listed: Listed { file, genre, name, replacement: replacement.to_owned(), span } }
}

/// Plants what is given as genre, the text it is about, and the replacement, with ids from 1.
fn planted(source: &str, mutants: &[(Genre, &str, &str)]) -> Planted {
    let mutants: Vec<_> = mutants
        .iter()
        .enumerate()
        .map(|(at, (genre, found, replacement))| mutant(source, at + 1, *genre, found, replacement))
        .collect();
    plant(source, &mutants.iter().collect::<Vec<_>>()).unwrap()
}

/// All mutants are planted, and the result is Rust, `expected` but for spaces.
fn check(source: &str, mutants: &[(Genre, &str, &str)], expected: &str) {
    let planted = planted(source, mutants);
    let text = planted.spliced.text;
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(planted.ids, (1..=mutants.len()).collect(), "{text}");
    let bare = |text: &str| text.replace("crate::planted::on", "on").split_whitespace().collect::<String>();
    assert_eq!(bare(&text), bare(expected));
    for id in planted.ids {
        let told = planted.spliced.spots.iter().any(|spot| spot.mutants.contains(&id));
        assert!(told, "no spot tells of {id}: {text}");
    }
}

#[test]
fn functions_that_return_at_once() {
    check(
        "fn f() -> u8 {\n    let ü = 1;\n    ü\n}",
        &[(Genre::FnValue, "let ü = 1;\n    ü", "0"), (Genre::FnValue, "let ü = 1;\n    ü", "1")],
        "fn f() -> u8 { if on(1) { return 0; } if on(2) { return 1; } let ü = 1; ü }",
    );
    check(
        "impl X { fn f(&self) -> bool { fn g() -> bool { true } g() } }",
        &[(Genre::FnValue, "fn g() -> bool { true } g()", "false"), (Genre::FnValue, "true", "false")],
        "impl X { fn f(&self) -> bool {
            if on(1) { return false; } fn g() -> bool { if on(2) { return false; } true } g() } }",
    );
    check(
        "trait X { fn f(&self) { call(); } }",
        &[(Genre::FnValue, "call();", "()")],
        "trait X { fn f(&self) { if on(1) { return (); } call(); } }",
    );
}

#[test]
fn a_function_with_a_switch_is_not_const() {
    let source = "const fn f(a: u8) -> bool { a == 1 } const fn g() {}";
    let mutants = [(Genre::BinaryOperator, "==", "!=")];
    check(source, &mutants, "fn f(a: u8) -> bool { ((a == 1) != on(1)) } const fn g() {}");
    assert_eq!(planted(source, &mutants).thawed, [("f".to_owned(), vec![1])]);
}

#[test]
fn comparisons_ask_where_the_results_differ() {
    check(
        "fn f() -> bool { a < b }",
        &[(Genre::BinaryOperator, "<", "=="), (Genre::BinaryOperator, "<", "<=")],
        "fn f() -> bool { (match (&(a), &(b)) { (left, right) => { let kept = *left < *right;
            kept != (false || kept != (*left == *right) && on(1) || kept != (*left <= *right) && on(2)) } }) }",
    );
}

#[test]
fn logic_runs_the_right_side_where_one_of_both_does() {
    check(
        "fn f() -> bool { a && b }",
        &[(Genre::BinaryOperator, "&&", "||")],
        "fn f() -> bool { (if (a) { (b) || on(1) } else { on(1) && (b) }) }",
    );
    check(
        "fn f() -> bool { a || b }",
        &[(Genre::BinaryOperator, "||", "&&")],
        "fn f() -> bool { (if (a) { !on(1) || (b) } else { (b) && !on(1) }) }",
    );
}

#[test]
fn arithmetic_and_assignment() {
    check(
        "fn f() -> u8 { a + !b }",
        &[(Genre::BinaryOperator, "+", "-"), (Genre::UnaryOperator, "!", ""), (Genre::BinaryOperator, "+", "*")],
        "fn f() -> u8 { (match ((a), ((match (b) { value => if on(2) { value } else { !value } }))) { (left, right) =>
            if on(1) { left - right } else if on(3) { left * right } else { left + right } }) }",
    );
    check(
        "fn f() { a[0] += b; }",
        &[(Genre::BinaryOperator, "+=", "-=")],
        "fn f() { (if on(1) { a[0] -= b } else { a[0] += b }); }",
    );
}

#[test]
fn mutants_within_mutants() {
    check(
        "fn f() -> bool { !a && b == c }",
        &[(Genre::BinaryOperator, "&&", "||"), (Genre::UnaryOperator, "!", ""), (Genre::BinaryOperator, "==", "!=")],
        "fn f() -> bool { (if ((match (a) { value => if on(2) { value } else { !value } }))
            { (((b == c) != on(3))) || on(1) } else { on(1) && (((b == c) != on(3))) }) }",
    );
}

#[test]
fn arms_and_guards() {
    check(
        "fn f() { match a { 1 => {} 2 if b == c => {} _ => {} } }",
        &[
            (Genre::MatchArm, "1 => {}", ""),
            (Genre::MatchArm, "2 if b == c => {}", ""),
            (Genre::MatchArmGuard, "b == c", "true"),
            (Genre::MatchArmGuard, "b == c", "false"),
            (Genre::BinaryOperator, "==", "!="),
        ],
        "fn f() { match a { 1 if !on(1) => {}
            2 if ((((b == c) != on(5))) || on(3)) && !on(4) && !on(2) => {} _ => {} } }",
    );
}

#[test]
fn where_arms_do_not_cover_all_the_one_that_takes_the_rest_is_told_of() {
    let arms = [(Genre::MatchArm, "1 => {}", ""), (Genre::MatchArm, "other => {}", "")];
    let told = |source, arms: &[(Genre, &str, &str)]| {
        let spots = planted(source, arms).spliced.spots;
        spots.into_iter().find(|spot| spot.kind == Kind::Scrutinee).map(|spot| spot.mutants)
    };
    assert_eq!(told("fn f() { match a { 1 => {} other => {} } }", &arms), Some(vec![2]));
    assert_eq!(told("fn f() { match a { 1 => {} other => {} } }", &arms[..1]), Some(vec![1]));
}

#[test]
fn fields_that_are_left_to_the_rest() {
    check(
        "fn f() -> S { S { a: g(), b, ..S::new() } }",
        &[(Genre::StructField, "a: g()", ""), (Genre::StructField, "b,", "")],
        "fn f() -> S { (if on(1) { S { b, ..S::new() } } else if on(2) { S { a: g(), ..S::new() } }
            else { S { a: g(), b, ..S::new() } }) }",
    );
}

#[test]
fn chains_with_patterns_and_unknown_kinds_are_left_out() {
    let source = "fn f() { if a || b && let Some(c) = d {} }";
    let kinds = [(Genre::BinaryOperator, "&&", "||"), (Genre::Other, "a", "b")];
    let planted = planted(source, &kinds);
    assert_eq!((planted.spliced.text.as_str(), planted.ids.len()), (source, 0));
    check(
        "fn f() { if a && b && let Some(c) = d {} }",
        &[(Genre::BinaryOperator, "&&", "||")],
        "fn f() { if (if (a) { (b) || on(1) } else { on(1) && (b) }) && let Some(c) = d {} }",
    );
}
