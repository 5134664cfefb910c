//! Process and machine as `envi` shows them, under the names of Java's properties.
//!
//! A key that only Java can fill has the value that Java prints for a property that is not set.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// Java prints this for a property that is not set.
const NOT_AVAILABLE: &str = "<NA>";

/// The user that the process runs as, as Java's `user.name`.
pub fn user_name() -> String {
    let user = fixed().into_iter().find(|(name, _)| name == "user.name");
    user.map_or(NOT_AVAILABLE.to_owned(), |(_, name)| name)
}

/// The pairs that do not change while the process runs, in Java's order. Source: `Environment.list`.
pub fn fixed() -> Vec<(String, String)> {
    let kernel = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    };
    let (user, home) = fs::read_to_string("/etc/passwd").ok().and_then(|users| own_entry(&users)).unzip();
    let variable = |name: &str| std::env::var(name).ok();
    let current_dir = std::env::current_dir().ok().map(|path| path.display().to_string());
    let values = [
        ("host.name", kernel("hostname")),
        ("java.version", None),
        ("java.vendor", None),
        ("java.home", None),
        ("java.class.path", None),
        ("java.library.path", None),
        ("java.io.tmpdir", Some(std::env::temp_dir().display().to_string())),
        ("java.compiler", None),
        ("os.name", Some("Linux".to_owned())),
        ("os.arch", Some(arch.to_owned())),
        ("os.version", kernel("osrelease")),
        ("user.name", user.or_else(|| variable("USER"))),
        ("user.home", home.or_else(|| variable("HOME"))),
        ("user.dir", current_dir),
    ];
    let text =
        |value: Option<String>| value.map_or(NOT_AVAILABLE.to_owned(), |value| value.trim().to_owned());
    values.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect()
}

/// What Java has as system properties, as far as there is any without Java.
pub fn properties() -> Vec<(String, String)> {
    let separators = [("file.separator", "/"), ("line.separator", "\n"), ("path.separator", ":")];
    let known = fixed().into_iter().filter(|(name, value)| name != "host.name" && value != NOT_AVAILABLE);
    known.chain(separators.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

/// The machine's memory now, and the limit of this process (Java shows its heap under these names).
pub fn memory() -> Vec<(String, String)> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo_bytes(&meminfo, "MemTotal");
    let limit =
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let max = [total, limit].into_iter().flatten().min();
    let values = [("free", meminfo_bytes(&meminfo, "MemAvailable")), ("max", max), ("total", total)];
    let text =
        |bytes: Option<u64>| bytes.map_or(NOT_AVAILABLE.to_owned(), |bytes| format!("{}MB", bytes >> 20));
    values.into_iter().map(|(name, bytes)| (format!("os.memory.{name}"), text(bytes))).collect()
}

/// The bytes of a line of `/proc/meminfo`, which counts in KiB.
fn meminfo_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Name and home directory of this process's user.
fn own_entry(users: &str) -> Option<(String, String)> {
    let uid = fs::metadata("/proc/self").ok()?.uid();
    entry(users, uid)
}

fn entry(users: &str, uid: u32) -> Option<(String, String)> {
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, id, _, _, home, ..] = fields[..] else { return None };
        (id.parse() == Ok(uid)).then(|| (name.to_owned(), home.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both files of the system are parsed.
    #[test]
    fn files() {
        let meminfo =
            "MemTotal:       24689556 kB\nMemFree:        20000000 kB\nMemAvailable:   22000000 kB\n";
        assert_eq!(meminfo_bytes(meminfo, "MemTotal"), Some(24_689_556 << 10));
        assert_eq!(meminfo_bytes(meminfo, "MemAvailable"), Some(22_000_000 << 10));
        assert_eq!(meminfo_bytes(meminfo, "Mem"), None);
        let users = "root:x:0:0:root:/root:/bin/bash\n# comment\nzk:x:1000:1000::/var/lib/zk:/bin/false\n";
        assert_eq!(entry(users, 1000), Some(("zk".to_owned(), "/var/lib/zk".to_owned())));
        assert_eq!(entry(users, 7), None);
    }

    /// Each of ZooKeeper's keys appears once, in its order, with a value.
    #[test]
    fn keys() {
        let all: Vec<(String, String)> = fixed().into_iter().chain(memory()).collect();
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        let expected = "host.name java.version java.vendor java.home java.class.path java.library.path java.io.tmpdir \
                        java.compiler os.name os.arch os.version user.name user.home user.dir os.memory.free \
                        os.memory.max os.memory.total";
        assert_eq!(names.join(" "), expected);
        assert!(all.iter().all(|(_, value)| !value.is_empty() && !value.contains('\n')), "{all:?}");
    }
}
