//! The webhook: admission and conversion for the API server.
//!
//! ```text
//! watches ──feed──► index ─┐
//! bytes ──review──► request ├─ binding │ recording │ validate ──► answer ──review──► bytes
//! bytes ──────────── convert ──────────────────────────────────────────────────────► bytes
//! ```
//!
//! Every decision is a pure function of the request and the [`index`]; nothing is written anywhere, so the webhooks
//! may say that they have no side effects. Only [`feed`] and [`server`] know that there is a network.
//!
//! | path | asked about | by |
//! | --- | --- | --- |
//! | `/mutate-v1-pod-binding` | CREATE of pods, UPDATE of pods/ephemeralcontainers, UPDATE of pods that get other images | [`binding`] |
//! | `/mutate-v1-pod-recording` | CREATE of pods | [`recording`] |
//! | `/validate-profile`, `/validate-rawselinuxprofile` | CREATE and UPDATE of every kind | [`validate`] |
//! | `/convert` | every kind in every version | [`convert`] |
//! | `/metrics` | what was asked and answered | [`server`] |
//! | `/livez`, `/readyz` | the index is kept fresh; certificate and index are there | [`server`] |
//!
//! ```
//! use serde_json::json;
//! use spo_model::{convert::decode, kind::Scope};
//! use spo_operator::webhook::{binding, index::{Index, Settings}, review::Review};
//!
//! let object = |kind, spec| {
//!     let (group, metadata) = ("security-profiles-operator.x-k8s.io", json!({"name": "web", "namespace": "shop"}));
//!     decode(&json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": metadata, "spec": spec}))
//!         .map(|decoded| decoded.object)
//! };
//! let profile = object("SeccompProfile", json!({"defaultAction": "SCMP_ACT_ERRNO"})).unwrap();
//! let reference = json!({"kind": "SeccompProfile", "name": "web"});
//! let bound = object("ProfileBinding", json!({"profileRef": reference, "image": "nginx:1.21"})).unwrap();
//! let settings = Settings { operator_namespace: "spo".parse()?, scope: Scope::Namespaced };
//! let index = Index::new(settings, [&profile, &bound], []);
//!
//! let mut pod = json!({"spec": {"containers": [{"name": "c", "image": "docker.io/library/nginx:1.21"}]}});
//! let question = json!({
//!     "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
//!     "request": {"uid": "1", "operation": "CREATE", "namespace": "shop", "object": pod,
//!                 "resource": {"group": "", "version": "v1", "resource": "pods"}},
//! });
//! let answer = binding::admit(&Review::read(question.to_string().as_bytes())?.request, &index);
//! json_patch::patch(&mut pod, &answer.patch.unwrap())?;
//! let context = &pod["spec"]["containers"][0]["securityContext"];
//! assert_eq!(context["seccompProfile"]["localhostProfile"], "operator/shop/web.json");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod binding;
pub mod configuration;
pub mod convert;
pub mod feed;
#[cfg(test)]
mod fixture;
pub mod index;
mod pod;
pub mod process;
pub mod recording;
pub mod review;
pub mod server;
pub mod validate;
mod warnings;
mod weight;
