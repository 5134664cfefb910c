#!/usr/bin/env python3
"""The page of metrics for Prometheus after the same traffic: zkfast shows what Apache ZooKeeper 3.9.4 shows.

Both servers run the scenarios of metrics.py: standalone, then as leader, follower and observer. ZooKeeper has its
PrometheusMetricsProvider; zkfast's page is `/metrics` of the admin port. Then, for each part and role:

- each family of ZooKeeper's is on zkfast's page with the same type, help, labels and quantiles, unless src/docs/metrics.md or
  src/docs/four-letter-words.md lists it as left out; what zkfast has beside them is named zkfast_* or process_*;
- counters, counts and sums move as metrics.py asks of `mntr`, and `srst` sets none of them back.

    tests/compat/prometheus.py                             both servers, all parts
    tests/compat/prometheus.py --pages FOLDER              keeps the pages, one file for each server and role
"""

import collections
import pathlib
import re
import sys
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import metrics  # noqa: E402
import support  # noqa: E402

PAGE = support.ROOT / "src/docs/metrics.md"
PROVIDER = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
# The port of a server's page, counted from its client port: beyond the ports of all servers of an ensemble.
PAGE_PORT = 40

# Numbers that a restarted server has counted, and that `srst` must not set back.
KEPT = ("bytes_received_count", "cnt_dbinittime")

Family = collections.namedtuple("Family", "type help samples")


def fetch(client_port):
    """The text of a server's page, and its media type."""
    with urllib.request.urlopen(f"http://127.0.0.1:{client_port + PAGE_PORT}/metrics", timeout=30) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


