"""What Kubernetes says that its objects are, by its published schemas; of KEDA the fields that we use."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate

OLDEST, NEWEST = "1.28", "1.37"
"""Of Kubernetes: that the documentation names, and the newest that is published here."""

_DEFINITIONS = "https://kubernetes.io/api/_definitions.json"
_BEHAVIOR = f"{_DEFINITIONS}#/$defs/io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior"
_COUNT = {"type": "integer", "minimum": 0}
_KEDA: dict[str, Any] = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "kind": {"const": "ScaledObject"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "required": ["scaleTargetRef", "triggers"],
            "additionalProperties": False,
            "properties": {
                "scaleTargetRef": {
                    "type": "object",
                    "required": ["name"],
                    "additionalProperties": False,
                    "properties": {name: {"type": "string"} for name in ("apiVersion", "kind", "name")},
                },
                "minReplicaCount": _COUNT,
                "maxReplicaCount": _COUNT,
                "pollingInterval": _COUNT,
                "cooldownPeriod": _COUNT,
                "advanced": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "horizontalPodAutoscalerConfig": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"behavior": {"$ref": _BEHAVIOR}},
                        }
                    },
                },
                "triggers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["type", "metadata"],
                        "additionalProperties": False,
                        "properties": {
                            "type": {"const": "prometheus"},
                            "name": {"type": "string"},
                            "metricType": {"enum": ["AverageValue", "Value", "Utilization"]},
                            # Everything of a trigger is text: a number without quotes is refused.
                            "metadata": {
                                "type": "object",
                                "required": ["serverAddress", "query", "threshold"],
                                "additionalProperties": False,
                                "properties": {
                                    "serverAddress": {"type": "string", "pattern": "^https?://"},
                                    "query": {"type": "string"},
                                    "threshold": {"type": "string", "pattern": "^[0-9.]+$"},
                                    "activationThreshold": {"type": "string", "pattern": "^[0-9.]+$"},
                                    "ignoreNullValues": {"enum": ["true", "false"]},
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def faults(one: dict[str, Any], version: str) -> Iterator[str]:
    """What a Kubernetes of this version, or KEDA on it, would not take; unknown fields, too."""
    for error in _validator(one["apiVersion"], one["kind"], version).iter_errors(one):
        where = ".".join(map(str, error.instance_path))
        yield f"{one['kind']} {one['metadata']['name']}: {where}: {error.message}"


@cache
def _validator(api: str, kind: str, version: str) -> Any:
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    folder /= f"v{version}.0-local-strict"
    if api.startswith("keda.sh/"):
        assert kind == "ScaledObject"
        schema = _KEDA
    else:
        group, _, of_group = api.rpartition("/")
        name = "-".join(filter(None, (kind.lower(), group.partition(".")[0], of_group)))
        schema = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return jsonschema_rs.Draft202012Validator(schema, registry=_definitions(folder))


@cache
def _definitions(folder: Path) -> jsonschema_rs.Registry:
    said = json.loads((folder / "_definitions.json").read_text("utf-8"))
    return jsonschema_rs.Registry([(_DEFINITIONS, said)])
