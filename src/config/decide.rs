//! What a request leads to, and why: the one place that asks the rules, the names and the strategies. The edge follows it,
//! and an operator can look at it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tidegate_codec::hub::BlockKind;
use tidegate_codec::hub::media::percent_decode;
use tidegate_codec::json::Writer;
use tidegate_codec::seal::Seal;
use tidegate_codec::{Beginning, Format, Line, Operation, RequestHead, State, wire};

use super::{Settings, Snapshot, Tie};
use crate::provider::Provider;
use crate::routing::{self, Affinity, Ask, Draw, Hedge, Needs, Route, Rule, Sight, Strategy};
use crate::upstream::{Fleet, Lineup, Standing, random};

/// Where a request goes.
#[derive(Debug, Clone)]
pub struct Lead {
    /// The rule that said so; `None` where the name that was asked for did.
    pub rule: Option<Arc<str>>,
    /// The model that serves it.
    pub route: Arc<Route>,
}

/// A target as an operator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The provider's name of the model.
    pub model: String,
    /// The format that it speaks.
    pub format: Option<Format>,
    /// Its share.
    pub weight: u32,
    /// What it costs: tokens of the request and of the answer, in US dollars for a million.
    pub price: Option<(f64, f64)>,
    /// Why it is passed over for this request now; `None` where it is not.
    pub skipped: Option<String>,
    /// Its provider's endpoints, and why one of them takes no requests for the model now.
    pub endpoints: Vec<(Arc<str>, Option<&'static str>)>,
    /// Attempts that it is working on.
    pub in_flight: u32,
    /// Its usual time to the first token, in milliseconds.
    pub first_token_ms: Option<u64>,
}

/// A request, as an operator describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// The model asked for.
    pub model: String,
    /// The client's name.
    pub client: String,
    /// Headers, with lower-case names.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body.
    pub bytes: usize,
    /// A stream is wanted.
    pub stream: bool,
    /// The number of its tokens is wanted, and no answer.
    pub count: bool,
    /// What the body holds.
    pub needs: Needs,
    /// State in the body that only its maker can read, and the format in which it is.
    pub state: Option<(Format, State)>,
    /// How the body begins, where it is known.
    pub beginning: Option<Beginning>,
}

/// Where a request goes, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The model asked for.
    pub asked: String,
    /// The rule that was for it.
    pub rule: Option<Arc<str>>,
    /// The configured model that serves it.
    pub route: Arc<str>,
    /// How its targets are ordered.
    pub strategy: &'static str,
    /// Why the edge refuses it whatever the order is.
    pub refused: Option<String>,
    /// What leads requests to the same place.
    pub affinity: String,
    /// That is known of this request; otherwise its client leads it.
    pub affinity_known: bool,
    /// State that decides on the order, since only its maker can read it.
    pub state: Option<State>,
    /// When it is asked for elsewhere as well.
    pub hedge: Option<HedgeNow>,
    /// The targets in the order in which this request would try them.
    pub candidates: Vec<Candidate>,
}

/// When a stream is asked for elsewhere as well.
#[derive(Debug, Clone, PartialEq)]
pub struct HedgeNow {
    /// The rule.
    pub rule: Hedge,
    /// When that is now, where the first target was measured.
    pub after: Option<Duration>,
    /// Why it would not be, however slow it is.
    pub skipped: Option<&'static str>,
}

impl Question {
    /// What it asks of a target. What a format has of its own besides is asked about nowhere.
    fn operation(&self) -> Operation {
        if self.count { Operation::Count } else { Operation::Generate }
    }

    /// Reads `model=…&client=…&bytes=…&stream=true&count=true&tools=true&images=true&documents=true&header.NAME=…`.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn from_query(query: &str) -> Result<Self, String> {
        let mut question = Self { client: "anonymous".to_owned(), ..Self::default() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
            let value = String::from_utf8_lossy(&percent_decode(value)).into_owned();
            let flag = || value.parse::<bool>().map_err(|_| format!("`{name}` is `true` or `false`\n"));
            match name {
                "model" => question.model = value,
                "client" => question.client = value,
                "bytes" => question.bytes = value.parse().map_err(|_| "`bytes` is a whole number\n".to_owned())?,
                "stream" => question.stream = flag()?,
                "count" => question.count = flag()?,
                "tools" => question.needs.tools = flag()?,
                "images" => question.needs.images = flag()?,
                "documents" => question.needs.documents = flag()?,
                _ => match name.strip_prefix("header.") {
                    Some(header) => question.headers.push((header.to_ascii_lowercase(), value)),
                    None => {
                        return Err(format!(
                            "`{name}` is not known; ask with model, client, bytes, stream, count, tools, images, \
                             documents and header.NAME\n"
                        ));
                    }
                },
            }
        }
        if question.model.is_empty() {
            return Err("say which model is asked for: /explain?model=NAME\n".to_owned());
        }
        Ok(question)
    }
}

