//! A program that restricts itself: `cargo run --features load --example jailer`.

use spo_model::seccomp::{Arch, SeccompProfileSpec};
use spo_seccomp::{
    ArchExt, CompileOptions, Options, Policy,
    backend::load::{LoadOptions, load},
    compile,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let profile: SeccompProfileSpec = serde_json::from_str(
        r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97}]}"#,
    )?;
    let policy = Policy::from_profile(&profile, &Options::new(Arch::host()))?;
    load(&compile(&policy, &[], &CompileOptions::default())?, &LoadOptions::new(4).all_threads())?;

    match std::net::UdpSocket::bind("127.0.0.1:0") {
        Ok(_) => Err("the filter is not in force".into()),
        Err(error) => {
            println!("as wanted, no more sockets: {error}");
            Ok(())
        }
    }
}
