#!/usr/bin/env python3
"""The Helm chart: what `helm lint` says of it, and what the rendered objects have in them.

The variables that the chart sets are given to the image's entry point, and zkfast judges the zoo.cfg that comes out.

    tests/packaging/chart.py                     with the release zkfast
"""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compat"))
import support  # noqa: E402

CHART = support.ROOT / "tuning/chart"
ENTRY_POINT = support.ROOT / "tuning/image/docker-entrypoint.sh"
PORTS = {"client": 2181, "quorum": 2888, "election": 3888, "admin": 8080, "metrics": 7000}
KINDS = {
    "ServiceAccount", "Service/zk-zkfast", "Service/zk-zkfast-headless", "PodDisruptionBudget", "NetworkPolicy",
    "StatefulSet",
}
# Values of other installations: each of them must be linted without a fault.
VARIANTS = {
    "default": [],
    "one server": ["replicaCount=1", "persistence.enabled=false", "podAntiAffinity=none"],
    "five servers": ["replicaCount=5", "podAntiAffinity=soft", "persistence.log.enabled=true"],
    "no extras": [
        "metrics.enabled=false", "podDisruptionBudget.enabled=false", "networkPolicy.enabled=false",
        "serviceAccount.create=false",
    ],
    "monitored": ["metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.release=prometheus"],
    "everything": [
        "config.extra={snapCount=200000,extendedTypesEnabled=true}", "config.fourLetterWords=*",
        "config.jvmFlags=-Dzookeeper.skipACL=no", "config.flags=--log-format json", "persistence.storageClass=fast",
        "persistence.log.enabled=true", "persistence.log.storageClass=faster", "priorityClassName=high",
        "podSecurityContext.seccompProfile.type=Localhost",
        "podSecurityContext.seccompProfile.localhostProfile=zkfast.json", "imagePullSecrets[0].name=secret",
        "networkPolicy.clients[0].podSelector.matchLabels.app=mine", "service.annotations.a=b", "podLabels.c=d",
        "podAnnotations.e=f", "tolerations[0].operator=Exists", "nodeSelector.disk=nvme",
    ],
}


def helm(verb, values=(), name="zk"):
    """What helm says of the chart with some values, and its status."""
    words = [os.environ["ZKFAST_HELM"], verb, *([name] if verb == "template" else []), CHART, "--namespace", "space"]
    # The oldest version that the chart allows; a Helm that `go install` has built names an older one by itself.
    words += ["--kube-version", "1.25.0"]
    for value in values:
        words += ["--set", value]
    if verb == "lint":
        words.append("--strict")
    run = subprocess.run(words, capture_output=True, text=True, timeout=support.ANSWER_SECONDS_MAX)
    return run.stdout, run.stderr, run.returncode


def rendered(values=(), name="zk"):
    """The objects, by kind, and by kind and name where a kind has several."""
    import yaml

    output, errors, status = helm("template", values, name)
    assert status == 0, errors
    objects = [one for one in yaml.safe_load_all(output) if one]
    kinds = [one["kind"] for one in objects]
    return {
        one["kind"] if kinds.count(one["kind"]) == 1 else f"{one['kind']}/{one['metadata']['name']}": one
        for one in objects
    }


def pod(objects):
    return objects["StatefulSet"]["spec"]["template"]["spec"]


def server(objects):
    [container] = pod(objects)["containers"]
    return container


def variables(objects):
    """The container's environment, the number of server 1 included."""
    found = {one["name"]: one.get("value") for one in server(objects)["env"]}
    assert found.pop("POD_NAME") is None
    return found


def is_part(part, whole):
    return part.items() <= whole.items()


