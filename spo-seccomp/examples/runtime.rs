//! What a container runtime does: reads the seccomp section of a `config.json`, installs the filter, starts the
//! program: `cargo run --features load --example runtime -- config.json program arguments…`.

use std::os::unix::process::CommandExt;

use spo_model::seccomp::Arch;
use spo_seccomp::{
    ArchExt, CompileOptions, Options, Policy,
    backend::load::{LoadOptions, load},
    compile, flags, import,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (config, program) = (args.next().ok_or("give a config.json")?, args.next().ok_or("give a program")?);
    let profile = import::runtime_spec(&std::fs::read_to_string(config)?)?;
    let policy = Policy::from_profile(&profile, &Options::new(Arch::host()))?;
    for (name, origin) in policy.unknown_names() {
        eprintln!("{}: unknown syscall {name}, ignored", origin.path());
    }
    // As runc does: calls newer than the profile answer ENOSYS.
    let filter = compile(&policy, &[], &CompileOptions::default().enosys_ceiling(true))?;
    load(&filter, &LoadOptions::new(flags(&profile)))?;
    Err(std::process::Command::new(program).args(args).exec().into())
}
