"""deploy/kubernetes, as far as it can be judged without a cluster: built, and held against what there is."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from faststream.redis import RedisBroker
from prometheus_client.metrics import MetricWrapperBase
from typer.testing import CliRunner

from api_gateway import main as gateway
from api_gateway.app import create_app, create_ops_app
from rollotape import __version__, cli, health, metrics
from rollotape import settings as configuration
from rollotape.cli import stack
from rollotape.events import STREAMS
from rollotape.postgres import migrate as schema
from rollotape.settings import Settings
from rollotape.streams.delivery import GRACE_S
from support import documents, kube_schemas, kustomize, promql
from support.kustomize import Object

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
COMPONENTS = {"bridge", "feed"}
OVERLAYS = ["dev", "prod", "keda", *sorted(COMPONENTS)]
OURS = {"detector", "rs-worker", "cache-builder", "api-gateway"}
STORES = {"redis-streams", "redis-cache", "postgres"}
SECRETS = "/etc/rollo/secrets"
NEEDS = {
    "detector": {"streams", "postgres", "dns"},
    "rs-worker": {"streams", "postgres", "dns"},
    "cache-builder": {"streams", "cache", "postgres", "dns", "web"},
    "api-gateway": {"streams", "cache", "postgres", "dns", "web"},
    "migrate": {"postgres", "dns"},
    "bridge": {"streams", "postgres", "dns"},
    "feed": {"streams", "postgres", "dns", "web"},
} | {store: set[str]() for store in STORES}


def folder_of(name: str, scratch: Path) -> Path:
    """An overlay's; of a component that of dev with it, as the documentation says to add it."""
    if name not in COMPONENTS:
        return FOLDER / "overlays" / name
    ways = ("overlays/dev", f"components/{name}")
    dev, component = (os.path.relpath(FOLDER / way, scratch) for way in ways)
    said = {"resources": [dev], "components": [component], "namespace": "rollo",
            "images": [{"name": "rollotape", "newTag": "local"}]}  # fmt: skip
    (scratch / "kustomization.yaml").write_text(yaml.safe_dump(said))
    return scratch


@pytest.fixture(params=OVERLAYS, scope="module")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    return kustomize.build(folder_of(request.param, tmp_path_factory.mktemp("overlay")))


@cache
def overlay(name: str) -> list[Object]:
    return kustomize.build(FOLDER / "overlays" / name)


def of(objects: list[Object], *kinds: str) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in objects if one["kind"] in kinds}


def pods(objects: list[Object]) -> dict[str, Object]:
    return of(objects, "Deployment", "StatefulSet", "Job")


def labels(one: Object) -> dict[str, str]:
    found: dict[str, str] = one["spec"]["template"]["metadata"]["labels"]
    return found


def settings_of(objects: list[Object]) -> dict[str, str]:
    [one] = of(objects, "ConfigMap").values()
    found: dict[str, str] = one["data"]
    return found


# ---- as Kubernetes would take it


@pytest.mark.parametrize("version", [kube_schemas.OLDEST, kube_schemas.NEWEST])
def test_every_object_is_one_that_kubernetes_takes(built: list[Object], version: str) -> None:
    assert built
    assert [fault for one in built for fault in kube_schemas.faults(one, version)] == []
    names = [(one["kind"], one["metadata"]["name"]) for one in built]
    assert len(set(names)) == len(names)
    assert {one["metadata"].get("namespace", "rollo") for one in built} == {"rollo"}


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "readOnlyRoot"), True),
        ("Deployment", ("spec", "replicas"), "two"),
        ("NetworkPolicy", ("spec", "podSelektor"), {}),
        ("HorizontalPodAutoscaler", ("spec", "maxReplicas"), "8"),
        ("ScaledObject", ("spec", "maxReplicas"), 8),
        ("ScaledObject", ("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleUp"), 1),
    ],
)
def test_a_slip_would_be_seen(kind: str, path: tuple[str, ...], value: object) -> None:
    one = next(o for o in kustomize.build(FOLDER / "overlays" / "keda") if o["kind"] == kind)
    assert not list(kube_schemas.faults(one, kube_schemas.NEWEST))
    place = one
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    assert list(kube_schemas.faults(one, kube_schemas.NEWEST))


