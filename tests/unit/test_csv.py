"""CSV files of all kinds become bars, and what is wrong with a row is sent as it stands."""

import csv
import gzip
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollotape import calendars, intake
from rollotape.errors import Refused
from rollotape.events import MAX_FRAME_BARS, MAX_PAYLOAD_BYTES
from rollotape.producers import cells
from rollotape.producers import csv as producer
from rollotape.producers.csv import CsvFile, Options, sniff
from rollotape.producers.frames import MAX_SYMBOL, Bars, Framer
from rollotape.producers.twice import Twice, Watch
from rollotape.streams.partitions import partition_of, stream_name

NOW_MS = 1_790_000_000_000
AS_IT_IS = Options()
HEADER = "symbol,date,open,high,low,close,volume"
GOOD = "AAPL,2020-01-02,10,11,9,10.5,100"

Row = tuple[str, str, float | None, float | None, float | None, float | None, float | None]


def written(folder: Path, text: str | bytes, name: str = "bars.csv") -> Path:
    path = folder / name
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def rows_of(path: Path, options: Options = AS_IT_IS) -> list[Row]:
    """The well-formed rows."""
    blocks = CsvFile(path, options).blocks()
    return [row[:7] for block in blocks for columns in block.columns for row in columns.bars.rows()]


def odd_of(path: Path, options: Options = AS_IT_IS) -> list[dict[str, object]]:
    blocks = CsvFile(path, options).blocks()
    return [orjson.loads(odd.payload) for block in blocks for odd in block.odd]


BAR = ("AAPL", "2020-01-02T00:00:00Z", 10.0, 11.0, 9.0, 10.5, 100.0)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{HEADER}\n{GOOD}\n", id="plain"),
        pytest.param(f"{HEADER}\n{GOOD}", id="no newline at the end"),
        pytest.param(f"{HEADER}\r\n{GOOD}\r\n", id="CRLF"),
        pytest.param(f"\ufeff{HEADER}\n{GOOD}\n", id="byte order mark"),
        pytest.param(f"\n\n{HEADER}\n\n,,,,,,\n{GOOD}\n   \n", id="empty lines"),
        pytest.param(f"{HEADER}\n{GOOD}\n".replace(",", ";"), id="semicolons"),
        pytest.param(f"{HEADER}\n{GOOD}\n".replace(",", "\t"), id="tabs"),
        pytest.param(f"{HEADER}\n{GOOD.lower()}\n", id="lower case symbol"),
        pytest.param(f"{HEADER.upper()}\n{GOOD}\n", id="upper case header"),
        pytest.param("Ticker,Time,O,H,L,C,V\nAAPL,2020-01-02,10,11,9,10.5,100\n", id="short names"),
        pytest.param(
            "volume,close,low,high,open,timestamp,symbol\n100,10.5,9,11,10,2020-01-02T00:00:00Z,AAPL\n",
            id="another order",
        ),
        pytest.param(
            "Date,Open,High,Low,Close,Adj Close,Volume,Ticker\n2020-01-02,10,11,9,10.5,10.4,100,AAPL\n",
            id="adjusted close not read",
        ),
        pytest.param(f'{HEADER}\n"AAPL","2020-01-02","10","11","9","10.5","100"\n', id="quotes"),
        pytest.param(f"{HEADER}\n AAPL , 2020-01-02 , 10 , 11 , 9 , 10.5 , 1e2 \n", id="spaces, exponent"),
        pytest.param(f"{HEADER},\n{GOOD},\n", id="a delimiter too many in every line"),
        pytest.param(f"{HEADER}\nAAPL,2020-01-02 05:30:00+05:30,10,11,9,10.5,100\n", id="offset"),
    ],
)
def test_a_bar_is_read_however_the_file_is_written(tmp_path: Path, text: str) -> None:
    assert rows_of(written(tmp_path, text)) == [BAR]
    assert odd_of(written(tmp_path, text)) == []


