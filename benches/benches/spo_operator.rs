//! The agent of a node that has many profiles, one of which changes: a round on the host, and what is said of it.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use spo_model::{
    daemon::StatusMode,
    kind::{Kind, Scope},
    syscall_names,
};
use spo_operator::{
    cluster::{
        resource::Resource,
        watch::{Cache, Watch},
    },
    daemon::{
        agent::{Agent, Options},
        kept::Kept,
        reporter::Reporter,
        settings::Kinds,
        status::{Reporting, per_node, per_profile},
    },
};

const SECCOMP: Resource = Resource::Of(Kind::SeccompProfile);

fn profile(index: usize, generation: usize) -> Value {
    let all = syscall_names::all();
    let calls = all.iter().cycle().skip((index * 7 + generation) % all.len());
    let names: Vec<&str> = calls.take(60).copied().collect();
    json!({
        "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "SeccompProfile",
        "metadata": { "name": format!("profile-{index:04}"), "namespace": "production",
            "uid": format!("8c9f1d2e-0000-4000-8000-{index:012}"), "generation": generation,
            "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "action": "SCMP_ACT_ALLOW", "names": names }] },
    })
}

/// A cache with this many profiles, and a SecurityProfilesOperatorDaemon that says nothing.
fn cache(count: usize) -> Cache<Kept> {
    let settings = json!({
        "apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "SecurityProfilesOperatorDaemon",
        "metadata": { "name": "spod", "namespace": "spo", "uid": "uid", "generation": 1 }, "spec": {},
    });
    let daemon = Resource::Of(Kind::SecurityProfilesOperatorDaemon);
    let watches: Vec<Watch> = [SECCOMP, daemon].map(|resource| Watch { resource, namespace: None }).to_vec();
    let mut cache = Cache::new(watches.clone());
    for watch in watches {
        cache.apply((watch.clone(), Event::Init));
        if watch.resource == daemon {
            cache.apply((watch.clone(), Event::InitApply(settings.clone())));
        } else {
            for index in 0..count {
                cache.apply((watch.clone(), Event::InitApply(profile(index, 1))));
            }
        }
        cache.apply((watch, Event::InitDone));
    }
    cache
}

fn agent(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("agent");
    group.sample_size(20);
    for count in [100, 1_000] {
        let root = tempfile::tempdir().expect("a directory");
        let options = Options {
            root: root.path().to_owned(),
            kubelet: "/var/lib/kubelet".into(),
            selinuxd: None,
            selinux_templates: None,
            kinds: Kinds { seccomp: true, selinux: false, raw_selinux: false, apparmor: false },
            namespaces: None,
            spod: "spod".to_owned(),
        };
        let mut agent = Agent::new(options, cache(count)).expect("an agent");
        let first = agent.round();
        assert_eq!(first.updated.values().sum::<u64>(), count as u64);
        group.bench_function(BenchmarkId::new("round, nothing to do", count), |bench| {
            bench.iter(|| agent.round());
        });
        let watch = Watch { resource: SECCOMP, namespace: None };
        let mut generation = 1;
        group.bench_function(BenchmarkId::new("round, one changed", count), |bench| {
            bench.iter(|| {
                generation += 1;
                agent.cache.apply((watch.clone(), Event::Apply(profile(0, generation))));
                let round = agent.round();
                assert_eq!(round.updated.values().sum::<u64>(), 1);
                round
            });
        });
        let reporting = Reporting {
            node: "node-1".to_owned(),
            scope: Scope::Namespaced,
            operator_namespace: "spo".parse().expect("a name"),
        };
        let standings = agent.round().standings;
        let mut reporter = Reporter::default();
        group.bench_function(BenchmarkId::new("report, a status per profile", count), |bench| {
            bench.iter(|| {
                let now = std::time::Instant::now();
                reporter.want(StatusMode::PerProfile, per_profile(&standings, &reporting), now);
            });
        });
        let mut reporter = Reporter::default();
        group.bench_function(BenchmarkId::new("report, a status per node", count), |bench| {
            bench.iter(|| {
                let now = std::time::Instant::now();
                reporter.want(StatusMode::PerNode, per_node(&standings, &reporting), now);
            });
        });
        group.bench_function(BenchmarkId::new("request, a status per node", count), |bench| {
            let objects = per_node(&standings, &reporting);
            bench.iter(|| objects.values().map(|object| object.document().to_string().len()).sum::<usize>());
        });
    }
    group.finish();
}

criterion_group!(benches, agent);
criterion_main!(benches);