impl Explanation {
    /// As one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        let mut json = Writer::new(&mut out);
        json.open_object().key("asked").plain(&self.asked).key("rule");
        match &self.rule {
            Some(rule) => json.plain(rule),
            None => json.null(),
        };
        json.key("model").plain(&self.route).key("strategy").plain(self.strategy);
        json.key("affinity").plain(&self.affinity).key("affinity_known").bool(self.affinity_known).key("refused");
        text_or_null(&mut json, self.refused.as_deref());
        json.key("state");
        match self.state {
            Some(state) => {
                json.open_object().key("name").plain(state.name).key("needed").bool(state.needed).close_object()
            }
            None => json.null(),
        };
        json.key("hedge");
        match &self.hedge {
            Some(hedge) => hedge.write(&mut json),
            None => json.null(),
        };
        json.key("targets").open_array();
        for candidate in &self.candidates {
            candidate.write(&mut json);
        }
        json.close_array().close_object();
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl HedgeNow {
    fn write<'j, 'o>(&self, json: &'j mut Writer<'o>) -> &'j mut Writer<'o> {
        json.open_object().key("percentile").number(u64::from(self.rule.percentile)).key("after_ms");
        match self.after {
            Some(after) => json.number(millis(after)),
            None => json.null(),
        };
        json.key("skipped");
        text_or_null(json, self.skipped);
        json.close_object()
    }
}

impl Candidate {
    fn write(&self, json: &mut Writer<'_>) {
        json.open_object().key("provider").plain(&self.provider).key("model").plain(&self.model).key("format");
        match self.format {
            Some(format) => json.plain(format.name()),
            None => json.null(),
        };
        json.key("usable").bool(self.skipped.is_none()).key("skipped");
        text_or_null(json, self.skipped.as_deref());
        json.key("endpoints").open_array();
        for (label, why) in &self.endpoints {
            json.open_object().key("endpoint").plain(label).key("skipped");
            text_or_null(json, *why);
            json.close_object();
        }
        json.close_array().key("weight").number(u64::from(self.weight));
        json.key("in_flight").number(u64::from(self.in_flight)).key("first_token_ms");
        match self.first_token_ms {
            Some(ms) => json.number(ms),
            None => json.null(),
        };
        json.close_object();
    }
}

fn text_or_null(json: &mut Writer<'_>, text: Option<&str>) {
    match text {
        Some(text) => json.plain(text),
        None => json.null(),
    };
}

impl Settings {
    /// Where the request goes; `None` where its model is not configured.
    #[must_use]
    pub fn lead(&self, ask: &Ask<'_>) -> Option<Lead> {
        self.lead_by(routing::first(&self.rules, ask), ask)
    }

    /// Where an operation beside answers goes that providers which are `wanted` serve. Only a
    /// [rule of names](routing::When::is_of_names) that leads to one of them is for it: any other has answers in mind.
    #[must_use]
    pub fn lead_to(&self, ask: &Ask<'_>, wanted: impl Fn(&Provider) -> bool) -> Option<Lead> {
        let is_wanted = |target: &routing::Target| self.providers.get(&target.provider).is_some_and(|to| wanted(to));
        let leads = |rule: &&Rule| {
            let route = self.models.resolve(&rule.model);
            rule.when.is_of_names() && route.is_some_and(|route| route.targets.iter().any(is_wanted))
        };
        self.lead_by(routing::first(self.rules.iter().filter(leads), ask), ask)
    }

