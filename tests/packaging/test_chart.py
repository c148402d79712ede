"""The Helm chart as a text: what it renders from good values, and what it says of bad ones."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml

from chart_support import (
    CASES,
    CHART,
    KUBERNETES,
    ROOT,
    config_file,
    containers,
    one,
    pods,
    render,
    template,
    tool,
    values_file,
    workload,
)
from imgtag import __version__
from imgtag.cli.main import COMMANDS
from imgtag.config.load import discover_plugins
from imgtag.config.schema import PipelineSettings
from imgtag.config.shape import Leaf, is_secret, shape

SNAPSHOTS = Path(__file__).parent / "snapshots"
CREDS = "-----BEGIN NATS USER JWT-----\n-----BEGIN USER NKEY SEED-----\n"
NOTES_TEMPLATE = 'kind: Notes\ntext: {{ include "imgtag.notes" . | toJson }}\n'


def values():
    """The chart's own values."""
    return yaml.safe_load((CHART / "values.yaml").read_text())


def schema():
    """The schema of values."""
    return json.loads((CHART / "values.schema.json").read_text())


def paths(table, above=()):
    """The paths of all values, of tables too."""
    for name, value in table.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from paths(value, (*above, name))


def refusal(case, *arguments):
    """What is said of bad values."""
    done = template("--values", str(values_file(case)), *arguments)
    assert done.returncode != 0, "it was rendered"
    return done.stderr


# What is rendered


@pytest.mark.parametrize("case", CASES)
def test_the_chart_is_without_lint(case):
    """`helm lint --strict` has nothing to say for the values of any case."""
    command = [tool("helm"), "lint", "--strict", "--quiet", "--kube-version", KUBERNETES, str(CHART)]

    done = subprocess.run([*command, "--values", str(values_file(case))], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", ["directory", "everything", "node-service", "s3"])
def test_what_is_rendered_is_as_in_its_snapshot(case):
    """A change of the templates shows what it changes; `make chart` renews the snapshots."""
    done = template("--values", str(values_file(case)))

    _compare(SNAPSHOTS / f"{case}.yaml", done.stdout)


@pytest.mark.parametrize("case", ["directory", "everything", "node-host", "s3"])
def test_the_notes_are_as_in_their_snapshot(case, notes):
    """What is said after an installation, with its warnings."""
    _compare(SNAPSHOTS / f"{case}.txt", notes("--values", str(values_file(case))) + "\n")


def _compare(file, text):
    text = re.sub(r'(mark_key: )"[^"]{64}"', r'\1"(random)"', text)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.write_text(text)

    assert file.read_text() == text, "make chart"


@pytest.mark.parametrize("case", CASES)
def test_every_pod_is_restricted(case):
    """Pod Security `restricted`, but for the node's network and folders where values ask for them."""
    objects = render(case)

    for pod in pods(objects):
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        context = pod["securityContext"]
        assert (context["runAsNonRoot"], context["runAsUser"], context["fsGroup"]) == (True, 65532, 65532)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        mounted = {volume["name"]: volume for volume in pod["volumes"]}
        assert mounted["tmp"]["emptyDir"] == {}
    for container in containers(objects):
        context = container["securityContext"]
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
        assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("case", CASES)
def test_a_service_finds_the_sidecars_and_not_the_pod_of_helm_test(case):
    """Selectors are what the pods have, and never the version of the chart."""
    objects = render(case)
    labels = workload(objects)["spec"]["template"]["metadata"]["labels"]

    selectors = [workload(objects)["spec"]["selector"]["matchLabels"]]
    [service] = [
        resource["spec"]
        for resource in objects
        if resource["kind"] == "Service" and resource["spec"]["ports"][0]["name"] == "ops"
    ]
    for selector in (*selectors, service["selector"]):
        assert selector.items() <= labels.items()
        assert "helm.sh/chart" not in selector
        for pod in (resource for resource in objects if resource["kind"] == "Pod"):
            assert not selector.items() <= pod["metadata"]["labels"].items()


def test_a_network_policy_holds_for_the_pod_of_helm_test_too():
    """It talks to the same servers."""
    objects = render("everything")

    selector = one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]

    assert selector.items() <= one(objects, "Pod")["metadata"]["labels"].items()
    assert selector.items() <= workload(objects)["spec"]["template"]["metadata"]["labels"].items()