def test_a_gzipped_file_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER}\n{GOOD}\n", "bars.csv.gz")
    assert rows_of(path) == [BAR]
    assert rows_of(path.rename(tmp_path / "bars.txt")) == [BAR]


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER},adj_close,note\n{GOOD},1,x\n")
    assert CsvFile(path, Options()).layout.ignored == ["adj close", "note"]


def test_an_empty_field_is_a_missing_number_in_its_frame(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER}\nBHF,2017-07-26,,,,69.08,\n")
    assert rows_of(path) == [("BHF", "2017-07-26T00:00:00Z", None, None, None, 69.08, None)]


def test_a_file_of_one_symbol_needs_no_column_for_it(tmp_path: Path) -> None:
    path = written(tmp_path, "date,open,high,low,close,volume\n2020-01-02,10,11,9,10.5,100\n")
    assert rows_of(path, Options(symbol="AAPL")) == [BAR]
    with pytest.raises(Refused, match="--symbol"):
        CsvFile(path, Options())


def test_an_exported_file_brings_its_timeframes_and_revisions(tmp_path: Path) -> None:
    header = "symbol,timeframe,ts,open,high,low,close,volume,revision"
    day, minute = "A,1Day,2020-01-02T00:00:00Z,1,1,1,1,1,3", "A,1m,2020-01-02T15:00:00Z,1,1,1,1,1,"
    path = written(tmp_path, f"{header}\n{day}\n{minute}\n")
    [block] = CsvFile(path, Options()).blocks()
    assert [(c.bars.timeframe, c.bars.revision, c.lines) for c in block.columns] == [
        ("1d", [3], [2]),
        ("1m", [0], [3]),
    ]
    for options in (Options(timeframe="1d"), Options(revision=1)):
        with pytest.raises(Refused, match="leave --"):
            CsvFile(path, options)


def test_a_time_without_a_zone_is_refused_unless_a_zone_is_given(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER}\nAAPL,2020-07-02 09:30:00,10,11,9,10.5,100\n")
    with pytest.raises(Refused, match=r"line 2: .*no time zone: say --timezone"):
        rows_of(path, Options(timeframe="1m"))
    options = Options(timeframe="1m", timezone=ZoneInfo("America/New_York"))
    assert rows_of(path, options) == [("AAPL", "2020-07-02T13:30:00Z", *BAR[2:])]


