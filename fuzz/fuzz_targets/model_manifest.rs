//! Any text as a manifest: read, and what could be read converted to every version and back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spo_model::{
    convert::{decode, encode},
    manifest::{Content, Limits, read},
};

fuzz_target!(|text: &str| {
    let Ok(entries) = read(text, &Limits { bytes: 1 << 16, depth: 32, values: 10_000 }) else { return };
    for entry in entries {
        let Content::Object(decoded) = entry.content else { continue };
        for version in decoded.object.kind().versions() {
            let document = encode(&decoded.object, version).expect("every version of a kind can be written");
            let again = decode(&document).expect("what was written can be read");
            let mut written = decoded.object.clone();
            let mut read_back = again.object;
            // The annotation that carries hidden fields is spelled anew.
            written.metadata_mut().annotations = None;
            read_back.metadata_mut().annotations = None;
            assert_eq!(written, read_back);
        }
    }
});