def holes(value, path=""):
    """Places with nothing in them: an empty name, list or mapping, or null."""
    if isinstance(value, dict):
        for key, inner in value.items():
            # These two are written so: any pod of the namespace, and a folder that is empty at the start.
            if not (key in ["podSelector", "emptyDir"] and inner == {}):
                yield from holes(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from holes(inner, f"{path}[{index}]")
    if value in (None, "", [], {}):
        yield path


def lint_finds_nothing():
    for name, values in VARIANTS.items():
        output, errors, status = helm("lint", values)
        assert status == 0 and "0 chart(s) failed" in output, f"{name}: {output}{errors}"


def wrong_values_are_refused():
    for value in [
        "ports.client=0", "replicaCount=0", "ports.other=1", "config.extra={a=b c}", "podAntiAffinity=maybe",
        "image.repository=", "config.tickTime=fast",
    ]:
        _, errors, status = helm("template", [value])
        assert status != 0 and "values don't meet the specifications" in errors, f"{value}: {errors}"


def nothing_is_empty():
    for name, values in VARIANTS.items():
        for key, one in rendered(values).items():
            found = list(holes(one))
            assert not found, f"{name}: {key}: {found}"
            assert one["metadata"]["namespace"] == "space", f"{name}: {key}"


def every_kind_is_there():
    objects = rendered()
    assert set(objects) == KINDS, set(objects)
    assert set(rendered(VARIANTS["monitored"])) == KINDS | {"ServiceMonitor"}
    assert set(rendered(VARIANTS["no extras"])) == KINDS - {"ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"}


def names_fit():
    """A name of Kubernetes has 63 characters at most, also of a release with a long name."""
    for name in ["a" * 53, "zkfast", "zk"]:
        objects = rendered(["replicaCount=11"], name)
        names = [one["metadata"]["name"] for one in objects.values()] + [objects["StatefulSet"]["metadata"]["name"] + "-10"]
        assert all(0 < len(one) <= 63 for one in names), names
        hosts = variables(objects)["ZOO_SERVERS"].split()
        assert objects["StatefulSet"]["spec"]["serviceName"] in hosts[10], hosts[10]


def selectors_find_the_servers():
    objects = rendered(VARIANTS["monitored"])
    labels = objects["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    selectors = [objects["StatefulSet"]["spec"]["selector"]["matchLabels"]]
    selectors += [objects[f"Service/zk-zkfast{end}"]["spec"]["selector"] for end in ["", "-headless"]]
    selectors += [objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]]
    policy = objects["NetworkPolicy"]["spec"]
    selectors += [policy["podSelector"]["matchLabels"], policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"]]
    [rule] = pod(objects)["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    selectors += [rule["labelSelector"]["matchLabels"]]
    assert all(selector and is_part(selector, labels) for selector in selectors), selectors
    # One of the two services, so that a server is not asked twice.
    monitor = objects["ServiceMonitor"]["spec"]
    found = [
        key for key, one in objects.items()
        if key.startswith("Service/") and is_part(monitor["selector"]["matchLabels"], one["metadata"]["labels"])
    ]
    assert found == ["Service/zk-zkfast-headless"], found
    assert objects["ServiceMonitor"]["metadata"]["labels"]["release"] == "prometheus"
    [endpoint] = monitor["endpoints"]
    assert endpoint["port"] == "metrics" and endpoint["path"] == "/metrics"


def ports_agree():
    objects = rendered()
    assert {one["name"]: one["containerPort"] for one in server(objects)["ports"]} == PORTS
    headless = objects["Service/zk-zkfast-headless"]["spec"]
    assert {one["name"]: one["port"] for one in headless["ports"]} == PORTS
    assert all(one["targetPort"] == one["name"] for one in headless["ports"])
    assert headless["clusterIP"] == "None" and headless["publishNotReadyAddresses"] is True
    [client] = objects["Service/zk-zkfast"]["spec"]["ports"]
    assert (client["port"], client["targetPort"]) == (2181, "client")
    assert "publishNotReadyAddresses" not in objects["Service/zk-zkfast"]["spec"]
    opened = [port["port"] for rule in objects["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]]
    assert sorted(opened) == sorted(PORTS), opened
    without = rendered(["metrics.enabled=false"])
    assert "metrics" not in [one["name"] for one in server(without)["ports"]]
    assert "metricsProvider" not in variables(without)["ZOO_CFG_EXTRA"]


def probes_ask_the_admin_port():
    container = server(rendered())
    for probe, path in [("startupProbe", "/startup"), ("livenessProbe", "/live"), ("readinessProbe", "/ready")]:
        assert container[probe]["httpGet"] == {"path": path, "port": "admin"}, probe
        assert container[probe]["periodSeconds"] > 0 and container[probe]["failureThreshold"] > 0, probe
    # A start that reads a large tree is not killed within the first half hour.
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 1800


def pods_are_confined():
    objects = rendered()
    whole, container = pod(objects)["securityContext"], server(objects)["securityContext"]
    assert whole["runAsNonRoot"] is True and whole["runAsUser"] == whole["fsGroup"] == 1000
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["readOnlyRootFilesystem"] is True and container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert pod(objects)["automountServiceAccountToken"] is False
    resources = server(objects)["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"] and "cpu" not in resources["limits"]
    other = pod(rendered(VARIANTS["everything"]))["securityContext"]["seccompProfile"]
    assert other == {"type": "Localhost", "localhostProfile": "zkfast.json"}


def volumes_are_mounted():
    for name, values in VARIANTS.items():
        objects = rendered(values)
        claims = [one["metadata"]["name"] for one in objects["StatefulSet"]["spec"].get("volumeClaimTemplates", [])]
        volumes = [one["name"] for one in pod(objects)["volumes"]]
        mounts = {one["name"]: one["mountPath"] for one in server(objects)["volumeMounts"]}
        assert sorted(claims + volumes) == sorted(mounts), f"{name}: {claims} {volumes} {mounts}"
        # A log in the container's own layer is lost with the container.
        log = variables(objects)["ZOO_DATA_LOG_DIR"]
        assert log in mounts.values() and "/data" in mounts.values() and "/conf" in mounts.values(), name


def the_update_goes_one_by_one():
    spec = rendered()["StatefulSet"]["spec"]
    # OrderedReady would wait for ever for the first server, which needs a second one for a quorum.
    assert (spec["podManagementPolicy"], spec["updateStrategy"]["type"]) == ("Parallel", "RollingUpdate")
    assert rendered()["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def configured(folder, values, ordinal):
    """zoo.cfg and myid that the image's entry point makes for a pod of the chart."""
    objects = rendered(values)
    folder.mkdir()
    [shell, flag, script] = server(objects)["command"]
    environment = {
        "PATH": os.environ["PATH"], "POD_NAME": f"zk-zkfast-{ordinal}", "ZOO_STANDALONE_ENABLED": "true",
        "ZOO_ADMINSERVER_ENABLED": "true", **variables(objects),
        "ZOO_CONF_DIR": str(folder), "ZOO_DATA_DIR": str(folder), "ZOO_DATA_LOG_DIR": str(folder),
        "ZOO_LOG_DIR": str(folder),
    }
    script = script.replace("/docker-entrypoint.sh", str(ENTRY_POINT)).replace("zkServer.sh start-foreground", "true")
    assert script.count(str(ENTRY_POINT)) == 1 and script.endswith(" true"), script
    subprocess.run([shell, flag, script], env=environment, check=True)
    return folder / "zoo.cfg", (folder / "myid").read_text()


def zkfast_takes_the_configuration(folder):
    def case():
        binary = os.environ.get("ZKFAST_BIN", support.TARGET / "release/zkfast")
        for number, values in enumerate(VARIANTS.values()):
            replicas = int(dict(value.split("=", 1) for value in values).get("replicaCount", 3))
            config, myid = configured(folder / str(number), values, replicas - 1)
            lines = config.read_text().splitlines()
            assert myid == f"{replicas}\n"
            assert sum(line.startswith("server.") for line in lines) == replicas, lines
            if replicas == 3:
                assert (
                    "server.3=zk-zkfast-2.zk-zkfast-headless.space.svc.cluster.local:2888:3888;2181" in lines
                ), lines
            # The cluster's names have no address here, so that the file is all that is judged.
            run = subprocess.run([binary, "check", config], capture_output=True, text=True)
            assert run.returncode == 0 and " 0 errors" in run.stdout, run.stdout + run.stderr

    case.__name__ = "zkfast_takes_the_configuration"
    return case


def versions_agree():
    chart = (CHART / "Chart.yaml").read_text()
    cargo = (support.ROOT / "Cargo.toml").read_text()
    version = next(line.split('"')[1] for line in cargo.splitlines() if line.startswith("version = "))
    assert f"appVersion: {version}\n" in chart, f"Cargo.toml has {version}"
    assert server(rendered())["image"] == f"zkfast:{version}"


def main():
    support.arguments(__doc__).parse_args()
    support.use_environment()
    os.environ.setdefault("ZKFAST_HELM", support.installed("helm"))
    with support.scratch("chart") as folder:
        support.run_cases([
            lint_finds_nothing, wrong_values_are_refused, nothing_is_empty, every_kind_is_there, names_fit,
            selectors_find_the_servers, ports_agree, probes_ask_the_admin_port, pods_are_confined, volumes_are_mounted,
            the_update_goes_one_by_one, zkfast_takes_the_configuration(folder), versions_agree,
        ], folder)


if __name__ == "__main__":
    main()
