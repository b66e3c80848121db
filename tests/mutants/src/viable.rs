//! Which mutants the compiler takes: all are planted, those that its errors tell of are left out, and so on until there are
//! no errors.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::list::Mutant;
use crate::plant::Planted;
use crate::splice::{Kind, Spot};
use crate::tree::Tree;

/// Rounds after which something is wrong: an error hides those of later phases of the compiler, of which there are few.
const ROUNDS: usize = 40;

/// What became of the mutants that were to be planted.
#[derive(Debug)]
pub(crate) struct Planting {
    /// Ids of those that stand in the tree, which compiles.
    pub(crate) viable: BTreeSet<usize>,
    /// How many the compiler did not take.
    pub(crate) unviable: usize,
    /// How many have no form behind a switch.
    pub(crate) unplanted: usize,
}

/// Plants those of `mutants` that compile.
///
/// # Errors
///
/// The tree cannot be written, cargo cannot be run, or there is an error that no mutant seems to make.
pub(crate) fn plant(tree: &Tree, mutants: &[Mutant]) -> Result<Planting, String> {
    let mut left_out = BTreeSet::new();
    for _ in 0..ROUNDS {
        let planted = tree.plant(mutants.iter().filter(|mutant| !left_out.contains(&mutant.id)))?;
        let errors = check(tree)?;
        if errors.is_empty() {
            let viable: BTreeSet<usize> = planted.values().flat_map(|file| file.ids.iter().copied()).collect();
            let unplanted = mutants.len() - left_out.len() - viable.len();
            return Ok(Planting { viable, unviable: left_out.len(), unplanted });
        }
        let before = left_out.len();
        for error in &errors {
            left_out.extend(culprits(error, &planted));
        }
        eprintln!("mutants: {} errors, {} mutants left out", errors.len(), left_out.len());
        if left_out.len() == before {
            let told: Vec<_> = errors.into_iter().filter_map(|error| error.rendered).collect();
            return Err(format!(
                "the codec with its mutants does not compile, and no mutant seems to be why:\n{}",
                told.concat()
            ));
        }
    }
    Err(format!("the codec with its mutants does not compile after {ROUNDS} rounds of leaving some out"))
}

/// What cargo says, of which only errors matter.
#[derive(Deserialize)]
struct Line {
    message: Option<Message>,
}

/// A word of the compiler.
#[derive(Debug, Default, Deserialize)]
struct Message {
    level: String,
    #[serde(rename = "message")]
    text: String,
    code: Option<Code>,
    spans: Vec<Place>,
    rendered: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Code {
    code: String,
}

#[derive(Debug, Deserialize)]
struct Place {
    /// From the root of the tree.
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
}

/// The errors that stand somewhere.
fn check(tree: &Tree) -> Result<Vec<Message>, String> {
    let arguments = ["check", "--locked", "--package", crate::PACKAGE, "--lib", "--quiet", "--message-format=json"];
    let output = tree.cargo(&arguments).output().map_err(|error| format!("cargo cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let messages = said.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()?.message);
    let errors: Vec<_> = messages.filter(|message| message.level == "error" && !message.spans.is_empty()).collect();
    if errors.is_empty() && !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo cannot check the codec with its mutants:\n{told}"));
    }
    Ok(errors)
}

/// The mutants that an error is laid to.
fn culprits(error: &Message, planted: &BTreeMap<String, Planted>) -> Vec<usize> {
    let code = error.code.as_ref().map_or("", |code| code.code.as_str());
    let mut places: Vec<&Place> = error.spans.iter().collect();
    places.sort_by_key(|place| !place.is_primary);
    let spots = |place: &Place| planted.get(&place.file_name).map_or(&[][..], |file| &file.spliced.spots);
    // Where arms do not cover all, the error stands at the value.
    let kind = if code == "E0004" { Kind::Scrutinee } else { Kind::Text };
    if let Some(spot) = places.iter().find_map(|place| innermost(spots(place), place, kind)) {
        return spot.mutants.clone();
    }
    // A call while compiling, of a function that no longer is for that.
    if code == "E0015" {
        let named =
            |name: &str| error.text.contains(&format!("::{name}`")) || error.text.contains(&format!("`{name}`"));
        let thawed = planted.values().flat_map(|file| &file.thawed).filter(|(name, _)| named(name));
        return thawed.flat_map(|(_, ids)| ids.iter().copied()).collect();
    }
    // A call that does not take what a mutant makes of its argument.
    let within: Vec<usize> = places.iter().take(1).flat_map(|place| within(spots(place), place)).collect();
    if !within.is_empty() {
        return within;
    }
    // What a mutant breaks may show behind it only, as a type that is not known.
    places
        .iter()
        .find_map(|place| nearest_before(spots(place), place))
        .map_or_else(Vec::new, |spot| spot.mutants.clone())
}

fn innermost<'s>(spots: &'s [Spot], place: &Place, kind: Kind) -> Option<&'s Spot> {
    let around = spots.iter().filter(|spot| spot.kind == kind && spot.place.start <= place.byte_start);
    around.filter(|spot| place.byte_end <= spot.place.end).min_by_key(|spot| spot.place.len())
}

