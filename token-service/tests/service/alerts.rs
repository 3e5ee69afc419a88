//! The dashboard and the alert rules are of metrics that exist, by the labels that they have.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What the code registers: each metric's kind and the labels that are given somewhere.
fn registered() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut metrics = BTreeMap::new();
    let mut directories = vec![root().join("token-service/src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                for call in std::fs::read_to_string(path)
                    .unwrap()
                    .split("metrics::")
                    .skip(1)
                {
                    let Some((kind, rest)) = call.split_once("!(") else {
                        continue;
                    };
                    if !["counter", "gauge", "histogram"].contains(&kind) {
                        continue;
                    }
                    let arguments = rest.split([';', '{']).next().unwrap();
                    let name = arguments.split('"').nth(1).unwrap().to_owned();
                    let labels = arguments.split("\" =>").collect::<Vec<_>>();
                    let labels = labels.iter().rev().skip(1);
                    let labels = labels.map(|before| before.rsplit('"').next().unwrap().to_owned());
                    let metric: &mut (String, BTreeSet<String>) = metrics.entry(name).or_default();
                    kind.clone_into(&mut metric.0);
                    metric.1.extend(labels);
                }
            }
        }
    }
    metrics
}

/// Words of an expression that could be a metric of ours.
fn named(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("writ_"))
        .map(str::to_owned)
        .collect()
}

/// The labels that an expression groups and selects by.
fn labels(expression: &str) -> Vec<String> {
    let grouped = expression.split("by (").skip(1);
    let grouped = grouped.flat_map(|rest| rest.split(')').next().unwrap().split(','));
    let selected = expression.split('{').skip(1);
    let selected = selected.flat_map(|rest| rest.split('}').next().unwrap().split(','));
    let selected = selected.map(|pair| pair.split('=').next().unwrap());
    grouped
        .chain(selected)
        .map(|label| label.trim().to_owned())
        .collect()
}

fn check(expressions: &[String]) {
    let registered = registered();
    assert!(registered.len() > 10, "{registered:?}");
    for expression in expressions {
        let names = named(expression);
        assert!(!names.is_empty(), "{expression}");
        let mut known: BTreeSet<String> = ["le".to_owned()].into();
        for name in names {
            let of_histogram = ["_bucket", "_sum", "_count"];
            let bare = of_histogram
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix));
            let found = match bare.and_then(|bare| registered.get(bare)) {
                Some(histogram) => {
                    assert_eq!(histogram.0, "histogram", "{name} in {expression}");
                    histogram
                }
                None => registered
                    .get(&name)
                    .unwrap_or_else(|| panic!("there is no {name}: {expression}")),
            };
            known.extend(found.1.clone());
        }
        for label in labels(expression) {
            assert!(known.contains(&label), "no label {label}: {expression}");
        }
    }
}

#[test]
fn every_metric_of_the_dashboard_exists() {
    let text = std::fs::read_to_string(root().join("docs/grafana/writ.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions: Vec<_> = targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    assert!(expressions.len() > 10);
    check(&expressions);
}

#[test]
fn every_metric_of_the_alert_rules_exists_and_prometheus_takes_them() {
    let rules = root().join("docs/grafana/alerts.yml");
    let text = std::fs::read_to_string(&rules).unwrap();
    let expressions = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let expressions: Vec<_> = expressions.map(str::to_owned).collect();
    assert!(expressions.len() > 5);
    check(&expressions);
    let checked = Command::new("promtool")
        .args(["check", "rules"])
        .arg(rules)
        .output();
    let checked = checked.expect("there is no promtool: run `make deps`");
    assert!(
        checked.status.success(),
        "{}{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
}
