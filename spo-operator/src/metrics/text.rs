//! The two text formats: OpenMetrics, and the classical one for readers that do not ask for it.

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format 0.0.4.
    Classical,
}

impl Format {
    /// What a reader asks for with its header `Accept`: OpenMetrics only if it is named.
    pub fn asked(accept: Option<&str>) -> Self {
        let accepted = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let named = parts.next().is_some_and(|t| t.eq_ignore_ascii_case("application/openmetrics-text"));
            named && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
        };
        match accept.is_some_and(|accept| accept.split(',').any(accepted)) {
            true => Self::OpenMetrics,
            false => Self::Classical,
        }
    }

    /// The header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classical => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// A text in the OpenMetrics format, in this one.
    pub fn of(self, openmetrics: String) -> String {
        match self {
            Self::OpenMetrics => openmetrics,
            Self::Classical => classical(&openmetrics),
        }
    }
}

/// The classical format has the whole name of a counter in its description, `_total` included, knows no type `info`,
/// no units and no end mark.
fn classical(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len() + 256);
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (end, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                // In OpenMetrics quotes are escaped here, in the classical format they are not.
                text.push_str(&format!(
                    "# HELP {name}{end} {}\n",
                    help.trim_end_matches('.').replace("\\\"", "\"")
                ));
            }
            text.push_str(&format!("# TYPE {name}{end} {kind}\n"));
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        for (accept, want) in [
            (None, Format::Classical),
            (Some("*/*"), Format::Classical),
            (Some("text/plain;version=0.0.4"), Format::Classical),
            (Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3"), Format::OpenMetrics),
            (Some("text/plain, application/OpenMetrics-Text"), Format::OpenMetrics),
            (Some("application/openmetrics-text;q=0, text/plain"), Format::Classical),
        ] {
            assert_eq!(Format::asked(accept), want, "{accept:?}");
        }
    }

    /// Prometheus' own rule: in the classical format the name in TYPE is the name of the samples.
    #[test]
    fn counters_keep_their_whole_name() {
        let text = "# HELP a_b Counts things.\n# TYPE a_b counter\na_b_total{x=\"1\"} 2\n\
                    # HELP c_seconds Time.\n# TYPE c_seconds histogram\n# UNIT c_seconds seconds\nc_seconds_sum 0.5\n\
                    # HELP build It.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n# EOF\n";
        let want = "# HELP a_b_total Counts things\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n\
                    # HELP c_seconds Time\n# TYPE c_seconds histogram\nc_seconds_sum 0.5\n\
                    # HELP build_info It\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n";
        assert_eq!(classical(text), want);
    }
}
