"""Requests made up from the published OpenAPI: Schemathesis with every check, as three kinds of callers."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from prometheus_client import REGISTRY

from rollotape.settings import Settings
from support.gateway import serve
from support.populated import give_key, populate

TESTS = Path(__file__).parents[1]
BOUNDLESS = 1_000_000_000
"""Requests in a window: here nobody is refused for asking often."""
SLOWEST_S = 3_600.0

_SLOW = "503"
"""A server was too slow on a busy machine: documented, with `Retry-After`. `make fuzz` counts them apart."""
_ALL = ["2xx", "304", "404", "409", "412", _SLOW]
_NONE = ["400", "404", "405", "409", "412", "413", "415", "421", "422", "431", _SLOW]
_CLOSED = ["401", "413", "415", "422", "431", _SLOW]
_EVERYBODYS = "^/(?!api/(v1/)?users/)"
"""Markets belong to nobody: what one has sent, another may read."""
_STREAM = "/patterns/stream"
"""Without end, so that nothing would ever be checked: `talking` listens to it."""


@dataclass(frozen=True, slots=True)
class Door:
    """A gateway, and what those who come this way may expect of it."""

    name: str
    url: str
    accepted: list[str]
    """Statuses that a request may be answered with which the document takes for good."""
    refused: list[str]
    """The same of one that it does not allow."""
    keys: dict[str, str]
    """By owner; who has one sees what is its own and nothing else."""
    paths: str

    def configure(self, folder: Path) -> Path:
        """Write the configuration of Schemathesis."""
        lines = [
            "[checks.positive_data_acceptance]", f"expected-statuses = {self.accepted}",
            "[checks.negative_data_rejection]", f"expected-statuses = {self.refused}",
            "[checks.not_a_server_error]", f'expected-statuses = ["2xx", "3xx", "4xx", "{_SLOW}"]',
        ]  # fmt: skip
        if self.keys:
            users = folder / "users.json"
            named = [
                {"name": owner, "fixedHeaders": [{"name": "X-API-Key", "value": key}]}
                for owner, key in self.keys.items()
            ]
            users.write_bytes(orjson.dumps({"auth": named}))
            lines += [
                "[auth.wfc]", f'path = "{users}"', f"peers = {list(self.keys)}",
                "[[operations]]", f"include-path-regex = '{_EVERYBODYS}'",
                "checks.object_level_authorization.enabled = false",
            ]  # fmt: skip
        file = folder / "schemathesis.toml"
        file.write_text("\n".join(lines) + "\n", "utf-8")
        return file


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run found."""

    found: str
    """What was printed, where anything was wrong; else nothing."""
    generated: int
    passed: int


@contextmanager
def doors(settings: Settings) -> Iterator[list[Door]]:
    """Three gateways over one populated database."""
    asyncio.run(populate(settings))
    often = {"rate_requests": BOUNDLESS, "rate_strangers": BOUNDLESS, "hosts": "g"}
    keys = {owner: give_key(settings, "write", owner=owner).text for owner in ("ada", "bob")}
    with ExitStack() as stack:
        off, on = (
            stack.enter_context(serve(settings.model_copy(update=often | {"auth": auth})))
            for auth in ("off", "on")
        )
        yield [
            Door("nobody is asked for a key", off, _ALL, _NONE, {}, ".*"),
            Door("with a key", on, _ALL, ["401", *_NONE], keys, "^/api/"),
            Door("without a key", on, ["401", _SLOW], _CLOSED, {}, "^/api/"),
        ]


def ask(door: Door, folder: Path, seed: int, examples: int, *, paths: str = "", phases: str = "") -> Outcome:
    """One run with every check: `examples` requests of each operation, and those that are always made."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(door.configure(folder)),
        "run", f"{door.url}/openapi.json",
        "--seed", str(seed), "--max-examples", str(examples), "--continue-on-failure",
        "--no-shrink", "--no-color", "--suppress-health-check", "all", "--generation-database", "none",
        "--include-path-regex", paths or door.paths,
        "--exclude-path-regex", f"{_STREAM}$",
        *(("--phases", phases) if phases else ()),
    ]  # fmt: skip
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "support.hostile", "PYTHONPATH": str(TESTS)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SLOWEST_S
    )
    counted = re.search(r"(\d+) generated(?:, (\d+) passed)?", done.stdout)
    generated, passed = (int(n or 0) for n in counted.groups()) if counted else (0, 0)
    found = "" if done.returncode == 0 and counted else done.stdout + done.stderr
    return Outcome(found, generated, passed)


def answered() -> dict[str, int]:
    """Requests that gateways of this process have answered, by kind of status, as they counted them."""
    found: dict[str, int] = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name == "rollo_http_requests_total":
                kind = sample.labels["status"]
                found[kind] = found.get(kind, 0) + int(sample.value)
    return found
