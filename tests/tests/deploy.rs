//! What is installed, on a real API server: `deploy/`, the chart, and the objects that the manager makes of a
//! SecurityProfilesOperatorDaemon. Pods do not run here; who may do what, and what is accepted, is the server's word.

use std::{
    error::Error,
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use spo_tests::{api_server::ApiServer, binary, installed, manifest, operator_image, printed, workspace};

type Outcome = Result<(), Box<dyn Error>>;

const GROUP: &str = "security-profiles-operator.x-k8s.io";
const NAMESPACE: &str = "security-profiles-operator";

/// What the manager would apply for a SPOD, as the API server has it.
fn rendered(server: &ApiServer, spod: &str) -> Result<String, Box<dyn Error>> {
    let path = server.dir().join("spod.yaml");
    fs::write(&path, spod)?;
    let output = Command::new(binary("spo-operator", "spo-operator"))
        .args(["manifests", "--spod"])
        .arg(&path)
        .output()?;
    if output.status.success() { Ok(printed(&output)) } else { Err(printed(&output).into()) }
}

/// One apply installs everything, by the client or by the server, a second one changes nothing, and one delete takes
/// all of it.
#[test]
fn one_apply_installs_and_one_delete_removes() -> Outcome {
    let Some(server) = ApiServer::start()? else { return Ok(()) };
    for file in ["operator.yaml", "namespace-operator.yaml", "webhook-operator.yaml"] {
        let manifest = manifest(file)?.replace("NS_REPLACE", "default");
        for flags in [&["apply", "-f", "-"][..], &["apply", "--server-side", "-f", "-"]] {
            let said = server.calm(flags, &manifest)?;
            assert!(said.contains("namespace/security-profiles-operator"), "{said}");
            let again = server.calm(flags, &manifest)?;
            // kubectl sends the selector of a disruption budget each time, whether it differs or not.
            let changed =
                |line: &&str| !line.ends_with("unchanged") && !line.starts_with("poddisruptionbudget");
            if flags.len() == 3 {
                assert_eq!(again.lines().find(changed), None, "{file}");
            }
            server.calm(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"], "")?;
            // No controllers run here, so a namespace would wait for its finalizer for ever.
            server.calm(&["delete", "--wait=false", "-f", "-"], &manifest)?;
            finish(&server)?;
            let names = "crd,clusterrole,clusterrolebinding,validatingadmissionpolicy,\
                validatingadmissionpolicybinding,mutatingwebhookconfiguration,validatingwebhookconfiguration,\
                networkpolicy,deployment,secret,configmap,pdb,role,rolebinding,service";
            let left = server
                .calm(&["get", names, "-A", "-l", "app=security-profiles-operator", "-o", "name"], "")?;
            assert!(left.is_empty() || left.contains("No resources"), "{file} leaves {left}");
        }
    }
    Ok(())
}

/// Does what the namespace controller and the garbage collector would.
fn finish(server: &ApiServer) -> Outcome {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/finalize");
    let body =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } }).to_string();
    server.kubectl(&["replace", "--raw", &path, "-f", "-"], &body)?;
    let start = Instant::now();
    while server.kubectl(&["get", "namespace", NAMESPACE], "")?.status.success()
        || !printed(&server.kubectl(&["get", "crd", "-o", "name"], "")?).trim().is_empty()
    {
        assert!(start.elapsed() < Duration::from_secs(30), "the namespace or a definition stays");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Installs the operator's manifest and waits until its kinds are served; conversion is by nobody, as no webhook runs.
fn install(server: &ApiServer) -> Outcome {
    server.calm(&["apply", "--server-side", "-f", "-"], &manifest("operator.yaml")?)?;
    server.calm(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"], "")?;
    Ok(())
}

/// The guide's flat patches on the SPOD that the manager makes: the server takes them, keeps them, and they change what
/// is rendered, which the server accepts without a word.
#[test]
fn the_guides_patches_take_effect() -> Outcome {
    let Some(server) = ApiServer::start()? else { return Ok(()) };
    install(&server)?;
    // The default is what `manifests` prints for an empty one, too.
    let default = json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SecurityProfilesOperatorDaemon",
        "metadata": { "name": "spod", "namespace": NAMESPACE }, "spec": {} });
    server.calm(&["create", "-f", "-"], &default.to_string())?;
    let stored = || server.calm(&["get", "spod", "spod", "-n", NAMESPACE, "-o", "yaml"], "");
    let resource = format!("securityprofilesoperatordaemons.v1.{GROUP}");
    let mut before = rendered(&server, &stored()?)?;
    apply(&server, &before)?;
    for (patch, wanted) in [
        (json!({ "spec": { "enableLogEnricher": true } }), "--with-recording=true"),
        (
            json!({ "spec": { "enableLogEnricher": false, "enableBpfRecorder": true } }),
            "--with-recording=true",
        ),
        (json!({ "spec": { "enableSelinux": true } }), "--with-selinux=true"),
        (json!({ "spec": { "enableAppArmor": true } }), "--with-apparmor=true"),
        (json!({ "spec": { "verbosity": 1 } }), "value: \"1\""),
        (json!({ "spec": { "enableMemoryOptimization": true } }), "--with-mem-optim=true"),
    ] {
        let said = server.calm(
            &["patch", &resource, "spod", "-n", NAMESPACE, "--type=merge", "-p", &patch.to_string()],
            "",
        )?;
        assert!(said.contains("patched") && !said.contains("no change"), "{patch}: {said}");
        let after = rendered(&server, &stored()?)?;
        assert!(after.contains(wanted), "{patch} is not in {after}");
        apply(&server, &after)?;
        before = after;
    }
    // Off again: the server's own view of what is rendered has nothing left of it.
    let off =
        json!({ "spec": { "enableSelinux": false, "enableAppArmor": false, "enableBpfRecorder": false } });
    server
        .calm(&["patch", &resource, "spod", "-n", NAMESPACE, "--type=merge", "-p", &off.to_string()], "")?;
    let after = rendered(&server, &stored()?)?;
    assert_ne!(after, before);
    apply(&server, &after)?;
    let set = server.calm(&["get", "daemonset", "spod", "-n", NAMESPACE, "-o", "json"], "")?;
    let set: Value = serde_json::from_str(&set)?;
    let pod = &set["spec"]["template"]["spec"];
    let context = &pod["containers"][0]["securityContext"];
    assert!(context["privileged"].is_null() && pod["hostPID"].is_null(), "{set}");
    assert_eq!(context["runAsNonRoot"], true);
    assert!(!set.to_string().contains("--with-selinux"), "{set}");
    Ok(())
}

