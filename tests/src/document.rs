//! Documents whose commands are run.
//!
//! A block of `sh` is run as it is written. A block of `text` behind it says what is printed: each of its lines occurs in
//! the output, in this order, with blanks of any length; `…` stands for anything within a line.

/// A section of a document: its heading and its commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The heading, without `##`.
    pub heading: String,
    /// The blocks.
    pub blocks: Vec<Block>,
}

/// A block of commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// What is behind `sh` in the fence; empty for most.
    pub label: String,
    /// The commands.
    pub script: String,
    /// What has to be printed.
    pub printed: Vec<String>,
}

/// The sections of a document in Markdown.
pub fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        let Some(blocks) = sections.last_mut().map(|section| &mut section.blocks) else {
            if let Some(heading) = line.strip_prefix("## ") {
                sections.push(Section { heading: heading.to_owned(), blocks: Vec::new() });
            }
            continue;
        };
        match (fence, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                fence = Some(kind);
                if let Some(label) = kind.strip_prefix("sh") {
                    blocks.push(Block { label: label.trim().to_owned(), ..Block::default() });
                }
            }
            (Some(_), Some(_)) => fence = None,
            (Some(kind), None) => {
                let Some(block) = blocks.last_mut() else { continue };
                if kind.starts_with("sh") {
                    block.script.push_str(line);
                    block.script.push('\n');
                } else if kind == "text" {
                    block.printed.push(line.to_owned());
                }
            }
            (None, None) => {
                if let Some(heading) = line.strip_prefix("## ") {
                    sections.push(Section { heading: heading.to_owned(), blocks: Vec::new() });
                }
            }
        }
    }
    sections
}

impl Block {
    /// The first line that was to be printed and is not in its place; `None` if all are.
    pub fn missing(&self, output: &str) -> Option<&str> {
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = output.lines().map(squeeze).collect();
        let mut lines = lines.iter();
        self.printed.iter().map(String::as_str).find(|wanted| {
            let wanted = squeeze(wanted);
            !lines.any(|line| {
                let mut rest = line.as_str();
                wanted.split('…').all(|part| match rest.split_once(part) {
                    Some((_, behind)) => {
                        rest = behind;
                        true
                    }
                    None => false,
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_belong_to_their_section_and_have_their_output() {
        let found = sections(
            "# T\n## A\n```sh\necho a\n```\n\n```text\na\n```\n## B\n```yaml\nx: 1\n```\n```sh helm\nb\n```\n",
        );
        let block = |label: &str, script: &str, printed: &[&str]| Block {
            label: label.into(),
            script: script.into(),
            printed: printed.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Section { heading: "A".into(), blocks: vec![block("", "echo a\n", &["a"])] });
        assert_eq!(found[1], Section { heading: "B".into(), blocks: vec![block("helm", "b\n", &[])] });
    }

    #[test]
    fn lines_come_in_their_order_and_dots_are_anything() {
        let block = Block { printed: vec!["a … c".into(), "d".into()], ..Block::default() };
        assert_eq!(block.missing("x\na   b  c\n d e\n"), None);
        assert_eq!(block.missing("d\na b c\n"), Some("d"));
        assert_eq!(block.missing("a b\nd\n"), Some("a … c"));
    }
}
