"""Every operation that the gateway documents, and a request of each that is answered well."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpx

from rollotape.settings import Settings
from support.gateway import Judge
from support.populated import id_of

V1 = "/api/v1"
PATHS = {
    "symbol": "AAPL",
    "pattern_id": "00000000-0000-0000-0000-000000000007",
    "pattern_type": "SPRING",
    "which": "spring",
    "key": "sp500",
}
REQUIRED = {"symbols": "AAPL,MSFT", "symbol": "AAPL"}
OWNED = ("watchlist_id", "saved_scan_id", "webhook_id")


class Surface(NamedTuple):
    """A gateway over a populated database, and whoever asks it."""

    settings: Settings
    document: dict[str, Any]
    client: httpx.AsyncClient
    judge: Judge


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    said: Mapping[str, Any]
    shapes: Mapping[str, Any]
    """Schemas that it may refer to."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def name(self) -> str:
        return str(self.said["operationId"])

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who asks."""
        return not self.path.startswith("/api/")

    @property
    def streams(self) -> bool:
        return "text/event-stream" in self.content(200)

    @property
    def owned(self) -> bool:
        """Whether it is about one thing of somebody's."""
        return any(f"{{{name}}}" in self.path for name in OWNED)

    def content(self, status: int) -> Mapping[str, Any]:
        content: Mapping[str, Any] = self.said["responses"].get(str(status), {}).get("content", {})
        return content

    def parameters(self, where: str = "query") -> dict[str, dict[str, Any]]:
        """Schemas by name."""
        return {p["name"]: p["schema"] for p in self.said.get("parameters", ()) if p["in"] == where}

    def target(self, owner: str = "local", /, **query: object) -> str:
        """Path and query of a request that is answered well, but for what `query` says."""
        path = self.path
        for name in self.parameters("path"):
            value = str(id_of(owner)) if name in OWNED else PATHS[name]
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        required = {
            p["name"] for p in self.said.get("parameters", ()) if p["in"] == "query" and p["required"]
        }
        given = {name: REQUIRED[name] for name in sorted(required)} | query
        return f"{path}?{urlencode(given, doseq=True)}" if given else path

    def body(self) -> Any:
        """A body that is taken; None where there is none."""
        content = self.said.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            return None
        if "example" in content:
            return content["example"]
        if "examples" in content:
            return next(iter(content["examples"].values()))["value"]
        return self.shapes[content["schema"]["$ref"].rpartition("/")[2]]["examples"][0]


def operations(document: Mapping[str, Any], *, v1: bool = False) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        if v1 or not path.startswith(V1 + "/"):
            for method, said in methods.items():
                yield Operation(method.upper(), path, said, document["components"]["schemas"])