@pytest.mark.parametrize("text", ["2020-03-08 02:30:00", "2020-11-01 01:30:00"])
def test_a_time_that_clocks_skipped_or_repeated_is_not_guessed(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, f"{HEADER}\nA,2020-01-02 09:30,1,1,1,1,1\nA,{text},1,1,1,1,1\n")
    options = Options(timeframe="1m", timezone=ZoneInfo("America/New_York"))
    assert [odd["ts"] for odd in odd_of(path, options)] == [text]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "empty", id="empty file"),
        pytest.param("\n\n", "empty", id="only empty lines"),
        pytest.param(f"{GOOD}\n", "must name the columns, like symbol,date,open", id="no header"),
        pytest.param("symbol,date,open,high,low,close\nA,2020-01-02,1,1,1,1", "lacks volume", id="no volume"),
        pytest.param(f"{HEADER},close\n{GOOD},1\n", "close and close", id="a column twice"),
        pytest.param(f"{HEADER},time\n{GOOD},1\n", "could be the time: date and time", id="two times"),
        pytest.param(f"{HEADER}\nA,31/12/2020,1,1,1,1,1\n", "line 2: '31/12/2020' is neither", id="d/m/y"),
        pytest.param(f"{HEADER}\n\nA,20201231,1,1,1,1,1\n", "line 3: .* not guessed", id="yyyymmdd"),
        pytest.param(
            f"{HEADER}\nA,2020-01-02T14:30:00Z,1,1,1,1,1\nA,2020-01-02T14:31:00Z,1,1,1,1,1\n",
            "line 2: 2020-01-02T14:30:00Z has a time of day, .* like --timeframe 1m",
            id="minutes without a timeframe",
        ),
        pytest.param(b"\xff\xfes\x00y\x00", "UTF-16", id="UTF-16"),
        pytest.param(b"PK\x03\x04\x14\x00\x08", "must name the columns", id="a spreadsheet"),
        pytest.param(b"\x1f\x8b\x08nonsense", "gzip file is damaged", id="damaged gzip"),
        pytest.param("x" * 3_000_000, "more than a million characters", id="no lines"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_in_one_sentence(
    tmp_path: Path, text: str | bytes, says: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(Refused, match=says) as refused:
        rows_of(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_minutes_are_read_where_a_timeframe_is_said_and_a_stray_time_costs_its_row(tmp_path: Path) -> None:
    minute = "A,2020-01-02T14:30:00Z,1,1,1,1,1"
    assert len(rows_of(written(tmp_path, f"{HEADER}\n{minute}\n"), Options(timeframe="1m"))) == 1
    assert len(rows_of(written(tmp_path, f"{HEADER},timeframe\n{minute},1m\n"))) == 1
    assert len(rows_of(written(tmp_path, f"{HEADER}\n{minute}\n{GOOD}\n"))) == 2


def test_a_file_that_is_not_there_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No such file"):
        CsvFile(tmp_path / "nothing.csv", Options())


def test_a_gzip_file_that_ends_early_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER}\n{GOOD}\n" + f"{GOOD}\n" * 50_000, "bars.csv.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Refused, match="damaged or cut off"):
        rows_of(path)


MISTAKES = [
    pytest.param("A,31/12/2020,1,1,1,1,1", "ts", id="date of another shape"),
    pytest.param("A,2020-13-01,1,1,1,1,1", "ts", id="no such month"),
    pytest.param("A,2020-01-02T00:00:00,1,1,1,1,1", "ts", id="no zone"),
    pytest.param("A,,1,1,1,1,1", "ts", id="no date"),
    pytest.param("A,1577923200,1,1,1,1,1", "ts", id="seconds since 1970"),
    pytest.param("A,1,1,1,1,1", "ts", id="a column lost"),
    pytest.param("A,2020-01-02T05:00:00Z,1,1,1,1,1", "ts", id="off the grid"),
    pytest.param("A,2999-01-04,1,1,1,1,1", "ts", id="far future"),
    pytest.param("A,2020-01-02,abc,1,1,1,1", "open", id="text for a number"),
    pytest.param("A,2020-01-02,nan,1,1,1,1", "open", id="NaN"),
    pytest.param("A,2020-01-02,1,inf,1,1,1", "high", id="infinity"),
    pytest.param("A,2020-01-02,1,1,1,1e999,1", "close", id="beyond doubles"),
    pytest.param("A,2020-01-02,1_0,1,1,1,1", "open", id="underscore"),
    pytest.param("A,2020-01-02,1,1,1,1,１", "volume", id="full-width digit"),
    pytest.param("A,2020-01-02,1,1,1,1,1.2.3", "volume", id="two dots"),
    pytest.param('A,2020-01-02,1,1,1,1,"1,234"', "volume", id="thousands separator in quotes"),
    pytest.param("A,2020-01-02,1,1,1,1,1,234", "surplus", id="thousands separator"),
    pytest.param("A,2020-01-02,1,1,1", "volume", id="row cut off"),
    pytest.param('"A,2020-01-02,1,1,1,1,1', "symbol", id="quote never closed"),
    pytest.param("A,2020-01-02,,1,1,1,1", "open", id="missing number"),
    pytest.param("A,2020-01-02,-1,1,1,1,1", "open", id="negative price"),
    pytest.param("A,2020-01-02,1,1,2,1,1", "high", id="high below low"),
    pytest.param(",2020-01-02,1,1,1,1,1", "symbol", id="no symbol"),
    pytest.param("A B,2020-01-02,1,1,1,1,1", "symbol", id="space in a symbol"),
    pytest.param("straße,2020-01-02,1,1,1,1,1", "symbol", id="letter outside ASCII"),
    pytest.param("A\0,2020-01-02,1,1,1,1,1", "symbol", id="NUL"),
    pytest.param("A" * 5_000 + ",2020-01-02,1,1,1,1,1", "symbol", id="endless symbol"),
    pytest.param(HEADER, "ts", id="the header again"),
]


@pytest.mark.parametrize(("mistake", "field"), MISTAKES)
def test_a_mistake_is_sent_and_refused_and_costs_its_neighbours_nothing(
    tmp_path: Path, mistake: str, field: str
) -> None:
    path = written(tmp_path, f"{HEADER}\n{GOOD}\n{mistake}\n{GOOD.replace('AAPL', 'MSFT')}\n")
    framer = Framer(16)
    messages, lines = [], []
    for block in CsvFile(path, Options()).blocks():
        for columns in block.columns:
            messages += [payload for _, payload in framer.add(columns.bars)]
            lines += [block.text(line) for line in columns.lines]
        messages += [odd.payload for odd in block.odd]
        lines += [block.text(odd.line) for odd in block.odd]
    messages += [payload for _, payload in framer.flush()]

    read = intake.read([intake.Message(payload, NOW_MS) for payload in messages], calendars.sessions)

    assert sorted(read.keys) == [("AAPL", "1d"), ("MSFT", "1d")]
    [refused] = read.refused
    assert field in {fault.field for fault in refused.faults}
    assert sorted(lines) == sorted([GOOD, mistake, GOOD.replace("AAPL", "MSFT")])


def test_bytes_that_are_no_text_are_refused_with_their_row(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER}\n{GOOD}\n".encode() + b"\xe9\xff,2020-01-02,1,1,1,1,1\n")
    assert [row[0] for row in rows_of(path)] == ["AAPL", "\\XE9\\XFF"]


def test_a_day_in_an_intraday_file_is_no_start_of_a_bar(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER}\n{GOOD}\n")
    with pytest.raises(Refused, match="a day without a time"):
        rows_of(path, Options(timeframe="1m"))


def test_lines_are_counted_as_an_editor_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "BLOCK_CHARACTERS", 64)  # many blocks, cut anywhere
    texts = [HEADER, *(f"A,2020-01-{day:02},{day},{day},{day},{day},1" for day in range(1, 29))]
    texts.insert(5, "")
    texts.insert(9, "A,x,1,1,1,1,1")
    path = written(tmp_path, "\r\n".join(texts))
    seen: dict[int, str] = {}
    for block in CsvFile(path, Options()).blocks():
        found = [odd.line for odd in block.odd] + [line for c in block.columns for line in c.lines]
        seen |= {line: block.text(line) for line in found}
    assert seen == {i: text for i, text in enumerate(texts, 1) if text and i > 1}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_one_that_shows_most_columns(delimiter: str) -> None:
    assert sniff(HEADER.replace(",", delimiter)).delimiter == delimiter


