//! `tuning/check` on hosts that consist of files: each rule finds a good setting and a bad one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const DISK: &str = "/sys/devices/pci0/0000:01/block/sda";
const NIC: &str = "/sys/devices/pci0/0000:02";

/// The files of a host on which nothing must be changed: four cores, a disk, a network card, a group with a memory limit.
fn good() -> BTreeMap<String, String> {
    let disk = |name: &str| format!("{DISK}/{name}");
    let mut files: BTreeMap<String, String> = [
        ("/io_uring_setup", "0"),
        ("/proc/sys/kernel/io_uring_disabled", "0"),
        ("/proc/sys/net/core/somaxconn", "4096"),
        ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "4096"),
        ("/proc/sys/vm/swappiness", "60"),
        ("/proc/swaps", "Filename Type Size Used Priority"),
        ("/proc/self/status", "Name: python3\nVmSwap: 0 kB\nCpus_allowed_list: 0-3"),
        ("/proc/self/limits", LIMITS),
        ("/proc/self/cgroup", "0::/a/b"),
        ("/proc/self/mountinfo", MOUNTS),
        ("/proc/interrupts", "  CPU0 CPU1\n 10: 7 900 PCI sda\n 11: 1 0 PCI sda-config\n 20: 50 60 PCI eth0"),
        ("/proc/irq/10/smp_affinity_list", "0"),
        ("/proc/irq/11/smp_affinity_list", "1"),
        ("/proc/irq/20/smp_affinity_list", "1-2"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
        ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
        ("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm"),
        ("/sys/devices/system/cpu/isolated", ""),
        ("/sys/fs/cgroup/a/cpu.max", "max 100000"),
        ("/sys/fs/cgroup/a/b/cpu.max", "400000 100000"),
        ("/sys/fs/cgroup/a/b/cpu.stat", "usage_usec 5\nnr_throttled 0"),
        ("/sys/fs/cgroup/a/b/memory.max", "1073741824"),
        ("/sys/fs/cgroup/a/b/memory.high", "max"),
        ("/sys/fs/cgroup/a/b/memory.current", "104857600"),
        ("/sys/devices/pci0/0000:01/numa_node", "0"),
        ("/sys/devices/pci0/0000:01/msi_irqs/10", ""),
        ("/sys/devices/pci0/0000:01/msi_irqs/11", ""),
        ("/sys/devices/pci0/0000:02/numa_node", "0"),
        ("/sys/devices/pci0/0000:02/msi_irqs/20", ""),
        ("/sys/class/net/eth0/operstate", "up"),
        ("/sys/class/net/lo/operstate", "unknown"),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    for core in 0..4 {
        let cpu = format!("/sys/devices/system/cpu/cpu{core}");
        files.insert(format!("{cpu}/cpufreq/scaling_governor"), "performance".into());
        files.insert(format!("{cpu}/cpuidle/state0/name"), "C1".into());
        files.insert(format!("{cpu}/cpuidle/state0/latency"), "2".into());
        files.insert(format!("{cpu}/cpuidle/state0/disable"), "0".into());
        files.insert(format!("{cpu}/cpuidle/state1/name"), "C6".into());
        files.insert(format!("{cpu}/cpuidle/state1/latency"), "133".into());
        files.insert(format!("{cpu}/cpuidle/state1/disable"), "1".into());
        files.insert(format!("{cpu}/node0/there"), String::new());
        files.insert(format!("{cpu}/topology/thread_siblings_list"), core.to_string());
    }
    files.insert(disk("queue/scheduler"), "[mq-deadline] none".into());
    files.insert(disk("queue/rotational"), "0".into());
    files.insert(disk("queue/write_cache"), "write back".into());
    files.insert(disk("device/scsi_disk/0:0:0:0/cache_type"), "write back".into());
    files
}

const LIMITS: &str = "Limit Soft Limit Hard Limit Units\n\
    Max open files            1024                 1048576              files\n\
    Max locked memory         8388608              8388608              bytes";

const MOUNTS: &str = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
    2 1 0:5 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
    3 1 8:0 / /data rw,relatime - xfs /dev/sda rw";

/// A host's files below a folder, which is removed with this value.
struct Host(PathBuf);

impl Host {
    /// The good host with changed files: their new content, or `None` to remove them.
    fn new(changes: &[(&str, Option<&str>)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tuning-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let host = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        for (path, text) in good() {
            host.put(&path, Some(&text));
        }
        changes.iter().for_each(|(path, text)| host.put(path, *text));
        host.link("sys/dev/block/8:0", &format!("../../../{}", &DISK[1..]));
        host.link("sys/class/net/eth0/device", &format!("../../../../{}", &NIC[1..]));
        host
    }

    /// Writes a file, or removes it, with its folder if that is empty then.
    fn put(&self, path: &str, text: Option<&str>) {
        let path = self.0.join(path.trim_start_matches('/'));
        let folder = path.parent().unwrap();
        match text {
            Some(text) => {
                fs::create_dir_all(folder).unwrap();
                fs::write(path, text).unwrap();
            }
            None => {
                fs::remove_file(&path).unwrap();
                let _ = fs::remove_dir(folder);
            }
        }
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path.trim_start_matches('/'))).unwrap()
    }

    fn check(&self, arguments: &[&str]) -> Output {
        let root = self.0.to_str().unwrap();
        check(&[&["--root", root, "--cores", "0-2", "--data-dir", "/data/zk"], arguments].concat())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn check(arguments: &[&str]) -> Output {
    static PYTHON: OnceLock<String> = OnceLock::new();
    // `python3` may be a script that searches for an interpreter, which takes longer than everything else.
    let python = PYTHON.get_or_init(|| {
        let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        String::from_utf8(found.expect("Python 3").stdout).unwrap().trim().to_owned()
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/check");
    Command::new(python).args(["-I", "-S"]).arg(script).args(arguments).output().expect("Python 3")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// The state of a setting in the output.
fn state(output: &Output, setting: &str) -> String {
    let text = text(output);
    let mut lines = text.lines().map(str::split_whitespace);
    let state = lines.find_map(|mut words| {
        let state = words.next()?;
        (words.next()? == setting).then(|| state.to_owned())
    });
    state.unwrap_or_else(|| panic!("nothing of {setting} in:\n{text}"))
}

/// Changes of the good host: the files, the setting, and its expected state.
type Case = (&'static str, &'static str, &'static [(&'static str, Option<&'static str>)]);

const CASES: [Case; 50] = [
    ("io_uring", "change", &[("/proc/sys/kernel/io_uring_disabled", Some("2"))]),
    ("io_uring", "change", &[("/io_uring_setup", Some("1"))]),
    ("io_uring", "change", &[("/io_uring_setup", Some("38"))]),
    // Kernels before 6.6 have no such switch.
    ("io_uring", "ok", &[("/proc/sys/kernel/io_uring_disabled", None)]),
    ("memlock", "change", &[("/proc/self/limits", Some("Max locked memory 65536 65536 bytes"))]),
    ("memlock", "ok", &[("/proc/self/limits", Some("Max locked memory unlimited unlimited bytes"))]),
    ("memlock", "unseen", &[("/proc/self/limits", None)]),
    ("nofile", "change", &[("/proc/self/limits", Some("Max open files 1024 4096 files"))]),
    ("cores", "change", &[("/proc/self/status", Some("Cpus_allowed_list: 0-1"))]),
    ("cores", "change", &[(CPU1_SIBLINGS, Some("0-1")), (CPU0_SIBLINGS, Some("0-1"))]),
    // There is no third physical core.
    (
        "cores",
        "ok",
        &[
            ("/proc/self/status", Some("Cpus_allowed_list: 0-2")),
            (CPU1_SIBLINGS, Some("0-1")),
            (CPU0_SIBLINGS, Some("0-1")),
        ],
    ),
    ("numa", "change", &[("/sys/devices/system/cpu/cpu2/node0/there", None), (CPU2_NODE1, Some(""))]),
    ("numa", "change", &[("/sys/devices/pci0/0000:01/numa_node", Some("1"))]),
    ("numa", "change", &[("/sys/devices/pci0/0000:02/numa_node", Some("1"))]),
    ("numa", "ok", &[("/sys/devices/pci0/0000:02/numa_node", Some("-1"))]),
    ("cpu_limit", "change", &[("/sys/fs/cgroup/a/b/cpu.max", Some("200000 100000"))]),
    ("cpu_limit", "change", &[("/sys/fs/cgroup/a/cpu.max", Some("50000 100000"))]),
    ("cpu_limit", "change", &[("/sys/fs/cgroup/a/b/cpu.stat", Some("nr_throttled 3"))]),
    ("cpu_limit", "unseen", &[("/proc/self/cgroup", None)]),
    ("memory_limit", "change", &[("/sys/fs/cgroup/a/b/memory.high", Some("900000000"))]),
    ("memory_limit", "change", &[("/sys/fs/cgroup/a/b/memory.current", Some("1000000000"))]),
    ("memory_limit", "unseen", &[("/proc/self/cgroup", None)]),
    ("swap", "change", &[("/proc/swaps", Some("Filename Type Size\n/dev/sdb partition 1"))]),
    ("swap", "ok", &[("/proc/swaps", Some("Filename\n/dev/sdb 1")), ("/proc/sys/vm/swappiness", Some("1"))]),
    ("thp", "change", &[("/sys/kernel/mm/transparent_hugepage/enabled", Some("[always] madvise never"))]),
    ("thp", "unseen", &[("/sys/kernel/mm/transparent_hugepage/enabled", None)]),
    ("governor", "change", &[("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", Some("powersave"))]),
    // A core that zkfast does not use.
    ("governor", "ok", &[("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", Some("powersave"))]),
    ("c_states", "change", &[("/sys/devices/system/cpu/cpu0/cpuidle/state1/disable", Some("0"))]),
    ("clock", "change", &[(CLOCK, Some("hpet"))]),
    ("clock", "ok", &[(CLOCK, Some("kvm-clock"))]),
    ("clock", "unseen", &[(CLOCK, None)]),
    ("irq_disk", "change", &[("/proc/irq/10/smp_affinity_list", Some("2"))]),
    ("irq_disk", "ok", &[("/proc/irq/10/smp_affinity_list", Some("3"))]),
    ("irq_disk", "unseen", &[("/proc/interrupts", None)]),
    ("irq_nic", "change", &[("/proc/irq/20/smp_affinity_list", Some("0"))]),
    ("irq_nic", "unseen", &[("/proc/interrupts", None)]),
    ("file_system", "danger", &[("/proc/self/mountinfo", Some("1 0 0:9 / / rw - tmpfs tmpfs rw"))]),
    ("file_system", "change", &[("/proc/self/mountinfo", Some("1 0 0:9 / / rw - overlay overlay rw"))]),
    ("file_system", "change", &[("/proc/self/mountinfo", Some("1 0 0:9 / / rw - nfs4 far:/ rw"))]),
    ("file_system", "change", &[("/proc/self/mountinfo", Some("1 0 0:9 / / rw - btrfs /dev/sda rw"))]),
    ("file_system", "unseen", &[("/proc/self/mountinfo", None)]),
    ("barriers", "danger", &[("/proc/self/mountinfo", Some("1 0 8:0 / / rw - ext4 /dev/sda rw,nobarrier"))]),
    (
        "write_cache",
        "danger",
        &[("/sys/devices/pci0/0000:01/block/sda/queue/write_cache", Some("write through"))],
    ),
    (
        "write_cache",
        "ok",
        &[
            ("/sys/devices/pci0/0000:01/block/sda/queue/write_cache", Some("write through")),
            (
                "/sys/devices/pci0/0000:01/block/sda/device/scsi_disk/0:0:0:0/cache_type",
                Some("write through"),
            ),
        ],
    ),
    ("scheduler", "change", &[("/sys/devices/pci0/0000:01/block/sda/queue/scheduler", Some("[bfq] none"))]),
    (
        "scheduler",
        "change",
        &[
            ("/sys/devices/pci0/0000:01/block/sda/queue/scheduler", Some("[none] mq-deadline")),
            ("/sys/devices/pci0/0000:01/block/sda/queue/rotational", Some("1")),
        ],
    ),
    ("somaxconn", "change", &[("/proc/sys/net/core/somaxconn", Some("128"))]),
    ("somaxconn", "unseen", &[("/proc/sys/net/core/somaxconn", None)]),
    ("syn_backlog", "change", &[("/proc/sys/net/ipv4/tcp_max_syn_backlog", Some("512"))]),
];

const CPU0_SIBLINGS: &str = "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list";
const CPU1_SIBLINGS: &str = "/sys/devices/system/cpu/cpu1/topology/thread_siblings_list";
const CPU2_NODE1: &str = "/sys/devices/system/cpu/cpu2/node1/there";
const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// On the good host every rule sees its setting and finds it good, and the status is 0.
#[test]
fn nothing_to_change() {
    let output = Host::new(&[]).check(&["--engine", "io_uring"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).ends_with("20 ok, 0 change, 0 danger, 0 unseen\n"), "{}", text(&output));
    for (setting, ..) in CASES {
        assert_eq!(state(&output, setting), "ok");
    }
}

/// What io_uring needs is advised to a server that may choose its engine, and is nothing to one with `--engine epoll`.
#[test]
fn epoll_needs_no_io_uring() {
    let (disabled, limits) = ("/proc/sys/kernel/io_uring_disabled", "Max locked memory 65536 65536 bytes");
    let limits = format!("{limits}\nMax open files 1024 1048576 files");
    let host = Host::new(&[(disabled, Some("2")), ("/proc/self/limits", Some(limits.as_str()))]);
    let changes = |arguments: &[&str]| {
        let output = host.check(arguments);
        let lines = text(&output).lines().filter(|line| line.starts_with("change")).count();
        assert_eq!(output.status.code(), Some(i32::from(lines > 0)), "{}", text(&output));
        lines
    };
    assert_eq!(changes(&["--engine", "epoll"]), 0);
    assert_eq!(changes(&[]), 2);
    assert_eq!(changes(&["--engine", "io_uring"]), 2);
}

/// Each rule reports a bad setting with status 1, and a setting that it cannot see with status 0.
#[test]
fn each_rule() {
    let (host, good) = (Host::new(&[]), good());
    for (setting, expected, changes) in CASES {
        changes.iter().for_each(|(path, text)| host.put(path, *text));
        let output = host.check(&["--only", setting]);
        assert_eq!(state(&output, setting), expected, "{changes:?}:\n{}", text(&output));
        let status = i32::from(["change", "danger"].contains(&expected));
        assert_eq!(output.status.code(), Some(status), "{changes:?}:\n{}", text(&output));
        assert_eq!(text(&output).contains(". Set: "), status == 1, "how to set it:\n{}", text(&output));
        changes.iter().for_each(|(path, _)| host.put(path, good.get(*path).map(String::as_str)));
    }
    assert_eq!(host.check(&[]).status.code(), Some(0), "all is as it was");
}

/// On an empty host, like a container that hides everything, no rule fails or reports a bad setting.
#[test]
fn nothing_is_visible() {
    let empty = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tuning-{}-empty", std::process::id()));
    fs::create_dir_all(&empty).unwrap();
    let output = check(&["--root", empty.to_str().unwrap(), "--cores", "0", "--data-dir", "/data"]);
    fs::remove_dir(&empty).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains(" unseen\n"), "{}", text(&output));
    assert!(!text(&output).contains("Traceback"), "{}", text(&output));
}

/// The rules also read control groups of version 1.
#[test]
fn groups_of_version_1() {
    let mounts = format!(
        "{MOUNTS}\n4 1 0:6 / /v1/cpu rw - cgroup cgroup rw,cpu,cpuacct\n5 1 0:7 / /v1/m rw - cgroup cgroup rw,memory"
    );
    let host = |quota| {
        Host::new(&[
            ("/proc/self/mountinfo", Some(mounts.as_str())),
            ("/proc/self/cgroup", Some("3:memory:/g\n2:cpu,cpuacct:/g\n0::/a/b")),
            ("/v1/cpu/g/cpu.cfs_quota_us", Some(quota)),
            ("/v1/cpu/g/cpu.cfs_period_us", Some("100000")),
            ("/v1/m/g/memory.limit_in_bytes", Some("9223372036854771712")),
            ("/v1/m/g/memory.usage_in_bytes", Some("1")),
        ])
    };
    let output = host("-1").check(&["--only", "cpu_limit,memory_limit"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let output = host("150000").check(&["--only", "cpu_limit,memory_limit"]);
    assert_eq!(state(&output, "cpu_limit"), "change", "{}", text(&output));
}

/// `--apply` prints each command and sets what can be set. The next check finds these settings good.
#[test]
fn apply() {
    let host = Host::new(&[
        ("/proc/sys/kernel/io_uring_disabled", Some("1")),
        ("/proc/sys/net/core/somaxconn", Some("128")),
        ("/sys/kernel/mm/transparent_hugepage/enabled", Some("[always] madvise never")),
        ("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", Some("powersave")),
        ("/sys/devices/system/cpu/cpu1/cpuidle/state1/disable", Some("0")),
        ("/proc/irq/10/smp_affinity_list", Some("1")),
        ("/proc/irq/20/smp_affinity_list", Some("0")),
        ("/sys/devices/pci0/0000:01/block/sda/queue/scheduler", Some("[bfq] none")),
    ]);
    assert_eq!(host.check(&[]).status.code(), Some(1));
    let output = host.check(&["--apply", "--engine", "io_uring"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for command in [
        "sysctl -w kernel.io_uring_disabled=0",
        "sysctl -w net.core.somaxconn=1024",
        "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        "echo performance > /sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
        "echo 0 > /proc/irq/10/smp_affinity_list",
        "echo 1,2 > /proc/irq/20/smp_affinity_list",
        "echo none > /sys/devices/pci0/0000:01/block/sda/queue/scheduler",
    ] {
        assert!(text(&output).lines().any(|line| line == command), "{command} is not in:\n{}", text(&output));
    }
    assert_eq!(host.read("/proc/sys/net/core/somaxconn"), "1024");
    // This program does not set limits of a unit.
    let host = Host::new(&[("/proc/self/limits", Some("Max locked memory 65536 65536 bytes"))]);
    assert_eq!(host.check(&["--apply", "--engine", "io_uring"]).status.code(), Some(1));
}

/// For a running server, the rules read cores from its command line, and limits and swapped memory of its process.
#[test]
fn of_a_server() {
    let host = Host::new(&[
        ("/proc/42/status", Some("Name: zkfast\nVmSwap: 8 kB\nCpus_allowed_list: 0-3")),
        ("/proc/42/cmdline", Some("zkfast\0--cores\x003,1\0")),
        ("/proc/42/limits", Some(LIMITS)),
    ]);
    host.link("proc/42/fd/7", "/data/zk/zkfast-1/log.00000001");
    let root = host.0.to_str().unwrap();
    let output = check(&["--root", root, "--pid", "42"]);
    assert!(text(&output).contains("now 3,1 (isolated"), "{}", text(&output));
    assert!(text(&output).contains("(the server's)"), "{}", text(&output));
    assert_eq!(state(&output, "swap"), "change");
    assert_eq!(state(&output, "scheduler"), "ok");
    assert_eq!(check(&["--root", root, "--pid", "43"]).status.code(), Some(2));
}

/// A usage error gives status 2, which is no finding.
#[test]
fn usage() {
    for wrong in [&["--only", "luck"][..], &["--cores", "x"], &["--pid", "0x1"], &["--bogus"]] {
        let output = check(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output));
    }
}

/// The check does not crash on the host that runs this test.
#[test]
fn this_host() {
    let output = check(&["--data-dir", env!("CARGO_TARGET_TMPDIR")]);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output));
    assert!(text(&output).contains(" unseen\n"), "{}", text(&output));
}

/// With the values in `sysctl.d`, its rules find nothing to change, and the unit grants what the rules require.
#[test]
fn files_for_the_host_agree_with_the_rules() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let sysctl = read("tuning/sysctl.d/60-zkfast.conf");
    let settings =
        sysctl.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let files: Vec<(String, &str)> = settings
        .map(|(key, value)| (format!("/proc/sys/{}", key.trim().replace('.', "/")), value.trim()))
        .collect();
    assert!(files.len() >= 4, "{sysctl}");
    let mut changes: Vec<(&str, Option<&str>)> =
        files.iter().map(|(path, value)| (path.as_str(), Some(*value))).collect();
    changes.push(("/proc/swaps", Some("Filename\n/dev/sdb 1")));
    let output = Host::new(&changes).check(&["--only", "io_uring,somaxconn,syn_backlog,swap"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));

    let unit = read("tuning/zkfast.service");
    let limit = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).expect(name).to_owned();
    assert_eq!(limit("LimitMEMLOCK="), "infinity");
    let limits = format!("Max open files 1024 {} files", limit("LimitNOFILE="));
    let output = Host::new(&[("/proc/self/limits", Some(limits.as_str()))]).check(&["--only", "nofile"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}