def test_names_are_never_too_long():
    """Names of objects are cut where DNS labels end, with their endings kept."""
    name = "a" * 53  # the longest that Helm takes for a release
    command = [tool("helm"), "template", name, str(CHART), "--kube-version", KUBERNETES]
    more = ["--set", "nameOverride=" + "b" * 60]

    done = subprocess.run([*command, *more, "-f", str(values_file("node-service"))], capture_output=True, text=True)

    names = [resource["metadata"]["name"] for resource in yaml.safe_load_all(done.stdout)]
    assert max(map(len, names)) == 63
    assert [end for end in ("-store", "-doctor") if any(name.endswith(end) for name in names)] == ["-store", "-doctor"]


def test_the_number_of_workers_follows_the_limit():
    """Of CPU, as the kernel would show all cores of the node; the configuration takes precedence."""
    variable = "IMGTAG_PIPELINE__WORKERS"
    limited = [entry["name"] for entry in next(containers(render("everything")))["env"]]
    asked = render("everything", "--set", "config.pipeline.workers=3")
    free = render("s3")

    assert variable in limited
    for objects in (asked, free):
        assert variable not in [entry["name"] for entry in next(containers(objects))["env"]]


def test_a_changed_configuration_makes_new_pods():
    """The checksum is of the file in the ConfigMap, and of nothing else."""
    checksums = [
        workload(render("s3", *more))["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        for more in ((), ("--set", "config.labels.top_k=3"), ("--set", "revisionHistoryLimit=1"))
    ]

    assert checksums[0] != checksums[1]
    assert checksums[0] == checksums[2]


def test_a_probe_is_replaced_in_part_or_left_out():
    """Null takes a probe away, or what the chart has in it."""
    container = workload(render("tuned"))["spec"]["template"]["spec"]["containers"][0]

    assert "startupProbe" not in container
    assert "httpGet" not in container["livenessProbe"]
    assert container["livenessProbe"]["tcpSocket"] == {"port": "ops"}
    assert container["readinessProbe"]["failureThreshold"] == 1
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "ops"}


def test_a_paused_sidecar_waits_in_all_that_it_has():
    """Volumes and environment are those of the sidecar; nobody probes what does not run."""
    running, paused = (
        workload(render("s3", "--set", f"paused={state}"))["spec"]["template"]["spec"]["containers"][0]
        for state in ("false", "true")
    )

    probes = {"startupProbe", "livenessProbe", "readinessProbe"}
    assert {"command", *running} - {"args"} - probes == set(paused)
    assert paused["command"] == ["sleep", "infinity"]
    assert (running["env"], running["volumeMounts"]) == (paused["env"], paused["volumeMounts"])