    fn lead_by(&self, rule: Option<&Rule>, ask: &Ask<'_>) -> Option<Lead> {
        let name = rule.map_or(ask.model, |rule| rule.model.as_str());
        let route = self.models.resolve(name)?;
        Some(Lead { rule: rule.map(|rule| Arc::clone(&rule.name)), route })
    }

    /// `route` with those of its targets that have the operation for a client of this format; `None` where there is none.
    #[must_use]
    pub fn serving(&self, route: Arc<Route>, (operation, client): (Operation, Format)) -> Option<Arc<Route>> {
        self.narrowed(route, |provider| provider.serves(operation, client).is_some())
    }

    /// `route` with those of its targets whose provider is `wanted`; `None` where there is none.
    #[must_use]
    pub fn narrowed(&self, route: Arc<Route>, wanted: impl Fn(&Provider) -> bool) -> Option<Arc<Route>> {
        let is_wanted =
            |target: &&routing::Target| self.providers.get(&target.provider).is_some_and(|provider| wanted(provider));
        if route.targets.iter().all(|target| is_wanted(&target)) {
            return Some(route);
        }
        let targets: Vec<_> = route.targets.iter().filter(is_wanted).cloned().collect();
        (!targets.is_empty()).then(|| Arc::new(Route { targets, ..Route::clone(&route) }))
    }
}

impl Snapshot {
    /// What `settings` would serve with, where nothing runs: every target idle, nothing measured.
    #[must_use]
    pub fn at_rest(settings: Settings) -> Self {
        Self::new(settings, &Fleet::new(), 0)
    }

    /// The order in which the targets of `route` are tried for a request of `bytes` bytes, as positions; `None` for the
    /// written one. `key` leads it where others with the same key went; whether it is a `stream` tells which times count.
    #[must_use]
    pub fn order(&self, route: &Route, key: u64, (bytes, stream): (usize, bool)) -> Option<Box<[usize]>> {
        self.order_at(route, (key, bytes, stream), Lineup::turn)
    }

    fn order_at(
        &self,
        route: &Route,
        (key, bytes, stream): (u64, usize, bool),
        turn: impl FnOnce(&Lineup) -> u64,
    ) -> Option<Box<[usize]>> {
        if route.targets.len() < 2 || route.strategy == Strategy::Priority {
            return None;
        }
        let lineup = self.lineups.get(&route.name)?;
        let draw = Draw { turn: turn(lineup), key, chance: random(), bytes };
        routing::order(route.strategy, &route.targets, draw, |at| {
            let known = route.targets.get(at).and_then(|target| lineup.target(target.place));
            known.map(|known| sight(known, stream)).unwrap_or_default()
        })
    }

