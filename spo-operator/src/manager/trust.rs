//! Certificates in the cluster: Secrets, and the `caBundle` of our CustomResourceDefinitions.
//!
//! The Secrets are watched by name, so one that is deleted comes back; the definitions by their metadata alone, since
//! all their schemas together are large. The bundle goes out before anything that only it makes trustworthy.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::ValueEnum;
use futures::{StreamExt as _, stream};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, Client, ResourceExt as _,
    api::{
        ApiResource, DeleteParams, DynamicObject, NotUsed, Object, ObjectMeta, Patch, PatchParams, PostParams,
    },
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::Deserialize;
use serde_json::{Value, json};
use spo_model::kind::{GROUP, Kind};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    anchor::{Anchor, definition_patch},
    certificates::{self, Pair, Server, Step},
    overlap::Overlap,
    platform::{self, belonging_to},
};
use crate::{
    cluster::{names, request::within, resource::Resource},
    process::{Error, INTERVAL, Pulse},
    render::{MANAGER_SERVICE, service_ca::INJECT},
};

/// Where certificates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The operator's own authority.
    Builtin,
    /// cert-manager: the operator makes an Issuer and Certificates.
    CertManager,
    /// OpenShift's service CA, which annotations ask.
    ServiceCa,
    /// Somebody else fills the Secrets; `ca.crt` of the webhook's says whom to trust, and what it said before counts for
    /// ten minutes more.
    Provided,
}

impl Source {
    /// Who fills the Secrets, for people.
    pub const fn whose(self) -> &'static str {
        match self {
            Self::Builtin => "the operator's own authority",
            Self::CertManager => "cert-manager",
            Self::ServiceCa => "the service CA",
            Self::Provided => "the administrator",
        }
    }
}

/// Whom to trust, once that is known.
pub type Trusted = watch::Receiver<Option<Anchor>>;

