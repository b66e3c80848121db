//! Who is next: a line with a bound, in classes, and in turn between clients.
//!
//! A higher class goes first. Within a class clients take turns, so that one with a hundred waiting gets no more than one
//! with a single one. A full line is fair too: who has fewer waiting takes the place of the newest of who has most.

use std::collections::VecDeque;
use std::sync::Arc;

/// How much a client's requests matter beside those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Class {
    /// Before all others.
    High,
    /// The usual.
    #[default]
    Normal,
    /// Behind all others.
    Low,
}

impl Class {
    /// Every class with its word in the config, the first to be served first.
    pub const NAMED: [(&'static str, Self); 3] = [("high", Self::High), ("normal", Self::Normal), ("low", Self::Low)];

    /// The word in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED.into_iter().find(|(_, class)| *class == self).map_or("normal", |(name, _)| name)
    }
}

/// A place in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ticket {
    class: Class,
    client: Arc<str>,
    number: u64,
}

/// What became of a wish to join.
#[derive(Debug)]
pub(super) enum Joined<T> {
    /// It is in, and so is everybody else.
    In(Ticket),
    /// It is in, and this one is out.
    Displaced(Ticket, T),
    /// The line is full.
    Full,
}

/// Those who wait, each with a `T`.
#[derive(Debug)]
pub(super) struct Line<T> {
    lanes: [Lane<T>; Class::NAMED.len()],
    len: usize,
    last: u64,
}

/// Those of one class: clients in the order of their turns.
#[derive(Debug)]
struct Lane<T> {
    clients: VecDeque<Client<T>>,
}

#[derive(Debug)]
struct Client<T> {
    name: Arc<str>,
    /// Never empty; the longest waiting first, so that numbers ascend.
    waiting: VecDeque<(u64, T)>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { lanes: std::array::from_fn(|_| Lane { clients: VecDeque::new() }), len: 0, last: 0 }
    }
}

impl<T> Line<T> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Lets `waiter` join where at most `most` may wait.
    pub(super) fn join(&mut self, class: Class, client: &Arc<str>, waiter: T, most: usize) -> Joined<T> {
        let displaced = if self.len < most {
            None
        } else {
            match self.displace(class, client) {
                Some(displaced) => Some(displaced),
                None => return Joined::Full,
            }
        };
        self.last += 1;
        let number = self.last;
        let Some(lane) = self.lanes.get_mut(class as usize) else { return Joined::Full };
        lane.push(client, number, waiter);
        self.len += 1;
        let ticket = Ticket { class, client: Arc::clone(client), number };
        match displaced {
            Some(displaced) => Joined::Displaced(ticket, displaced),
            None => Joined::In(ticket),
        }
    }

    /// Takes out who is next.
    pub(super) fn next(&mut self) -> Option<T> {
        let next = self.lanes.iter_mut().find_map(Lane::next)?;
        self.len -= 1;
        Some(next)
    }

    /// Takes out who holds `ticket`, if it still waits.
    pub(super) fn leave(&mut self, ticket: &Ticket) -> Option<T> {
        let lane = self.lanes.get_mut(ticket.class as usize)?;
        let left =
            lane.leave(&ticket.client, |waiting| waiting.iter().position(|(number, _)| *number == ticket.number))?;
        self.len -= 1;
        Some(left)
    }

    /// Takes out whose place `client` may have: the newest waiter of the client that has most waiting, in the lowest
    /// class that is below `class`; or else in the same class, where that client has more waiting than `client` would.
    fn displace(&mut self, class: Class, client: &Arc<str>) -> Option<T> {
        let lowest = self.lanes.iter().rposition(|lane| !lane.clients.is_empty())?;
        let lane = self.lanes.get_mut(lowest)?;
        let most = lane.clients.iter().max_by_key(|client| client.waiting.len())?;
        let own = lane.clients.iter().find(|other| other.name == *client).map_or(0, |own| own.waiting.len());
        let fairer = match lowest.cmp(&(class as usize)) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => most.waiting.len() > own + 1,
            std::cmp::Ordering::Less => false,
        };
        if !fairer {
            return None;
        }
        let name = Arc::clone(&most.name);
        let displaced = lane.leave(&name, |waiting| waiting.len().checked_sub(1))?;
        self.len -= 1;
        Some(displaced)
    }
}

impl<T> Lane<T> {
    fn push(&mut self, client: &Arc<str>, number: u64, waiter: T) {
        match self.clients.iter_mut().find(|known| known.name == *client) {
            Some(known) => known.waiting.push_back((number, waiter)),
            None => {
                let waiting = VecDeque::from([(number, waiter)]);
                self.clients.push_back(Client { name: Arc::clone(client), waiting });
            }
        }
    }

