#!/usr/bin/env python3
"""The Helm chart: what `helm lint` says of it, and what the rendered objects have in them.

The variables that the chart sets are given to the image's entry point, and zkfast judges the zoo.cfg that comes out. With TLS
a server runs on it, with secrets as Kubernetes mounts them, is asked what the probes ask, and gets a new certificate.

    tests/packaging/chart.py                     with the release zkfast
"""

import contextlib
import os
import pathlib
import ssl
import subprocess
import sys
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compat"))
import support  # noqa: E402
import tls_fixtures  # noqa: E402

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
    "tls for clients": ["tls.client.enabled=true", "tls.client.secret=clients"],
    "tls beside plain": ["tls.client.enabled=true", "tls.client.secret=clients", "tls.client.plain=true", "tls.client.clientAuth=none"],
    "tls on the way": ["tls.quorum.portUnification=true", "tls.quorum.secret=servers"],
    "tls everywhere": [
        "tls.client.enabled=true", "tls.client.secret=clients", "tls.quorum.enabled=true", "tls.quorum.secret=servers",
        "tls.admin.enabled=true", "sasl.secret=users", "kerberos.keytabSecret=keytabs", "kerberos.configMap=krb5",
        "extraSecrets[0].secret=more", "extraSecrets[0].mountPath=/etc/more",
        "config.extra={authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider}",
    ],
    "tls by pkcs12": [
        "tls.client.enabled=true", "tls.client.secret=clients", "tls.client.type=PKCS12", "tls.client.passwordFile=password",
        "replicaCount=1",
    ],
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
        "image.repository=", "config.tickTime=fast", "tls.client.type=JKS", "tls.client.clientAuth=maybe", "tls.other=1",
        "tls.client.certificate=a/b", "extraSecrets[0].secret=a",
    ]:
        _, errors, status = helm("template", [value])
        assert status != 0 and "values don't meet the specifications" in errors, f"{value}: {errors}"


def tls_wants_a_secret():
    for value in ["tls.client.enabled=true", "tls.quorum.enabled=true", "tls.quorum.portUnification=true", "tls.admin.enabled=true"]:
        _, errors, status = helm("template", [value])
        assert status != 0 and "names no Secret" in errors, f"{value}: {errors}"


def ports_with_tls():
    """Without plain clients nothing is open, published or allowed for them."""
    for name, expected in [
        ("tls for clients", ["secure-client"]), ("tls beside plain", ["client", "secure-client"]), ("default", ["client"]),
    ]:  # fmt: skip
        objects = rendered(VARIANTS[name])
        of_clients = lambda found: sorted(one for one in found if one.endswith("client"))  # noqa: E731
        assert of_clients(one["name"] for one in server(objects)["ports"]) == expected, name
        for service in ["Service/zk-zkfast", "Service/zk-zkfast-headless"]:
            assert of_clients(one["name"] for one in objects[service]["spec"]["ports"]) == expected, f"{name}: {service}"
        rules = objects["NetworkPolicy"]["spec"]["ingress"]
        assert of_clients(port["port"] for rule in rules for port in rule["ports"]) == expected, name
        has_port = [";2181" in one for one in variables(objects)["ZOO_SERVERS"].split()]
        assert set(has_port) == {"client" in expected}, name


def secrets_are_for_the_group_alone():
    objects = rendered(VARIANTS["tls everywhere"])
    volumes = {one["name"]: one.get("secret") for one in pod(objects)["volumes"]}
    secrets = {one["secretName"]: one["defaultMode"] for one in volumes.values() if one}
    assert secrets == dict.fromkeys(["clients", "servers", "users", "keytabs", "more"], 0o440), secrets
    mounts = {one["name"]: one for one in server(objects)["volumeMounts"]}
    assert all(mounts[name]["readOnly"] for name, secret in volumes.items() if secret)
    assert mounts["krb5-conf"]["mountPath"] == "/etc/krb5.conf" and mounts["krb5-conf"]["subPath"] == "krb5.conf"
    assert variables(objects)["JVMFLAGS"] == "-Djava.security.auth.login.config=/etc/zkfast/jaas/jaas.conf"


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
        secure = server(rendered(VARIANTS["tls everywhere"]))[probe]["httpGet"]
        assert secure == {"path": path, "port": "admin", "scheme": "HTTPS"}, probe
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


