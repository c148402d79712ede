"""The chart on a real API server with its controllers: what a cluster takes, makes of it, and is left with."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
import yaml

from acceptance_support import wait_until
from chart_support import CASES, CHART, KUBERNETES, config_file, pods, render, template, tool, values_file, workload
from servers.kubernetes import ControlPlane
from servers.openapi import LOCATION, write_schemas

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CRDS = Path(__file__).parent / "crds"
PRIVILEGED = {"node-host"}
"""Cases that use the node's network or folders."""
COMPONENT = "app.kubernetes.io/component"
NAMES = count()
ENFORCE = "pod-security.kubernetes.io/enforce"
NODE = """\
apiVersion: v1
kind: Node
metadata:
  name: {name}
  labels: {{{labels}}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A control plane that knows the kinds of the Prometheus operator; a node for the store, and one beside it."""
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
    with ControlPlane({name: Path(tool(name)) for name in names}, tmp_path_factory.mktemp("kubernetes")) as plane:
        for crd in CRDS.iterdir():
            plane.apply(crd.read_text())
        plane.kubectl("wait", "--for=condition=established", "--timeout=30s", "crd", "--all")
        plane.apply(NODE.format(name="store", labels='imgtag.example/store: "yes"'))
        plane.apply(NODE.format(name="beside", labels=""))
        yield plane


@pytest.fixture
def namespace(request, cluster):
    """A namespace of the test's own, where pods are restricted, or what the test is marked with."""
    name = f"site-{next(NAMES)}"
    marker = request.node.get_closest_marker("level")
    level = marker.args[0] if marker else "restricted"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, f"{ENFORCE}={level}", f"pod-security.kubernetes.io/warn={level}")
    return name


@pytest.fixture
def helm(cluster, namespace):
    """`helm` in that namespace, however it ends."""

    def run(*arguments):
        command = [tool("helm"), "--namespace", namespace, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=cluster.environment, timeout=120)

    return run


@pytest.fixture
def found(cluster, namespace):
    """All objects of a kind in that namespace, once there is one."""

    def wait(kind, *, count=1):
        seen = []

        def enough():
            seen[:] = cluster.objects(kind, "--namespace", namespace)
            return len(seen) >= count

        wait_until(enough, describe=lambda: events(cluster, namespace))
        return seen

    return wait


def events(cluster, namespace):
    """What the controllers complain of."""
    return cluster.kubectl("get", "events", "--namespace", namespace).stdout


