"""What scripts do in Redis, their callers may do there: a refusal shows only where a branch is taken."""

import re
from collections.abc import Mapping

import pytest

from api_gateway import limits, places
from rollotape.cache import answers
from rollotape.redis import rights
from rollotape.redis.rights import Right

_CALLS = re.compile(r"redis\.call\('(\w+)'")
CASES = [
    ("api-gateway", rights.IN_CACHE, "analytics:*", answers),
    ("cache-builder", rights.IN_CACHE, "analytics:*", answers),
    ("api-gateway", rights.IN_CACHE, f"{limits.KEY}*", limits),
    ("api-gateway", rights.IN_STREAMS, f"{limits.KEY}*", limits),
    ("api-gateway", rights.IN_CACHE, f"{places.KEY}*", places),
    ("api-gateway", rights.IN_STREAMS, f"{places.KEY}*", places),
]


@pytest.mark.parametrize(("service", "users", "keys", "module"), CASES)
def test_a_service_may_do_what_its_scripts_do(
    service: str, users: Mapping[str, tuple[Right, ...]], keys: str, module: object
) -> None:
    scripts = [text for text in vars(module).values() if isinstance(text, str)]
    called = {name.lower() for text in scripts for name in _CALLS.findall(text)}
    assert called, "no script was found"
    granted = {c for right in users[service] if keys in right.keys for c in right.commands.split()}
    assert called - granted <= {"time"}, "refused"
    assert "evalsha" in granted