# Frames


def bars_of(rows: list[tuple[str, str, float]], revision: int = 0) -> Bars:
    """Rows of symbol, ts and one number that stands for all five."""
    o, h, low, c, v = ([number for _, _, number in rows] for _ in range(5))
    return Bars(
        "1d", [s for s, _, _ in rows], [ts for _, ts, _ in rows], [*o], [*h], [*low], [*c], [*v],
        [revision] * len(rows),
    )  # fmt: skip


def test_a_full_frame_of_the_longest_values_fits_the_largest_payload() -> None:
    longest = "\U0001f600" * MAX_SYMBOL, "2020-01-02T15:30:00.123456Z", -1.2345678901234567e-300
    bars = bars_of([longest] * MAX_FRAME_BARS, revision=10**18 - 1)
    [(_, payload)] = Framer(16, MAX_FRAME_BARS).add(bars)
    assert len(payload) < MAX_PAYLOAD_BYTES


def test_a_frame_of_one_is_a_plain_bar() -> None:
    [(_, payload)] = Framer(16, 1).add(bars_of([("A", "2020-01-02T00:00:00Z", 1.0)]))
    assert "frame" not in orjson.loads(payload)


names = st.sampled_from(["A", "AAPL", "MSFT", "BRK.B", "^GSPC", "x", "é", ""])
batches = st.lists(st.lists(names, max_size=40), max_size=8)


