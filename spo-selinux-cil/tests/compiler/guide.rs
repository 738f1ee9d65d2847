//! The profile of the user's guide, from its manifest to a compiled policy.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{debian, debian_folder, folder, installed, read, tools};
use spo_model::{
    manifest::{self, Content, Limits},
    object::AnyObject,
};
use spo_selinux_cil::{NoAncestors, Options, Rendered, render, templates};

/// The module of the guide's manifest, rendered as a node has it.
fn guide() -> Rendered {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/guide/05-selinux.yaml");
    let entries = manifest::read(&read(path), &Limits::default()).unwrap();
    let Content::Object(decoded) = &entries[0].content else { panic!("{entries:?}") };
    let AnyObject::SelinuxProfile(profile) = &decoded.object else { panic!("{entries:?}") };
    let metadata = &profile.metadata;
    let (name, namespace) =
        (metadata.name.as_ref().unwrap().as_str(), metadata.namespace.as_ref().unwrap().as_str());
    assert_eq!((name, namespace), ("nginx-selinux", "production"));
    render(name, Some(namespace), &profile.spec, &NoAncestors, &Options::default()).unwrap()
}

/// Our base, our templates and the rendered module: a whole policy, `neverallow` on, no flag needed.
#[test]
fn the_guides_profile_compiles_on_the_minimal_base() {
    if !tools(&["secilc", "sesearch", "seinfo"]) {
        return;
    }
    let folder = folder("guide-minimal");
    let module = guide();
    let texts = [
        ("base".to_owned(), templates::minimal_base()),
        ("templates".to_owned(), templates::TEMPLATES.to_owned()),
        (module.module, module.cil),
    ];
    let binary = folder.join("policy.bin");
    installed::compile(&[], &installed::write_all(&folder, &texts), &binary);
    grants(&binary);
    assert!(!allows(&binary, "redis_port_t", "name_bind") && !allows(&binary, "ssh_port_t", "name_bind"));
}

/// The same beside the 331 modules of Debian's policy.
#[test]
fn the_guides_profile_compiles_on_debians_policy() {
    if !tools(&["secilc", "sesearch", "seinfo"]) {
        return;
    }
    let Some(modules) = debian() else { return };
    let folder = folder("guide-debian");
    let module = guide();
    let texts = [("templates".to_owned(), templates::TEMPLATES.to_owned()), (module.module, module.cil)];
    let mut files = installed::write_all(&folder, &texts);
    files.extend(modules.iter().map(|(name, _)| debian_folder().join(format!("{name}.cil"))));
    let binary = folder.join("policy.bin");
    // `-m` is what libsemanage sets; `neverallow` is checked, which the distribution itself leaves out.
    installed::compile(&["-m"], &files, &binary);
    grants(&binary);
    assert!(!allows(&binary, "redis_port_t", "name_bind") && !allows(&binary, "ssh_port_t", "name_bind"));
}

/// What the guide says the profile does, and the name that pods of older releases use.
fn grants(binary: &Path) {
    for (target, permission) in [
        ("http_port_t", "name_bind"),
        ("http_cache_port_t", "name_bind"),
        ("node_t", "node_bind"),
        ("nginx-selinux.process", "listen"),
        ("nginx-selinux.process", "accept"),
        ("nginx-selinux.process", "bind"),
    ] {
        assert!(allows(binary, target, permission), "{target} {permission}");
    }
    let shown =
        Command::new("seinfo").args(["-x", "-t", "nginx-selinux.process"]).arg(binary).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("nginx-selinux_production.process"), "{shown}");
}

fn allows(binary: &Path, target: &str, permission: &str) -> bool {
    let search = ["-A", "-s", "nginx-selinux.process", "-t", target, "-c", "tcp_socket", "-p", permission];
    let output = Command::new("sesearch").args(search).arg(binary).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    !output.stdout.is_empty()
}
