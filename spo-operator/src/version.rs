//! What this program was built from.

use serde_json::json;

/// As lines for people.
pub fn text() -> String {
    FACTS.iter().map(|(name, value)| format!("{name:<11} {value}")).collect::<Vec<_>>().join("\n")
}

/// As one JSON object.
pub fn json() -> String {
    let facts: serde_json::Map<String, serde_json::Value> =
        FACTS.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    serde_json::Value::Object(facts).to_string()
}

/// The commit and its date come from the build's environment, which a release sets; a build from a tree has neither.
const FACTS: [(&str, &str); 6] = [
    ("version", env!("CARGO_PKG_VERSION")),
    ("gitCommit", known(option_env!("SPO_GIT_COMMIT"))),
    ("gitDate", known(option_env!("SPO_GIT_DATE"))),
    ("os", std::env::consts::OS),
    ("arch", std::env::consts::ARCH),
    ("profile", if cfg!(debug_assertions) { "debug" } else { "release" }),
];

const fn known(value: Option<&'static str>) -> &'static str {
    match value {
        Some(value) => value,
        None => "unknown",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_forms_say_the_version() {
        let data: serde_json::Value = serde_json::from_str(&super::json()).expect("JSON");
        assert_eq!(data["version"], env!("CARGO_PKG_VERSION"));
        assert!(super::text().starts_with("version     0."), "{}", super::text());
    }
}
