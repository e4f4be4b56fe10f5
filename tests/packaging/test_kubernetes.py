"""The manifests for Kubernetes, as far as they can be judged without one: they parse, name what there is in the code and in each other, and start nothing with rights."""

import re
import runpy
import tomllib
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
import yaml
from headrace_broker.config import Options, parse
from headrace_broker.http import http_app
from headrace_broker.metrics import Metrics
from headrace_broker.rpc.scaler import trigger_of
from headrace_broker.store.migrate import Phase
from headrace_proto.keda.externalscaler_pb2 import ScaledObjectRef

from tests.support.processes import ROOT

PLACE = ROOT / "deploy" / "kubernetes"
DOC = (ROOT / "docs" / "kubernetes.md").read_text()
FOLDERS = sorted(path.parent for path in PLACE.glob("*/kustomization.yaml"))
AFTER_DRAIN_S = 1 + 2 + 5  # of a broker: gRPC, HTTP, and what else ends
GIVEN = {"POD_IP": "10.0.0.7", "POD_NAME": "headrace-broker-0"}
"""What stands in for what is only known in a cluster."""


def _documents() -> Iterator[dict[str, Any]]:
    for folder in FOLDERS:
        for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
            yield from yaml.safe_load_all((folder / name).read_text())


ALL = list(_documents())
PODS = {item["metadata"]["name"]: item["spec"]["template"] for item in ALL if item["kind"] in ("StatefulSet", "Deployment")}
BROKER, AGENT = PODS["headrace-broker"], PODS["headrace-agent"]


