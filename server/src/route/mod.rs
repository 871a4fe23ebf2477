//! Which shard owns a file. A pure function: nobody looks it up, and it never changes for a data folder.

use inkpot_proto::path::{FilePath, TenantName};

/// The shard of a file, in `0..shards`: FNV-1a (64 bit, offset basis and prime as published) over tenant, a zero byte
/// and path without its suffix, folded to spread the high bits. So a file and what is rotated away from it share a shard.
#[must_use]
pub fn shard_of(tenant: &TenantName, path: &FilePath, shards: u32) -> u32 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let Parts { before, after, .. } = parts(path);
    let bytes = tenant.as_str().bytes().chain([0]).chain(before.bytes()).chain(after.bytes());
    let hash = bytes.fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let folded = hash ^ (hash >> 32);
    u32::try_from(folded % u64::from(shards.max(1))).unwrap_or(0)
}

/// A path, cut where routing cuts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// What stands before the suffix.
    pub before: &'a str,
    /// What does not count: in the last component, from the first `@` that is not its first character up to the next `.`
    /// or the end. Empty if there is no such `@`.
    pub suffix: &'a str,
    /// What stands behind the suffix.
    pub after: &'a str,
}

/// Cuts a path as routing does.
#[must_use]
pub fn parts(path: &FilePath) -> Parts<'_> {
    let path = path.as_str();
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let suffix = path[name..].char_indices().skip(1).find(|(_, c)| *c == '@').map_or(path.len(), |(at, _)| name + at);
    let after = path[suffix..].find('.').map_or(path.len(), |dot| suffix + dot);
    Parts { before: &path[..suffix], suffix: &path[suffix..after], after: &path[after..] }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hash_of(path: &str) -> u32 {
        shard_of(&TenantName::parse("default").unwrap(), &FilePath::parse(path).unwrap(), u32::MAX)
    }

    #[test]
    fn shard_of_a_file_never_changes() {
        let shard = |tenant, path| shard_of(&TenantName::parse(tenant).unwrap(), &FilePath::parse(path).unwrap(), 4);
        let shards = [shard("default", "a"), shard("default", "logs/app.log"), shard("other", "logs/app.log")];
        assert_eq!(shards, [1, 0, 0], "an existing data folder would not find its files");
    }

    #[test]
    fn suffix_of_the_last_component_does_not_count() {
        let same = [
            ("a", "a@1"),
            ("a", "a@"),
            ("a", "a@1@2"),
            ("logs/app.log", "logs/app@x.log"),
            ("logs/app.log", "logs/app@20261123T101500123Z.log"),
            ("app.tar.gz", "app@x.tar.gz"),
            ("app.tar.gz", "app.tar@x.gz"),
            ("@app.log", "@app@1.log"),
            ("\u{e9}.log", "\u{e9}@1.log"),
            ("dir@1/a", "dir@1/a@1"),
        ];
        for (file, rotated) in same {
            assert_eq!(hash_of(file), hash_of(rotated), "{file} and {rotated}");
        }
    }

    #[test]
    fn everything_else_counts() {
        let other = [
            ("dir/a", "dir@1/a"),
            ("@app.log", ".log"),
            ("@1", "@2"),
            ("app.log", "app@1.txt"),
            ("app.log", "app@1.b.log"),
            ("app.log", "app@1.b@2.log"),
            ("a/b", "a@/b"),
        ];
        for (one, two) in other {
            let parsed = FilePath::parse(one).is_ok() && FilePath::parse(two).is_ok();
            assert!(parsed && hash_of(one) != hash_of(two), "{one} and {two}");
        }
    }

    #[test]
    fn parts_make_up_the_path() {
        let path = FilePath::parse("logs@1/@app@x.y@z.log").unwrap();
        assert_eq!(parts(&path), Parts { before: "logs@1/@app", suffix: "@x", after: ".y@z.log" });
        let path = FilePath::parse("logs@1/@app.log").unwrap();
        assert_eq!(parts(&path), Parts { before: "logs@1/@app.log", suffix: "", after: "" });
    }

    #[test]
    fn files_spread_evenly() {
        let tenant = TenantName::parse("default").unwrap();
        let mut counts = [0; 4];
        for n in 0..10_000 {
            counts[shard_of(&tenant, &FilePath::parse(&format!("logs/{n}.log")).unwrap(), 4) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (2_300..2_700).contains(count)), "{counts:?}");
    }
}