def test_the_port_follows_the_configuration():
    """Container and Service have the port of `[ops] listen`."""
    objects = render("tuned")

    assert workload(objects)["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] == 9000
    assert one(objects, "Service")["spec"]["ports"][0]["port"] == 9000


def test_pods_live_longer_than_their_drain():
    """By default there are some seconds more than the sidecar takes to finish."""
    assert values()["terminationGracePeriodSeconds"] >= PipelineSettings().drain + 10


@pytest.mark.parametrize(("kind", "strategy"), [("claim", {"type": "Recreate"}), ("emptyDir", None)])
def test_a_state_of_one_node_is_handed_over(kind, strategy):
    """The next pod waits for the claim of the last one."""
    assert strategy == workload(render("directory", "--set", f"state.kind={kind}"))["spec"].get("strategy")


MARK_KEY = {"name": "IMGTAG_LABELS__MARK_KEY", "valueFrom": {"secretKeyRef": {"name": "own", "key": "key"}}}


@pytest.mark.parametrize(
    ("more", "secret", "file"),
    [
        ({}, "release-imgtag-mark-key", "mark_key"),
        ({"markKey": {"existingSecret": "site"}}, "site", "mark_key"),
        ({"markKey": {"create": False}}, None, None),
        ({"config": {"labels": {"mark_key_file": "own"}}}, None, "own"),
        ({"env": [MARK_KEY]}, None, None),
    ],
)
def test_every_release_has_a_mark_key(more, secret, file, tmp_path):
    """Made by the chart, from a Secret that several releases share, or the admin's own; never two of them."""
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(more))

    objects = render("s3", "--values", str(values))

    made = [each["metadata"]["name"] for each in objects if each["kind"] == "Secret"]
    assert ([secret] if secret == "release-imgtag-mark-key" else []) == made
    for pod in pods(objects):
        [volume] = [each for each in pod["volumes"] if each["name"] == "secrets"]
        mounted = [each["secret"]["name"] for each in volume["projected"]["sources"]]
        assert ["imgtag", *([secret] if secret else [])] == mounted
    assert tomllib.loads(config_file(objects)).get("labels", {}).get("mark_key_file") == file


@pytest.mark.parametrize(
    ("case", "names"),
    [("model-bucket", ["model", "model-1", "config-check"]), ("model-image", ["model", "config-check"])],
)
def test_a_model_is_brought_before_it_is_needed(case, names):
    """By a container that may write there; the sidecar may only read it."""
    pod = workload(render(case))["spec"]["template"]["spec"]

    assert names == [container["name"] for container in pod["initContainers"]]
    mounts = [
        {mount["name"]: mount for mount in container["volumeMounts"]}["models"]
        for container in (pod["initContainers"][0], pod["containers"][0])
    ]
    assert [False, True] == [mount.get("readOnly", False) for mount in mounts]
    assert {"/var/lib/imgtag/models"} == {mount["mountPath"] for mount in mounts}


@pytest.mark.parametrize(
    ("case", "model"),
    [
        ("model-bucket", "pets"),
        ("model-claim", "/var/lib/imgtag/models/pets/v2.tflite"),
        ("model-image", "/var/lib/imgtag/models/pets.tflite"),
    ],
)
def test_the_configuration_names_the_model_that_is_brought(case, model):
    """So it is said in one place."""
    assert model == tomllib.loads(config_file(render(case)))["classifier"]["tflite"]["model"]


def test_helm_test_is_left_out_where_it_could_not_see_the_index():
    """An index in an emptyDir is in the sidecar's own pod."""
    assert [] == [
        resource for resource in render("directory", "--set", "state.kind=emptyDir") if resource["kind"] == "Pod"
    ]
    assert len(pods(render("directory"))) == 2


def test_each_alert_can_be_left_out_and_labelled():
    """The rest is the file that Prometheus itself can read."""
    groups = one(render("everything"), "PrometheusRule")["spec"]["groups"]
    [shipped] = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]

    wanted = [
        rule | {"labels": rule["labels"] | {"team": "pictures"}}
        for rule in shipped["rules"]
        if rule["alert"] != "ImgtagSlow"
    ]
    assert [{"name": "imgtag", "rules": wanted}] == groups


# The configuration


def environment(container, folder):
    """What the container would see, with secrets as files in a folder."""
    given = {variable["name"]: variable.get("value", "2") for variable in container["env"]}
    return {**given, "STATE_DIRECTORY": str(folder), "CREDENTIALS_DIRECTORY": str(folder), "PATH": os.defpath}


@pytest.mark.parametrize("case", CASES)
def test_the_configuration_passes_the_check_of_the_pod(case, tmp_path):
    """`imgtag config check`, with the environment and the arguments that the container has."""
    _checked(render(case), tmp_path)