def _one(kind: str, name: str) -> dict[str, Any]:
    [found] = [item for item in ALL if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def _environment(container: dict[str, Any]) -> dict[str, str]:
    """As the container sees it; what is only known in a cluster is made up. Fails when a variable stands before one that it names."""
    found: dict[str, str] = {}
    for item in container.get("env", []):
        value = item["value"] if "value" in item else GIVEN.get(item["name"], "postgresql://headrace@db/headrace" if item["name"].endswith("_URL") else "secret")
        assert isinstance(value, str), f"{item['name']}: Kubernetes takes texts alone"
        found[item["name"]] = re.sub(r"\$\((\w+)\)", lambda named: found[named[1]], value)
    return found


def test_every_file_is_part_of_what_is_applied() -> None:
    for folder in FOLDERS:
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        generated = [name for made in kustomization.get("configMapGenerator", []) for name in made["files"]]
        assert {"kustomization.yaml", *kustomization["resources"], *generated} == {path.name for path in folder.iterdir() if path.is_file()}
        images = {image["name"] for image in kustomization.get("images", [])}
        used = {c["image"] for name in kustomization["resources"] for item in yaml.safe_load_all((folder / name).read_text()) for c in _containers_of(item)}
        assert images == used <= {"headrace"}
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        assert {image["newTag"] for image in kustomization.get("images", [])} <= {version}
        assert f"kubectl apply -k deploy/kubernetes/{folder.name}" in DOC
    assert [folder.name for folder in FOLDERS] == sorted(path.name for path in PLACE.iterdir())
    assert all("namespace" not in item["metadata"] for item in ALL), "whoever applies them chooses it"
    named = [(item["kind"], item["metadata"]["name"]) for item in ALL]
    assert len(set(named)) == len(named)


def _containers_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    return _containers(item["spec"]["template"]) if "template" in item["spec"] else []


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_pods_run_without_rights_and_with_bounds(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    [user] = re.findall(r"^USER (\d+)$", (ROOT / "deploy" / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == int(user)
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"} and spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False, "Services would be variables that look like options"
    for container in _containers(pod):
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"} and "memory" in container["resources"]["limits"]
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounts <= {volume["name"] for volume in spec["volumes"]}
        for mount in container.get("volumeMounts", []):
            assert mount.get("readOnly") or mount["mountPath"] == "/tmp"  # the one place to write to


def test_brokers_are_started_with_options_that_there_are() -> None:
    [migrate], [broker] = BROKER["spec"]["initContainers"], BROKER["spec"]["containers"]
    assert migrate["command"] == ["headrace-broker", "migrate", "--phase", Phase.PRE]
    program, verb, *options = broker["command"]
    assert (program, verb) == ("headrace-broker", "run")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _environment(broker).items():
            assert name in GIVEN or name.removeprefix("HEADRACE_").lower() in Options.model_fields, f"{name} is not read by anybody"
            patch.setenv(name, value)
        found = parse(options).options
    assert (found.migrate, found.auth, found.http_tls, found.insecure) == ("off", "required", "on", False)
    ports = {port["name"]: port["containerPort"] for port in broker["ports"]}
    assert found.listen == [f"0.0.0.0:{ports['grpc']}"] and found.http_listen == f"0.0.0.0:{ports['http']}"
    assert (found.advertise, found.advertise_http) == (f"10.0.0.7:{ports['grpc']}", f"https://headrace-broker-0.{_broker_set()['serviceName']}:{ports['http']}")
    assert BROKER["spec"]["terminationGracePeriodSeconds"] > found.drain_timeout_s + AFTER_DRAIN_S


def _broker_set() -> dict[str, Any]:
    spec: dict[str, Any] = _one("StatefulSet", "headrace-broker")["spec"]
    return spec


async def test_probes_ask_for_what_a_broker_answers() -> None:
    """Of one that stands by and can be asked: it lives, and is ready for whoever replaces brokers one by one."""
    app = http_app(Metrics(), Mock(serving=False, answering=True, role="standby", each=[Mock(stumbles=0)]), [])
    [broker] = BROKER["spec"]["containers"]
    ports = {port["name"] for port in broker["ports"]}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://broker") as kubelet:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = broker[probe]["httpGet"]
            assert asked["port"] in ports and asked["scheme"] == "HTTPS"
            assert (await kubelet.get(asked["path"])).status_code == 200, probe
        for endpoint in _one("PodMonitor", "headrace-broker")["spec"]["podMetricsEndpoints"]:
            assert endpoint["port"] in ports and (await kubelet.get(endpoint["path"])).status_code == 200
        assert (await kubelet.get("/readyz")).status_code == 503, "the readiness probe tells no more than this one"


def test_agents_are_started_with_options_that_there_are() -> None:
    [agent] = AGENT["spec"]["containers"]
    source = (ROOT / "agent" / "headrace_agent" / "__main__.py").read_text()
    known = {f"HEADRACE_{name}" for name in re.findall(r'_env\("(\w+)"\)', source)}
    environment = _environment(agent)
    assert {name for name in environment if name.startswith("HEADRACE_")} <= known
    assert agent["command"][:2] == ["headrace-agent", "run"]
    assert AGENT["spec"]["terminationGracePeriodSeconds"] > float(environment["HEADRACE_DRAIN_TIMEOUT_S"]) + 10
    assert environment["HEADRACE_METRICS_LISTEN"] == f"0.0.0.0:{agent['ports'][0]['containerPort']}"
    assert [endpoint["port"] for endpoint in _one("PodMonitor", "headrace-agent")["spec"]["podMetricsEndpoints"]] == [agent["ports"][0]["name"]]
    services = _broker_set()
    port = _one("Service", services["serviceName"])["spec"]["ports"][0]["port"]
    assert environment["HEADRACE_BROKER"].split(",") == [f"headrace-broker-{number}.{services['serviceName']}:{port}" for number in range(services["replicas"])]


def test_selectors_choose_the_pods_that_they_are_for() -> None:
    for item in ALL:
        spec, kind = item["spec"], item["kind"]
        if kind in ("StatefulSet", "Deployment"):
            assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
            for spread in spec["template"]["spec"].get("topologySpreadConstraints", []):
                assert spread["labelSelector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
        elif kind in ("Service", "PodDisruptionBudget", "PodMonitor"):
            chosen = spec["selector"].get("matchLabels", spec["selector"])
            assert [name for name, pod in PODS.items() if chosen.items() <= pod["metadata"]["labels"].items()] == [
                "headrace-agent" if item["metadata"]["name"] == "headrace-agent" else "headrace-broker"
            ]
    ports = {port["name"]: port["containerPort"] for port in BROKER["spec"]["containers"][0]["ports"]}
    for name in ("headrace", "headrace-http"):
        assert all(port["port"] == ports[port["targetPort"]] for port in _one("Service", name)["spec"]["ports"])
    grpc = _one("Service", _broker_set()["serviceName"])["spec"]
    assert grpc["clusterIP"] == "None" and grpc["publishNotReadyAddresses"], "clients and brokers know all of them"


def test_what_scales_agents_is_what_the_broker_takes() -> None:
    scaled = _one("ScaledObject", "headrace-agent")["spec"]
    assert scaled["scaleTargetRef"] == {"name": "headrace-agent"} and "replicas" not in _one("Deployment", "headrace-agent")["spec"]
    [trigger] = scaled["triggers"]
    assert trigger["type"] == "external-push" and all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes texts alone"
    [agent] = AGENT["spec"]["containers"]
    environment = _environment(agent)
    metadata = {name: environment[value] if name.endswith("FromEnv") else value for name, value in trigger["metadata"].items()}
    asked = trigger_of(ScaledObjectRef(scalerMetadata=metadata))
    service = _one("Service", _broker_set()["serviceName"])
    host, _, port = trigger["metadata"]["scalerAddress"].partition(":")
    assert host == f"{service['metadata']['name']}.default.svc" and int(port) == service["spec"]["ports"][0]["port"]
    code = runpy.run_path(str(PLACE / "agent" / "hello.py"))["agent"]
    assert agent["command"][2] == "hello:agent" and asked.jobs_per_replica == code.slots
    assert set(asked.types) == set(code.handlers) and metadata["domain"] == environment["HEADRACE_DOMAIN"]
    assert trigger["authenticationRef"] == {"name": _one("TriggerAuthentication", "headrace")["metadata"]["name"]}


def test_secrets_are_those_that_the_page_tells_to_make() -> None:
    made = {
        (name, key)
        for name, keys in re.findall(r"^kubectl create secret generic ([\w-]+)((?: \\\n|.)*)$", DOC, re.MULTILINE)
        for key in re.findall(r"--from-(?:file|literal)=([\w.-]+)=", keys)
    }
    used = set(_secrets(ALL))
    for pod in PODS.values():
        for volume in pod["spec"]["volumes"]:
            used |= {(volume["secret"]["secretName"], item["key"]) for item in volume.get("secret", {}).get("items", [])}
            assert set(volume) - {"name"} <= {"secret", "configMap", "emptyDir"}
    [broker] = BROKER["spec"]["containers"]
    tls = next(mount for mount in broker["volumeMounts"] if mount["name"] == "tls")
    for name in ("HEADRACE_TLS_CERT", "HEADRACE_TLS_KEY"):
        folder, _, key = _environment(broker)[name].rpartition("/")
        assert folder == tls["mountPath"]
        used.add(("headrace-tls", key))
    assert used == made
    [agent] = AGENT["spec"]["containers"]
    environment, mounts = _environment(agent), {mount["name"]: mount["mountPath"] for mount in agent["volumeMounts"]}
    paths = {f"{mounts[volume['name']]}/{item['path']}" for volume in AGENT["spec"]["volumes"] for item in volume.get("secret", {}).get("items", [])}
    assert {environment["HEADRACE_TLS_CA"], environment["HEADRACE_TOKEN_FILE"]} == paths
    assert agent["workingDir"] == mounts["code"] and {"configMap": {"name": "headrace-agent-code"}, "name": "code"} in AGENT["spec"]["volumes"]
    hosts = re.search(r"^headrace tls init (.*)$", DOC, re.MULTILINE)
    services = _broker_set()
    names = [services["serviceName"], f"{services['serviceName']}.default.svc", *(f"headrace-broker-{n}.{services['serviceName']}" for n in range(services["replicas"]))]
    assert hosts and set(names) <= set(re.findall(r"--host (\S+)", hosts[1])), "the certificate names the hosts under which brokers are reached"


def _secrets(value: Any) -> Iterator[tuple[str, str]]:
    """(name, key) wherever one key of a Secret is named."""
    if isinstance(value, dict):
        if value.keys() >= {"name", "key"}:
            yield value["name"], value["key"]
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _secrets(item)
