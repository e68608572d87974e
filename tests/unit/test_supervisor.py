"""The supervisor: who ended is started again, but not who refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollotape.embedded.children import Children
from rollotape.errors import Refused
from rollotape.supervisor import Supervisor
from support.waiting import eventually_sync

LAST_WORDS = """
import sys
print('{"event": "waiting"}')
print("moody: ROLLO_THIS: say so instead", flush=True)
print('{"event": "stopped"}', flush=True)
sys.exit(CODE)
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Children]:
    with Children(tmp_path / "children.json") as opened:
        yield opened


def supervised(family: Children, folder: Path, code: int, said: list[str]) -> Supervisor:
    (folder / "moody.py").write_text(LAST_WORDS.replace("CODE", str(code)))
    supervisor = Supervisor(family, folder, {"PYTHONPATH": str(folder)}, {"moody": 1}, said.append)
    supervisor.start()
    [replica] = supervisor.replicas
    child = replica.child
    assert child is not None
    eventually_sync(lambda: not child.alive)
    return supervisor


def test_who_refuses_to_start_is_heard_once_and_not_started_again(family: Children, tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = supervised(family, tmp_path, 2, said)
    with pytest.raises(Refused, match=r"^moody: ROLLO_THIS: say so instead$"):
        supervisor.tick()
    assert said == []
    assert supervisor.replicas[0].child is None


def test_who_fails_is_started_again(family: Children, tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = supervised(family, tmp_path, 1, said)
    supervisor.tick()
    assert "moody-1 ended (exit code 1); starting it again" in said[0]
    eventually_sync(lambda: bool(supervisor.tick()))
    supervisor.kill()
