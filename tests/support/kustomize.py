"""The part of kustomize that deploy/kubernetes uses, so that its overlays are built where kustomize is not.

What it makes is held against the real one wherever that is (tests/unit/test_kubernetes.py). What it does not
know it refuses, rather than leaving it out: what a kustomization begins to use is taught here first.
"""

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

KNOWN = {
    "apiVersion", "kind", "namespace", "resources", "components", "patches", "images", "replicas",
    "configMapGenerator",
}  # fmt: skip
UNSPACED = {"Namespace"}
KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
"""Lists that are merged entry by entry, and by what; others are replaced whole."""


def build(folder: Path) -> list[Object]:
    """Every object of a kustomization, as it would be applied."""
    objects = _accumulated(folder, [])
    _name_by_content(objects)
    return objects


def load(path: Path) -> list[Object]:
    return copy.deepcopy(_parsed(path))


@cache
def _parsed(path: Path) -> list[Object]:
    return [one for one in yaml.safe_load_all(path.read_text("utf-8")) if one]


def _accumulated(folder: Path, objects: list[Object]) -> list[Object]:
    """What a folder adds to the objects before it, and does to them all."""
    [said] = load(folder / "kustomization.yaml")
    assert said.keys() <= KNOWN, f"{folder.name}: not known here: {said.keys() - KNOWN}"
    for name in said.get("resources", ()):
        path = folder / name
        objects += _accumulated(path, []) if path.is_dir() else load(path)
    for asked in said.get("configMapGenerator", ()):
        _generate(objects, asked)
    for name in said.get("components", ()):
        _accumulated(folder / name, objects)
    for patch in said.get("patches", ()):
        _patch(objects, patch, folder)
    for one in objects:
        _transform(one, said)
    return objects


def _generate(objects: list[Object], asked: Object) -> None:
    assert asked.keys() <= {"name", "behavior", "literals"}
    data = dict(literal.split("=", 1) for literal in asked["literals"])
    if asked.get("behavior") == "merge":
        wanted = "ConfigMap", asked["name"]
        [earlier] = [one for one in objects if (one["kind"], one["metadata"]["name"]) == wanted]
        earlier["data"] |= data
    else:
        objects.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": asked["name"]}, "data": data}
        )


def _patch(objects: list[Object], asked: Object, folder: Path) -> None:
    assert asked.keys() <= {"path", "patch", "target"}
    [patch] = load(folder / asked["path"]) if "path" in asked else [yaml.safe_load(asked["patch"])]
    found = [one for one in objects if _is_meant(one, asked["target"])]
    assert found, f"{folder.name}: a patch for nothing"
    for one in found:
        if isinstance(patch, list):
            _step_by_step(one, patch)
        else:
            name = one["metadata"]["name"]
            _merge(one, {key: value for key, value in patch.items() if key not in ("apiVersion", "kind")})
            one["metadata"]["name"] = name


def _is_meant(one: Object, target: Object) -> bool:
    assert target.keys() <= {"kind", "name", "labelSelector"}
    labels = one["metadata"].get("labels", {})
    wanted = [pair.split("=") for pair in target.get("labelSelector", "").split(",") if pair]
    return bool(
        re.fullmatch(target.get("kind", ".*"), one["kind"])
        and re.fullmatch(target.get("name", ".*"), one["metadata"]["name"])
        and all(labels.get(key) == value for key, value in wanted)
    )


def _step_by_step(one: Object, steps: list[Object]) -> None:
    for step in steps:
        assert step["op"] == "remove"
        *path, last = step["path"].strip("/").split("/")
        place: Any = one
        for part in path:
            place = place[part]
        del place[last]


def _merge(into: Object, patch: Object) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif key in KEYS and isinstance(into.get(key), list):
            _merge_lists(into[key], value, KEYS[key])
        else:
            into[key] = copy.deepcopy(value)


def _merge_lists(into: list[Object], patch: list[Object], key: str) -> None:
    for new in patch:
        for old in into:
            if old[key] == new[key]:
                _merge(old, new)
                break
        else:
            into.append(copy.deepcopy(new))


def _transform(one: Object, said: Object) -> None:
    if (space := said.get("namespace")) and one["kind"] not in UNSPACED:
        one["metadata"]["namespace"] = space
    for image in said.get("images", ()):
        assert image.keys() <= {"name", "newName", "newTag"}
        for container in containers(one):
            name, _, tag = container["image"].partition(":")
            if name == image["name"]:
                container["image"] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"
    for wanted in said.get("replicas", ()):
        if one["kind"] in ("Deployment", "StatefulSet") and one["metadata"]["name"] == wanted["name"]:
            one["spec"]["replicas"] = wanted["count"]


def pod(one: Object) -> Object | None:
    """What an object says of its pods, if it has any."""
    template: Object | None = one.get("spec", {}).get("template")
    return template["spec"] if template else None


def containers(one: Object) -> Iterator[Object]:
    """All of them, those that run first, too."""
    if spec := pod(one):
        yield from spec.get("initContainers", ())
        yield from spec.get("containers", ())


def _name_by_content(objects: list[Object]) -> None:
    """Generated ConfigMaps end in a hash of what is in them, wherever they are named."""
    named = {one["metadata"]["name"]: one for one in objects if one["kind"] == "ConfigMap"}
    for name, one in named.items():
        one["metadata"]["name"] = f"{name}-{_hash(one['data'])}"
    for one in objects:
        for container in containers(one):
            for source in container.get("envFrom", ()):
                if (asked := source.get("configMapRef")) and asked["name"] in named:
                    asked["name"] = named[asked["name"]]["metadata"]["name"]


def _hash(data: dict[str, str]) -> str:
    """Ten letters of SHA-256. The real one means to include the name, and never finds it."""
    said = {"kind": "ConfigMap", "name": "", "data": data}
    content = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return sha256(content.encode()).hexdigest()[:10].translate(str.maketrans("013ae", "ghkmt"))