def _checked(objects, folder):
    pod = workload(objects)["spec"]["template"]["spec"]
    [check] = [container for container in pod["initContainers"] if container["name"] == "config-check"]
    file = folder / "imgtag.toml"
    file.write_text(config_file(objects))
    for name in re.findall(r'_file = "([^"]+)"', file.read_text()):
        (folder / name).write_text(CREDS if name.endswith(".creds") else "a secret of the tests")

    done = subprocess.run(
        [sys.executable, "-m", "imgtag", "--config", str(file), *check["args"]],
        env=environment(check, folder),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_the_map_of_the_values(tmp_path):
    """Whole numbers stay whole, texts keep every character, what is empty stays, and what is null is not there."""
    wanted = {
        "numbers": {"whole": 5, "large": 67108864, "part": 0.1, "below": -3, "tiny": 1e-7, "huge": 1e30, "none": 0},
        "texts": {"quoted": 'a\n"b" <c> & \\ # é \u007f', "empty": "", "like a number": "5", "bool": True},
        "lists": {"empty": [], "mixed": [1, "a", {"b": 2}, [True]], "tables": [{"in": {"deep": 1}}, {}]},
        "nothing": {},
        "a name.with ü": {"at all": 1},
        "rules": [{"bucket": "photos", "labels": {"top_k": 3}}],
        "store": {"directory": {"root": "/pictures"}},
        "ops": {"listen": "0.0.0.0:9464"},
        "labels": {"mark_key_file": "mark_key"},
    }
    given = json.loads(json.dumps(wanted)) | {"labels": None}
    given["numbers"]["null"] = None
    given["lists"]["mixed"].append(None)
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump({"config": given}))

    text = config_file(render("tuned", "--values", str(file), "--set", "config.ops.log_format=null"))

    assert tomllib.loads(text) == wanted
    assert "whole = 5\n" in text
    assert "large = 67108864\n" in text


# What is refused


TOGETHER = 20
"""Values that one Helm takes away: each one that is refused costs another rendering of the others beside it."""


@pytest.mark.parametrize("case", ["everything", "node-service", "model-image"])
def test_null_never_breaks_a_template(case, tmp_path):
    """A value that is taken away is not needed, or a sentence names what is missing; templates never break.

    A chart around ours has it several times, each with another value taken away: one Helm renders them all. Those
    that are refused, which it names by their aliases, are left out of the next round, until the others are rendered.
    """
    every = list(paths(values()))
    parent = tmp_path / "parent"
    shutil.copytree(CHART, parent / "charts" / "imgtag")
    for first in range(0, len(every), TOGETHER):
        nulls = {f"without-{number}": path for number, path in enumerate(every[first : first + TOGETHER])}
        _render_without(nulls, case, parent)


def _render_without(nulls, case, parent):
    """Render a case without each of these values, in rounds."""
    aliases = set(nulls)
    while aliases:
        dependencies = [{"name": "imgtag", "version": __version__, "alias": alias} for alias in sorted(aliases)]
        about = {"apiVersion": "v2", "name": "parent", "version": "0.0.1", "dependencies": dependencies}
        (parent / "Chart.yaml").write_text(yaml.safe_dump(about))
        all_values = {alias: _without(yaml.safe_load(values_file(case).read_text()), nulls[alias]) for alias in aliases}
        (parent / "values.yaml").write_text(yaml.safe_dump(all_values))

        done = template(chart=parent)

        if done.returncode == 0:
            break
        # All whose values the schema refuses, or the first one that a template refuses.
        named = set(re.findall(r"^(without-\d+):\n- .*missing propert", done.stderr, re.MULTILINE))
        named |= set(re.findall(r"execution error at \(parent/charts/(without-\d+)/", done.stderr))
        assert named & aliases, done.stderr
        aliases -= named
    else:
        return
    assert {f"parent/charts/{alias}/templates/configmap.yaml" for alias in aliases} <= set(
        re.findall(r"^# Source: (.*)$", done.stdout, re.MULTILINE)
    )


