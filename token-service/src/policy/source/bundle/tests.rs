use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, Header};

use super::super::Sources;
use super::*;

const POLICY: &str = "package writ\ncall := {\"allow\": true}\nvisible := {\"allow\": true}\n";

struct Packing(Builder<GzEncoder<Vec<u8>>>);

impl Packing {
    fn new() -> Self {
        let packed = GzEncoder::new(Vec::new(), Compression::default());
        Self(Builder::new(packed))
    }

    /// Writes the name as it is: the crate's own function refuses what an attacker would write.
    fn entry(mut self, path: &str, kind: EntryType, link: &str, text: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        if !link.is_empty() {
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        self.0.append(&header, text).unwrap();
        self
    }

    fn file(self, path: &str, text: &str) -> Self {
        self.entry(path, EntryType::Regular, "", text.as_bytes())
    }

    fn read(self) -> Result<Sources, SourceError> {
        let bytes = self.0.into_inner().unwrap().finish().unwrap();
        Sources::bundle("b.tar.gz", &bytes)
    }

    fn refused(self) -> String {
        self.read().unwrap_err().to_string()
    }
}

#[test]
fn a_bundle_as_opa_builds_it_is_read() {
    let sources = Packing::new()
        .entry("/", EntryType::Directory, "", b"")
        .file("/writ/policy.rego", POLICY)
        .file("/writ/policy_test.rego", "package writ_test\n")
        .file("/data.json", r#"{"top": 1}"#)
        .file("/limits/ledger/data.yaml", "transfer: {max: 5}\n")
        .file(
            "/.manifest",
            r#"{"revision": "v7", "roots": ["writ", "top", "limits"], "metadata": {"x": 1}}"#,
        )
        .file("/.signatures.json", "{")
        .file("/policy.wasm", "\0asm")
        .read()
        .unwrap();
    assert_eq!(sources.named.as_deref(), Some("v7"));
    assert_eq!(sources.modules[0].path, "writ/policy.rego");
    assert_eq!(sources.tests.len(), 1);
    assert_eq!(
        serde_json::Value::Object(sources.data),
        serde_json::json!({"top": 1, "limits": {"ledger": {"transfer": {"max": 5}}}})
    );
}

#[test]
fn a_bundle_as_tar_makes_it_is_the_same_policy() {
    let one = Packing::new().file("./p.rego", POLICY).read().unwrap();
    let other = Packing::new().file("p.rego", POLICY).read().unwrap();
    assert_eq!(one.revision(), other.revision());
}

#[test]
fn what_lies_outside_of_the_root_is_refused() {
    for path in [
        "../p.rego",
        "a/../../p.rego",
        "/../p.rego",
        "//p.rego",
        "a//p.rego",
        "a/./p.rego",
        "..\\p.rego",
    ] {
        let refused = Packing::new().file(path, POLICY).refused();
        assert!(refused.contains("below its root"), "{path}: {refused}");
    }
}

#[test]
fn links_and_devices_are_refused() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Fifo,
    ] {
        let refused = Packing::new()
            .file("p.rego", POLICY)
            .entry("data.json", kind, "/etc/passwd", b"")
            .refused();
        assert!(refused.contains("no links"), "{refused}");
    }
}

#[test]
fn a_file_that_is_there_twice_is_refused() {
    let refused = Packing::new()
        .file("p.rego", POLICY)
        .file("/p.rego", POLICY)
        .refused();
    assert!(refused.contains("twice"), "{refused}");
}

#[test]
fn what_grows_without_bounds_is_refused() {
    let zeros = vec![0; 1024 * 1024];
    let mut bomb = Packing::new().file("p.rego", POLICY);
    for n in 0..20 {
        bomb = bomb.entry(&format!("{n}.bin"), EntryType::Regular, "", &zeros);
    }
    let refused = bomb.refused();
    assert!(refused.contains("16 MiB unpacked"), "{refused}");

    let large = format!("{POLICY}# {}", "x".repeat(5 * 1024 * 1024));
    let refused = Packing::new().file("p.rego", &large).refused();
    assert!(refused.contains("4 MiB together"), "{refused}");

    let mut many = Packing::new().file("p.rego", POLICY);
    for n in 0..5000 {
        many = many.file(&format!("{n}"), "");
    }
    let refused = many.refused();
    assert!(refused.contains("4096 entries"), "{refused}");

    // Xorshift: what gzip makes nothing smaller of.
    let mut state = 88_172_645_463_325_252_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(700_000)
    .flatten()
    .collect();
    let refused = Packing::new()
        .entry("noise", EntryType::Regular, "", &noise)
        .refused();
    assert!(refused.contains("a bundle may have 4 MiB"), "{refused}");
}

#[test]
fn what_is_no_bundle_is_refused() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(b"not a tar archive").unwrap();
    for bytes in [b"neither".to_vec(), packed.finish().unwrap(), Vec::new()] {
        assert!(Sources::bundle("b.tar.gz", &bytes).is_err());
    }
    let whole = {
        let packing = Packing::new().file("p.rego", POLICY);
        packing.0.into_inner().unwrap().finish().unwrap()
    };
    let cut = Sources::bundle("b.tar.gz", &whole[..whole.len() / 2]).unwrap_err();
    assert!(cut.to_string().contains("is not an OPA bundle"), "{cut}");
}

#[test]
fn a_manifest_binds() {
    let with = |manifest: &str| {
        Packing::new()
            .file("p.rego", POLICY)
            .file("data.json", r#"{"limits": {"ledger": 1}}"#)
            .file(".manifest", manifest)
            .read()
    };
    for (manifest, told) in [
        (
            r#"{"roots": ["limits"]}"#,
            "p.rego (package writ) is outside",
        ),
        (r#"{"roots": ["writ"]}"#, "data at limits/ledger is outside"),
        (
            r#"{"roots": ["writ", "limits/le"]}"#,
            "data at limits/ledger is outside",
        ),
        (r#"{"roots": ["", "writ"]}"#, "overlap"),
        (
            r#"{"roots": ["writ", "limits", "limits/ledger"]}"#,
            "overlap",
        ),
        (r#"{"roots": "writ"}"#, "is not a manifest"),
        (r#"{"rego_version": 0}"#, "opa fmt"),
        ("{", "is not a manifest"),
    ] {
        let refused = with(manifest).unwrap_err().to_string();
        assert!(refused.contains(told), "{manifest}: {refused}");
    }
    for manifest in [
        "{}",
        r#"{"roots": ["/writ/", "limits/ledger"], "rego_version": 1}"#,
    ] {
        with(manifest).unwrap();
    }
}

#[test]
fn data_is_set_once() {
    for (one, other, told) in [
        (
            ("data.json", "{\"a\": 1}"),
            ("data.yaml", "a: 2"),
            "data.a is set",
        ),
        (
            ("a/data.json", "{\"b\": 1}"),
            ("data.json", "{\"a\": {\"b\": 2}}"),
            "data.a.b is set",
        ),
        (("data.json", "[1]"), ("x", ""), "must be an object"),
        (("data.yaml", "1: {"), ("x", ""), "data.yaml"),
    ] {
        let refused = Packing::new()
            .file("p.rego", POLICY)
            .file(one.0, one.1)
            .file(other.0, other.1)
            .refused();
        assert!(refused.contains(told), "{refused}");
    }
}