/// As the manager applies: by the server, in its name.
fn apply(server: &ApiServer, objects: &str) -> Outcome {
    let said =
        server.calm(&["apply", "--server-side", "--field-manager=spo-operator", "-f", "-"], objects)?;
    let again =
        server.calm(&["apply", "--server-side", "--field-manager=spo-operator", "-f", "-"], objects)?;
    assert_eq!(said.lines().count(), again.lines().count());
    Ok(())
}

/// An agent reports for the node that its token is bound to and for no other.
#[test]
fn an_agent_speaks_for_its_own_node() -> Outcome {
    const MINE: &str = "seccomp-web-0123456789abcdef-one-3";
    const THEIRS: &str = "seccomp-web-0123456789abcdef-two-3";
    let Some(server) = ApiServer::start()? else { return Ok(()) };
    install(&server)?;
    let status = |name: &str, node: &str| {
        json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "SecurityProfileNodeStatus",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "nodeName": node }, "status": { "status": "Installed" } })
        .to_string()
    };
    let agent = format!("--as=system:serviceaccount:{NAMESPACE}:spod");
    let bound = "--as-user-extra=authentication.kubernetes.io/node-name=one";
    // A policy takes effect a moment after it is there.
    let start = Instant::now();
    while server
        .kubectl(&["create", "--dry-run=server", &agent, "-f", "-"], &status("x", "one"))?
        .status
        .success()
    {
        assert!(start.elapsed() < Duration::from_secs(30), "the policy does nothing");
        thread::sleep(Duration::from_millis(200));
    }
    let denied = |arguments: &[&str], stdin: &str, why: &str| -> Outcome {
        let output = server.kubectl(arguments, stdin)?;
        assert!(!output.status.success() && printed(&output).contains(why), "{why}: {}", printed(&output));
        Ok(())
    };
    denied(&["create", &agent, "-f", "-"], &status(MINE, "one"), "bound to its node")?;
    denied(&["create", &agent, bound, "-f", "-"], &status(MINE, "two"), "cannot report for another node")?;
    denied(&["create", &agent, bound, "-f", "-"], &status("node-two", "one"), "the name of another node")?;
    denied(&["create", &agent, bound, "-f", "-"], &status(THEIRS, "one"), "does not end in -one-3")?;
    server.calm(&["create", &agent, bound, "-f", "-"], &status(MINE, "one"))?;
    server.calm(&["create", &agent, bound, "-f", "-"], &status("node-one", "one"))?;
    // What the other node reported stays as it is, also if the change makes it one's own.
    server.calm(&["create", "-f", "-"], &status(THEIRS, "two"))?;
    let apply = ["apply", "--server-side", "--force-conflicts", &agent, bound, "-f", "-"];
    denied(&apply, &status(THEIRS, "one"), "cannot change what another node reported")?;
    denied(&apply, &status(MINE, "two"), "cannot report for another node")?;
    let theirs = ["delete", "spns", THEIRS, "-n", "default", &agent, bound];
    denied(&theirs, "", "cannot change what another node reported")?;
    server.calm(&["delete", "spns", MINE, "-n", "default", &agent, bound], "")?;
    // Nobody else is concerned.
    server.calm(&["delete", "spns", THEIRS, "-n", "default"], "")?;
    Ok(())
}

