//! Which fault a request meets: drawn from the seed and the request's number, so that a run can be repeated.

use super::content::draw;
use super::knobs::Knobs;

/// What happens to one answer. Several may happen at once, except that only one ends it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Fault {
    /// Answered instead of the answer.
    pub(super) status: Option<u16>,
    /// How it ends before its end.
    pub(super) cut: Option<Cut>,
    /// Written in small odd pieces.
    pub(super) drip: bool,
    /// Compressed.
    pub(super) gzip: bool,
}

/// How an answer ends before its end, and after which share of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cut {
    /// The connection is cut.
    Abort(f64),
    /// Silence, then the connection is cut.
    Stall(f64),
    /// The provider's own error event; a body that is no stream comes whole.
    ErrorEvent(f64),
}

impl Fault {
    /// The fault of the `n`th request.
    pub(super) fn draw(knobs: &Knobs, n: u64) -> Self {
        let draw = |salt| draw(knobs.seed, n, salt);
        let place = 0.1 + 0.8 * draw(1);
        let cut = if draw(2) < knobs.abort {
            Some(Cut::Abort(place))
        } else if draw(3) < knobs.stall {
            Some(Cut::Stall(place))
        } else if draw(4) < knobs.error_event {
            Some(Cut::ErrorEvent(place))
        } else {
            None
        };
        Self { status: knobs.status_mix.pick(draw(5)), cut, drip: draw(6) < knobs.drip, gzip: draw(7) < knobs.gzip }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_as_often_as_their_rates_say_and_again_the_same() {
        let knobs =
            Knobs { abort: 0.2, drip: 0.5, status_mix: "429:0.1".parse().unwrap(), seed: 42, ..Knobs::default() };
        let drawn: Vec<Fault> = (0..10_000).map(|n| Fault::draw(&knobs, n)).collect();
        let count = |is: fn(&Fault) -> bool| drawn.iter().filter(|fault| is(fault)).count();
        assert!((1800..2200).contains(&count(|fault| matches!(fault.cut, Some(Cut::Abort(_))))));
        assert!((4800..5200).contains(&count(|fault| fault.drip)));
        assert!((850..1150).contains(&count(|fault| fault.status == Some(429))));
        assert_eq!(count(|fault| fault.gzip), 0);
        assert_eq!(drawn[17], Fault::draw(&knobs, 17));
        assert_eq!(Fault::draw(&Knobs::default(), 3), Fault::default());
    }
}
