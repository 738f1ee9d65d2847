//! The base profiles that the operator brings: SeccompProfiles in its own namespace, which profiles of every namespace
//! find.
//!
//! They are applied once by each leader, so what an administrator deletes is gone until the next one leads. They go with
//! the operator: see [`owner`](super::platform::owner).

use std::time::Duration;

use kube::{
    Client,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::Value;
use spo_model::{
    kind::{Kind, Scope},
    names::{NamespaceName, SHARE_BASE_LABEL},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::platform::{self, belonging_to};
use crate::{
    cluster::{names, request::within, resource::Resource},
    process::{Error, Pulse},
};

/// The manifests, as they are in `deploy/base-profiles`.
const MANIFESTS: [&str; 3] = [
    include_str!("bases/crun-v1.26.yaml"),
    include_str!("bases/runc-v1.4.0.yaml"),
    include_str!("bases/runc-v1.4.2.yaml"),
];

/// The longest time between two attempts, in seconds; then it is no trouble of a start any more.
const LONG: u64 = 60;

/// Applies them.
///
/// # Errors
/// None: what cannot be applied is said in the log, and tried again until it can be.
pub async fn run(
    client: Client,
    namespace: NamespaceName,
    profiles: Scope,
    pulse: &Pulse,
    stop: CancellationToken,
) -> Result<(), Error> {
    let place = (profiles == Scope::Namespaced).then_some(&namespace);
    let api = Resource::Of(Kind::SeccompProfile).api(client.clone(), profiles, place);
    let parameters = PatchParams::apply(names::FIELD_MANAGER).force();
    // There are two requests and a pause between two beats, much less than makes a loop hang.
    let beat = pulse.of("the base profiles");
    for document in documents() {
        let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut pause = 1;
        loop {
            beat.beat();
            let applied = async {
                let owner = platform::owner(&client).await?;
                let patch = Patch::Apply(belonging_to(document.clone(), owner.as_ref()));
                let applied: DynamicObject = within(api.patch(&name, &parameters, &patch)).await?;
                Ok::<_, kube::Error>(applied)
            };
            let Err(error) = applied.await else { break };
            match pause < LONG {
                true => tracing::warn!(%error, name, "the base profile is not there yet"),
                false => tracing::error!(%error, name, "profiles that build on the base profile do not work"),
            }
            if stop.run_until_cancelled(sleep(Duration::from_secs(pause))).await.is_none() {
                return Ok(());
            }
            pause = (pause * 2).min(LONG);
        }
    }
    drop(beat);
    // The work is done; the end of a controller would be the end of the leader.
    stop.cancelled().await;
    Ok(())
}

/// Whether it is the name of one of them.
pub fn is_one(name: &str) -> bool {
    documents().any(|document| document["metadata"]["name"] == name)
}

fn documents() -> impl Iterator<Item = Value> {
    MANIFESTS.iter().filter_map(|text| serde_saphyr::from_str::<Value>(text).ok()).map(|mut document| {
        // They are found by their names alone; whoever writes the namespace too finds the same.
        document["metadata"]["labels"] =
            serde_json::json!({ names::APP_LABEL: names::OPERATOR, SHARE_BASE_LABEL: "true" });
        document
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use super::*;

    #[test]
    fn they_are_those_that_are_shipped_as_files() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/base-profiles");
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a text");
            (path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(), text)
        };
        let files: BTreeMap<String, String> = fs::read_dir(folder).expect("the folder").map(read).collect();
        assert_eq!(files.values().map(String::as_str).collect::<Vec<_>>(), MANIFESTS);
        let named: Vec<_> =
            documents().map(|d| d["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect();
        assert_eq!(named, files.into_keys().collect::<Vec<_>>());
    }
}