/// What each account may and may not do, by the server's own word.
#[test]
fn accounts_have_the_rights_they_need_and_no_more() -> Outcome {
    let Some(server) = ApiServer::start()? else { return Ok(()) };
    install(&server)?;
    let may = |account: &str, verb: &str, resource: &str, namespace: &str| -> Result<bool, Box<dyn Error>> {
        let account = format!("--as=system:serviceaccount:{NAMESPACE}:{account}");
        let output = server.kubectl(&["auth", "can-i", verb, resource, "-n", namespace, &account], "")?;
        Ok(printed(&output).lines().any(|line| line == "yes"))
    };
    let start = Instant::now();
    while !may("spod", "list", "seccompprofiles", "default")? {
        assert!(start.elapsed() < Duration::from_secs(30), "the roles do nothing");
        thread::sleep(Duration::from_millis(200));
    }
    for (account, verb, resource, namespace, want) in [
        ("spod", "create", "securityprofilenodestatuses", "default", true),
        ("spod", "watch", "securityprofilesoperatordaemons", NAMESPACE, true),
        ("spod", "patch", "seccompprofiles", "default", false),
        ("spod", "list", "pods", "default", false),
        ("spod", "create", "pods", NAMESPACE, false),
        ("spod", "get", "secrets", NAMESPACE, false),
        ("spod", "create", "jobs.batch", NAMESPACE, false),
        ("security-profiles-operator", "patch", "apparmorprofiles/status", "default", true),
        ("security-profiles-operator", "watch", "pods", "default", true),
        ("security-profiles-operator", "create", "daemonsets.apps", NAMESPACE, true),
        ("security-profiles-operator", "create", "daemonsets.apps", "default", false),
        ("security-profiles-operator", "get", "secrets/webhook-server-cert", NAMESPACE, true),
        ("security-profiles-operator", "get", "secrets", "default", false),
        ("security-profiles-operator", "create", "pods", NAMESPACE, false),
        // Where a SPOD asks that forbidden ones are deleted.
        ("security-profiles-operator", "delete", "seccompprofiles", "default", true),
        ("security-profiles-operator", "delete", "selinuxprofiles", "default", false),
        ("security-profiles-operator", "create", "seccompprofiles", "default", false),
        ("spo-webhook", "list", "profilebindings", "default", true),
        ("spo-webhook", "list", "pods", "default", false),
        ("spo-webhook", "patch", "profilebindings", "default", false),
    ] {
        assert_eq!(
            may(account, verb, resource, namespace)?,
            want,
            "{account} {verb} {resource} in {namespace}"
        );
    }
    Ok(())
}

