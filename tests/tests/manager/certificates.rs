//! Where the webhook's certificate comes from: the operator's own authority, cert-manager, an administrator.

use std::{error::Error, thread, time::Duration};

use serde_json::{Value, json};
use spo_tests::{
    api_server::Authority,
    objects::{Named, condition},
    operator::{Admission, GROUP, NAMESPACE, Operator, decoded, is_reachable},
};

use crate::profile;

type Outcome = Result<(), Box<dyn Error>>;

const SECRET: Named<'_> = ("secret", NAMESPACE, "webhook-server-cert");

/// Waits until the profile `web` is read in its old version, which the API server asks the webhook for.
fn converted(operator: &Operator, what: &str) -> Outcome {
    let old = format!("seccompprofiles.v1beta1.{GROUP}");
    let found = operator.until(what, (&old, "production", "web"), |profile| {
        profile["apiVersion"] == format!("{GROUP}/v1beta1")
    });
    found.map(drop)
}

#[test]
fn conversion_works_through_our_authority_and_while_certificates_change() -> Outcome {
    if !is_reachable() {
        return Ok(());
    }
    let Some(mut operator) = Operator::install(Admission::Off)? else { return Ok(()) };
    operator.manager("first", &[])?;
    operator.serve()?;
    let found = operator.get(SECRET)?;

    profile(&operator, "web")?;
    converted(&operator, "the old version")?;

    // Both Secrets are lost: what is mounted is trusted on, and what is made next is trusted too.
    for name in ["spo-certificate-authority", "webhook-server-cert"] {
        operator.kubectl(&["delete", "secret", name, "-n", NAMESPACE])?;
        let again = ("secret", NAMESPACE, name);
        operator.until("a Secret again", again, |secret| !secret.is_null())?;
        thread::sleep(Duration::from_secs(2));
        converted(&operator, "the old version with the old certificate")?;
    }
    let renewed = operator.get(SECRET)?;
    assert_ne!(renewed["data"]["tls.crt"], found["data"]["tls.crt"]);
    operator.mount()?;
    // The webhook looks at its files every few seconds.
    thread::sleep(Duration::from_secs(6));
    let log = operator.log("webhook");
    assert_eq!(log.matches("the certificate is in use").count(), 2, "{log}");
    converted(&operator, "the old version with the new certificate")?;

    // Whoever applies the definitions again takes the bundle away; it comes back.
    let name = format!("seccompprofiles.{GROUP}");
    let patch = r#"{"spec":{"conversion":{"webhook":{"clientConfig":{"caBundle":null}}}}}"#;
    operator.kubectl(&["patch", "crd", &name, "--type=merge", "-p", patch])?;
    operator.until("the caBundle again", ("crd", "", &name), |crd| {
        !crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"].is_null()
    })?;
    converted(&operator, "the old version at the end")
}

/// What cert-manager does, as far as the operator sees it: its kinds are there, and a Certificate becomes a Secret.
#[test]
fn cert_manager_is_asked_and_what_it_makes_is_left_alone() -> Outcome {
    // cert-manager comes after the operator, so the operator has to ask again.
    let Some(mut operator) = with_certificates_of("cert-manager")? else { return Ok(()) };
    for (kind, plural) in [("Issuer", "issuers"), ("Certificate", "certificates")] {
        let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        operator.apply(
            &json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.cert-manager.io") },
            "spec": { "group": "cert-manager.io", "scope": "Namespaced",
                "names": { "kind": kind, "plural": plural },
                "versions": [{ "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": schema } }] } }),
        )?;
    }
    for (name, secret, service) in [
        ("webhook-cert", "webhook-server-cert", "webhook-service"),
        ("webhook-cert", "webhook-server-cert", "webhook-conversion"),
        ("metrics-cert", "metrics-server-cert", "metrics"),
    ] {
        let asked = ("certificates.cert-manager.io", NAMESPACE, name);
        let asked = operator.until("a Certificate", asked, |found| !found.is_null())?;
        assert_eq!(asked["spec"]["secretName"], secret, "{asked}");
        // By this name the API server calls it.
        let names = asked["spec"]["dnsNames"].as_array().ok_or("no names")?;
        assert!(names.contains(&json!(format!("{service}.{NAMESPACE}.svc"))), "{asked}");
        let issuer = asked["spec"]["issuerRef"]["name"].as_str().ok_or("no issuer")?;
        let issuer = operator.get(("issuers.cert-manager.io", NAMESPACE, issuer))?;
        assert!(issuer["spec"].is_object(), "{issuer}");
    }
    anothers_certificate_serves(&mut operator)
}

