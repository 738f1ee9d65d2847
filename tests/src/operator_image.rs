//! The operator's image, and those that the guide's pods run.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{cluster::Image, workspace};

/// The image that the manifests name.
pub const OPERATOR: &str = "ghcr.io/security-profiles/spo-rs:v0.1.0";

/// What the image runs, and the one file that is in it.
pub const ENTRYPOINT: &str = "/spo-operator";

/// The programs of this machine that are in the guide's images.
pub const PROGRAMS: &[&str] = &["nginx", "curl", "bash", "busybox"];

/// The binary for the image: static, as the Dockerfile builds it. `SPO_OPERATOR_BINARY` names another.
///
/// Without the target for static binaries it is a dynamic one, whose libraries are put into the image.
///
/// # Errors
/// It does not build.
pub fn binary() -> Result<PathBuf, Box<dyn Error>> {
    const TARGET: &str = "x86_64-unknown-linux-musl";
    if let Some(named) = std::env::var_os("SPO_OPERATOR_BINARY") {
        return Ok(named.into());
    }
    let libraries = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output()?;
    let libraries = String::from_utf8_lossy(&libraries.stdout).trim().to_owned();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(workspace()).args([
        "build",
        "--quiet",
        "--profile",
        "dist",
        "--package",
        "spo-operator",
    ]);
    let mut folder =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    if Path::new(&libraries).is_dir() {
        build.args(["--target", TARGET]);
        folder.push(TARGET);
    }
    match build.status()?.success() {
        true => Ok(folder.join("dist/spo-operator")),
        false => Err("the operator does not build".into()),
    }
}

/// The operator alone.
///
/// # Errors
/// It does not build.
pub fn operator() -> Result<Image, Box<dyn Error>> {
    Ok(Image::new(OPERATOR, &[ENTRYPOINT]).with_as(binary()?, ENTRYPOINT))
}

/// Builds the image by the Dockerfile with `buildah`, as an OCI layout in `layout`. This binary stands in for what the
/// Dockerfile's first stage compiles, which needs the network and some minutes.
///
/// # Errors
/// It does not build.
pub fn by_dockerfile(binary: &Path, layout: &Path) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let built = dir.path().join("build/image");
    let nothing = dir.path().join("nothing");
    fs::create_dir_all(&built)?;
    fs::create_dir(&nothing)?;
    fs::copy(binary, built.join("spo-operator"))?;
    let buildah = |arguments: &[&str]| -> Result<(), Box<dyn Error>> {
        let output = Command::new("buildah")
            .arg("--root")
            .arg(dir.path().join("root"))
            .arg("--runroot")
            .arg(dir.path().join("run"))
            .args(["--storage-driver", "vfs"])
            .args(arguments)
            .output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
        }
    };
    let stage = format!("build={}", dir.path().join("build").display());
    let file = workspace().join("Dockerfile");
    let [file, nothing] = [&file, &nothing].map(|path| path.display().to_string());
    // The label that buildah adds of its own is not the Dockerfile's.
    let options = ["--isolation=chroot", "--identity-label=false", "--build-context", &stage];
    buildah(&[&["bud"], &options[..], &["--tag=operator", "--file", &file, &nothing]].concat())?;
    buildah(&["push", "operator", &format!("oci:{}:operator", layout.display())])
}

/// The operator, and what the guide's pods run: nginx on port 80, the same without root on port 8080, a shell.
///
/// # Errors
/// The operator does not build.
pub fn images() -> Result<Vec<Image>, Box<dyn Error>> {
    let nginx = |name: &str, port: u16| {
        let settings = format!(
            "worker_processes 1;\npid /tmp/nginx.pid;\nerror_log /dev/stderr;\nevents {{}}\nhttp {{\n  access_log off;\n  \
             client_body_temp_path /tmp/a;\n  proxy_temp_path /tmp/b;\n  fastcgi_temp_path /tmp/c;\n  uwsgi_temp_path \
             /tmp/d;\n  scgi_temp_path /tmp/e;\n  server {{\n    listen {port};\n    root /srv;\n  }}\n}}\n"
        );
        Image::new(name, &["/usr/sbin/nginx", "-c", "/etc/nginx.conf", "-g", "daemon off;"])
            .with("/usr/sbin/nginx")
            .with("/usr/bin/curl")
            .with("/bin/bash")
            .with_busybox()
            .with_text("/etc/nginx.conf", &settings)
            .with_text("/srv/index.html", "served\n")
            .with_folder("/var/log/nginx")
            .with_folder("/var/lib/nginx")
    };
    let shell = Image::new("registry.fedoraproject.org/fedora-minimal:latest", &["/bin/bash"]).replaceable();
    Ok(vec![
        operator()?,
        nginx("docker.io/library/nginx:1.21", 80),
        nginx("docker.io/nginxinc/nginx-unprivileged:1.21", 8080),
        shell.with("/bin/bash").with("/usr/bin/curl").with("/bin/grep").with("/bin/cat").with_busybox(),
    ])
}