/// The Dockerfile's image: the binary, as it was built, and nothing else; a user without rights runs it. What the first
/// stage compiles is built here, by the same command.
#[test]
fn the_dockerfile_builds_the_image_that_the_manifests_run() -> Outcome {
    if !installed("image", &["buildah", "tar"]) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let layout = dir.path().join("image");
    let built = operator_image::binary()?;
    if built.to_string_lossy().contains("-musl") {
        let binary = fs::read(&built)?;
        assert!(!needs_an_interpreter(&binary)?, "{} is not static", built.display());
        assert!(binary.len() <= 30_000_000, "{} bytes", binary.len());
        let dockerfile = fs::read_to_string(workspace().join("Dockerfile"))?;
        assert!(dockerfile.contains("cargo build --locked --profile dist --package spo-operator"));
    }
    operator_image::by_dockerfile(&built, &layout)?;
    let blob = |descriptor: &Value| -> Result<PathBuf, Box<dyn Error>> {
        let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
        Ok(layout.join("blobs/sha256").join(digest.ok_or("no digest")?))
    };
    let read =
        |path: PathBuf| -> Result<Value, Box<dyn Error>> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    let index = read(layout.join("index.json"))?;
    let image = read(blob(&index["manifests"][0])?)?;
    let config = read(blob(&image["config"])?)?["config"].take();
    assert_eq!(config["Entrypoint"], json!([operator_image::ENTRYPOINT]));
    assert_eq!(config["User"], "65535:65535", "the user of the pods");
    assert!(manifest("operator.yaml")?.contains("runAsUser: 65535"));
    for unwanted in ["Cmd", "Volumes", "ExposedPorts", "WorkingDir"] {
        assert!(config[unwanted].is_null(), "{config}");
    }
    let workspace_manifest = fs::read_to_string(workspace().join("Cargo.toml"))?;
    for (label, field) in [("licenses", "license"), ("source", "repository")] {
        let value =
            config["Labels"][format!("org.opencontainers.image.{label}")].as_str().ok_or("no label")?;
        assert!(workspace_manifest.contains(&format!("{field} = \"{value}\"")), "{label}: {value}");
    }

    let layers = image["layers"].as_array().ok_or("no layers")?;
    assert_eq!(layers.len(), 1, "{image}");
    let tar = |flags: &[&str]| -> Result<Vec<u8>, Box<dyn Error>> {
        let output = Command::new("tar").args(flags).arg("-f").arg(blob(&layers[0])?).output()?;
        if output.status.success() { Ok(output.stdout) } else { Err(printed(&output).into()) }
    };
    let list = String::from_utf8(tar(&["--list", "--verbose", "--numeric-owner"])?)?;
    let [file] = list.lines().collect::<Vec<_>>()[..] else { panic!("more than a file: {list}") };
    assert!(file.starts_with("-rwxr-xr-x 0/0 ") && file.ends_with(" spo-operator"), "{file}");
    let bytes = tar(&["--extract", "--to-stdout"])?;
    assert!(bytes == fs::read(&built)?, "the binary is another one");
    Ok(())
}

/// Whether a program of ELF, 64 bits, little endian, has to be loaded by another one (PT_INTERP of elf(5)).
fn needs_an_interpreter(program: &[u8]) -> Result<bool, Box<dyn Error>> {
    const INTERPRETER: u32 = 3;
    let bytes = |at: usize, length: usize| program.get(at..at + length).ok_or("the file is cut off");
    let short = |at: usize| -> Result<usize, Box<dyn Error>> {
        Ok(usize::from(u16::from_le_bytes(bytes(at, 2)?.try_into()?)))
    };
    if bytes(0, 6)? != b"\x7fELF\x02\x01" {
        return Err("no ELF of 64 bits".into());
    }
    let headers = usize::try_from(u64::from_le_bytes(bytes(0x20, 8)?.try_into()?))?;
    let (size, count) = (short(0x36)?, short(0x38)?);
    for number in 0..count {
        if u32::from_le_bytes(bytes(headers + number * size, 4)?.try_into()?) == INTERPRETER {
            return Ok(true);
        }
    }
    Ok(false)
}