def _without(table, path):
    """The values with null at the path."""
    *above, name = path
    place = table
    for key in above:
        place[key] = place.get(key) or {}
        place = place[key]
    place[name] = None
    return table


@pytest.mark.parametrize(
    ("case", "bad", "message"),
    [
        ("s3", "replica=2", "replica"),
        ("s3", "image.repo=x", "repo"),
        ("s3", "livenessprobe.periodSeconds=1", "livenessprobe"),
        ("s3", "kind=StatefulSet", "kind"),
        ("s3", "image.digest=sha256:12", "digest"),
        ("s3", "replicas=two", "replicas"),
        ("s3", "config=text", "config"),
        ("s3", "config.store=text", "config/store"),
        ("s3", "state.hostPath=relative", "hostPath"),
        ("s3", "service.extraPorts[0].name=ops,service.extraPorts[0].port=1", "extraPorts"),
        ("s3", "secrets[0].key=x", "secrets"),
        ("model-bucket", "model.bucket[0].name=Pets", "model/bucket/0/name"),
    ],
)
def test_the_schema_refuses(case, bad, message):
    """Unknown names, and values that are not of their kind, by their place."""
    error = refusal(case, "--set", bad)

    assert "values don't meet the specifications of the schema" in error
    assert message in error


@pytest.mark.parametrize(
    ("case", "bad", "message"),
    [
        ("s3", "config.store=null", "config.store is missing"),
        ("s3", "config.rules=null", "config.rules is missing, and imgtag never touches a bucket that no rule names"),
        ("s3", "config.ops.listen=127.0.0.1:9464", "where the kubelet's probes cannot reach it"),
        ("s3", "config.ops.listen=", "where the kubelet's probes cannot reach it"),
        ("s3", "config.ops.listen=0.0.0.0:0", "give the port number"),
        ("s3", "web.enabled=true", "name an existing Secret with the token"),
        ("everything", "config.web.listen=0.0.0.0:1", "keep web.port"),
        ("everything", "web.port=9464", "also the port of health and metrics"),
        ("everything", "web.ingress.host=", "name the host in web.ingress.host"),
        ("everything", "web.enabled=false", "but web.enabled is not"),
        ("everything", "service.extraPorts[0].name=web", "which web.enabled makes itself"),
        ("s3", "terminationGracePeriodSeconds=25", "Make it at least 10 more"),
        ("s3", "config.pipeline.drain=60", "Make it at least 10 more"),
        ("node-service", "state.kind=claim", "use emptyDir or hostPath"),
        ("s3", "state.kind=hostPath", "name the folder on the node in state.hostPath"),
        ("directory", "audit.enabled=true,state.kind=emptyDir", "which the pod of the audit cannot see"),
        ("directory", "jobs[0].name=b,jobs[0].args[0]=audit,state.kind=emptyDir", "which their pods cannot see"),
        ("directory", "replicas=2", "each pod would have its own"),
        ("tuned", "replicas=2", "each pod would have its own"),
        ("s3", "replicas=2,state.kind=claim", "the state belongs to one sidecar"),
        ("s3", "config.source.webhook.rate=9", "where no store can reach it"),
        ("s3", "config.source.webhook.listen=0.0.0.0:9465,replicas=2", "the store pushes to one sidecar"),
        ("s3", "config.source.webhook.listen=0.0.0.0:9465", "state.kind is emptyDir, which is lost with the pod"),
        ("s3", "config.source.sqs.queue=2024", "config.source.sqs.queue is 2024"),
        ("node-service", "kind=Deployment", "use kind: DaemonSet, or config.store.s3.endpoint"),
        ("node-service", "localStore.selector=null", "set the labels of the store's pods"),
        ("node-service", "config.store.s3.endpoint=http://minio:9000", "both set the endpoint"),
        ("everything", "kind=DaemonSet", "podDisruptionBudget is for a Deployment"),
        ("everything", "podDisruptionBudget.minAvailable=1", "exactly one of minAvailable and maxUnavailable"),
        ("everything", "podDisruptionBudget.maxUnavailable=null", "exactly one of minAvailable and maxUnavailable"),
        ("everything", "prometheusRule.without[0]=Slow", "there is no such alert. The alerts are ImgtagAbsent"),
        ("model-bucket", "model.bucket=null", "a list of object: BUCKET/KEY"),
        ("model-image", "model.image.repository=", "set model.image.repository"),
        ("model-claim", "model.claim.path=", "the path of the model in it"),
        ("model-claim", "config.classifier.tflite.model=bundled", "keep one of the two"),
        ("s3", "env[0].name=IMGTAG_STORE__S3__SECRET_KEY,env[0].value=x", "use valueFrom.secretKeyRef"),
        ("s3", "config.site.name=2024", "config.site.name is 2024, which YAML reads as a number: put it in quotes"),
        ("s3", "config.store.s3.access_key=123456789", "config.store.s3.access_key is 1.23456789e+08"),
        ("s3", "config.store.s3.region=false", "which YAML reads as a boolean: put it in quotes"),
        ("s3", "config.rules[0].bucket=2024", "config.rules[0].bucket is 2024"),
        ("s3", "fullnameOverride=1abc", "cannot be the name of a Service"),
        ("s3", "fullnameOverride=my.release", "Set fullnameOverride"),
    ],
)
def test_what_does_not_go_together_is_refused(case, bad, message):
    """In a sentence that says what to do."""
    assert message in refusal(case, "--set", bad)