    /// The longest waiting of the client whose turn it is.
    fn next(&mut self) -> Option<T> {
        let mut client = self.clients.pop_front()?;
        let (_, next) = client.waiting.pop_front()?;
        if !client.waiting.is_empty() {
            self.clients.push_back(client);
        }
        Some(next)
    }

    /// Takes out the waiter of `client` that `which` finds.
    fn leave(&mut self, client: &Arc<str>, which: impl Fn(&VecDeque<(u64, T)>) -> Option<usize>) -> Option<T> {
        let at = self.clients.iter().position(|known| known.name == *client)?;
        let known = self.clients.get_mut(at)?;
        let (_, left) = which(&known.waiting).and_then(|place| known.waiting.remove(place))?;
        if known.waiting.is_empty() {
            self.clients.remove(at);
        }
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(line: &mut Line<String>, class: Class, who: &str) -> Joined<String> {
        let client = who.trim_end_matches(char::is_numeric);
        line.join(class, &Arc::from(client), who.to_owned(), 6)
    }

    fn all(line: &mut Line<String>) -> Vec<String> {
        std::iter::from_fn(|| line.next()).collect()
    }

    #[test]
    fn clients_take_turns_and_classes_go_first() {
        let mut line = Line::default();
        for who in ["a1", "a2", "a3", "b1"] {
            join(&mut line, Class::Normal, who);
        }
        join(&mut line, Class::Low, "l1");
        join(&mut line, Class::High, "h1");
        assert_eq!(line.len(), 6);
        assert_eq!(all(&mut line), ["h1", "a1", "b1", "a2", "a3", "l1"]);
        assert_eq!(line.len(), 0);
    }

    #[test]
    fn who_comes_again_waits_for_its_turn() {
        let mut line = Line::default();
        for who in ["a1", "a2", "b1"] {
            join(&mut line, Class::Normal, who);
        }
        assert_eq!(line.next().as_deref(), Some("a1"));
        assert_eq!(line.next().as_deref(), Some("b1"));
        join(&mut line, Class::Normal, "b2");
        assert_eq!(all(&mut line), ["a2", "b2"]);
    }

    #[test]
    fn who_leaves_is_passed_over() {
        let mut line = Line::default();
        let Joined::In(first) = join(&mut line, Class::Normal, "a1") else { panic!("there is room") };
        join(&mut line, Class::Normal, "a2");
        assert_eq!(line.leave(&first).as_deref(), Some("a1"));
        assert_eq!(line.leave(&first), None, "once");
        assert_eq!((line.len(), all(&mut line)), (1, vec!["a2".to_owned()]));
    }

    #[test]
    fn one_client_cannot_fill_the_line_against_others() {
        let mut line = Line::default();
        for number in 0..6 {
            join(&mut line, Class::Normal, &format!("a{number}"));
        }
        assert!(matches!(join(&mut line, Class::Normal, "a9"), Joined::Full), "not against itself");
        for (newcomer, out) in [("b1", "a5"), ("b2", "a4"), ("c1", "a3")] {
            let Joined::Displaced(_, displaced) = join(&mut line, Class::Normal, newcomer) else {
                panic!("{newcomer} has fewer waiting")
            };
            assert_eq!(displaced, out, "the newest of who has most");
        }
        // Three, two and one wait: another of b's would only turn the tables.
        assert!(matches!(join(&mut line, Class::Normal, "b3"), Joined::Full));
        assert!(matches!(join(&mut line, Class::Low, "d1"), Joined::Full), "a lower class displaces nobody");
        assert_eq!(all(&mut line), ["a0", "b1", "c1", "a1", "b2", "a2"]);
    }

    #[test]
    fn a_higher_class_takes_a_place_of_the_lowest() {
        let mut line = Line::default();
        for who in ["n1", "n2", "n3", "n4"] {
            join(&mut line, Class::Normal, who);
        }
        for who in ["l1", "m1"] {
            join(&mut line, Class::Low, who);
        }
        for expected in ["m1", "l1", "n4"] {
            let Joined::Displaced(_, out) = join(&mut line, Class::High, "h1") else { panic!("it goes before") };
            assert_eq!(out, expected);
        }
        assert_eq!(line.len(), 6);
    }

    #[test]
    fn a_line_of_no_length_takes_nobody() {
        let mut line = Line::default();
        assert!(matches!(line.join(Class::High, &Arc::from("a"), (), 0), Joined::Full));
    }
}
