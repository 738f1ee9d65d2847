//! Prints the schema of a kind in a version: `cargo run -p spo-model --example schema -- SeccompProfile v1`.

use spo_model::{kind::Kind, schema::document_schema};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let kind: Kind = args.next().ok_or("which kind?")?.parse()?;
    let version = args.next().map_or(Ok(kind.versions()[0]), |v| v.parse())?;
    println!("{:#}", document_schema(kind, version));
    Ok(())
}