def secrets(table, above=()):
    """The paths of all settings that are secrets, of tables and plugins."""
    for name, node in table.items():
        if is_secret(node):
            yield ".".join((*above, name))
        elif not isinstance(node, Leaf):
            yield from secrets(node, (*above, name))


@pytest.mark.parametrize("secret", sorted(secrets(shape(discover_plugins(None, env={}, paths=())))))
def test_a_secret_is_refused_as_a_value(secret):
    """Every one that the sidecar has: values are kept in the release and in the ConfigMap."""
    error = refusal("s3", "--set", f"config.{secret}=in-the-open")

    assert f"config.{secret} is a secret" in error
    assert f"write config.{secret}_file: KEY" in error
    assert "in-the-open" not in error


# What is said after an installation


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    """The notes for some values; `helm template` leaves them out, so a copy of the chart makes an object of them."""
    copy = tmp_path_factory.mktemp("notes") / "imgtag"
    shutil.copytree(CHART, copy)
    (copy / "templates" / "shown.yaml").write_text(NOTES_TEMPLATE)

    @cache
    def shown(*arguments):
        done = template("--show-only", "templates/shown.yaml", *arguments, chart=copy)
        assert done.returncode == 0, done.stderr
        return yaml.safe_load(done.stdout)["text"]

    return shown


@pytest.mark.parametrize(
    ("case", "risky", "message"),
    [
        ("directory", "state.kind=emptyDir", "the index is a file in an emptyDir"),
        ("s3", "secrets=null", "`secrets` is empty"),
        ("everything", "replicas=1", "block the draining of nodes"),
        ("node-host", "networkPolicy.enabled=true", "no NetworkPolicy applies there"),
        ("everything", "hostNetwork=true", "two sidecars on one node need the same port"),
        ("model-bucket", "model.bucket[1].sha256=null", "the model birds comes from models/birds.tflite without"),
        ("s3", "paused=true", "labels nothing"),
        ("s3", "image.tag=latest", "a rollback changes nothing"),
        ("s3", "resources.limits.memory=1Gi", "a worker for each core"),
    ],
)
def test_the_notes_warn(case, risky, message, notes):
    """Of each value that deserves a second look, and only where it is there."""
    plain = notes("--values", str(values_file(case)))
    warned = notes("--values", str(values_file(case)), "--set", risky)

    assert message in " ".join(warned.split())
    assert message not in " ".join(plain.split())


