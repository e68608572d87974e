"""Files that grow, are torn, are replaced, and what is told of them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollotape.errors import Refused
from rollotape.producers.csv import Options
from rollotape.producers.feeds.files.session import FilesAgain, FilesSession
from rollotape.producers.feeds.files.tail import Tail
from rollotape.producers.feeds.standing import Standing
from rollotape.producers.keeper import Request
from support.live import Heard, Tape, outgoing_to
from support.waiting import eventually

HEADER = "symbol,timestamp,open,high,low,close,volume\n"
NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)
MINUTES = Options(timeframe="1m")


def row(minute: int, close: float | str = 100.0, symbol: str = "AAPL") -> str:
    return f"{symbol},2026-03-04T14:{minute:02}:00Z,100,102,98,{close},1000\n"


def texts(tail: Tail) -> list[str]:
    found: list[str] = []
    while lines := tail.read():
        found += lines.texts
    return found


class TestTail:
    def test_a_line_counts_when_it_has_ended(self, tmp_path: Path) -> None:
        path = tmp_path / "bars.csv"
        path.write_text("a\nb\nto")
        with Tail(path) as tail, path.open("a") as file:
            assert texts(tail) == ["a", "b"]
            assert tail.waits
            file.write("rn\nc\n")
            file.flush()
            assert texts(tail) == ["torn", "c"]

    def test_letters_of_many_bytes_may_be_torn_too(self, tmp_path: Path) -> None:
        path = tmp_path / "bars.csv"
        path.write_bytes(b"\xef\xbb\xbfa\n\xc3")
        with Tail(path) as tail, path.open("ab") as file:
            assert texts(tail) == ["a"]
            file.write(b"\xa4\n\xff\n")
            file.flush()
            assert texts(tail) == ["ä", "\\xff"]

    @pytest.mark.parametrize("way", ["renamed", "cut", "cut and longer at once"])
    def test_a_file_that_takes_its_place_is_read_from_its_beginning(self, tmp_path: Path, way: str) -> None:
        path = tmp_path / "bars.csv"
        path.write_text("a\nb\n")
        with Tail(path) as tail:
            assert texts(tail) == ["a", "b"]
            if way == "renamed":
                with path.open("a") as file:
                    path.rename(tmp_path / "bars.csv.1")
                    file.write("last\n")  # its writer has not noticed yet
                assert texts(tail) == ["last"]
                assert tail.is_there
            path.write_text("c\nd\n" if way == "cut and longer at once" else "c\n")
            begun = tail.read()
            assert begun is not None
            assert begun.begins
            assert begun.texts == (["c", "d"] if way == "cut and longer at once" else ["c"])
            assert not tail.torn

    def test_of_a_line_that_its_file_did_not_end_nothing_is_guessed(self, tmp_path: Path) -> None:
        path = tmp_path / "bars.csv"
        path.write_text("a\n12.3")
        with Tail(path) as tail:
            assert texts(tail) == ["a"]
            path.rename(tmp_path / "old.csv")
            path.write_text("b\n")
            assert texts(tail) == ["b"]
            assert tail.torn == ["12.3"]

    @pytest.mark.parametrize(
        ("content", "says"),
        [(b"\x1f\x8b0", "gzipped"), (b"\xff\xfea", "UTF-16"), (b"x" * (2 << 20), "more than a million")],
    )
    def test_what_cannot_be_followed_is_refused(self, tmp_path: Path, content: bytes, says: str) -> None:
        path = tmp_path / "bars.csv"
        path.write_bytes(content)
        with Tail(path) as tail, pytest.raises(Refused, match=says):
            texts(tail)

    def test_a_large_file_comes_in_parts(self, tmp_path: Path) -> None:
        path = tmp_path / "bars.csv"
        path.write_text("0123456789\n" * 200_000)
        with Tail(path) as tail:
            first = tail.read()
            assert first is not None
            assert len(first.texts) < 100_000
            assert len(first.texts) + len(texts(tail)) == 200_000


class Desk:
    """A session with files, on a stack that remembers."""

    def __init__(self, *paths: Path, options: Options = MINUTES, now: datetime = NOW) -> None:
        self.paths = paths
        self.options = options
        self.now = now
        self.tape = Tape()
        self.heard = Heard()
        self.standing = Standing()

    def session(self, *, follow: bool = True, again: bool = False) -> FilesSession:
        return FilesSession(
            self.paths, self.options, outgoing_to(self.tape, self.standing), self.tape, self.heard,
            self.standing, follow=follow, again=again, now_us=lambda: round(self.now.timestamp() * 1e6),
        )  # fmt: skip

    async def read(self, *, again: bool = False) -> None:
        """Everything that is there."""
        await self.session(follow=False, again=again)(lambda: None)

    async def following(self, act: Callable[[], Awaitable[object]]) -> None:
        task = asyncio.ensure_future(self.session()(lambda: None))
        try:
            await act()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def has(self, *expected: tuple[str, float, int]) -> None:
        await eventually(lambda: asyncio.sleep(0, self.tape.closes("AAPL") == list(expected)))


async def test_rows_are_told_as_they_are_written_and_corrected_ones_again(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    desk = Desk(path)

    async def story() -> None:
        await eventually(lambda: asyncio.sleep(0, desk.heard.said("missing")))
        path.write_text(HEADER + row(30))
        await desk.has(("14:30", 100.0, 0))
        with path.open("a") as file:
            file.write(row(31) + row(30, 101.5) + row(32)[:-9])
        await desk.has(("14:30", 100.0, 0), ("14:31", 100.0, 0), ("14:30", 101.5, 1))
        path.rename(tmp_path / "bars.1.csv")
        path.write_text(
            HEADER.replace(",volume", "").replace("symbol", "volume,symbol") + "7," + row(33)[:-6]
        )
        with path.open("a") as file:
            file.write("\n")
        await eventually(lambda: asyncio.sleep(0, len(desk.tape.rows) == 4))

    await desk.following(story)
    assert desk.tape.rows[-1]["volume"] == 7
    assert len(desk.heard.said("torn")) == 1
    assert desk.heard.said("rotated")


async def test_a_bar_that_still_runs_is_told_when_it_is_over_as_its_last_row_has_it(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + row(58) + row(59) + row(59, 101.0))
    desk = Desk(path, now=NOW.replace(hour=14, minute=59, second=59))

    async def story() -> None:
        await desk.has(("14:58", 100.0, 0))
        desk.now = NOW
        await desk.has(("14:58", 100.0, 0), ("14:59", 101.0, 0))

    await desk.following(story)


async def test_started_again_it_goes_on_where_the_stack_is(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + "".join(row(i) for i in range(30)) + "AAPL,never,1,1,1,1,1\n")
    desk = Desk(path)
    await desk.read()
    assert len(desk.tape.rows) == 31
    desk.tape.payloads.clear()
    await desk.read()
    assert [row["ts"] for row in desk.tape.rows] == ["never"]  # said once more: nothing after it is stored
    with path.open("a") as file:
        file.write(row(27, 101.0) + row(3, 101.0) + row(30))
    desk.tape.payloads.clear()
    await desk.read()
    assert desk.tape.closes("AAPL") == [("14:27", 101.0, 1), ("14:30", 100.0, 0)]
    desk.tape.payloads.clear()
    await desk.read(again=True)
    assert [row for row in desk.tape.closes("AAPL") if row[0]] == [("14:03", 101.0, 1)]


async def test_rows_that_no_bar_can_come_from_are_told_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(HEADER + row(30, "") + row(31, "ten") + row(32))
    desk = Desk(path)
    await desk.read()
    assert sorted(str(row["close"]) for row in desk.tape.rows) == ["100.0", "None", "ten"]


async def test_revisions_of_a_file_are_its_own(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    lines = [
        row(30).replace("\n", ",2\n"),
        row(30, 101).replace("\n", ",1\n"),
        row(30, 99).replace("\n", ",5\n"),
    ]
    path.write_text(HEADER.replace("\n", ",revision\n") + "".join(lines))
    desk = Desk(path)
    await desk.read()
    assert desk.tape.closes("AAPL") == [("14:30", 100.0, 2), ("14:30", 99.0, 5)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file; --follow waits for it"),
        ("a,b\n1,2\n", "must name the columns"),
        (HEADER + row(30).replace("2026-03-04T14", "04.03.2026 14"), "neither an ISO date"),
    ],
)
async def test_what_is_no_file_of_bars_is_refused_by_its_name(
    tmp_path: Path, content: str | None, says: str
) -> None:
    path = tmp_path / "bars.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Refused, match=f"bars.csv: .*{says}"):
        await Desk(path).read()


async def test_what_the_files_still_have_can_be_asked_for_again(tmp_path: Path) -> None:
    path, gone = tmp_path / "bars.csv", tmp_path / "gone.csv"
    path.write_text(HEADER + row(30) + row(31, 101.0) + row(31, symbol="MSFT") + row(59))
    source = FilesAgain([gone, path], MINUTES, outgoing_to(Tape()), lambda: round(NOW.timestamp() * 1e6))
    first = round(datetime(2026, 3, 4, 14, 31, tzinfo=UTC).timestamp() * 1e6)
    asked = Request("AAPL", "1m", first, first, 1)
    found = await source.again(asked)
    assert found is not None
    assert found.close == [101.0]
    assert await source.again(replace(asked, symbol="TSLA")) is None
