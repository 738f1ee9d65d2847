//! Planning and applying, by the number of profiles.

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use spo_model::{kind::Kind, names::ProfileKey};
use spo_node::{
    apply::apply, artefact::Artefact, host::Root, install, kernel::FilesOnly, observe::observe, plan::plan,
};

fn artefacts(count: usize, text: &str) -> Vec<Artefact> {
    (0..count)
        .map(|index| {
            let key = ProfileKey::new(Some("production"), &format!("profile-{index}")).expect("a key");
            Artefact::new(Kind::SeccompProfile, key, format!("{text}{index}").into_bytes())
                .expect("an artefact")
        })
        .collect()
}

fn node(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("node");
    group.sample_size(10);
    for count in [100, 1_000, 10_000] {
        let desired = artefacts(count, "same");
        let dir = tempfile::tempdir().expect("a directory");
        let host = Root::open(dir.path()).expect("a root");
        install(&host, &FilesOnly, &desired, &|_| false).expect("installs");
        group.bench_function(BenchmarkId::new("observe", count), |bench| {
            bench.iter(|| observe(&host, &FilesOnly, &desired).expect("reads"));
        });
        let observed = observe(&host, &FilesOnly, &desired).expect("reads");
        group.bench_function(BenchmarkId::new("plan, nothing to do", count), |bench| {
            bench.iter(|| plan(&desired, &observed, &|_| false));
        });
        let other = artefacts(count, "other");
        group.bench_function(BenchmarkId::new("plan, everything changes", count), |bench| {
            bench.iter(|| plan(&other, &observed, &|_| false));
        });
        group.bench_function(BenchmarkId::new("apply, everything is new", count), |bench| {
            bench.iter_batched(
                || {
                    let dir = tempfile::tempdir().expect("a directory");
                    let host = Root::open(dir.path()).expect("a root");
                    let observed = observe(&host, &FilesOnly, &desired).expect("reads");
                    let plan = plan(&desired, &observed, &|_| false);
                    (dir, host, observed, plan)
                },
                |(dir, host, mut observed, plan)| {
                    apply(&host, &FilesOnly, &desired, &mut observed, plan).expect("writes");
                    dir
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, node);
criterion_main!(benches);
