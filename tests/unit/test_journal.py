"""A journal holds what was written to it, whatever ends the process that wrote."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rollotape.errors import Refused
from rollotape.producers.frames import Message
from rollotape.producers.journal import Journal, Written

MESSAGES: list[Message] = [("bars.1", b'{"a": 1}'), ("bars.12", b"no JSON \xff"), ("bars.3", b"")]


def opened(folder: Path, **options: int) -> Journal:
    return Journal(folder, now_ms=lambda: 1_700_000_000_123, **options)


def kept(folder: Path) -> list[Message]:
    with opened(folder) as journal:
        return [(w.stream, w.payload) for path in journal.files() for w in journal.read(path)]


def test_what_was_written_is_read_in_its_order(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.append(MESSAGES[:1])
        journal.append(MESSAGES[1:])
        assert journal.files() == [], "it is still written"
        journal.roll()
        [path] = journal.files()
        assert list(journal.read(path)) == [Written(1_700_000_000_123, *message) for message in MESSAGES]
        assert journal.size == path.stat().st_size
    assert kept(tmp_path) == MESSAGES


def test_a_line_break_in_json_is_a_space(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.append([("bars.0", b'{\n"a":\n1}')])
    assert kept(tmp_path) == [("bars.0", b'{ "a": 1}')]


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_line_that_was_not_finished_is_cut_off(cut: int, tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.append(MESSAGES)
    [path] = tmp_path.glob("*.log")
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    lines = whole[:-cut].count(b"\n")
    assert lines < len(MESSAGES)
    assert kept(tmp_path) == MESSAGES[:lines]
    with opened(tmp_path) as journal:
        journal.append(MESSAGES[lines:])
    assert kept(tmp_path) == MESSAGES


def test_a_line_that_rotted_costs_no_other(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.append(MESSAGES)
    [path] = tmp_path.glob("*.log")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"no JSON", b"no json"))
    assert kept(tmp_path) == [MESSAGES[0], MESSAGES[2]]


def test_a_file_goes_as_a_whole_and_its_number_is_not_used_again(tmp_path: Path) -> None:
    with opened(tmp_path, file_bytes=100) as journal:
        for _ in range(6):
            journal.append(MESSAGES)
        journal.roll()
        first, *others = journal.files()
        assert len(others) >= 2
        journal.forget(first)
        assert journal.size == sum(path.stat().st_size for path in others)
        assert journal.files() == others
    with opened(tmp_path) as journal:
        journal.append(MESSAGES)
        journal.roll()
        assert journal.files()[:-1] == others
        assert journal.files()[-1] > others[-1]


def test_a_journal_that_is_full_says_so_until_something_is_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path, most_bytes=100) as journal:
        assert journal.has_room
        journal.append(MESSAGES)
        assert not journal.has_room
        journal.roll()
        journal.forget(journal.files()[0])
        assert journal.has_room


def test_a_full_disk_costs_what_was_not_written_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as journal:
        journal.append(MESSAGES[:1])
        write, tries = os.write, iter([5])

        def full(file: int, what: memoryview) -> int:
            for some in tries:
                return write(file, what[:some])
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(OSError, match="No space left"):
                journal.append(MESSAGES[1:2])
        journal.append(MESSAGES[2:])
    assert kept(tmp_path) == [MESSAGES[0], MESSAGES[2]]


def test_two_producers_never_share_a_journal(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(Refused, match="is in use: is the same producer running"):
        opened(tmp_path).__enter__()
    with opened(tmp_path):
        pass


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be written"):
        opened(tmp_path / "file" / "journal").__enter__()


_WRITER = """
import sys
from pathlib import Path
from rollotape.producers.journal import Journal
with Journal(Path(sys.argv[1])) as journal:
    n = 0
    while True:
        journal.append([("bars.0", b"%d" % n)])
        print(n, flush=True)
        n += 1
"""


def test_what_was_written_outlives_a_kill(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _WRITER, tmp_path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        said = [int(writer.stdout.readline()) for _ in range(200)]
        os.kill(writer.pid, signal.SIGKILL)
        said += [int(line) for line in writer.stdout.readlines() if line.endswith(b"\n")]
    numbers = [int(payload) for _, payload in kept(tmp_path)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > said[-1], "written before anybody is told"