fn within(spots: &[Spot], place: &Place) -> Vec<usize> {
    let inside = spots.iter().filter(|spot| spot.kind == Kind::Text && place.byte_start <= spot.place.start);
    inside.filter(|spot| spot.place.end <= place.byte_end).flat_map(|spot| spot.mutants.iter().copied()).collect()
}

fn nearest_before<'s>(spots: &'s [Spot], place: &Place) -> Option<&'s Spot> {
    let before = spots.iter().filter(|spot| spot.kind == Kind::Text && spot.place.start <= place.byte_start);
    before.max_by_key(|spot| spot.place.start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::splice::Spliced;

    fn planted() -> BTreeMap<String, Planted> {
        let spot = |place, mutant, kind| Spot { place, mutants: vec![mutant], kind };
        let spots = vec![spot(10..20, 1, Kind::Text), spot(5..30, 2, Kind::Text), spot(40..45, 3, Kind::Scrutinee)];
        let thawed = vec![("width".to_owned(), vec![4, 5])];
        let file = Planted { spliced: Spliced { text: String::new(), spots }, ids: BTreeSet::new(), thawed };
        BTreeMap::from([("a.rs".to_owned(), file)])
    }

    fn check(code: &str, message: &str, spans: &[(usize, usize)], expected: &[usize]) {
        let place = |(at, (byte_start, byte_end)): (usize, &(usize, usize))| Place {
            file_name: "a.rs".to_owned(),
            byte_start: *byte_start,
            byte_end: *byte_end,
            is_primary: at == 0,
        };
        let spans = spans.iter().enumerate().map(place).collect();
        let code = Some(Code { code: code.to_owned() });
        let error = Message { text: message.to_owned(), code, spans, ..Message::default() };
        assert_eq!(culprits(&error, &planted()), expected, "{error:?}");
    }

    #[test]
    fn errors_are_laid_to_the_innermost_mutant_around_them() {
        check("E0308", "", &[(12, 14)], &[1]);
        check("E0308", "", &[(6, 14)], &[2]);
        check("E0308", "", &[(50, 51), (12, 13)], &[1]);
    }

    #[test]
    fn errors_around_mutants_are_laid_to_all_of_them_and_others_to_the_one_before() {
        check("E0521", "", &[(3, 35)], &[1, 2]);
        check("E0282", "", &[(35, 36)], &[1]);
        check("E0282", "", &[(1, 2)], &[]);
    }

    #[test]
    fn arms_that_do_not_cover_all_and_calls_while_compiling() {
        check("E0004", "", &[(41, 44)], &[3]);
        check("E0015", "cannot call non-const function `scan::width` in constants", &[(50, 55)], &[4, 5]);
        check("E0015", "cannot call non-const function `planted::on` in constants", &[(15, 16)], &[1]);
    }
}