def done(process):
    """What it printed; it must not have failed."""
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def schemas(cluster, tmp_path_factory):
    """JSON schemas of every kind that a case has, from the API server itself."""
    folder = tmp_path_factory.mktemp("schemas")
    kinds = {(resource["apiVersion"], resource["kind"]) for case in CASES for resource in render(case)}
    write_schemas(json.loads(cluster.api.get("/openapi/v2").data), kinds, folder)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_every_object_fits_the_schemas_of_kubernetes(case, schemas):
    """Strictly: no unknown field, and no kind without a schema."""
    command = [tool("kubeconform"), "-strict", "-summary", "-kubernetes-version", KUBERNETES]
    location = ["-schema-location", f"{schemas}/{LOCATION}"]

    checked = subprocess.run(
        [*command, *location], input=done(template("-f", values_file(case))), capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Invalid: 0, Errors: 0, Skipped: 0" in checked.stdout


def test_a_schema_of_kubernetes_refuses_an_unknown_field(schemas):
    """So the test above can fail."""
    command = [tool("kubeconform"), "-strict", "-schema-location", f"{schemas}/{LOCATION}"]
    manifest = done(template("-f", values_file("s3"))).replace("enableServiceLinks", "enableServiceLink")

    checked = subprocess.run(command, input=manifest, capture_output=True, text=True)

    assert checked.returncode == 1
    assert "enableServiceLink" in checked.stdout


@pytest.mark.parametrize("case", CASES)
def test_the_server_takes_every_object(case, cluster, namespace):
    """Under strict validation and with Pod Security, without a warning."""
    if case in PRIVILEGED:
        cluster.kubectl("label", "--overwrite", "namespace", namespace, f"{ENFORCE}=privileged")
        cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/warn-")

    applied = _dry_run(cluster, namespace, "-f", values_file(case))

    assert applied.returncode == 0, applied.stderr
    assert applied.stderr == ""
    assert len(render(case)) == applied.stdout.count("(server dry run)")


def test_the_server_warns_of_pods_that_are_not_restricted(cluster, namespace):
    """So the test above can fail."""
    applied = _dry_run(cluster, namespace, "-f", values_file("s3"), "--set", "podSecurityContext=null")

    assert "would violate PodSecurity" in applied.stderr
    assert "runAsNonRoot" in applied.stderr


def _dry_run(cluster, namespace, *values):
    """What the server says of the manifest; accounts are made in earnest, as pods of a dry run need them."""
    manifest = done(template("--namespace", namespace, *map(str, values)))
    strict = ("--namespace", namespace, "apply", "--validate=strict", "-f", "-")
    accounts = [resource for resource in yaml.safe_load_all(manifest) if resource["kind"] == "ServiceAccount"]
    cluster.kubectl(*strict, stdin=yaml.safe_dump_all(accounts))
    wait_until(lambda: cluster.objects("serviceaccounts", "--namespace", namespace))
    return cluster.kubectl(*strict, "--dry-run=server", stdin=manifest)


def test_pods_carry_what_the_values_asked_for(helm, found):
    """From the values through the Deployment and its ReplicaSet to the pods, defaults of the API server aside."""
    done(helm("install", "release", CHART, "-f", values_file("everything")))

    made = [pod for pod in found("pods", count=4) if pod["metadata"]["labels"].get(COMPONENT) != "job"]

    wanted = pods(render("everything"))[0]
    assert 3 == len(made)
    for pod in made:
        _contains(pod["spec"], wanted)
        assert pod["metadata"]["labels"]["sidecar"] == "yes"


def _contains(actual, wanted, path="pod"):
    """Everything that is wanted is there; API server and controllers may add to maps, and to lists at their end."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            assert key in actual, f"{path}.{key} is missing"
            _contains(actual[key], value, f"{path}.{key}")
    elif isinstance(wanted, list):
        for place, value in enumerate(wanted):
            _contains(actual[place], value, f"{path}[{place}]")
    else:
        assert str(actual) == str(wanted), path


def test_a_daemon_runs_on_the_nodes_of_the_store_alone(helm, found):
    """One pod, meant for the labelled node; restricted, as the Service to the local store needs no privilege."""
    done(helm("install", "release", CHART, "-f", values_file("node-service")))

    [pod] = found("pods")

    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [["store"]] == [field["values"] for term in terms["nodeSelectorTerms"] for field in term["matchFields"]]
    [service] = [resource for resource in found("services", count=2) if resource["metadata"]["name"].endswith("-store")]
    assert service["spec"]["internalTrafficPolicy"] == "Local"


@pytest.mark.level("privileged")
def test_a_daemon_on_the_network_of_the_node_runs_where_that_is_allowed(helm, found):
    """hostNetwork and hostPath, in a namespace that says so."""
    done(helm("install", "release", CHART, "-f", values_file("node-host")))

    [pod] = found("pods")

    assert pod["spec"]["hostNetwork"] is True
    assert pod["spec"]["dnsPolicy"] == "ClusterFirstWithHostNet"


@pytest.mark.level("baseline")
def test_a_daemon_on_the_network_of_the_node_needs_that_permission(helm, cluster, namespace):
    """`baseline` refuses both, which the README says; the reason stands in the events."""
    done(helm("install", "release", CHART, "-f", values_file("node-host")))

    wait_until(lambda: "violates PodSecurity" in events(cluster, namespace))

    assert re.search(r"violates PodSecurity.*host namespaces.*hostPath", events(cluster, namespace))
    assert [] == cluster.objects("pods", "--namespace", namespace)


@pytest.fixture
def older(tmp_path):
    """The chart as it might have been before: a lower version, another number of old ReplicaSets."""
    copy = tmp_path / "imgtag"
    shutil.copytree(CHART, copy)
    text = (copy / "Chart.yaml").read_text()
    version = yaml.safe_load(text)["version"]
    (copy / "Chart.yaml").write_text(text.replace(f"\nversion: {version}", "\nversion: 0.0.1"))
    values = (copy / "values.yaml").read_text()
    (copy / "values.yaml").write_text(values.replace("revisionHistoryLimit: 3", "revisionHistoryLimit: 2"))
    return copy


def test_upgrade_rollback_and_uninstall(helm, found, cluster, namespace, older):
    """A changed configuration makes new pods, a rollback brings the old ones back, and in the end nothing is left."""
    before = set(_left(cluster, namespace))
    done(helm("install", "release", older, "-f", values_file("s3")))
    [first] = found("replicasets")

    done(helm("upgrade", "release", CHART, "-f", values_file("s3"), "--set", "config.labels.top_k=3"))
    upgraded = found("replicasets", count=2)
    [second] = [resource for resource in upgraded if resource["metadata"]["uid"] != first["metadata"]["uid"]]
    assert "top_k = 3" in config_file(cluster.objects("configmaps", "--namespace", namespace, "-l", "helm.sh/chart"))
    assert found("deployments")[0]["spec"]["revisionHistoryLimit"] == 3
    assert _checksum(first) != _checksum(second)

    done(helm("rollback", "release", "1"))
    assert "top_k" not in config_file(cluster.objects("configmaps", "--namespace", namespace, "-l", "helm.sh/chart"))
    assert _checksum(first) == _checksum({"spec": found("deployments")[0]["spec"]})
    assert len(found("replicasets")) == 2

    done(helm("uninstall", "release", "--wait"))
    before.add("secret/release-imgtag-mark-key")  # kept: see test_the_mark_key_stays
    wait_until(lambda: set(_left(cluster, namespace)) <= before, describe=lambda: str(_left(cluster, namespace)))


def _checksum(controller):
    return controller["spec"]["template"]["metadata"]["annotations"]["checksum/config"]


def _left(cluster, namespace):
    """Everything in a namespace but events, which nobody makes on purpose."""
    listed = cluster.kubectl("api-resources", "--verbs=list", "--namespaced", "--output=name").stdout.split()
    kinds = [kind for kind in listed if not kind.startswith("events")]
    names = cluster.kubectl("--namespace", namespace, "get", ",".join(kinds), "--output=name", "--ignore-not-found")
    return names.stdout.split()


def test_another_chart_version_alone_makes_no_new_pods(helm, found, older):
    """What did not change for the sidecar does not restart it."""
    done(helm("install", "release", older, "-f", values_file("s3")))
    [first] = found("replicasets")

    done(helm("upgrade", "release", CHART, "-f", values_file("s3")))

    assert first["spec"]["template"] == found("replicasets")[0]["spec"]["template"]
    assert found("deployments")[0]["metadata"]["labels"]["helm.sh/chart"] != "imgtag-0.0.1"


def test_the_state_outlives_the_release(helm, found, cluster, namespace):
    """A claim of the chart's stays, unless `keep` is off; the next release of that name takes it again."""
    done(helm("install", "release", CHART, "-f", values_file("directory")))
    [claim] = found("persistentvolumeclaims")

    output = done(helm("uninstall", "release", "--wait"))

    assert "PersistentVolumeClaim" in output
    [kept] = cluster.objects("persistentvolumeclaims", "--namespace", namespace)
    assert claim["metadata"]["uid"] == kept["metadata"]["uid"]
    done(helm("install", "release", CHART, "-f", values_file("directory")))
    assert [claim["metadata"]["uid"]] == [resource["metadata"]["uid"] for resource in found("persistentvolumeclaims")]


def test_the_mark_key_stays(helm, cluster, namespace):
    """One is made at the first installation; upgrades and a new installation after an uninstallation find it again."""

    def key():
        [secret] = [
            each for each in cluster.objects("secrets", "--namespace", namespace) if "mark_key" in each.get("data", {})
        ]
        return secret["data"]["mark_key"]

    done(helm("install", "release", CHART, "-f", values_file("s3")))
    first = key()
    done(helm("upgrade", "release", CHART, "-f", values_file("s3"), "--set", "config.labels.top_k=3"))
    upgraded = key()
    done(helm("uninstall", "release"))
    kept = key()
    done(helm("install", "release", CHART, "-f", values_file("s3")))

    assert 48 == len(b64decode(first))
    assert [first] * 3 == [upgraded, kept, key()]


def test_the_notes_are_shown(helm, namespace):
    """After an installation it says how to see it work, in this very namespace."""
    shown = done(helm("install", "release", CHART, "-f", values_file("s3")))

    assert f"kubectl --namespace {namespace} rollout status deployment/release-imgtag" in shown
    assert f"helm --namespace {namespace} test release" in shown


@pytest.mark.parametrize(("phase", "code", "left"), [("Succeeded", 0, 0), ("Failed", 1, 1)])
def test_the_pod_of_helm_test_goes_when_it_has_succeeded(phase, code, left, helm, found, cluster, namespace):
    """One that has failed stays for its log, until the next; no kubelet is here, so its end is told to the server."""
    done(helm("install", "release", CHART, "-f", values_file("s3")))

    with ThreadPoolExecutor(1) as pool:
        testing = pool.submit(helm, "test", "release", "--timeout", "60s")
        wait_until(lambda: doctors(cluster, namespace))
        status = json.dumps({"status": {"phase": phase}})
        name = "release-imgtag-doctor"
        patch = ("--subresource=status", "--type=merge", "--patch", status)
        assert cluster.kubectl("--namespace", namespace, "patch", "pod", name, *patch).returncode == 0
        ended = testing.result()

    assert code == ended.returncode, ended.stdout + ended.stderr
    assert f"Phase:          {phase}" in ended.stdout
    assert left == len(doctors(cluster, namespace))


def doctors(cluster, namespace):
    """The pods of `helm test`."""
    return cluster.objects("pods", "--namespace", namespace, "-l", "app.kubernetes.io/component=test")


def test_a_refused_value_installs_nothing(helm):
    """The schema and our own sentences hold on a real installation too."""
    refused = helm("install", "release", CHART, "-f", values_file("s3"), "--set", "replica=2")

    assert refused.returncode != 0
    assert "replica" in refused.stderr
    assert "release" not in done(helm("list", "--all", "--short"))


def test_workloads_are_of_the_kind_asked_for(cluster, namespace, helm, found):
    """A change from Deployment to DaemonSet replaces one by the other."""
    done(helm("install", "release", CHART, "-f", values_file("s3")))
    found("deployments")

    done(helm("upgrade", "release", CHART, "-f", values_file("s3"), "--set", "kind=DaemonSet"))

    assert workload(found("daemonsets"))["metadata"]["name"] == "release-imgtag"
    assert [] == cluster.objects("deployments", "--namespace", namespace)
