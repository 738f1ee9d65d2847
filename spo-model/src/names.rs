//! The one place for names and paths: where a profile's file is, what it is called in the kernel.

/// Checks a DNS-1123 subdomain: what Kubernetes takes as the name of most objects.
///
/// # Errors
/// Says what the rule is.
pub(crate) fn check_subdomain(text: &str) -> Result<(), &'static str> {
    if text.len() <= 253 && text.split('.').all(|label| is_label_text(label)) {
        Ok(())
    } else {
        Err(
            "want a DNS-1123 subdomain: at most 253 lower-case letters, digits, `-` and `.`, with a letter or digit at both ends of every part",
        )
    }
}

fn is_label_text(label: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
        && bytes.iter().all(|&b| alphanumeric(b) || b == b'-')
}