def test_the_notes_are_calm_where_there_is_nothing_to_say(notes):
    """A single site beside its servers causes no warning."""
    assert "WARNING" not in notes("--values", str(values_file("s3")))


# What stands beside the templates


def test_the_table_of_values_is_up_to_date():
    """`make chart` makes it from the comments in values.yaml."""
    assert 0 == runpy.run_path(str(ROOT / "scripts" / "chart.py"))["main"](["--check"])


def test_every_value_is_in_the_table():
    """By itself, or as a part of one that is described."""
    described = {
        row.path
        for row in runpy.run_path(str(ROOT / "scripts" / "chart.py"))["rows"]((CHART / "values.yaml").read_text())
    }

    for path in paths(values()):
        above = {".".join(path[:end]) for end in range(1, len(path) + 1)}
        below = {name for name in described if name.startswith(".".join(path) + ".")}
        assert above & described or below, path


def test_the_schema_knows_every_value_and_no_other():
    """On our own maps; those of Kubernetes are for the API server to judge."""

    def compare(table, node, above):
        assert node["additionalProperties"] is False, above
        assert set(table) == set(node["properties"]) - {"global"}, above
        for name, value in table.items():
            if "properties" in node["properties"][name] and isinstance(value, dict) and value:
                compare(value, node["properties"][name], f"{above}.{name}")

    compare(values(), schema(), "values")


def test_the_chart_is_for_this_version():
    """And its changelog has an entry for its own."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert __version__ == chart["appVersion"]
    assert f"## [{chart['version']}]" in (CHART / "CHANGELOG.md").read_text()


def test_the_package_has_what_it_needs_and_no_more(tmp_path):
    """`helm package` leaves the values of the tests out."""
    subprocess.run(
        [tool("helm"), "package", str(CHART), "--destination", str(tmp_path)], check=True, capture_output=True
    )

    [archive] = tmp_path.iterdir()
    names = subprocess.run(["tar", "tzf", str(archive)], capture_output=True, text=True, check=True).stdout.split()
    assert {"imgtag/values.schema.json", "imgtag/files/alerts.yaml", "imgtag/README.md", "imgtag/CHANGELOG.md"} <= set(
        names
    )
    assert [] == [name for name in names if "/ci/" in name]


def test_the_readme_names_commands_that_there_are():
    """In its walk-through from installation to removal."""
    text = (CHART / "README.md").read_text()

    named = set(re.findall(r"(?:-- |`)imgtag ([a-z]+)", text))
    assert {"setup", "policy", "models", "config"} <= named <= set(COMMANDS)
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (CHART / target).exists(), target


def blocks():
    """The blocks of values in the README; whole ones begin with `# values.yaml`."""
    texts = re.findall(r"^( *)```yaml\n(.*?)^ *```$", (CHART / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    for indent, text in texts:
        yield re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("text", [text for text in blocks() if text.startswith("# values.yaml")])
def test_the_values_of_the_readme_can_be_installed(text, tmp_path):
    """And their configuration has no finding."""
    file = tmp_path / "values.yaml"
    file.write_text(text)

    done = template("--values", str(file))

    assert done.returncode == 0, done.stderr
    _checked([resource for resource in yaml.safe_load_all(done.stdout) if resource], tmp_path)


def test_parts_of_values_in_the_readme_go_with_a_whole(tmp_path):
    """Those of this chart with a single site; those of others' are at least YAML."""
    parts = [yaml.safe_load(text) for text in blocks() if not text.startswith("# values.yaml")]
    ours = [part for part in parts if set(part) <= set(values()) - {"config"}]

    assert [["model"], ["serviceMonitor", "prometheusRule", "networkPolicy", "podDisruptionBudget"]] == list(
        map(list, ours)
    )
    for part in ours:
        (tmp_path / "part.yaml").write_text(yaml.safe_dump(part))
        done = template("--values", str(values_file("s3")), "--values", str(tmp_path / "part.yaml"))
        assert done.returncode == 0, done.stderr