    /// Where a request like `question` would go now; `None` where its model is not configured.
    #[must_use]
    pub fn explain(&self, question: &Question) -> Option<Explanation> {
        let needs = || question.needs;
        let header = |name: &str| {
            let found = question.headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        let ask = Ask {
            model: &question.model,
            client: &question.client,
            header: &header,
            bytes: question.bytes,
            stream: question.stream,
            needs: &needs,
        };
        let Lead { rule, route } = self.settings.lead(&ask)?;
        let key = route.affinity.key((&question.client, &question.model), header, || question.beginning);
        let served = self.settings.serving(Arc::clone(&route), (question.operation(), Format::DEFAULT));
        let refused = self.refusal(question);
        let refused = refused.or_else(|| served.is_none().then(|| "no target of the model counts tokens".to_owned()));
        let candidates = self.in_order((&route, &served.unwrap_or_else(|| Arc::clone(&route))), question, key);
        let first = candidates.first().and_then(|first| {
            let leads_there =
                |target: &&routing::Target| target.provider == first.provider && target.model == first.model;
            self.lineups.get(&route.name)?.target(route.targets.iter().find(leads_there)?.place)
        });
        let hedge = route.hedge.clone().filter(|_| question.stream).map(|rule| {
            let after = rule.after(first.and_then(|first| first.stream_percentile(rule.percentile)));
            let skipped = self.asked_once((question, &candidates), after.unwrap_or(rule.least));
            HedgeNow { rule, after, skipped }
        });
        Some(Explanation {
            asked: question.model.clone(),
            rule,
            route: Arc::clone(&route.name),
            strategy: route.strategy.name(),
            refused,
            affinity: route.affinity.to_string(),
            affinity_known: match &route.affinity {
                Affinity::Client => true,
                Affinity::Conversation | Affinity::Prefix => question.beginning.is_some(),
                Affinity::Header(name) => header(name).is_some(),
            },
            state: question.state.map(|(_, state)| state),
            hedge,
            candidates,
        })
    }

    /// The candidates of `route` in the order in which `question` would meet those that are `served`, as admission leaves them.
    /// Those that it may not go to come last, each with its reason.
    fn in_order(&self, (route, served): (&Route, &Route), question: &Question, key: u64) -> Vec<Candidate> {
        let mut candidates = self.candidates(route, question);
        let tie = Tie { state: question.state, conversation: None };
        let order = self.order_at(served, (key, question.bytes, question.stream), Lineup::next_turn);
        let order = self.tied(served, &question.client, tie, order);
        let order = order.unwrap_or_else(|| (0..served.targets.len()).collect());
        let place = |at: &usize| {
            let target = served.targets.get(*at)?;
            route.targets.iter().position(|known| known.place == target.place)
        };
        let mut places: Vec<usize> = order.iter().filter_map(place).collect();
        let left: Vec<usize> = (0..candidates.len()).filter(|at| !places.contains(at)).collect();
        for at in &left {
            let Some(candidate) = candidates.get_mut(*at) else { continue };
            candidate.skipped.get_or_insert_with(|| "it did not make the state that the request holds".to_owned());
        }
        places.extend(left);
        places.iter().filter_map(|at| candidates.get(*at).cloned()).collect()
    }

    /// Why a stream is asked for once at these candidates, though it says nothing for as long as `after`.
    fn asked_once(&self, (question, candidates): (&Question, &[Candidate]), after: Duration) -> Option<&'static str> {
        let usable = || candidates.iter().filter(|candidate| candidate.skipped.is_none());
        let endpoints = usable().flat_map(|candidate| &candidate.endpoints).filter(|(_, why)| why.is_none()).count();
        let first = usable().next().and_then(|first| self.settings.providers.get(&*first.provider));
        if question.state.is_some() {
            Some("it holds state that only its maker can read")
        } else if first.is_some_and(|first| first.streams.hold <= after) {
            Some("streams of its first target are not held for so long: `streams.hold`")
        } else {
            (endpoints < 2 || self.settings.server.max_attempts < 2).then_some("there is nobody else to ask")
        }
    }

    /// Why `question` is refused before any target is asked.
    fn refusal(&self, question: &Question) -> Option<String> {
        let Some(caller) = self.settings.clients.named(&question.client) else {
            return Some(format!("no client is named `{}`", question.client));
        };
        let may = caller.may_use(&question.model);
        (!may).then(|| format!("the client `{}` may not use `{}`", question.client, question.model))
    }

    /// Why such a request is not given to `target` now.
    fn passed_over(&self, route: &Route, target: &routing::Target, question: &Question) -> Option<String> {
        if let Some(why) = self.cannot_be_told(target, question) {
            return Some(why);
        }
        let Some(pool) = self.pools.get(&target.provider) else { return Some("its provider is not there".to_owned()) };
        if pool.is_usable(&target.subject(question.count), &[]) {
            let well = |target: &routing::Target| {
                let pool = self.pools.get(&target.provider);
                pool.is_some_and(|pool| pool.is_well(&target.subject(question.count), &[]))
            };
            let serves = |target: &&routing::Target| self.cannot_be_told(target, question).is_none();
            let spared = !well(target) && route.targets.iter().filter(serves).any(well);
            return spared.then(|| "all its endpoints fail; it is asked where no other target is well".to_owned());
        }
        let mut whys: Vec<&str> =
            pool.obstacles(&target.subject(question.count)).into_iter().filter_map(|(_, why)| why).collect();
        whys.dedup();
        Some(if whys.is_empty() { "it has no endpoint now".to_owned() } else { whys.join("; ") })
    }

