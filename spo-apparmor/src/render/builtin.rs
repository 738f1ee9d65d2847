//! The includes that every AppArmor host has, for checks that may not look at a host.

use crate::{
    expand::{Included, Resolver},
    tree::IncludeTarget,
};

/// Knows the variables of `tunables/global` with their usual values; abstractions are there but empty.
///
/// With it a text can be checked without a host: variables are known and includes are found. What an
/// abstraction grants is not known, so questions about it need the real files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Builtin;

impl Resolver for Builtin {
    fn resolve(&self, target: &IncludeTarget) -> Option<Vec<Included>> {
        let IncludeTarget::System(path) = target else { return None };
        let text = match path.as_str() {
            "tunables/global" => TUNABLES,
            // The parts of tunables/global; assigning their variables twice would be an error.
            _ if path.starts_with("abstractions/")
                || path.starts_with("tunables/")
                || path.starts_with("abi/") =>
            {
                ""
            }
            _ => return None,
        };
        Some(vec![Included { name: path.as_str().into(), text: text.into() }])
    }
}

/// The variables of Debian's and upstream's `tunables/global`, with values that match the same names.
const TUNABLES: &str = "\
@{HOMEDIRS} = /home/
@{HOME} = @{HOMEDIRS}/*/ /root/
@{multiarch} = *-linux-gnu*
@{PROC} = /proc/
@{sys} = /sys/
@{securityfs} = @{sys}/kernel/security/
@{apparmorfs} = @{securityfs}/apparmor/
@{run} = /run/ /var/run/
@{etc_ro} = /etc/ /usr/etc/
@{etc_rw} = /etc/
@{pid} = [1-9]{,[0-9]}{,[0-9]}{,[0-9]}{,[0-9]}{,[0-9]}{,[0-9]}
@{tid} = @{pid}
@{pids} = @{pid}
@{uid} = {[0-9],[1-9][0-9]{,[0-9]}{,[0-9]}{,[0-9]}{,[0-9]}{,[0-9]}{,[0-9]}{,[0-9]}{,[0-9]}}
@{uids} = @{uid}
@{flatpak_exports_root} = {flatpak/exports,flatpak/{app,runtime}/*/*/*/*/export}
@{system_share_dirs} = /{usr,usr/local,var/lib/@{flatpak_exports_root}}/share
@{user_share_dirs} = @{HOME}/.local{,/share/@{flatpak_exports_root}}/share
@{XDG_DESKTOP_DIR} = Desktop
@{XDG_DOWNLOAD_DIR} = Downloads
@{XDG_TEMPLATES_DIR} = Templates
@{XDG_PUBLICSHARE_DIR} = Public
@{XDG_DOCUMENTS_DIR} = Documents
@{XDG_MUSIC_DIR} = Music
@{XDG_PICTURES_DIR} = Pictures
@{XDG_VIDEOS_DIR} = Videos
";
