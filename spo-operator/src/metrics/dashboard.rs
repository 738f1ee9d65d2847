//! The dashboard of `deploy/grafana/` asks for nothing that is not served.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use super::{
    ClusterMetrics, Metrics,
    cluster::Written,
    server::{Figures as _, PROCESS},
    text::Format,
};

const PREFIX: &str = "security_profiles_operator_";

/// The names behind `# TYPE`, each with the endings that its samples have.
fn served(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).flat_map(|(name, kind)| {
        let endings: &[&str] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        endings.iter().map(move |ending| format!("{name}{ending}"))
    })
}

/// The names of ours in an expression; `(a|b)` within one stands for several.
fn asked(expression: &str) -> Vec<String> {
    let rest = expression.split(PREFIX).skip(1);
    rest.flat_map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_(|)".contains(c)));
        let name = &rest[..end.unwrap_or(rest.len())];
        match name.strip_prefix('(').and_then(|name| name.split_once(')')) {
            Some((choices, behind)) => {
                choices.split('|').map(|choice| format!("{PREFIX}{choice}{behind}")).collect()
            }
            None => vec![format!("{PREFIX}{}", name.trim_end_matches(')'))],
        }
    })
    .collect()
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let (agent, manager) = (Metrics::new(), ClusterMetrics::new());
    // A family without a series has no line.
    manager.wrote(Written::Done, Duration::from_millis(1));
    let texts = [
        Format::Classical.of(agent.spod().expect("text")),
        Format::Classical.of(agent.process().expect("text")),
        Format::Classical.of(manager.at(PROCESS).expect("figures").expect("text")),
    ];
    let served: BTreeSet<String> = texts.iter().flat_map(|text| served(text)).collect();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/grafana/security-profiles-operator.json");
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(file).expect("reads")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let mut asked_for = BTreeSet::new();
    for target in targets {
        asked_for.extend(asked(target["expr"].as_str().expect("an expression")));
    }
    assert!(asked_for.len() > 8, "{asked_for:?}");
    let unknown: Vec<&String> = asked_for.difference(&served).collect();
    assert!(unknown.is_empty(), "{unknown:?} are none of {served:#?}");
}