    /// Why `target` can never be given such a request.
    fn cannot_be_told(&self, target: &routing::Target, question: &Question) -> Option<String> {
        let provider = self.settings.providers.get(&target.provider);
        let serves = |provider: &Arc<Provider>| provider.serves(question.operation(), Format::DEFAULT).is_some();
        if question.count && !provider.is_some_and(serves) {
            return Some("it counts no tokens".to_owned());
        }
        if let Some((format, state)) = question.state.filter(|(_, state)| state.needed)
            && !self.reads(target, format)
        {
            return Some(format!("it cannot be given `{}`, which only its maker can read", state.name));
        }
        None
    }

    /// The targets of `route`, as written, with what is known of them for such a request.
    fn candidates(&self, route: &Route, question: &Question) -> Vec<Candidate> {
        let lineup = self.lineups.get(&route.name);
        let candidate = |target: &routing::Target| {
            let known = lineup
                .and_then(|lineup| lineup.target(target.place))
                .map(|known| sight(known, question.stream))
                .unwrap_or_default();
            Candidate {
                provider: Arc::clone(&target.provider),
                model: target.model.clone(),
                format: self.settings.providers.get(&target.provider).map(|provider| provider.format),
                weight: target.weight,
                price: target.price.map(|price| (price.input, price.output)),
                skipped: self.passed_over(route, target, question),
                endpoints: self
                    .pools
                    .get(&target.provider)
                    .map(|pool| pool.obstacles(&target.subject(question.count)))
                    .unwrap_or_default(),
                in_flight: known.in_flight,
                first_token_ms: known.first_token.map(millis),
            }
        };
        route.targets.iter().map(candidate).collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What the request `body` holds; nothing where it cannot be read: what follows refuses it where that matters.
/// `versions` are the format's version and its betas, where the client sent them.
#[must_use]
pub fn needs(format: Format, body: &[u8], versions: (Option<&str>, Option<&str>)) -> Needs {
    let head = RequestHead {
        api_version: versions.0,
        betas: versions.1,
        line: Line { model: Some(Cow::Borrowed("")), stream: None },
        // Nothing that was sealed is looked at.
        seal: &Seal::new([0; 32]),
    };
    let Ok(request) = wire(format).read_request(body, &head) else { return Needs::default() };
    Needs {
        tools: !request.tools.is_empty(),
        images: request.has_block(|kind| matches!(kind, BlockKind::Image { .. })),
        documents: request.has_block(|kind| matches!(kind, BlockKind::Document { .. })),
    }
}

fn sight(known: &Standing, stream: bool) -> Sight {
    Sight { in_flight: known.in_flight(), first_token: known.first_token(stream), refuses: known.refuses() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Environment, parse};
    use super::*;

    const YAML: &str = "\
providers:
  a: {kind: openai, key: k}
  b: {kind: anthropic, key: k}
models:
  small: a/s
  pool:
    strategy: cheapest
    targets:
      - a/x
      - {to: b/y, price: {input: 1, output: 2}}
      - {to: a/z, weight: 3, price: {input: 0.5, output: 1}}
  gpt-*: a/*
rules:
  - {name: vip, when: {client: boss}, model: pool}
  - {name: long, when: {model: \"gpt-*\", body_over: 1kB}, model: pool}
  - {name: tier, when: {headers: {X-Tier: \"free*\"}, stream: true}, model: small}
  - {name: eyes, when: {images: true}, model: gpt-4o}
auth: off
";

    fn asked(query: &str) -> String {
        let settings = parse(YAML, "test", Path::new(""), &Environment::new()).unwrap();
        let snapshot = Snapshot::at_rest(settings);
        let Some(found) = snapshot.explain(&Question::from_query(query).unwrap()) else { return String::new() };
        let targets: Vec<_> = found.candidates.iter().map(|at| format!("{}/{}", at.provider, at.model)).collect();
        format!("{} {} {}", found.rule.as_deref().unwrap_or("-"), found.route, targets.join(" "))
    }

    #[test]
    fn rules_go_before_names_and_the_first_counts() {
        assert_eq!(asked("model=small"), "- small a/s");
        assert_eq!(asked("model=gpt-5"), "- gpt-* a/gpt-5");
        assert_eq!(asked("model=small&client=boss"), "vip pool a/z b/y a/x");
        assert_eq!(asked("model=gpt-5&bytes=1001"), "long pool a/z b/y a/x");
        assert_eq!(asked("model=gpt-5&bytes=1000"), "- gpt-* a/gpt-5");
        assert_eq!(asked("model=gpt-5&stream=true&header.x-tier=free%2B"), "tier small a/s");
        assert_eq!(asked("model=small&images=true"), "eyes gpt-* a/gpt-4o");
        assert_eq!(asked("model=nobody"), "");
        assert_eq!(asked("model=nobody&client=boss"), "vip pool a/z b/y a/x");
    }

    #[test]
    fn a_route_is_narrowed_to_whom_is_wanted() {
        let settings = parse(YAML, "test", Path::new(""), &Environment::new()).unwrap();
        let narrowed = |name: &str| {
            let route = settings.models.resolve("pool").unwrap();
            let whole = Arc::clone(&route);
            let narrowed = settings.narrowed(route, |provider| name == "*" || *provider.name == *name)?;
            let targets = narrowed.targets.iter().map(|target| format!("{} {}", target.model, target.place));
            Some((targets.collect::<Vec<_>>().join(", "), Arc::ptr_eq(&whole, &narrowed)))
        };
        assert_eq!(narrowed("a"), Some(("x 0, z 2".to_owned(), false)));
        assert_eq!(narrowed("*"), Some(("x 0, y 1, z 2".to_owned(), true)));
        assert_eq!(narrowed("c"), None);
    }

    #[test]
    fn targets_that_do_not_count_are_left_out_before_the_others_are_ordered() {
        let yaml = "providers:\n  a: {kind: openai-responses, key: k}\n  b: {kind: ollama}\n  \
                    c: {kind: anthropic, key: k}\nmodels:\n  rr: {strategy: round_robin, targets: [b/x, a/x, c/x]}\n  \
                    none: {targets: [b/x, b/y]}\nauth: off\n";
        let settings = parse(yaml, "test", Path::new(""), &Environment::new()).unwrap();
        let snapshot = Snapshot::at_rest(settings);
        let explained = |query: &str| snapshot.explain(&Question::from_query(query).unwrap()).unwrap();
        let route = snapshot.settings.models.resolve("rr").unwrap();
        let counting = snapshot.settings.serving(route, (Operation::Count, Format::DEFAULT)).unwrap();
        for turn in 0..6 {
            let found = explained("model=rr&count=true");
            let told: Vec<_> = found.candidates.iter().map(|at| &*at.provider).collect();
            let order = snapshot.order(&counting, 0, (0, false)).unwrap();
            let met: Vec<_> = order.iter().map(|at| &*counting.targets[*at].provider).chain(["b"]).collect();
            assert_eq!(told, met, "turn {turn}");
            assert_eq!(found.candidates[2].skipped.as_deref(), Some("it counts no tokens"));
        }
        let none = explained("model=none&count=true");
        assert_eq!(none.refused.as_deref(), Some("no target of the model counts tokens"));
        assert_eq!(none.candidates.iter().filter(|at| at.skipped.is_some()).count(), 2);
        assert_eq!(explained("model=none").refused, None);
    }

    #[test]
    fn a_question_that_is_none_says_why() {
        for (query, words) in
            [("", "model=NAME"), ("model=a&bytes=many", "whole number"), ("model=a&x=1", "`x` is not known")]
        {
            let error = Question::from_query(query).unwrap_err();
            assert!(error.contains(words), "{query}: {error}");
        }
        assert!(Question::from_query("model=a%2Fb&stream").is_ok_and(|q| q.stream && q.model == "a/b"));
    }

    #[test]
    fn an_explanation_is_json() {
        let settings = parse(YAML, "test", Path::new(""), &Environment::new()).unwrap();
        let found = Snapshot::at_rest(settings).explain(&Question::from_query("model=pool").unwrap()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&found.to_json()).unwrap();
        assert_eq!(json["strategy"], "cheapest");
        assert_eq!(json["targets"][1]["format"], "anthropic_messages");
        assert_eq!(json["targets"][0]["usable"], true);
    }

    #[test]
    fn what_a_request_needs_is_read_from_it() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],"tools":[{"type":"function","function":{"name":"f"}}]}"#;
        let needs = needs(Format::OpenaiChat, body, (None, None));
        assert_eq!(needs, Needs { tools: true, images: true, documents: false });
        assert_eq!(super::needs(Format::OpenaiChat, b"{", (None, None)), Needs::default());
    }
}
