"""Trace ids: what they are made of, what a caller may say, and the line and span of a batch."""

import logging
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from rollotape import logs, outcomes, telemetry, tracing
from rollotape.often import Often
from rollotape.postgres import versions
from rollotape.telemetry import Span
from support.waiting import eventually


def test_the_trace_of_a_commit_follows_from_its_number_alone() -> None:
    numbers = {versions.draw() for _ in range(2_000)} | {1, 2**63 - 1}
    ids = {tracing.of(number) for number in numbers}
    assert len(ids) == len(numbers)
    assert all(tracing.is_id(one) and int(tracing.span_of(one), 16) for one in ids)
    assert all(one == tracing.of(int(one[:16], 16)) for one in ids), "the first half is the number"


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", (TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-00", (TRACE, SPAN, False)),
        (f"00-{TRACE}-{SPAN}-03", (TRACE, SPAN, True)),
        (f"cc-{TRACE}-{SPAN}-01-what.comes", (TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        ("", None),
        ("00-" * 1_000, None),
    ],
)
def test_a_caller_is_read_as_w3c_has_it(said: str, expected: Any) -> None:
    assert tracing.parent(said) == expected


@pytest.mark.parametrize("wrong", [None, 7, [], {}, "", "0" * 32, TRACE.upper(), TRACE + "0", f"{TRACE}\n"])
def test_what_others_put_there_is_no_trace(wrong: Any) -> None:
    assert tracing.told({"trace_id": wrong}) is None
    assert tracing.told({}) is None
    assert tracing.told({"trace_id": TRACE}) == TRACE


class Taken(list[Span]):
    def take(self, span: Span) -> None:
        self.append(span)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Lines of outcomes, as they are handed over to be written."""
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(outcomes, "_lines", {})
    monkeypatch.setattr(Often, "say", lambda often, **fields: lines.append({"event": often._event} | fields))
    return lines


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    taken = Taken()
    monkeypatch.setattr(telemetry, "_taker", taken)
    return taken


def test_a_batch_is_one_line_and_one_span_with_what_was_noted(
    said: list[dict[str, Any]], taken: Taken
) -> None:
    with outcomes.telling("batch", stream="bars.3", first="1-0", last="2-0", entries=2):
        tracing.note(trace_id=TRACE, facts=3, traces=[TRACE, "a" * 32])
    [line], [span] = said, taken
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "batch", "stream": "bars.3", "first": "1-0", "last": "2-0", "entries": 2,
        "trace_id": TRACE, "facts": 3, "traces": [TRACE, "a" * 32],
    }  # fmt: skip
    assert (span.name, span.trace_id, span.span_id, span.parent_id) == ("batch", TRACE, TRACE[16:], None)
    assert (span.kind, span.links, span.error) == ("consumer", ["a" * 32], None)
    assert span.attributes["rollo.facts"] == 3
    assert span.start_ns <= span.end_ns


def test_a_batch_that_fails_is_a_span_without_the_words_of_its_error(
    said: list[dict[str, Any]], taken: Taken
) -> None:
    with pytest.raises(ValueError, match="4711"), outcomes.telling("batch", stream="bars.3"):
        raise ValueError("a price of 4711")
    assert said == []
    [span] = taken
    assert span.error == "ValueError"
    assert "4711" not in repr(span)


def test_a_turn_that_found_nothing_is_worth_no_line(said: list[dict[str, Any]], taken: Taken) -> None:
    with outcomes.telling("scores"):
        pass
    with pytest.raises(OSError), outcomes.telling("scores"):
        raise OSError
    assert (said, taken) == ([], [])


def test_what_is_noted_outside_of_a_batch_goes_nowhere(said: list[dict[str, Any]]) -> None:
    tracing.note(trace_id=TRACE)
    with outcomes.telling("batch", stream="bars.3"):
        pass
    assert "trace_id" not in said[0]


@pytest.fixture
def at_info(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    logger = logging.getLogger("tracing-test")
    logger.setLevel(logging.INFO)
    monkeypatch.setattr(logs, "_about", {"service": "detector", "instance": "a"})
    yield
    logger.setLevel(logging.NOTSET)


async def test_lines_of_one_moment_are_written_together(
    at_info: None, capsys: pytest.CaptureFixture[str]
) -> None:
    often = Often("batch", "tracing-test")
    for n in range(3):
        often.say(entries=n)
    assert capsys.readouterr().err == ""
    text = ""

    async def written() -> bool:
        nonlocal text
        text += capsys.readouterr().err
        return bool(text)

    await eventually(written)
    lines = [orjson.loads(line) for line in text.splitlines()]
    assert [(line["event"], line["entries"], line["service"]) for line in lines] == [
        ("batch", n, "detector") for n in range(3)
    ]
