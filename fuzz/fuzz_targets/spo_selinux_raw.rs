//! Any raw profile: what is admitted is one block of the profile's name, and its alias block.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spo_model::selinux::RawSelinuxProfileSpec;
use spo_selinux_cil::{Options, render_raw, syntax::Forest};

fuzz_target!(|text: &str| {
    let spec = RawSelinuxProfileSpec { policy: Some(text.to_owned()), ..Default::default() };
    if let Ok(module) = render_raw("p", Some("ns"), &spec, &Options::default()) {
        let forest = Forest::parse(module.cil.as_str()).expect("own output parses");
        let names: Vec<&str> =
            forest.all_statements().map(|s| s.children().nth(1).map_or("", |n| n.text())).collect();
        assert_eq!(names, ["p", "p_ns"]);
    }
});