@pytest.mark.parametrize("name", OVERLAYS)
def test_kustomize_itself_builds_the_same(name: str, tmp_path: Path) -> None:
    programs = ("kustomize", "build"), ("kubectl", "kustomize")
    program = next((one for one in programs if shutil.which(one[0])), None)
    if program is None:
        pytest.skip("no kustomize and no kubectl here")
    folder = folder_of(name, tmp_path)
    done = subprocess.run([*program, folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    theirs = {_key(one): _in_order(one) for one in yaml.safe_load_all(done.stdout)}
    assert {_key(one): _in_order(one) for one in kustomize.build(folder)} == theirs


def _key(one: Object) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


def _in_order(value: Any, name: str = "") -> Any:
    """Lists that are merged by a key have no order of their own."""
    if isinstance(value, dict):
        return {key: _in_order(one, key) for key, one in value.items()}
    if not isinstance(value, list):
        return value
    inner, key = [_in_order(one) for one in value], kustomize.KEYS.get(name)
    if key and all(isinstance(one, dict) and key in one for one in inner):
        return sorted(inner, key=lambda one: str(one[key]))
    return inner


def test_every_file_is_part_of_something() -> None:
    used = {FOLDER / "secret.template.yaml"}
    for path in FOLDER.rglob("kustomization.yaml"):
        said = yaml.safe_load(path.read_text("utf-8"))
        patches = [patch["path"] for patch in said.get("patches", ()) if "path" in patch]
        used |= {path} | {path.parent / name for name in [*said.get("resources", ()), *patches]}
    assert {path for path in FOLDER.rglob("*") if path.is_file()} <= used
    for one in kustomize.load(FOLDER / "secret.template.yaml"):
        assert not list(kube_schemas.faults(one, kube_schemas.NEWEST))


# ---- rights


def test_nothing_has_more_rights_than_it_needs(built: list[Object]) -> None:
    for name, one in pods(built).items():
        spec = kustomize.pod(one)
        assert spec is not None
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False, "its variables would look like settings"
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert name in STORES or (spec["shareProcessNamespace"] is True) is COMPOSE["detector"]["init"]
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"}
        assert all(v.keys() & {"emptyDir", "secret"} for v in spec["volumes"]), name
        for container in kustomize.containers(one):
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["allowPrivilegeEscalation"] is rights["privileged"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            for what in ("requests", "limits"):
                assert container["resources"][what].keys() == {"cpu", "memory"}, f"{name}: {what}"
            written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
            assert "/tmp" in written
            kept = {"/var/lib/rollo"} if name == "feed" else set()
            assert name in STORES or written == {"/tmp"} | kept
    space = of(built, "Namespace")["rollo"]
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_secret_is_in_them(built: list[Object]) -> None:
    assert not of(built, "Secret")
    assert not re.search(r"://[^/\s]*:[^/\s]*@", yaml.safe_dump_all(built))
    templates = of(kustomize.load(FOLDER / "secret.template.yaml"), "Secret")
    assert {value for one in templates.values() for value in one["stringData"].values()} == {""}
    for name, one in pods(built).items():
        volumes = one["spec"]["template"]["spec"]["volumes"]
        mounted = {v["secret"]["secretName"] for v in volumes if "secret" in v}
        assert mounted == (templates.keys() if name == "feed" else {"rollo-passwords"})


def test_images_are_of_one_version(built: list[Object]) -> None:
    used = {container["image"] for one in pods(built).values() for container in kustomize.containers(one)}
    stores = {image for image in used if not re.match(r"(.*/)?rollotape:", image)}
    assert all(re.search(r":\d+\.\d+(\.\d+)?$", image) for image in stores)
    [ours] = used - stores
    assert ours.rpartition(":")[2] in {__version__, "local"}
    theirs = {COMPOSE[name]["image"] for name in STORES}
    assert all(any(image.startswith(f"{one}.") for one in theirs) for image in stores), "as in compose"


# ---- what is ours


def test_every_setting_that_is_given_exists(built: list[Object]) -> None:
    known = {configuration.variable(name) for name in Settings.model_fields} | configuration.OF_OTHERS
    given = set(settings_of(built))
    for one in pods(built).values():
        given |= {env["name"] for container in kustomize.containers(one) for env in container.get("env", ())}
    ours = {name for name in given if name.startswith("ROLLO_")}
    assert {name.removesuffix("_FILE") for name in ours} <= known


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_a_service_would_take_the_settings(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = of(kustomize.load(FOLDER / "secret.template.yaml"), "Secret")["rollo-passwords"]
    for key in template["stringData"]:
        (tmp_path / key).write_text(f"of-{key}\n")
    for variable in [v for v in os.environ if v.startswith("ROLLO_")]:
        monkeypatch.delenv(variable)
    for variable, value in settings_of(overlay(name)).items():
        monkeypatch.setenv(variable, value.replace(SECRETS, str(tmp_path)))
    settings = configuration.load()
    assert "of-redis_password@" in settings.redis_url and "of-redis_password@" in (settings.cache_url or "")
    assert "of-postgres_password@" in settings.database_url
    assert not configuration.unread(os.environ)
    gateway.guard(settings)


def test_every_service_of_compose_is_there(built: list[Object]) -> None:
    found = of(built, "Deployment")
    assert found.keys() - {"bridge"} == OURS
    assert all(
        container["command"] == COMPOSE[name]["command"]
        for name in OURS
        for container in found[name]["spec"]["template"]["spec"]["containers"]
    )
    [job] = of(built, "Job").values()
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == COMPOSE["migrate"]["command"]
    for one in [*found.values(), *of(built, "StatefulSet").values()]:
        assert one["spec"]["selector"]["matchLabels"].items() <= labels(one).items()


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_service_is_asked_where_it_answers(name: str) -> None:
    settings = settings_of(overlay("prod"))
    workers = {path for path, _ in health.make_app(RedisBroker(), health.Health()).routes}
    of_gateway = {
        getattr(route, "path", "")
        for route in create_ops_app(
            create_app(Settings(redis_url="redis://localhost", database_url="postgresql://localhost/rollo"))
        ).routes
    }
    answers = of_gateway if name == "api-gateway" else workers
    [container] = overlay_pod(name)["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert str(ports["ops"]) == settings["ROLLO_OPS_PORT"]
    assert settings["ROLLO_OPS_HOST"] == settings["ROLLO_HTTP_HOST"] == "0.0.0.0"
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert asked == {
        "startup": {"path": "/livez", "port": "ops"},
        "liveness": {"path": "/livez", "port": "ops"},
        "readiness": {"path": "/readyz", "port": "ops"},
    }
    assert {one["path"] for one in asked.values()} <= answers
    assert container["readinessProbe"]["timeoutSeconds"] > health.CHECK_S
    if name == "api-gateway":
        assert str(ports["http"]) == settings["ROLLO_HTTP_PORT"]
        [port] = of(overlay("prod"), "Service")["api-gateway"]["spec"]["ports"]
        assert port["targetPort"] == "http"


def overlay_pod(name: str) -> Object:
    found: Object = of(overlay("prod"), "Deployment")[name]["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_service_has_the_time_that_it_takes_to_stop(name: str) -> None:
    spec = overlay_pod(name)
    [container] = spec["containers"]
    waits = float(container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [0])[-1])
    own = gateway._GRACE_S if name == "api-gateway" else GRACE_S
    rest = 10.0  # cutting off, leases, pools: seconds each
    assert spec["terminationGracePeriodSeconds"] >= waits + own + rest
    assert (waits > 0) is (name == "api-gateway")


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_service_is_spread_and_replaced_without_a_gap(name: str) -> None:
    one = of(overlay("prod"), "Deployment")[name]
    assert one["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    own = {"app.kubernetes.io/name": name}
    spread = overlay_pod(name)["topologySpreadConstraints"]
    assert {s["topologyKey"] for s in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    assert all(s["labelSelector"] == {"matchLabels": own} for s in spread)
    budget = of(overlay("prod"), "PodDisruptionBudget")[name]["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": own}}


# ---- the schema comes first


@pytest.mark.parametrize(
    "last", ["schema 0018, the newest", "schema 9999, which this version does not know; its newest is 0018"]
)
def test_a_service_waits_for_its_schema(last: str, tmp_path: Path) -> None:
    [first] = overlay_pod("detector")["initContainers"]
    assert first["command"][:2] == ["sh", "-c"]
    end = 0 if last.endswith("the newest") else 1
    programs = {
        "rollo": 'echo "$*" >> asked\n'
        '[ $(wc -l < asked) -gt 2 ] || { echo "no schema; missing: 0001"; exit 1; }\n'
        f'echo "{last}"; exit {end}',
        "sleep": "exit 0",
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        first["command"], cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == last
    assert (tmp_path / "asked").read_text().splitlines() == ["migrate --status"] * 3


def test_the_words_that_it_looks_for_are_those_that_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "database", lambda data: Settings(redis_url="", database_url=""))
    monkeypatch.setattr(schema, "current", lambda url: "9999")
    done = CliRunner().invoke(cli.app, ["migrate", "--status"])
    [first] = overlay_pod("detector")["initContainers"]
    [words] = re.findall(r"%%([^*]+)\*", first["command"][2])
    assert words in done.output and done.exit_code == 1


# ---- who reaches whom


def test_nobody_reaches_anybody_who_need_not(built: list[Object]) -> None:
    policies = of(built, "NetworkPolicy")
    assert policies["nobody"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, one in pods(built).items():
        needs = {key.removeprefix("rollo.needs-") for key in labels(one) if key.startswith("rollo.needs-")}
        assert needs == NEEDS[name], name
    selected = {
        key
        for policy in policies.values()
        for key in policy["spec"]["podSelector"].get("matchLabels", {})
        if key.startswith("rollo.needs-")
    }
    assert selected == {f"rollo.needs-{what}" for what in ("streams", "cache", "postgres", "dns", "web")}
    for policy in policies.values():
        for rule in policy["spec"].get("ingress", ()):
            assert rule["from"] and rule["ports"]
        for rule in policy["spec"].get("egress", ()):
            assert rule["to"] and rule["ports"]


def test_servers_of_the_overlay_are_reached_by_those_who_need_them() -> None:
    policies = of(overlay("dev"), "NetworkPolicy")
    stores = of(overlay("dev"), "StatefulSet")
    assert stores.keys() == STORES
    for name, one in stores.items():
        [port] = one["spec"]["template"]["spec"]["containers"][0]["ports"]
        [service] = of(overlay("dev"), "Service")[name]["spec"]["ports"]
        need = {"matchLabels": {f"rollo.needs-{name.removeprefix('redis-')}": "yes"}}
        itself = {"matchLabels": {"app.kubernetes.io/name": name}}
        into, out = policies[f"into-{name}"]["spec"], policies[f"to-{name}"]["spec"]
        ports = [{"protocol": "TCP", "port": port["containerPort"]}]
        assert service["port"] == port["containerPort"]
        assert (into["podSelector"], out["podSelector"]) == (itself, need)
        assert into["ingress"] == [{"from": [{"podSelector": need}], "ports": ports}]
        assert out["egress"] == [{"to": [{"podSelector": itself}], "ports": ports}]


def test_servers_of_the_overlay_keep_what_must_not_vanish() -> None:
    stores = of(overlay("dev"), "StatefulSet")
    kept = {name for name, one in stores.items() if one["spec"].get("volumeClaimTemplates")}
    assert kept == {"redis-streams", "postgres"}
    for name in ("redis-streams", "redis-cache"):
        ours = stores[name]["spec"]["template"]["spec"]["containers"][0]["command"][-1]
        for option in ("--appendonly", "--maxmemory-policy", "--save"):
            theirs = re.search(rf"{option}\s+(\S+)", " ".join(COMPOSE[name]["command"]))
            assert theirs and re.search(rf"{option}\s+{re.escape(theirs[1])}", ours), f"{name}: {option}"
    connections = re.compile(r"max_connections=(\d+)")
    args = " ".join(stores["postgres"]["spec"]["template"]["spec"]["containers"][0]["args"])
    assert connections.findall(args) == connections.findall(" ".join(COMPOSE["postgres"]["command"]))


def test_the_name_that_clients_use_is_one_and_the_same() -> None:
    [ingress] = of(overlay("prod"), "Ingress").values()
    [rule] = ingress["spec"]["rules"]
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
    assert settings_of(overlay("prod"))["ROLLO_HOSTS"] == rule["host"]
    assert rule["http"]["paths"][0]["backend"]["service"] == {"name": "api-gateway", "port": {"name": "http"}}


# ---- how many there are


def gauges() -> dict[str, set[str]]:
    found = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    return {
        described.name: set(metric._labelnames)
        for metric in found
        for described in metric.describe()
        if described.type == "gauge"
    }


def test_keda_asks_for_what_is_exposed() -> None:
    scaled = of(overlay("keda"), "ScaledObject")
    assert scaled.keys() == {"detector", "rs-worker"}
    for one in scaled.values():
        assert len(one["spec"]["triggers"]) == 2
        for trigger in one["spec"]["triggers"]:
            said = trigger["metadata"]
            [selector] = promql.selectors(said["query"])
            assert selector.labels <= gauges()[selector.name]
            assert promql.groupings(said["query"]) <= gauges()[selector.name]
            assert said["ignoreNullValues"] == "false", "what nobody can tell is not nothing"
            assert trigger["metricType"] == "AverageValue"
    pending = scaled["detector"]["spec"]["triggers"][1]["metadata"]
    fields = Settings.model_fields
    assert int(pending["threshold"]) == fields["batch_entries"].default * fields["batches_in_flight"].default
    for trigger in scaled["detector"]["spec"]["triggers"]:
        assert re.findall(r'group="([^"]+)"', trigger["metadata"]["query"]) == list(STREAMS["bars"].groups)


def test_who_is_scaled_is_scaled_by_one() -> None:
    deployments = of(overlay("keda"), "Deployment")
    partitions = int(settings_of(overlay("keda"))["ROLLO_PARTITIONS"])
    scaled, hpas = of(overlay("keda"), "ScaledObject"), of(overlay("keda"), "HorizontalPodAutoscaler")
    assert scaled["detector"]["spec"]["maxReplicaCount"] == partitions
    for one in scaled.values():
        assert 2 <= one["spec"]["minReplicaCount"] < one["spec"]["maxReplicaCount"] <= partitions
    names = [one["spec"]["scaleTargetRef"]["name"] for one in [*scaled.values(), *hpas.values()]]
    assert sorted(names) == ["api-gateway", "detector", "rs-worker"]
    assert {name for name, one in deployments.items() if "replicas" not in one["spec"]} == set(names)
    assert {n: o["spec"].get("replicas") for n, o in of(overlay("prod"), "Deployment").items()} == {
        "detector": 2, "rs-worker": 2, "cache-builder": 2, "api-gateway": None,
    }  # fmt: skip


def test_a_producer_is_alone(tmp_path: Path) -> None:
    built = kustomize.build(folder_of("bridge", tmp_path))
    producers = of(built, "Deployment").keys() - OURS
    assert producers == {"bridge"}
    for name in producers:
        spec = of(built, "Deployment")[name]["spec"]
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
        program, command = spec["template"]["spec"]["containers"][0]["command"]
        said = CliRunner().invoke(cli.app, [command, "--help"]).output
        assert program == "rollo" and "until Ctrl-C" in said, "one that ends by itself is no feed"
    base, own = (FOLDER / where / "confined.yaml" for where in ("base", "components/bridge"))
    assert base.read_text("utf-8").partition("\n")[2] == own.read_text("utf-8").partition("\n")[2]


def test_a_feed_is_alone_keeps_its_journal_and_is_asked_where_it_answers(tmp_path: Path) -> None:
    one = of(kustomize.build(folder_of("feed", tmp_path)), "StatefulSet")["feed"]
    [claim] = one["spec"]["volumeClaimTemplates"]
    [container] = kustomize.containers(one)
    env = {said["name"]: said["value"] for said in container["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert one["spec"]["replicas"] == 1
    assert mounts[claim["metadata"]["name"]] == env["ROLLO_DATA"]
    templates = of(kustomize.load(FOLDER / "secret.template.yaml"), "Secret")
    files = {env[name] for name in ("ROLLO_ALPACA_KEY_FILE", "ROLLO_ALPACA_SECRET_FILE")}
    assert files == {f"{mounts['alpaca']}/{key}" for key in templates["rollo-alpaca"]["stringData"]}
    program, *command = container["command"]
    said = CliRunner().invoke(cli.app, [*command[:2], "--help"])
    assert (program, said.exit_code) == ("rollo", 0)
    assert all(option in said.output for option in command if option.startswith("--"))
    paths = {path for path, _ in health.make_app(RedisBroker(), health.Health()).routes}
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert {probe["path"] for probe in probes} <= paths


def test_prometheus_finds_every_service() -> None:
    read: Any = yaml.safe_load((ROOT / "deploy" / "prometheus" / "kubernetes.yml").read_text("utf-8"))
    [job] = read["scrape_configs"]
    keep, name, _ = job["relabel_configs"]
    label, port = (source.removeprefix("__meta_kubernetes_pod_") for source in keep["source_labels"])
    assert (label, port) == ("label_rollo_part", "container_port_name")
    part, port = keep["regex"].split(";")
    scraped = {
        labels(one)["app.kubernetes.io/name"]
        for one in pods(overlay("prod")).values()
        if labels(one).get("rollo.part") == part
        and any(p["name"] == port for c in kustomize.containers(one) for p in c.get("ports", ()))
    }
    assert scraped == OURS
    assert (name["source_labels"], name["target_label"]) == (
        ["__meta_kubernetes_pod_label_app_kubernetes_io_name"], "job",
    )  # fmt: skip
    assert all((ROOT / "deploy" / "prometheus" / file).exists() for file in read["rule_files"])
    assert job["kubernetes_sd_configs"][0]["namespaces"] == {"names": ["rollo"]}


# ---- as it is described


def told() -> Iterator[str]:
    for block in documents.blocks(ROOT / "docs" / "operations.md"):
        if block.language == "console":
            for command in documents.commands(block):
                if command.text.startswith("kubectl "):
                    yield command.text


def test_what_the_operator_is_told_to_type_names_what_there_is() -> None:
    typed = list(told())
    assert len(typed) >= 10
    applied = {match[1] for line in typed if (match := re.search(r"apply -k (\S+)", line))}
    assert applied == {f"deploy/kubernetes/overlays/{name}" for name in ("dev", "prod", "keda")}
    objects = {"deployment": OURS, "job": {"migrate"}, "service": {"api-gateway"}}
    named = [match for line in typed for match in re.findall(r"\b(deployment|job|service)/([a-z-]+)", line)]
    assert {kind for kind, _ in named} == set(objects)
    assert all(name in objects[kind] for kind, name in named)
    gates = {
        key
        for policy in of(overlay("prod"), "NetworkPolicy").values()
        for rule in policy["spec"].get("ingress", ())
        for source in rule["from"]
        for key in source["namespaceSelector"]["matchLabels"]
    }
    assert {match for line in typed for match in re.findall(r"(rollo\.reaches-[a-z]+)=yes", line)} == gates


def test_the_secrets_that_the_operator_makes_are_those_that_are_mounted() -> None:
    lines = [one for one in told() if " create secret generic " in one]
    templates = of(kustomize.load(FOLDER / "secret.template.yaml"), "Secret")
    assert [re.findall(r" generic (\S+) ", line) for line in lines] == [[name] for name in templates]
    for line, template in zip(lines, templates.values(), strict=True):
        assert set(re.findall(r"--from-file=(?:\S*/)?(\w+)", line)) == set(template["stringData"])