@given(batches=batches, partitions=st.integers(1, 20), frame_bars=st.integers(1, 12))
def test_frames_hold_every_row_once_in_the_order_of_its_symbol(
    batches: list[list[str]], partitions: int, frame_bars: int
) -> None:
    framer = Framer(partitions, frame_bars)
    sent, messages, number = [], [], 0
    for symbols in batches:
        rows = [(s, "2020-01-02T00:00:00Z", float(number + i)) for i, s in enumerate(symbols)]
        number += len(rows)
        sent += [(s, n) for s, _, n in rows]
        messages += framer.add(bars_of(rows))
    messages += framer.flush()

    received = []
    for stream, payload in messages:
        entry = orjson.loads(payload)
        frame = entry.get("frame") or {name: [entry[name]] for name in ("symbol", "open")}
        assert 1 <= len(frame["symbol"]) <= frame_bars
        assert {stream} == {stream_name("bars", partition_of(s, partitions)) for s in frame["symbol"]}
        received += list(zip(frame["symbol"], frame["open"], strict=True))

    for symbol in {s for s, _ in sent}:
        assert [r for r in received if r[0] == symbol] == [r for r in sent if r[0] == symbol]
    assert len(received) == len(sent)
    assert framer.flush() == []


cell = st.text(max_size=12).filter(lambda s: "\n" not in s and "\r" not in s)


