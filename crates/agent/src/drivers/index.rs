//! The index that depmod makes of a kernel's modules (depmod.d(5), modules.dep(5)): which module
//! drives a device, and what must be loaded before it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::c_string;
use crate::Result;
use crate::machine::read_bounded;

/// The largest index file that is read, in bytes.
const MAX_INDEX: u64 = 16 << 20;

/// The modules of one kernel.
#[derive(Debug, Default)]
pub struct Index {
    /// Pattern and module, in the order of the file.
    aliases: Vec<(String, String)>,
    /// Module: its path, and the paths of what it needs, last one first to be loaded.
    paths: HashMap<String, (String, Vec<String>)>,
    /// Module: names and aliases to be loaded before it where they exist.
    soft: BTreeMap<String, Vec<String>>,
}

impl Index {
    /// Reads `modules.alias`, `modules.dep` and, where there is one, `modules.softdep`.
    pub fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| -> Result<String> {
            let bytes = read_bounded(&folder.join(name), MAX_INDEX)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let soft = text("modules.softdep").unwrap_or_default();
        Ok(Self::parse(
            &text("modules.alias")?,
            &text("modules.dep")?,
            &soft,
        ))
    }

    fn parse(aliases: &str, dependencies: &str, soft: &str) -> Self {
        let mut index = Self::default();
        for line in aliases.lines() {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(pattern), Some(module)) =
                (words.next(), words.next(), words.next())
            {
                index.aliases.push((pattern.to_owned(), module.to_owned()));
            }
        }
        for line in dependencies.lines() {
            if let Some((path, needs)) = line.split_once(':') {
                let needs = needs.split_whitespace().map(String::from).collect();
                index
                    .paths
                    .insert(module_name(path), (path.to_owned(), needs));
            }
        }
        for line in soft.lines() {
            let mut words = line.split_whitespace();
            if let (Some("softdep"), Some(module)) = (words.next(), words.next()) {
                let before = words
                    .skip_while(|word| *word != "pre:")
                    .skip(1)
                    .take_while(|word| *word != "post:");
                index
                    .soft
                    .insert(underscored(module), before.map(String::from).collect());
            }
        }
        index
    }

    /// The modules that drive a device with this alias.
    pub fn drivers_of(&self, alias: &str) -> Vec<String> {
        let text = c_string(alias);
        let matches = |pattern: &str| {
            // Nearly every pattern can be told from its beginning, much faster.
            let literal = pattern.find(['*', '?', '[', '\\']).unwrap_or(pattern.len());
            if !alias.starts_with(&pattern[..literal]) {
                return false;
            }
            let pattern = c_string(pattern);
            // SAFETY: both are NUL-terminated strings that outlive the call.
            unsafe { libc::fnmatch(pattern.as_ptr(), text.as_ptr(), 0) == 0 }
        };
        let found = self.aliases.iter().filter(|(pattern, _)| matches(pattern));
        found.map(|(_, module)| module.clone()).collect()
    }

    /// The paths, below the folder of the index, of a module and all that it needs, in the order
    /// in which they must be loaded; empty for a module that is not there (or is built in).
    pub fn load_order(&self, name: &str) -> Vec<String> {
        let mut order = Vec::new();
        self.append(&underscored(name), &mut order, 0);
        order
    }

    fn append(&self, name: &str, order: &mut Vec<String>, depth: u32) {
        // depmod refuses circles between modules; soft dependencies may make one.
        const DEEPEST: u32 = 8;
        let Some((path, needs)) = self.paths.get(name) else {
            return;
        };
        if depth > DEEPEST {
            return;
        }
        for before in self.soft.get(name).into_iter().flatten() {
            let mut modules = self.drivers_of(before);
            modules.push(underscored(before));
            modules
                .iter()
                .for_each(|module| self.append(module, order, depth + 1));
        }
        for needed in needs.iter().rev() {
            self.append(&module_name(needed), order, depth + 1);
        }
        if !order.contains(path) {
            order.push(path.clone());
        }
    }
}

/// The name of the module at this path: file name up to the first dot, with underscores.
pub(super) fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    underscored(file.split('.').next().unwrap_or(file))
}

/// Dashes and underscores are the same in a module's name.
fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALIASES: &str = "# Aliases extracted from modules themselves.
alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
alias virtio:d00000001v* virtio_net
alias pci:v*d*sv*sd*bc01sc06i01* ahci
alias pci:v*d*sv*sd*bc01sc08i02* nvme
alias usb:v0B95p[0-9A]*d* asix
alias crypto-crc32c crc32c_generic
";
    const DEPENDENCIES: &str = "kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio-pci.ko: kernel/drivers/virtio/virtio_pci_legacy_dev.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_pci_legacy_dev.ko:
kernel/crypto/crc32c_generic.ko:
kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko
kernel/fs/jbd2/jbd2.ko:
kernel/a.ko:
kernel/b.ko:
";
    const SOFT: &str =
        "softdep ext4 pre: crypto-crc32c missing post: later\nsoftdep a pre: b\nsoftdep b pre: a\n";

    fn index() -> Index {
        Index::parse(ALIASES, DEPENDENCIES, SOFT)
    }

    fn short(paths: Vec<String>) -> Vec<String> {
        paths.iter().map(|path| module_name(path)).collect()
    }

    #[test]
    fn devices_find_their_drivers() {
        let index = index();
        let virtio = "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00";
        assert_eq!(index.drivers_of(virtio), ["virtio_pci"]);
        assert_eq!(
            index.drivers_of("pci:v00008086d00002922sv1sd2bc01sc06i01"),
            ["ahci"]
        );
        assert_eq!(index.drivers_of("usb:v0B95pA1d2"), ["asix"]);
        assert!(index.drivers_of("usb:v0B95pB1d2").is_empty());
        assert!(
            index
                .drivers_of("pci:v00008086d00002922sv1sd2bc03sc06i01")
                .is_empty()
        );
    }

    #[test]
    fn what_is_needed_comes_first() {
        let index = index();
        let order = short(index.load_order("virtio_pci"));
        assert_eq!(
            order,
            [
                "virtio_ring",
                "virtio",
                "virtio_pci_legacy_dev",
                "virtio_pci"
            ]
        );
        assert_eq!(
            short(index.load_order("ext4")),
            ["crc32c_generic", "jbd2", "ext4"]
        );
        assert_eq!(
            index.load_order("virtio-pci"),
            index.load_order("virtio_pci")
        );
        assert!(index.load_order("built_in").is_empty());
    }

    #[test]
    fn circles_end() {
        let mut order = short(index().load_order("a"));
        order.sort();
        assert_eq!(order, ["a", "b"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(aliases in ".*", dependencies in ".*", soft in ".*", alias in ".*") {
            let index = Index::parse(&aliases, &dependencies, &soft);
            index.load_order(&alias);
            index.drivers_of(&alias);
        }
    }
}
