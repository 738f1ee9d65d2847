//! Container images from files of this machine, without a container engine: an OCI image layout with one layer.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::network::run;

/// An image: a name, what it runs, and files.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    /// Whether arguments of a pod replace what it runs.
    replaceable: bool,
    /// Source on this machine, target in the image.
    files: Vec<(PathBuf, String)>,
    texts: Vec<(String, String)>,
    folders: Vec<String>,
    links: Vec<(String, String)>,
}

impl Image {
    /// An image of a fully qualified name, for example `docker.io/library/nginx:1.21`.
    pub fn new(name: &str, entrypoint: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            entrypoint: entrypoint.iter().map(|word| (*word).to_owned()).collect(),
            replaceable: false,
            files: Vec::new(),
            texts: Vec::new(),
            folders: Vec::new(),
            links: Vec::new(),
        }
    }

    /// The same, but arguments of a pod replace what it runs.
    #[must_use]
    pub fn replaceable(mut self) -> Self {
        self.replaceable = true;
        self
    }

    /// The same with a file or folder of this machine, and the libraries that it loads.
    #[must_use]
    pub fn with(self, path: &str) -> Self {
        self.with_as(path, path)
    }

    /// The same with a file or folder under another path.
    #[must_use]
    pub fn with_as(mut self, source: impl AsRef<Path>, target: &str) -> Self {
        self.files.push((source.as_ref().to_owned(), target.to_owned()));
        self
    }

    /// The same with a file of this text.
    #[must_use]
    pub fn with_text(mut self, target: &str, text: &str) -> Self {
        self.texts.push((target.to_owned(), text.to_owned()));
        self
    }

    /// The same with a symbolic link.
    #[must_use]
    pub fn with_link(mut self, link: &str, target: &str) -> Self {
        self.links.push((link.to_owned(), target.to_owned()));
        self
    }

    /// The same with an empty folder that everybody may write.
    #[must_use]
    pub fn with_folder(mut self, target: &str) -> Self {
        self.folders.push(target.to_owned());
        self
    }

    /// The same with a shell and the usual small programs.
    #[must_use]
    pub fn with_busybox(mut self) -> Self {
        self.files.push(("/bin/busybox".into(), "/bin/busybox".to_owned()));
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name without its registry.
    pub(super) fn repository(&self) -> &str {
        self.name.split_once('/').map_or(&self.name, |(_, rest)| rest)
    }

    /// Writes it as an OCI image layout, under the reference `image`.
    pub(super) fn write(&self, layout: &Path) -> Result<(), Box<dyn Error>> {
        let root = tempfile::tempdir()?;
        for folder in ["tmp", "etc", "proc", "sys", "dev", "run", "var"] {
            fs::create_dir(root.path().join(folder))?;
        }
        std::os::unix::fs::symlink("../run", root.path().join("var/run"))?;
        open_to_all(&root.path().join("tmp"))?;
        for name in ["/etc/passwd", "/etc/group"] {
            put(root.path(), Path::new(name), name)?;
        }
        for (source, target) in &self.files {
            put(root.path(), source, target)?;
            for library in libraries(source) {
                put(root.path(), Path::new(&library), &library)?;
            }
        }
        if root.path().join("bin/busybox").exists() {
            let list = Command::new("/bin/busybox").arg("--list").output()?;
            for applet in String::from_utf8_lossy(&list.stdout).lines() {
                // What is there already is the real one.
                let _ = std::os::unix::fs::symlink("busybox", root.path().join("bin").join(applet));
            }
        }
        for (target, text) in &self.texts {
            let path = within(root.path(), target);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, text)?;
        }
        for (link, target) in &self.links {
            let path = within(root.path(), link);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            std::os::unix::fs::symlink(target, path)?;
        }
        for target in &self.folders {
            let path = within(root.path(), target);
            fs::create_dir_all(&path)?;
            open_to_all(&path)?;
        }
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        let layer = layout.join("layer.tar");
        run(Command::new("tar")
            .args(["--numeric-owner", "--owner=0", "--group=0", "-cf"])
            .arg(&layer)
            .arg("-C")
            .arg(root.path())
            .arg("."))?;
        let bytes = fs::read(&layer)?;
        fs::remove_file(&layer)?;
        let layer = blob(&blobs, "application/vnd.oci.image.layer.v1.tar", &bytes)?;
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": { (if self.replaceable { "Cmd" } else { "Entrypoint" }): self.entrypoint,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
        });
        let config = blob(&blobs, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer] });
        let mut manifest = blob(&blobs, manifest_type, manifest.to_string().as_bytes())?;
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "image" });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(layout.join("index.json"), index.to_string())?;
        fs::write(layout.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
        Ok(())
    }
}

/// Writes a blob; its descriptor.
fn blob(blobs: &Path, media_type: &str, bytes: &[u8]) -> Result<Value, Box<dyn Error>> {
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(blobs.join(&digest), bytes)?;
    Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() }))
}

fn within(root: &Path, target: &str) -> PathBuf {
    root.join(target.trim_start_matches('/'))
}

fn put(root: &Path, source: &Path, target: &str) -> Result<(), Box<dyn Error>> {
    let path = within(root, target);
    if path.exists() {
        return Ok(());
    }
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    run(Command::new("cp").arg("-rL").arg(source).arg(&path))
}

fn open_to_all(path: &Path) -> Result<(), Box<dyn Error>> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o1777))?)
}

/// What a program loads; nothing for folders and static programs.
fn libraries(program: &Path) -> Vec<String> {
    let Ok(output) = Command::new("ldd").arg(program).output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(str::to_owned)
        .collect()
}
