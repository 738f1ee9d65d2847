//! Where the webhook's certificate comes from: the operator's own authority, cert-manager, an administrator.

use std::{error::Error, thread, time::Duration};

use serde_json::json;
use spo_tests::{
    api_server::Authority,
    objects::Named,
    operator::{Admission, GROUP, NAMESPACE, Operator, is_reachable},
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
    if !is_reachable() {
        return Ok(());
    }
    let Some(mut operator) = Operator::install(Admission::On)? else { return Ok(()) };
    // cert-manager comes after the operator, so the operator has to ask again.
    operator.manager("first", &["--certificates=cert-manager"])?;
    operator.until("agents", ("daemonset", NAMESPACE, "spod"), |d| !d.is_null())?;
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
    if !is_reachable() {
        return Ok(());
    }
    let Some(mut operator) = Operator::install(Admission::On)? else { return Ok(()) };
    operator.manager("first", &["--certificates=provided"])?;
    operator.until("agents", ("daemonset", NAMESPACE, "spod"), |d| !d.is_null())?;
    thread::sleep(Duration::from_secs(3));
    anothers_certificate_serves(&mut operator)?;
    // What the administrator takes away is not made by anybody else.
    operator.kubectl(&["delete", "secret", SECRET.2, "-n", NAMESPACE])?;
    thread::sleep(Duration::from_secs(3));
    assert!(operator.get(SECRET)?.is_null(), "it is the administrator's");
    // Whom to trust is known as long as the webhook has the certificate.
    converted(&operator, "the old version without the Secret")
}

/// With a Secret that is another's: it is used, trusted by its authority and never written, also when it is renewed.
fn anothers_certificate_serves(operator: &mut Operator) -> Outcome {
    let none = |operator: &Operator, name: &str| -> Outcome {
        let found = operator.get(("secret", NAMESPACE, name))?;
        assert!(found.is_null(), "the operator has made {name}: {found}");
        Ok(())
    };
    none(operator, SECRET.2)?;
    let mut first = String::new();
    for renewal in 0..2 {
        let authority = Authority::new()?;
        let name = format!("webhook-service.{NAMESPACE}.svc");
        let (certificate, key) = authority.issue(&[&name], None)?;
        let written = json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": SECRET.2, "namespace": NAMESPACE },
            "stringData": { "tls.crt": certificate, "tls.key": key, "ca.crt": authority.certificate() } });
        operator.apply(&written)?;
        let secret = operator.get(SECRET)?;
        let bundle = &secret["data"]["ca.crt"];
        assert_ne!(*bundle, secret["data"]["tls.crt"]);
        match renewal {
            0 => {
                operator.serve()?;
                first = operator.log("webhook");
            }
            _ => {
                operator.mount()?;
                operator.holds("the new certificate is in use", || {
                    let uses = |log: &str| log.matches("the certificate is in use").count();
                    Ok(uses(&operator.log("webhook")) > uses(&first))
                })?;
            }
        }
        for definition in ["seccompprofiles", "apparmorprofilealiases", "securityprofilesoperatordaemons"] {
            operator.until(
                "its authority is trusted",
                ("crd", "", &format!("{definition}.{GROUP}")),
                |crd| crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] == *bundle,
            )?;
        }
        for kind in ["mutating", "validating"] {
            let resource = format!("{kind}webhookconfiguration");
            let name = format!("spo-{kind}-webhook-configuration");
            operator.until("its authority is trusted", (&resource, "", &name), |found| {
                let hooks = found["webhooks"].as_array().map_or(&[][..], Vec::as_slice);
                !hooks.is_empty() && hooks.iter().all(|hook| hook["clientConfig"]["caBundle"] == *bundle)
            })?;
        }
        // It answers: a profile without sense is refused by it, another is taken and read in its old version.
        operator.is_asked()?;
        profile(operator, "web")?;
        converted(operator, "the old version")?;
        let after = operator.get(SECRET)?;
        assert_eq!(after["metadata"]["resourceVersion"], secret["metadata"]["resourceVersion"], "written");
        none(operator, "spo-certificate-authority")?;
        none(operator, "metrics-server-cert")?;
    }
    Ok(())
}