/// Keeps certificates in the cluster until it is told to stop.
///
/// # Errors
/// None so far; what fails is tried again.
pub async fn run(
    client: Client,
    namespace: String,
    source: Source,
    anchor: watch::Sender<Option<Anchor>>,
    pulse: &Pulse,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut trust = Trust::new(client, namespace, source, anchor);
    let secrets = trust.names().into_iter().map(|name| {
        let events = watcher::watch_object(trust.secrets.clone(), name).default_backoff();
        events.map(move |told| Told::Secret(name, told.map(|secret| secret.map(Box::new)))).boxed()
    });
    // By name, so that the operator needs no right to see those of others.
    let definitions = Resource::ALL.map(|resource| {
        let name = format!("{}.{GROUP}", resource.plural());
        let events = watcher::watch_object(trust.definitions_metadata.clone(), &name).default_backoff();
        events
            .map(move |told| Told::Definition(name.clone(), told.map(|found| found.map(|d| d.metadata))))
            .boxed()
    });
    let mut events = stream::select_all(secrets.chain(definitions));
    let beat = pulse.of("the loop of the certificates");
    loop {
        beat.beat();
        let wait = trust.wait();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {
                stop.run_until_cancelled(trust.work()).await;
            }
            Some(told) = events.next() => trust.take_note(told),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

enum Told {
    Secret(&'static str, Result<Option<Box<Secret>>, watcher::Error>),
    Definition(String, Result<Option<ObjectMeta>, watcher::Error>),
}

/// The parts of a definition that are of interest here.
type Definition = Object<DefinitionSpec, NotUsed>;

#[derive(Clone, Debug, Deserialize)]
struct DefinitionSpec {
    conversion: Option<Value>,
}

struct Trust {
    client: Client,
    namespace: String,
    source: Source,
    secrets: Api<Secret>,
    definitions: Api<Definition>,
    definitions_metadata: Api<PartialObjectMeta<DynamicObject>>,
    /// What the watches say of each Secret; not there before the watch has said something.
    known: BTreeMap<&'static str, Option<Box<Secret>>>,
    /// The generations of our definitions.
    generations: BTreeMap<String, i64>,
    /// What each definition was brought to: its generation then, and whom to trust.
    done: BTreeMap<String, (i64, Anchor)>,
    anchor: watch::Sender<Option<Anchor>>,
    /// Whom somebody else wants to be trusted; `None` before what the last leader told is known.
    foreign: Option<Overlap>,
    /// What the Secrets and requests for certificates belong to.
    owner: Option<Value>,
    /// When there is something to do, in seconds since 1970; 0 for now.
    again: u64,
    failed: bool,
}

impl Trust {
    fn new(client: Client, namespace: String, source: Source, anchor: watch::Sender<Option<Anchor>>) -> Self {
        let kind = ApiResource {
            group: "apiextensions.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "apiextensions.k8s.io/v1".to_owned(),
            kind: "CustomResourceDefinition".to_owned(),
            plural: "customresourcedefinitions".to_owned(),
        };
        Self {
            secrets: Api::namespaced(client.clone(), &namespace),
            definitions: Api::all_with(client.clone(), &kind),
            definitions_metadata: Api::all_with(client.clone(), &kind),
            client,
            namespace,
            source,
            known: BTreeMap::new(),
            generations: BTreeMap::new(),
            done: BTreeMap::new(),
            anchor,
            foreign: None,
            owner: None,
            again: 0,
            failed: false,
        }
    }

    /// The Secrets that are looked at: another's certificate authority is not ours to read.
    fn names(&self) -> Vec<&'static str> {
        match self.source {
            Source::Builtin => vec![names::AUTHORITY_SECRET, names::WEBHOOK_SECRET, names::METRICS_SECRET],
            Source::ServiceCa => vec![names::WEBHOOK_SECRET, names::METRICS_SECRET],
            Source::CertManager | Source::Provided => vec![names::WEBHOOK_SECRET],
        }
    }

    fn take_note(&mut self, told: Told) {
        match told {
            Told::Secret(name, Ok(secret)) => {
                let before = self.known.insert(name, secret);
                if before.as_ref() != self.known.get(name) {
                    self.again = 0;
                }
            }
            Told::Definition(name, Ok(Some(metadata))) => {
                let generation = metadata.generation.unwrap_or_default();
                if self.generations.insert(name, generation) != Some(generation) {
                    self.again = 0;
                }
            }
            Told::Definition(name, Ok(None)) => {
                self.generations.remove(&name);
                self.done.remove(&name);
            }
            Told::Secret(_, Err(error)) | Told::Definition(_, Err(error)) => {
                tracing::warn!(%error, "the watch of certificates is interrupted");
            }
        }
    }

    /// How long to wait for the next look: what comes in one breath is one look.
    fn wait(&self) -> Duration {
        if self.known.len() < self.names().len() {
            return Duration::from_secs(3600);
        }
        match self.again.checked_sub(now()) {
            // Sleeping stands still while a machine does, so it is never long.
            Some(left) => Duration::from_secs(left.clamp(1, 3600)),
            None if self.failed => Duration::from_secs(2),
            None => Duration::from_millis(20),
        }
    }

    async fn work(&mut self) {
        if self.known.len() < self.names().len() {
            return;
        }
        self.again = u64::MAX;
        match self.reconcile().await {
            Ok(again) => {
                self.again = again;
                self.failed = false;
            }
            Err(error) => {
                tracing::warn!(%error, "the certificates are not as they should be");
                (self.again, self.failed) = (0, true);
            }
        }
    }

    async fn reconcile(&mut self) -> Result<u64, Error> {
        if let Some(owner) = platform::owner(&self.client).await? {
            self.owner = Some(owner);
        }
        match self.source {
            Source::Builtin => self.own().await,
            Source::CertManager => {
                self.request_from_cert_manager().await?;
                self.foreign().await
            }
            Source::ServiceCa => self.service_ca().await,
            Source::Provided => self.foreign().await,
        }
    }

    async fn own(&mut self) -> Result<u64, Error> {
        let servers = servers(&self.namespace);
        let known =
            |trust: &Self, name: &str| trust.known.get(name).and_then(Option::as_deref).and_then(pair);
        let pairs: Vec<Option<Pair>> = servers.iter().map(|server| known(self, &server.secret)).collect();
        let beside: Vec<(&Server, Option<&Pair>)> =
            servers.iter().zip(pairs.iter().map(Option::as_ref)).collect();
        let mut authority = known(self, names::AUTHORITY_SECRET);
        let mut plan = certificates::plan(now(), authority.as_ref(), &beside);
        if let Some(why) = plan.authority {
            tracing::info!(why, "making a certificate authority");
            let trusted = authority.iter().chain(pairs.iter().flatten()).map(|pair| pair.bundle.as_str());
            let made = certificates::authority(now(), &trusted.collect::<Vec<_>>())?;
            self.store(names::AUTHORITY_SECRET, &made).await?;
            plan = certificates::plan(now(), Some(&made), &beside);
            authority = Some(made);
        }
        let Some(authority) = authority else { return Ok(plan.again) };
        // Pods wait for Secrets that are not there, and nobody can have called a server without one: they come first.
        let is_there = |secret: &str| self.known.get(secret).is_some_and(Option::is_some);
        let missing: Vec<&Server> = servers.iter().filter(|server| !is_there(&server.secret)).collect();
        for server in &missing {
            tracing::info!(secret = server.secret, "making a certificate");
            self.store(&server.secret, &certificates::issue(now(), &authority, server)?).await?;
        }
        self.publish(Anchor::Bundle(authority.bundle.clone())).await?;
        for ((server, pair), step) in beside.iter().zip(&plan.servers) {
            let new = match (step, pair) {
                (Step::Keep, _) => continue,
                _ if missing.contains(server) => continue,
                (Step::Rebundle, Some(pair)) => Pair { bundle: authority.bundle.clone(), ..(*pair).clone() },
                _ => {
                    tracing::info!(secret = server.secret, "making a certificate");
                    certificates::issue(now(), &authority, server)?
                }
            };
            self.store(&server.secret, &new).await?;
        }
        self.adopt().await?;
        Ok(plan.again)
    }

    /// Lets Secrets that an earlier release has made belong to what goes with the operator.
    async fn adopt(&mut self) -> Result<(), Error> {
        for name in self.names() {
            let Some(Some(secret)) = self.known.get(name) else { continue };
            if !is_our_own(secret) {
                continue;
            }
            let Some(owners) = owners(&secret.metadata, self.owner.as_ref()) else { continue };
            let metadata =
                json!({ "ownerReferences": owners, "resourceVersion": secret.metadata.resource_version });
            let (parameters, patch) = (updates(), Patch::Merge(json!({ "metadata": metadata })));
            let adopted = within(self.secrets.patch(name, &parameters, &patch)).await?;
            self.known.insert(name, Some(Box::new(adopted)));
        }
        Ok(())
    }

    /// Whom to trust is what somebody else put into the webhook's Secret, and for a while what was there before.
    async fn foreign(&mut self) -> Result<u64, Error> {
        let secret = self.known.get(names::WEBHOOK_SECRET).and_then(Option::as_deref);
        let bundle = secret.and_then(|secret| text(secret, "ca.crt").or_else(|| text(secret, "tls.crt")));
        let Some(bundle) = bundle else { return Ok(u64::MAX) };
        let mut overlap = match self.foreign.take() {
            Some(overlap) => overlap,
            None => Overlap::after(&self.trusted_so_far().await?, &bundle, now()),
        };
        let (bundle, again) = overlap.take(&bundle, now());
        self.foreign = Some(overlap);
        self.publish(Anchor::Bundle(bundle)).await?;
        Ok(again)
    }

    /// Whom a definition says to trust, as PEM.
    async fn trusted_so_far(&self) -> Result<String, Error> {
        let name = format!("{}.{GROUP}", Kind::SeccompProfile.plural());
        let Some(definition) = within(self.definitions.get_opt(&name)).await? else {
            return Ok(String::new());
        };
        let conversion = definition.spec.conversion.clone().unwrap_or_default();
        let bundle = conversion.pointer("/webhook/clientConfig/caBundle").cloned();
        let bundle = bundle.and_then(|bundle| serde_json::from_value::<ByteString>(bundle).ok());
        Ok(bundle.and_then(|bytes| String::from_utf8(bytes.0).ok()).unwrap_or_default())
    }

    /// The service CA makes the Secrets that Services ask for, but does not touch what is there: our own make way.
    async fn service_ca(&mut self) -> Result<u64, Error> {
        for name in self.names() {
            if !self.known.get(name).and_then(Option::as_deref).is_some_and(is_our_own) {
                continue;
            }
            tracing::info!(secret = name, "making way for the service CA");
            match within(self.secrets.delete(name, &DeleteParams::default())).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => drop(deleted?),
            }
            self.known.insert(name, None);
        }
        // Where there is no service CA nothing asks for it.
        let secret = self.known.get(names::WEBHOOK_SECRET).and_then(Option::as_deref);
        if secret.is_some_and(|secret| text(secret, "tls.crt").is_some()) {
            self.publish(Anchor::Injected).await?;
        }
        Ok(u64::MAX)
    }

    async fn publish(&mut self, anchor: Anchor) -> Result<(), Error> {
        self.anchor.send_if_modified(|before| {
            let changed = before.as_ref() != Some(&anchor);
            if changed {
                *before = Some(anchor.clone());
            }
            changed
        });
        let due = |(name, generation): (&String, &i64)| {
            let done = self.done.get(name).is_some_and(|(at, to)| at == generation && *to == anchor);
            (!done).then(|| name.clone())
        };
        let due: Vec<String> = self.generations.iter().filter_map(due).collect();
        for name in due {
            let Some(mut definition) = within(self.definitions.get_opt(&name)).await? else { continue };
            let conversion = definition.spec.conversion.take().unwrap_or_default();
            let injected = definition.annotations().get(INJECT).is_some_and(|value| value == "true");
            if let Some(patch) = definition_patch(&conversion, injected, &anchor, &self.namespace) {
                let (parameters, patch) = (updates(), Patch::Merge(patch));
                let patched = within(self.definitions.patch(&name, &parameters, &patch)).await?;
                tracing::info!(definition = name, "told the definition whom to trust");
                definition = patched;
            }
            let generation = definition.metadata.generation.unwrap_or_default();
            self.generations.insert(name.clone(), generation);
            self.done.insert(name, (generation, anchor.clone()));
        }
        Ok(())
    }

    /// Writes a Secret over the one that is known; a conflict is an error, and the next look knows better.
    async fn store(&mut self, name: &str, pair: &Pair) -> Result<(), Error> {
        let before = self.known.get(name).and_then(Option::as_deref);
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = [
            ("tls.crt".to_owned(), bytes(&pair.certificate)),
            ("tls.key".to_owned(), bytes(&pair.key)),
            ("ca.crt".to_owned(), bytes(&pair.bundle)),
        ];
        let written = match before {
            Some(before) if before.type_.as_deref() == Some(TLS) && before.immutable != Some(true) => {
                let secret = Secret { data: Some(data.into()), ..before.clone() };
                within(self.secrets.replace(name, &PostParams::default(), &secret)).await?
            }
            _ => {
                if before.is_some() {
                    // Neither the type of a Secret nor one that is immutable can be changed.
                    within(self.secrets.delete(name, &DeleteParams::default())).await?;
                }
                let metadata = ObjectMeta {
                    name: Some(name.to_owned()),
                    labels: Some([(names::APP_LABEL.to_owned(), names::OPERATOR.to_owned())].into()),
                    owner_references: owners(&ObjectMeta::default(), self.owner.as_ref()),
                    ..ObjectMeta::default()
                };
                let type_ = Some(TLS.to_owned());
                let secret = Secret { metadata, data: Some(data.into()), type_, ..Secret::default() };
                within(self.secrets.create(&PostParams::default(), &secret)).await?
            }
        };
        if let Some(known) = self.known.iter_mut().find(|(known, _)| **known == name) {
            *known.1 = Some(Box::new(written));
        }
        Ok(())
    }

    async fn request_from_cert_manager(&self) -> Result<(), Error> {
        let resource = |kind: &str, plural: &str| ApiResource {
            group: "cert-manager.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "cert-manager.io/v1".to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        let apply = async |resource: ApiResource, name: &str, spec: Value| {
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
            let object = json!({
                "apiVersion": resource.api_version, "kind": resource.kind,
                "metadata": { "name": name, "labels": { names::APP_LABEL: names::OPERATOR } }, "spec": spec,
            });
            let patch = Patch::Apply(belonging_to(object, self.owner.as_ref()));
            let parameters = PatchParams::apply(names::FIELD_MANAGER).force();
            within(api.patch(name, &parameters, &patch)).await
        };
        apply(resource("Issuer", "issuers"), "selfsigned-issuer", json!({ "selfSigned": {} })).await?;
        for (name, server) in ["webhook-cert", "metrics-cert"].into_iter().zip(servers(&self.namespace)) {
            let issuer = json!({ "kind": "Issuer", "name": "selfsigned-issuer" });
            let spec = json!({ "secretName": server.secret, "dnsNames": server.names, "issuerRef": issuer });
            apply(resource("Certificate", "certificates"), name, spec).await?;
        }
        Ok(())
    }
}

/// The owners that an object should have, if it has others: this one, and whoever else.
fn owners(metadata: &ObjectMeta, owner: Option<&Value>) -> Option<Vec<OwnerReference>> {
    let ours: OwnerReference = serde_json::from_value(owner?.clone()).ok()?;
    let all = metadata.owner_references.iter().flatten();
    let is_other = |other: &&OwnerReference| (&other.kind, &other.name) != (&ours.kind, &ours.name);
    let mut wanted: Vec<OwnerReference> = all.clone().filter(is_other).cloned().collect();
    wanted.push(ours);
    (wanted.iter().map(|owner| &owner.uid).ne(all.map(|owner| &owner.uid))).then_some(wanted)
}

/// How an object that is somebody else's too is written.
fn updates() -> PatchParams {
    PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

const TLS: &str = "kubernetes.io/tls";

/// The servers of the operator: the webhook, and the metrics of the agents and the managers.
pub fn servers(namespace: &str) -> Vec<Server> {
    let server = |secret: &str, services: &[&str]| {
        let names = services.iter().flat_map(|service| {
            [".svc", "", ".svc.cluster.local"].map(|domain| format!("{service}.{namespace}{domain}"))
        });
        Server { secret: secret.to_owned(), names: names.collect() }
    };
    vec![
        server(names::WEBHOOK_SECRET, &[names::WEBHOOK_SERVICE, names::CONVERSION_SERVICE]),
        server(names::METRICS_SECRET, &[names::METRICS_SERVICE, MANAGER_SERVICE]),
    ]
}

/// Whether a Secret is one that this operator made, and not the service CA: that writes no `ca.crt`.
fn is_our_own(secret: &Secret) -> bool {
    let label = secret.metadata.labels.as_ref().and_then(|labels| labels.get(names::APP_LABEL));
    label.is_some_and(|app| app == names::OPERATOR) && text(secret, "ca.crt").is_some()
}

fn pair(secret: &Secret) -> Option<Pair> {
    Some(Pair {
        certificate: text(secret, "tls.crt")?,
        key: text(secret, "tls.key")?,
        bundle: text(secret, "ca.crt").unwrap_or_default(),
    })
}

fn text(secret: &Secret, field: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(field)?;
    String::from_utf8(bytes.0.clone()).ok().filter(|text| !text.is_empty())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secrets_that_we_made_make_way() {
        let secret = |app: &str, fields: &[&str]| Secret {
            metadata: ObjectMeta {
                labels: Some([(names::APP_LABEL.to_owned(), app.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some(fields.iter().map(|f| ((*f).to_owned(), ByteString(b"x".to_vec()))).collect()),
            ..Secret::default()
        };
        assert!(is_our_own(&secret(names::OPERATOR, &["tls.crt", "tls.key", "ca.crt"])));
        assert!(!is_our_own(&secret(names::OPERATOR, &["tls.crt", "tls.key"])), "as the service CA writes");
        assert!(!is_our_own(&secret("another", &["tls.crt", "tls.key", "ca.crt"])));
        assert!(!is_our_own(&Secret::default()));
    }

    #[test]
    fn an_object_gets_its_owner_beside_those_of_others() {
        let owner =
            |uid: &str| json!({ "apiVersion": "v1", "kind": "ClusterRole", "name": "spo", "uid": uid });
        let metadata = |owners: Value| -> ObjectMeta {
            serde_json::from_value(json!({ "ownerReferences": owners })).expect("metadata")
        };
        let uids = |owners: Option<Vec<OwnerReference>>| {
            owners.map(|owners| owners.into_iter().map(|owner| owner.uid).collect::<Vec<_>>())
        };
        let other = json!({ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "9" });
        let wanted = |found: Value| uids(owners(&metadata(found), Some(&owner("1"))));
        assert_eq!(wanted(json!([])), Some(vec!["1".to_owned()]));
        assert_eq!(wanted(json!([owner("1")])), None);
        assert_eq!(wanted(json!([owner("0"), other])), Some(vec!["9".to_owned(), "1".to_owned()]));
        assert_eq!(owners(&metadata(json!([])), None), None, "where the operator is run by hand");
    }

    #[test]
    fn certificates_have_the_names_by_which_servers_are_called() {
        let [webhook, metrics] = &servers("spo")[..] else { panic!("two") };
        assert!(webhook.names.contains(&"webhook-service.spo.svc".to_owned()));
        for name in
            ["metrics.spo.svc", "metrics.spo", "metrics.spo.svc.cluster.local", "metrics-manager.spo.svc"]
        {
            assert!(metrics.names.contains(&name.to_owned()), "{name}");
        }
    }
}
