//! The reference of all metrics, as a page.

use std::fmt::Write as _;

use super::alias::Alias;
use super::table::{Kind, Metric};

const HEAD: &str = "\
# Metrics

Printed from the code's own tables; `UPDATE_EXPECT=1 cargo test --test examples` prints it anew. Prometheus reads them from
`/metrics` at the admin listener. Values of labels come from the config or from closed sets, `unknown` stands for what is not
known; a family that has 2,000 label sets counts further ones under `other`, and says so in `gateway_metrics_overflow_total`.
Series of endpoints that left the config go ten minutes later.

| name | kind | labels | |
|---|---|---|---|
";

const ALIASES: &str = "
## Other names

The same values under names that existing dashboards know: `metrics.aliases` in the config. They are made when Prometheus asks,
and summed over the labels that they lack. Histograms have no label for the client under any name.

| set | name | is | labels |
|---|---|---|---|
";

/// A page in Markdown of every metric, and of its other names.
#[must_use]
pub fn describe() -> String {
    let mut page = HEAD.to_owned();
    for spec in Metric::ALL.iter().map(|metric| metric.spec()) {
        let kind = match spec.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        row(&mut page, [&format!("`{}`", spec.name), kind, &names(spec.labels), spec.help]);
    }
    page.push_str(ALIASES);
    for alias in Alias::ALL {
        for (name, source, labels) in alias.describe() {
            let [set, name, source] = [alias.name(), name, source].map(|word| format!("`{word}`"));
            row(&mut page, [&set, &name, &source, &names(&labels)]);
        }
    }
    page
}

fn row(page: &mut String, cells: [&str; 4]) {
    // Writing to a `String` does not fail.
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

fn names(labels: &[&str]) -> String {
    labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}