@given(rows=st.lists(st.lists(cell, max_size=9), max_size=20))
def test_no_row_is_dropped_whatever_stands_in_it(
    rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "bars.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"{HEADER}\n{GOOD}\n")
        csv.writer(file, lineterminator="\n").writerows(rows)
    said = [r for r in rows if any(c.strip(", \t") for c in r)]
    count = 0
    for block in CsvFile(path, Options()).blocks():
        assert block.rows == len(block.odd) + sum(len(c.bars) for c in block.columns)
        count += block.rows
    assert count >= 1 + len(said)


def test_the_real_files_have_the_rows_that_their_notes_say(shared_data: Path) -> None:
    source = CsvFile(shared_data / "bars_daily_etf.csv.gz", Options())
    blocks = list(source.blocks())
    assert sum(block.rows for block in blocks) == 30_380
    assert not any(block.odd for block in blocks)
    assert blocks[-1].position == source.size


@pytest.mark.parametrize(
    ("thousands", "text", "number"),
    [
        (".", "51.600", 51_600.0),
        (".", "1.051.600,25", 1_051_600.25),
        (".", "-12,5", -12.5),
        (".", "51600", 51_600.0),
        (".", "12.50", "12.50"),
        (".", "5.1600", "5.1600"),
        (".", "1.234.56", "1.234.56"),
        (",", "51,600.5", 51_600.5),
        (",", "51,60", "51,60"),
        (" ", "51 600,5", 51_600.5),
        (" ", "51\u00a0600", 51_600.0),
        (" ", "51\u202f600.5", 51_600.5),
        ("'", "1'051'600", 1_051_600.0),
        ("'", "1\u2019051\u2019600.5", 1_051_600.5),
        ("'", "5e3", 5_000.0),
        (".", "", None),
        (".", "n/a", "n/a"),
        (".", "\u0661.\u0660\u0660\u0660", "\u0661.\u0660\u0660\u0660"),
        (".", "1" * 400, "1" * 400),
    ],
)
def test_thousands_are_read_as_they_were_said_to_be_and_nothing_else_is(
    thousands: str, text: str, number: float | str | None
) -> None:
    assert cells.numbers([text], thousands) == [number]


def test_every_number_of_a_file_is_read_with_its_thousands(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER}\nAAPL,2020-01-02,1.010,1.011,1.009,1.010,51.600\n".replace(",", ";"))
    said = Options(thousands=".")
    assert rows_of(path, said) == [("AAPL", "2020-01-02T00:00:00Z", 1010, 1011, 1009, 1010, 51_600)]


@pytest.mark.parametrize(
    ("volumes", "found"),
    [
        (["51.600"], (2, "51.600")),
        (["600", " 51.600 ", "1.051.600"], (3, "51.600")),
        (["1.051.600", "51.600"], (3, "51.600")),
        (["51600", "51.600", ""], (3, "51.600")),
        (["51.600", "51.60"], None),
        (["51.600", "0.512"], None),
        (["51.600", "1234.567"], None),
        (["51.600", "51.6e3"], None),
        (["51600", "1"], None),
        (["1.051.600"], None),
        ([], None),
    ],
)
def test_volumes_whose_dots_may_mean_thousands_are_noticed(
    tmp_path: Path, volumes: list[str], found: tuple[int, str] | None
) -> None:
    rows = [f"A;2020-01-{day:02};10;11;9;10;{volume}" for day, volume in enumerate(volumes, 2)]
    path = written(tmp_path, "\n".join([HEADER.replace(",", ";"), *rows]))
    told = []
    for options in (Options(), Options(thousands=".")):
        source = CsvFile(path, options)
        list(source.blocks())
        told.append([(doubt.line, doubt.number) for doubt in source.doubts])
    assert told == [[found] if found else [], []]


@pytest.mark.parametrize(
    ("row", "number"),
    [
        ('A,2020-01-02,10,11,9,10,"51,600"', "51,600"),
        ('A,2020-01-02,"1,010.5",11,9,10,51600', "1,010.5"),
        ('A,2020-01-02,10,11,9,"10,5",', "10,5"),
        ("A,2020-01-02,10,x,9,10,51600", None),
        ('A,2020-01-02,10,11,9,10,"n,a"', None),
    ],
)
def test_numbers_with_commas_are_pointed_out_with_what_to_say(
    tmp_path: Path, row: str, number: str | None
) -> None:
    source = CsvFile(written(tmp_path, f"{HEADER}\n{GOOD}\n{row}\n"), AS_IT_IS)
    list(source.blocks())
    assert [(doubt.line, doubt.number) for doubt in source.doubts] == ([(3, number)] if number else [])


def watched(*paths: Path) -> Watch:
    watch = Watch()
    for path in paths:
        for block in CsvFile(path, AS_IT_IS).blocks():
            for columns in block.columns:
                watch.add(path, columns)
    return watch


def test_bars_given_twice_with_other_numbers_are_noticed_within_and_across_files(tmp_path: Path) -> None:
    other = GOOD.replace("10.5", "10.6")
    one = written(tmp_path, f"{HEADER}\n{GOOD}\nMSFT,2020-01-02,1,2,1,2,5\n", "one.csv")
    two = written(tmp_path, f"{HEADER}\n\nMSFT,2020-01-03,1,2,1,2,5\n{other}\n{GOOD}\n", "two.csv")

    assert watched(one).found() is None
    assert watched(two).found() == Twice(1, two, 5)
    assert watched(one, two).found() == Twice(1, two, 4)

    [block] = CsvFile(two, AS_IT_IS).blocks()
    refused = Watch()
    refused.add(two, block.columns[0], without={4})
    assert refused.found() is None


def test_the_same_row_again_and_a_higher_revision_are_no_matter(tmp_path: Path) -> None:
    assert watched(written(tmp_path, f"{HEADER}\n{GOOD}\n{GOOD}\n")).found() is None
    restated = f"{HEADER},revision\n{GOOD},0\n{GOOD.replace('10.5', '10.6')},1\n"
    assert watched(written(tmp_path, restated)).found() is None
    assert Watch().found() is None