/// OpenShift's service CA in the place of our own: the manager asks it, takes nothing away of what it puts there, and
/// makes way where our own Secrets are in its place; and back.
#[test]
fn the_service_ca_takes_the_place_of_our_authority() -> Outcome {
    const SECRET: &str = "webhook-server-cert";
    let Some(mut server) = ApiServer::start()? else { return Ok(()) };
    install(&server)?;
    let manager = |server: &mut ApiServer, mode: &str| -> Outcome {
        let mut command = Command::new(binary("spo-operator", "spo-operator"));
        command
            .args(["manager", "--certificates", mode, "--health-port", "0"])
            .env("KUBECONFIG", server.kubeconfig())
            .env("OPERATOR_NAMESPACE", NAMESPACE)
            .env("POD_NAME", "manager");
        server.spawn(&mut command, &format!("{mode}.log"))
    };
    let get = |server: &ApiServer, kind: &str, name: &str| -> Result<Value, Box<dyn Error>> {
        let output = server.kubectl(&["get", kind, name, "-n", NAMESPACE, "-o", "json"], "")?;
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    };
    let until = |server: &ApiServer, (kind, name): (&str, &str), good: &dyn Fn(&Value) -> bool| -> Outcome {
        let start = Instant::now();
        loop {
            let found = get(server, kind, name)?;
            if good(&found) {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(60) {
                return Err(format!("{kind} {name} stays {found}").into());
            }
            thread::sleep(Duration::from_millis(200));
        }
    };
    let asks = |object: &Value| {
        object["metadata"]["annotations"]["service.beta.openshift.io/inject-cabundle"] == "true"
    };
    let definition = format!("seccompprofiles.{GROUP}");
    let configuration = ("validatingwebhookconfiguration", "spo-validating-webhook-configuration");
    let bundle = |object: &Value| object["webhooks"][0]["clientConfig"]["caBundle"].clone();

    manager(&mut server, "builtin")?;
    until(&server, ("secret", SECRET), &|secret| !secret["data"]["ca.crt"].is_null())?;
    until(&server, configuration, &|found| !bundle(found).is_null() && !asks(found))?;
    server.terminate("builtin")?;

    manager(&mut server, "service-ca")?;
    let serving = "service.beta.openshift.io/serving-cert-secret-name";
    until(&server, ("service", "webhook-service"), &|service| {
        service["metadata"]["annotations"][serving] == SECRET
    })?;
    until(&server, ("secret", SECRET), &|secret| secret.is_null())?;
    assert!(!asks(&get(&server, "crd", &definition)?), "nobody is there yet who would answer");
    // The service CA's part: a Secret without `ca.crt`, and its authority where it is asked for.
    let (certificate, key) = server.certificate()?;
    let files = [("tls.crt", &certificate), ("tls.key", &key)].map(|(name, text)| {
        let path = server.dir().join(name);
        fs::write(&path, text).map(|()| path.display().to_string())
    });
    let [certificate, key] = files;
    let flags = [format!("--cert={}", certificate?), format!("--key={}", key?)];
    server.calm(&["create", "secret", "tls", SECRET, "-n", NAMESPACE, &flags[0], &flags[1]], "")?;
    until(&server, ("crd", &definition), &asks)?;
    until(&server, configuration, &asks)?;
    let injected = json!([{ "op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "Q0E=" }]);
    let injected = injected.to_string();
    server.calm(&["patch", configuration.0, configuration.1, "--type=json", "-p", &injected], "")?;
    // Whatever the manager writes to it after that leaves the authority there.
    server.calm(&["label", configuration.0, configuration.1, "app-"], "")?;
    until(&server, configuration, &|found| !found["metadata"]["labels"]["app"].is_null())?;
    assert_eq!(bundle(&get(&server, configuration.0, configuration.1)?), "Q0E=");
    server.terminate("service-ca")?;

    manager(&mut server, "builtin")?;
    until(&server, configuration, &|found| !asks(found) && bundle(found) != "Q0E=")?;
    until(&server, ("crd", &definition), &|found| {
        !asks(found) && !found["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"].is_null()
    })?;
    Ok(())
}

/// Every file follows from the code.
#[test]
fn the_files_are_up_to_date() -> Outcome {
    let output = Command::new(binary("spo-operator", "spo-operator"))
        .args(["manifests", "--check", "--dir"])
        .arg(workspace().join("deploy"))
        .output()?;
    assert!(output.status.success(), "{}", printed(&output));
    Ok(())
}