class Secrets:
    """Secrets as Kubernetes mounts them: files of the group's, behind links that a change moves at once."""

    def __init__(self, folder):
        self.folder, self.generation = folder / "etc", 0
        (folder / "files").mkdir()
        self.fixtures = tls_fixtures.Fixtures(folder / "files")
        password = tls_fixtures.PASSWORD
        for name in ["tls-client", "tls-quorum"]:
            self.mount(name, self.certificate() | {
                "keystore.p12": self.fixtures.pkcs12("of-" + name, self.fixtures.server).read_bytes(),
                "truststore.p12": self.fixtures.trust("of-" + name, self.fixtures.ca.certificate, "PKCS12").read_bytes(),
                "password": password.encode(),
            })  # fmt: skip
        module = "org.apache.zookeeper.server.auth.DigestLoginModule"
        self.mount("jaas", {"jaas.conf": f'Server {{ {module} required user_bob="secret"; }};\n'.encode()})

    def certificate(self):
        """A new one, in the layout of cert-manager."""
        self.generation += 1
        made = self.fixtures.signed(
            f"made-{self.generation}", f"/CN=server {self.generation}", self.fixtures.ca, names="DNS:localhost,IP:127.0.0.1"
        )
        files = {"tls.crt": made.certificate, "tls.key": made.key, "ca.crt": self.fixtures.ca.certificate}
        return {name: path.read_bytes() for name, path in files.items()}

    def mount(self, name, files):
        mount = self.folder / name
        self.generation += 1
        data = mount / f"..data-{self.generation}"
        data.mkdir(parents=True)
        for file, content in files.items():
            (data / file).write_bytes(content)
            (data / file).chmod(0o440)
            if not (mount / file).is_symlink():
                (mount / file).symlink_to(f"..data/{file}")
        (mount / "..new").symlink_to(data.name)
        (mount / "..new").rename(mount / "..data")


def configured(folder, values, ordinal, secrets):
    """zoo.cfg and myid that the image's entry point makes for a pod of the chart."""
    objects = rendered(values)
    folder.mkdir()
    (folder / "data").mkdir()
    [shell, flag, script] = server(objects)["command"]
    environment = {
        "PATH": os.environ["PATH"], "POD_NAME": f"zk-zkfast-{ordinal}", "ZOO_STANDALONE_ENABLED": "true",
        "ZOO_ADMINSERVER_ENABLED": "true",
        **{name: value.replace("/etc/zkfast", str(secrets.folder)) for name, value in variables(objects).items()},
        "ZOO_CONF_DIR": str(folder), "ZOO_DATA_DIR": str(folder / "data"), "ZOO_DATA_LOG_DIR": str(folder / "data"),
        "ZOO_LOG_DIR": str(folder),
    }
    script = script.replace("/docker-entrypoint.sh", str(ENTRY_POINT)).replace("zkServer.sh start-foreground", "true")
    assert script.count(str(ENTRY_POINT)) == 1 and script.endswith(" true"), script
    subprocess.run([shell, flag, script], env=environment, check=True)
    return folder / "zoo.cfg", (folder / "data/myid").read_text(), environment


def binary():
    return os.environ.get("ZKFAST_BIN", support.TARGET / "release/zkfast")