def parse(text):
    """Families by name; their samples by name and labels. Raises an error where a line has another layout than Java's."""
    families, family = {}, None
    for line in text.splitlines():
        if found := re.fullmatch(r"# HELP (\w+) (.+)", line):
            name, help_text = found.groups()
        elif found := re.fullmatch(r"# TYPE (\w+) (counter|gauge|summary|histogram)", line):
            assert found[1] == name and name not in families, line
            family = families[name] = Family(found[2], help_text, {})
        else:
            found = re.fullmatch(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",)+)\})? (\S+)', line)
            assert found and family is not None, f"not as Java lays it out: {line}"
            assert re.sub(r"_(count|sum|bucket)$", "", found[1]) == name or found[1] == name, line
            labels = tuple(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
            assert (found[1], labels) not in family.samples, f"twice: {line}"
            family.samples[found[1], labels] = float(found[3])
    return families


def as_mntr(families):
    """The page's numbers under the names of `mntr`, as text."""
    result = {}

    def put(name, value):
        result[name] = str(int(value)) if value == int(value) else repr(value)

    for name, family in families.items():
        for (sample, labels), value in family.samples.items():
            keys = [text + "_" for label, text in labels if label == "key"]
            if family.type == "summary" and sample != name:
                short = {"_count": "cnt_", "_sum": "sum_"}[sample.removeprefix(name)]
                put(short + "".join(keys) + name, value)
            elif family.type in ("counter", "gauge") and len(keys) == len(labels):
                put("".join(keys) + name, value)
    for name in [name for name in result if name.startswith("cnt_")]:
        count, total = float(result[name]), float(result["sum_" + name[4:]])
        put("avg_" + name[4:], total / count if count else 0.0)
    return result


def read(port):
    """Stands in for `mntr`."""
    text, media_type = fetch(port)
    assert media_type.replace(" ", "").lower() == "text/plain;version=0.0.4;charset=utf-8", media_type
    return as_mntr(parse(text)) | {"words": str(metrics.WORDS_SENT[port])}


class Java(metrics.Ensemble):
    def keys_of(self, sid):
        port = self.ports[sid] + PAGE_PORT
        keys = {"className": PROVIDER, "httpHost": "127.0.0.1", "httpPort": port, "exportJvmInfo": "true"}
        return super().keys_of(sid) | {f"metricsProvider.{key}": value for key, value in keys.items()}


class Zkfast(metrics.Ensemble):
    def keys_of(self, sid):
        keys = {"enableServer": "true", "serverAddress": "127.0.0.1", "serverPort": self.ports[sid] + PAGE_PORT}
        return super().keys_of(sid) | {f"admin.{key}": value for key, value in keys.items()}


def left_out():
    """Families that the pages of documentation list as left out."""
    section = PAGE.read_text().split("## Left out")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    names = set(re.findall(r"`(\w+)`", "".join(rows)))
    words = {re.sub(r"^[NX]_", "", name) for name in metrics.left_out()}
    return names | words


def shape(name, family):
    """What does not depend on the traffic: type, help, and for each sample's name its labels and quantiles."""
    shapes = {}
    for (sample, labels), _ in family.samples.items():
        shown = tuple(f"{label}={text}" if label == "quantile" else label for label, text in labels)
        shapes.setdefault(sample, set()).add(shown)
    return family.type, family.help, shapes


def compare_shapes(role, java, zkfast):
    """Differences between two pages as lines, and the number of families compared."""
    findings, absent = [], left_out()
    for name, family in java.items():
        if name in absent or name.startswith(("jvm_", "process_")):
            continue
        if name not in zkfast:
            findings.append(f"{role}: {name}: not on zkfast's page")
            continue
        theirs, ours = shape(name, family), shape(name, zkfast[name])
        if theirs[:2] != ours[:2]:
            findings.append(f"{role}: {name}: type and help {theirs[:2]}, zkfast {ours[:2]}")
        # A namespace appears with its first value.
        if theirs[2] and ours[2] and theirs[2] != ours[2]:
            findings.append(f"{role}: {name}: labels {theirs[2]}, zkfast {ours[2]}")
    for name in zkfast:
        if name not in java and not name.startswith(("zkfast_", "process_")):
            findings.append(f"{role}: {name}: ZooKeeper has no such family")
    return findings, len(java)


def run(command, name, kind, folder):
    """Changes of metrics by part and role, and the last page of each role."""
    pages, changed = {}, {}
    metrics.mntr = read
    with support.scratch(f"prometheus-{name}") as place:
        for scenario in metrics.standalone, metrics.ensemble_of_four:
            ensembles = []

            class Kept(kind):
                def __enter__(self):
                    ensembles.append(self)
                    return super().__enter__()

            at = place / scenario.__name__
            at.mkdir()
            for part, role, values in scenario(command, at, Kept):
                changed[f"{part}, {role}"] = values
                ensemble = ensembles[-1]
                pages.update({ensemble.role(sid): fetch(ensemble.ports[sid])[0] for sid in ensemble.running})
            print(f"ran    {name} {scenario.__name__}", flush=True)
    for role, text in pages.items() if folder else ():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}-{role}.txt").write_text(text)
    return changed, pages


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--pages", metavar="FOLDER", type=pathlib.Path)
    options = parser.parse_args()
    java, java_pages = run("reference", "reference", Java, options.pages)
    zkfast, pages = run(options.server, "zkfast", Zkfast, options.pages)
    before = {name: zkfast["restart, standalone"][name] for name in KEPT}
    after = {name: zkfast["srst, standalone"][name] for name in KEPT}
    # `srst` sets nothing back here: what the restart has counted is still on both pages, and is compared as that.
    for changed in java, zkfast:
        changed["restart and srst, standalone"] = changed.pop("srst, standalone")
    findings, compared = metrics.compare(java, zkfast)
    for role in "standalone", "leader", "follower", "observer":
        more, families = compare_shapes(role, parse(java_pages[role]), parse(pages[role]))
        findings += more
        compared += families
    compared += len(KEPT)
    findings += [f"{name}: srst has set it back" for name in KEPT if after[name] < before[name] or not after[name]]
    print("".join(f"{finding}\n" for finding in findings), end="")
    print(f"{compared - len(findings)} passed, {len(findings)} failed, 0 skipped", flush=True)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
