//! Figures beside their goals and the existing operator's, as a table and as JSON.

use serde_json::{Value, json};

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) what: String,
    /// How much it is.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: &'static str,
    /// The most that it should be.
    pub(crate) goal: Option<f64>,
    /// What the existing operator needs, measured the same way.
    pub(crate) peer: Option<f64>,
}

/// The figures of one run.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// What was different in this run.
    pub(crate) name: String,
    /// What was found.
    pub(crate) figures: Vec<Figure>,
}

impl Figure {
    /// A figure that is only said.
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, goal: None, peer: None }
    }

    /// With a goal.
    pub(crate) fn goal(self, goal: f64) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// With the existing operator's figure.
    pub(crate) fn peer(self, peer: f64) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// Whether it meets its goal.
    pub(crate) fn is_good(&self) -> bool {
        self.goal.is_none_or(|goal| self.value <= goal)
    }
}

/// A line for each figure; `!` is behind what misses its goal.
pub(crate) fn table(columns: &[Column]) -> String {
    let mut text = String::new();
    for Column { name, figures } in columns {
        let width = figures.iter().map(|figure| figure.what.chars().count()).max().unwrap_or_default();
        text += &format!("\n{name:width$} {:>12} {:>8} {:>8}\n", "", "goal", "0.10.0");
        for figure in figures {
            let mark = if figure.is_good() { ' ' } else { '!' };
            let optional = |value: Option<f64>| value.map_or_else(String::new, number);
            let value = format!("{} {}", number(figure.value), figure.unit);
            let line = format!(
                "{:width$} {value:>12}{mark}{:>8} {:>8}",
                figure.what,
                optional(figure.goal),
                optional(figure.peer)
            );
            text += line.trim_end();
            text.push('\n');
        }
    }
    text
}

/// The same for programs.
pub(crate) fn json(columns: &[Column]) -> Value {
    let figure = |figure: &Figure| {
        json!({ "what": figure.what, "value": figure.value, "unit": figure.unit, "goal": figure.goal,
            "peer": figure.peer, "good": figure.is_good() })
    };
    let column = |column: &Column| json!({ "name": column.name, "figures": column.figures.iter().map(figure).collect::<Vec<_>>() });
    columns.iter().map(column).collect()
}

/// Bytes as megabytes, with one digit behind the point.
pub(crate) fn megabytes(bytes: f64) -> f64 {
    (bytes / 1e5).round() / 10.0
}

/// Two digits behind the point for what is small, none for what is large.
fn number(value: f64) -> String {
    let digits = match value {
        value if value.fract() == 0.0 => 0,
        value if value < 10.0 => 2,
        _ => 1,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_beside_its_goal() {
        let figures = vec![
            Figure::new("writes", 900.0, "").goal(1800.0).peer(6541.0),
            Figure::new("time", 2.5, "s").goal(2.0),
        ];
        let columns = [Column { name: "run".to_owned(), figures }];
        let table = table(&columns);
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[2], ["writes", "900", "1800", "6541"], "{table}");
        assert_eq!(lines[3], ["time", "2.50", "s!", "2"], "{table}");
        assert_eq!(json(&columns)[0]["figures"][1]["good"], false);
    }
}
