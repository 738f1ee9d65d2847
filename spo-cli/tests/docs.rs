//! Every command of `docs/spoc.md` prints what the page says. `TRYCMD=overwrite` writes the page anew.

#[test]
fn the_walk_through_is_true() {
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).expect("the workspace");
    trycmd::TestCases::new().case("docs/spoc.md");
}
