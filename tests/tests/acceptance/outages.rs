//! Outages of every part, and others who write the same objects.

use std::{
    error::Error,
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use spo_tests::{
    objects::text,
    operator::{NAMESPACE, Operator},
};

use crate::{NODES, Outcome, allowed, patch_spod, seccomp};

/// The API server, the store, the webhook and its certificate go and come back, and foreign writers interfere: what
/// was asked for is there in the end.
#[test]
fn it_converges_after_every_outage() -> Outcome {
    let Some(mut operator) = Operator::start(&NODES)? else { return Ok(()) };
    operator.manager("manager-2", &[])?;
    operator.apply(&seccomp("first", "SCMP_ACT_ERRNO", &["read"]))?;
    operator.is_installed("first")?;
    for part in ["api", "etcd", "node-a", "manager", "webhook"] {
        operator.server.kill(part)?;
        thread::sleep(Duration::from_secs(1));
        assert!(NODES.iter().all(|node| operator.file(node, "first").exists()), "nothing is removed");
        operator.server.start_again(part)?;
        operator.server.wait_until_ready()?;
        operator.webhook_is_ready()?;
        let name = format!("after-{part}");
        let mut said = String::new();
        operator
            .holds(&format!("{name} is taken"), || {
                let taken = operator.apply(&seccomp(&name, "SCMP_ACT_ERRNO", &["read", "write"]));
                said = taken.as_ref().err().map(ToString::to_string).unwrap_or_default();
                Ok(taken.is_ok())
            })
            .map_err(|error| format!("{said}: {error}"))?;
        operator.is_installed(&name)?;
        operator.is_installed("first")?;
    }
    // The webhook away: what it validates is refused in users' namespaces (failurePolicy Fail), nothing that is there
    // changes, deletion works, and the operator's own configuration can be changed.
    operator.server.terminate("webhook")?;
    operator.refused(&seccomp("unseen", "SCMP_ACT_ERRNO", &["read"]), "webhook")?;
    operator.kubectl(&["delete", "seccompprofile", "after-api", "-n", "production", "--timeout=60s"])?;
    patch_spod(&operator, &json!({ "verbosity": 1 }))?;
    operator.until("the patch", ("daemonset", NAMESPACE, "spod"), |set| {
        let containers = set["spec"]["template"]["spec"]["containers"].as_array();
        let mut variables =
            containers.into_iter().flatten().flat_map(|c| c["env"].as_array().into_iter().flatten());
        variables.any(|variable| variable["name"] == "SPO_VERBOSITY" && variable["value"] == "1")
    })?;
    operator.server.start_again("webhook")?;
    operator.webhook_is_ready()?;
    operator.holds("it is asked again", || {
        Ok(operator.apply(&seccomp("seen", "SCMP_ACT_ERRNO", &["read"])).is_ok())
    })?;
    operator.is_installed("seen")?;
    // The certificate changes while requests are served: none fails.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Outcome {
        let (operator, stop) = (&operator, &stop);
        let asking = scope.spawn(move || -> Result<usize, String> {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                let profile = seccomp("asked", "SCMP_ACT_ERRNO", &["read"]).to_string();
                let arguments = ["create", "--dry-run=server", "-f", "-"];
                let said = operator.try_kubectl(&arguments, &profile).map_err(|e| e.to_string())?;
                if !said.status.success() {
                    return Err(text(&said));
                }
                asked += 1;
            }
            Ok(asked)
        });
        let rotated = (|| -> Outcome {
            let secret = ("secret", NAMESPACE, "webhook-server-cert");
            for _ in 0..2 {
                let before = operator.get(secret)?;
                let uses = operator.log("webhook").matches("the certificate is in use").count();
                operator.kubectl(&["delete", "secret", secret.2, "-n", NAMESPACE])?;
                operator.until("another certificate", secret, |found| {
                    !found.is_null() && found["metadata"]["uid"] != before["metadata"]["uid"]
                })?;
                thread::sleep(Duration::from_secs(1));
                operator.mount()?;
                operator.holds("it is in use", || {
                    Ok(operator.log("webhook").matches("the certificate is in use").count() > uses)
                })?;
                thread::sleep(Duration::from_secs(1));
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        let asked = asking.join().map_err(|_| "the asker ends")??;
        rotated?;
        assert!(asked > 3, "{asked}");
        Ok(())
    })
}

/// Watches end while the server lives, and again when what they know is too old to go on from (410 Gone: a server that
/// has started anew remembers nothing of before). What happened meanwhile is made up for, deletions too.
#[test]
fn watches_that_end_lose_nothing() -> Outcome {
    let Some(mut operator) = Operator::start_relayed(&NODES)? else { return Ok(()) };
    let profile = |name: &str, calls: &[&str]| seccomp(name, "SCMP_ACT_ERRNO", calls);
    for anew in [false, true] {
        for name in ["changed", "deleted"] {
            operator.apply(&profile(name, &["read"]))?;
            operator.is_installed(name)?;
        }
        operator.server.connections().ok_or("no relay")?.cut();
        operator.apply(&profile("changed", &["read", "write"]))?;
        operator.apply(&profile("new", &["read"]))?;
        operator.kubectl(&["delete", "seccompprofile", "deleted", "-n", "production"])?;
        if anew {
            operator.server.kill("api")?;
            operator.server.start_again("api")?;
            operator.server.wait_until_ready()?;
        }
        thread::sleep(Duration::from_secs(2));
        assert!(!operator.file(NODES[0], "new").exists(), "nobody has heard of it");
        assert!(operator.file(NODES[0], "deleted").exists());
        operator.server.connections().ok_or("no relay")?.mend();
        operator.is_installed("new")?;
        operator.holds("every node has what happened meanwhile", || {
            Ok(NODES.iter().all(|node| {
                !operator.file(node, "deleted").exists()
                    && allowed(&operator, node, "changed").is_ok_and(|calls| calls == ["read", "write"])
            }))
        })?;
        operator.is_installed("changed")?;
        operator.kubectl(&["delete", "seccompprofile", "--all", "-n", "production", "--timeout=60s"])?;
        operator.holds("nothing is left", || {
            Ok(NODES
                .iter()
                .all(|node| ["changed", "new"].iter().all(|name| !operator.file(node, name).exists())))
        })?;
    }
    Ok(())
}

/// Others write the same objects again and again while profiles change: each change arrives, and it ends when they do.
#[test]
fn foreign_writers_hold_nothing_up() -> Outcome {
    let Some(operator) = Operator::start(&NODES)? else { return Ok(()) };
    operator.apply(&seccomp("fought-over", "SCMP_ACT_ERRNO", &["read"]))?;
    operator.is_installed("fought-over")?;
    let (stop, wrote) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    thread::scope(|scope| -> Outcome {
        let (operator, stop, wrote) = (&operator, &stop, &wrote);
        let writer =
            |number: usize, resource: &'static str, more: &'static [&str], what: fn(usize) -> Value| {
                scope.spawn(move || -> Result<(), String> {
                    let all = operator.list(resource, "production", "").map_err(|e| e.to_string())?;
                    let names: Vec<&str> =
                        all.iter().filter_map(|found| found["metadata"]["name"].as_str()).collect();
                    while !stop.load(Ordering::Relaxed) {
                        for name in &names {
                            let patch = what(wrote[number].load(Ordering::Relaxed)).to_string();
                            let arguments =
                                ["patch", resource, name, "-n", "production", "--type=merge", "-p", &patch];
                            let said = operator
                                .try_kubectl(&[&arguments, more].concat(), "")
                                .map_err(|e| e.to_string())?;
                            // Who loses a race writes again.
                            let why = text(&said);
                            if !said.status.success() && !why.contains("the object has been modified") {
                                return Err(why);
                            }
                            wrote[number].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Ok(())
                })
            };
        let writers = [
            writer(0, "seccompprofiles", &["--subresource=status"], |i| {
                let state = if i % 2 == 0 { "Error" } else { "Pending" };
                json!({ "status": { "status": state } })
            }),
            writer(1, "securityprofilenodestatuses", &[], |i| {
                let state = if i % 2 == 0 { "Error" } else { "Pending" };
                json!({ "status": { "status": state }, "metadata": { "labels": { "n": i.to_string() } } })
            }),
        ];
        let changed = (|| -> Outcome {
            for calls in [&["read", "write"][..], &["read", "close"], &["read", "openat"]] {
                operator.apply(&seccomp("fought-over", "SCMP_ACT_ERRNO", calls))?;
                operator.holds("the change is on every node", || {
                    Ok(NODES.iter().all(|n| {
                        allowed(operator, n, "fought-over")
                            .is_ok_and(|found| calls.iter().all(|call| found.iter().any(|name| name == call)))
                    }))
                })?;
                let count = || wrote.each_ref().map(|wrote| wrote.load(Ordering::Relaxed));
                let before = count();
                operator.holds("others write on", || {
                    Ok(count().iter().zip(before).all(|(now, then)| *now > then + 5))
                })?;
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        let ended = writers.map(thread::ScopedJoinHandle::join);
        changed?;
        for writer in ended {
            writer.map_err(|_| "a writer ends")??;
        }
        Ok(())
    })?;
    operator.is_installed("fought-over")?;
    // Peace: nobody writes any more, nor asks for anything.
    thread::sleep(Duration::from_secs(3));
    let requests = |operator: &Operator| -> Result<usize, Box<dyn Error>> {
        let log = fs::read_to_string(operator.server.dir().join("audit.log"))?;
        // Watches last, and the Lease is renewed.
        let ours = |line: &&str| {
            line.contains("\"username\":\"system:serviceaccount:security-profiles-operator:")
                && !line.contains("\"resource\":\"leases\"")
                && !line.contains("\"verb\":\"watch\"")
        };
        Ok(log.lines().filter(ours).count())
    };
    let before = requests(&operator)?;
    thread::sleep(Duration::from_secs(5));
    assert_eq!(requests(&operator)?, before);
    Ok(())
}