/// An administrator fills the Secret: the operator makes none, and trusts what its `ca.crt` says.
#[test]
fn certificates_of_an_administrator_are_left_alone() -> Outcome {
    let Some(mut operator) = with_certificates_of("provided")? else { return Ok(()) };
    // There is no admission yet, and the SPOD does not pretend there is, though no node is left without an agent.
    rolled_out(&operator)?;
    let waits =
        |spod: &Value| condition(spod, "Ready")["message"].as_str().map(str::to_owned).unwrap_or_default();
    let spod = operator.until("what is missing", super::SPOD, |spod| {
        waits(spod).contains("waiting for the administrator")
    })?;
    assert!(
        waits(&spod).contains("admission is not set up: no certificate in the Secret webhook-server-cert")
    );
    thread::sleep(Duration::from_secs(3));
    assert_ne!(operator.get(super::SPOD)?["status"]["state"], "Running");
    anothers_certificate_serves(&mut operator)?;
    operator.until("it runs", super::SPOD, |spod| spod["status"]["state"] == "Running")?;
    // What the administrator takes away is not made by anybody else.
    operator.kubectl(&["delete", "secret", SECRET.2, "-n", NAMESPACE])?;
    thread::sleep(Duration::from_secs(3));
    assert!(operator.get(SECRET)?.is_null(), "it is the administrator's");
    // Whom to trust is known as long as the webhook has the certificate.
    converted(&operator, "the old version without the Secret")
}

/// What the DaemonSet controller would say of agents that run where they are meant to.
fn rolled_out(operator: &Operator) -> Outcome {
    let agents = operator.get(("daemonset", NAMESPACE, "spod"))?;
    let status = json!({ "status": { "observedGeneration": agents["metadata"]["generation"],
        "desiredNumberScheduled": 0, "currentNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        "updatedNumberScheduled": 0 } })
    .to_string();
    let arguments =
        ["patch", "daemonset", "spod", "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p"];
    operator.kubectl(&[&arguments[..], &[&status]].concat())?;
    Ok(())
}

/// A manager that gets its certificates there, and has begun its work.
fn with_certificates_of(source: &str) -> Result<Option<Operator>, Box<dyn Error>> {
    if !is_reachable() {
        return Ok(None);
    }
    let Some(mut operator) = Operator::install(Admission::On)? else { return Ok(None) };
    operator.manager("first", &[&format!("--certificates={source}")])?;
    operator.until("agents", ("daemonset", NAMESPACE, "spod"), |d| !d.is_null())?;
    Ok(Some(operator))
}

/// With a Secret that is another's: it is used, trusted by its authority and never written, also when it is renewed by
/// another authority, during which no request fails.
fn anothers_certificate_serves(operator: &mut Operator) -> Outcome {
    none(operator, SECRET.2)?;
    let first = provide(operator)?;
    operator.serve()?;
    trusted(operator, |bundle| bundle == first.certificate())?;
    // It answers: a profile without sense is refused by it, another is taken and read in its old version.
    operator.is_asked()?;
    profile(operator, "web")?;
    converted(operator, "the old version")?;

    let second = provide(operator)?;
    let both = |bundle: &str| [&first, &second].iter().all(|ca| bundle.contains(ca.certificate()));
    trusted(operator, both)?;
    let works = |what: &str| -> Outcome {
        for _ in 0..5 {
            profile(operator, "web").map_err(|error| format!("{what}: {error}"))?;
            let old = format!("seccompprofiles.v1beta1.{GROUP}");
            operator.get((&old, "production", "web")).map_err(|error| format!("{what}: {error}"))?;
            thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    };
    // The kubelet has not seen it yet.
    works("while the old certificate serves")?;
    operator.mount()?;
    operator.holds("the new certificate is in use", || {
        Ok(operator.log("webhook").matches("the certificate is in use").count() == 2)
    })?;
    works("with the new certificate")?;
    none(operator, "spo-certificate-authority")?;
    none(operator, "metrics-server-cert")
}

/// Writes the Secret as somebody else does, with a certificate by a new authority, and looks on whether it stays.
fn provide(operator: &Operator) -> Result<Authority, Box<dyn Error>> {
    let authority = Authority::new()?;
    let names = ["webhook-service", "webhook-conversion"].map(|service| format!("{service}.{NAMESPACE}.svc"));
    let (certificate, key) = authority.issue(&names.each_ref().map(String::as_str), None)?;
    let data = json!({ "tls.crt": certificate, "tls.key": key, "ca.crt": authority.certificate() });
    operator.apply(&json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": SECRET.2, "namespace": NAMESPACE }, "stringData": data }))?;
    let before = operator.get(SECRET)?;
    thread::sleep(Duration::from_secs(2));
    let after = operator.get(SECRET)?;
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"], "written");
    Ok(authority)
}

/// Waits until whatever the API server asks is trusted as it should be.
fn trusted(operator: &Operator, so: impl Fn(&str) -> bool) -> Outcome {
    let so = |field: &Value| decoded(field).is_ok_and(|bundle| so(&bundle));
    for definition in ["seccompprofiles", "apparmorprofilealiases", "securityprofilesoperatordaemons"] {
        operator.until("conversion is trusted", ("crd", "", &format!("{definition}.{GROUP}")), |crd| {
            so(&crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"])
        })?;
    }
    for kind in ["mutating", "validating"] {
        let (resource, name) =
            (format!("{kind}webhookconfiguration"), format!("spo-{kind}-webhook-configuration"));
        operator.until("admission is trusted", (&resource, "", &name), |found| {
            let hooks = found["webhooks"].as_array().map_or(&[][..], Vec::as_slice);
            !hooks.is_empty() && hooks.iter().all(|hook| so(&hook["clientConfig"]["caBundle"]))
        })?;
    }
    Ok(())
}

fn none(operator: &Operator, name: &str) -> Outcome {
    let found = operator.get(("secret", NAMESPACE, name))?;
    assert!(found.is_null(), "the operator has made {name}: {found}");
    Ok(())
}