def a_server_with_tls(folder, secrets):
    """It serves TLS alone to clients with a certificate, answers the probes by HTTPS, and takes a new certificate."""
    def case():
        first = support.free_port(6)
        ports = {"client": first, "secureClient": first + 1, "quorum": first + 2, "election": first + 3, "admin": first + 4, "metrics": first + 5}
        values = VARIANTS["tls everywhere"] + [f"ports.{name}={port}" for name, port in ports.items()] + ["replicaCount=1"]
        config, _, environment = configured(folder / "served", values, 0, secrets)
        fixtures = secrets.fixtures
        context = ssl.create_default_context(cafile=fixtures.ca.certificate)
        stranger = ssl.create_default_context(cafile=fixtures.ca.certificate)
        context.load_cert_chain(fixtures.client.certificate, fixtures.client.key)
        probes = [server(rendered(values))[f"{probe}Probe"]["httpGet"] for probe in ["startup", "liveness", "readiness"]]

        def word(context):
            with support.socket.create_connection(("127.0.0.1", ports["secureClient"]), timeout=5) as plain:
                with context.wrap_socket(plain, server_hostname="localhost") as secure:
                    secure.sendall(b"ruok")
                    return secure.recv(16)

        def is_ready():
            assert process.poll() is None, log.read_text()
            try:
                for probe in probes:
                    assert probe["scheme"] == "HTTPS"
                    # A kubelet does not look at the certificate.
                    anyone = ssl._create_unverified_context()
                    urllib.request.urlopen(f"https://127.0.0.1:{ports['admin']}{probe['path']}", context=anyone, timeout=5)
                return True
            except OSError:
                return False

        log = folder / "served.log"
        with open(log, "wb") as output:
            process = subprocess.Popen([binary(), config], env=environment, stdout=output, stderr=output)
        try:
            support.wait_until(is_ready, support.START_SECONDS_MAX, "the probes are answered")
            assert word(context) == b"imok"
            with contextlib.suppress(OSError):
                assert word(stranger) == b"", "a client without a certificate is answered"
            assert support.is_free(ports["client"]), "there is a plain port"

            def name():
                with support.socket.create_connection(("127.0.0.1", ports["secureClient"]), timeout=5) as plain:
                    with context.wrap_socket(plain, server_hostname="localhost") as secure:
                        return secure.getpeercert()["serialNumber"]

            before = name()
            secrets.mount("tls-client", secrets.certificate())
            support.wait_until(lambda: name() != before, support.ANSWER_SECONDS_MAX, "the new certificate is served")
            process.terminate()
            assert process.wait(support.STOP_SECONDS_MAX) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        text = log.read_text()
        # This test's files belong to its own group, as the pod's secrets do to the pod's.
        assert "others may read" not in text and "other users may read" not in text, text

    case.__name__ = "a_server_with_tls"
    return case


def zkfast_takes_the_configuration(folder, secrets):
    def case():
        for number, values in enumerate(VARIANTS.values()):
            replicas = int(dict(value.split("=", 1) for value in values).get("replicaCount", 3))
            config, myid, environment = configured(folder / str(number), values, replicas - 1, secrets)
            lines = config.read_text().splitlines()
            assert myid == f"{replicas}\n"
            assert sum(line.startswith("server.") for line in lines) == replicas, lines
            if replicas == 3:
                line = "server.3=zk-zkfast-2.zk-zkfast-headless.space.svc.cluster.local:2888:3888"
                assert line + ";2181" in lines or ("secureClientPort=2281" in lines and line in lines), lines
            # The cluster's names have no address here, so that the file is all that is judged.
            run = subprocess.run([binary(), "check", config], env=environment, capture_output=True, text=True)
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
        secrets = Secrets(folder)
        support.run_cases([
            lint_finds_nothing, wrong_values_are_refused, tls_wants_a_secret, ports_with_tls, secrets_are_for_the_group_alone,
            nothing_is_empty, every_kind_is_there, names_fit,
            selectors_find_the_servers, ports_agree, probes_ask_the_admin_port, pods_are_confined, volumes_are_mounted,
            the_update_goes_one_by_one, zkfast_takes_the_configuration(folder, secrets), a_server_with_tls(folder, secrets),
            versions_agree,
        ], folder)


if __name__ == "__main__":
    main()
