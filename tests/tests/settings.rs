//! `docs/settings.md`: what it shows is what the operator takes.

use std::{error::Error, fs};

use spo_model::{
    convert::decode,
    diagnostic::Severity,
    manifest::{Limits, documents},
    validate::validate,
};
use spo_tests::workspace;

#[test]
fn every_manifest_of_the_page_is_accepted() -> Result<(), Box<dyn Error>> {
    let page = fs::read_to_string(workspace().join("docs/settings.md"))?;
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut read = 0;
    for block in blocks {
        for document in documents(block, &Limits::default()).map_err(|error| format!("{block}: {error}"))? {
            let decoded =
                decode(&document.to_value()).map_err(|problems| format!("{block}: {problems:?}"))?;
            let errors = validate(&decoded.object).into_iter().filter(|d| d.severity == Severity::Error);
            assert_eq!(errors.map(|d| d.to_string()).collect::<Vec<_>>(), Vec::<String>::new(), "{block}");
            read += 1;
        }
    }
    assert_eq!(read, page.matches("\nkind: ").count(), "no manifest is left out");
    Ok(())
}
