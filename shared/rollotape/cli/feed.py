"""`rollo feed`: bars as they are made, from Alpaca, from Yahoo, or from files that grow."""

import hashlib
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from rollotape.cli import ends
from rollotape.cli.feeding import Desk, Feeding, Kind
from rollotape.cli.files import (
    FilesArgument,
    RevisionOption,
    SymbolOption,
    ThousandsOption,
    TimeframeOption,
    TimezoneOption,
    options_of,
)
from rollotape.cli.replay import moment
from rollotape.domain.bars import TIMEFRAMES, symbol_is_valid
from rollotape.domain.bars import timeframe as known_timeframe
from rollotape.errors import Refused
from rollotape.producers.csv import Options
from rollotape.producers.feeds.again import AskedAgain
from rollotape.producers.feeds.alpaca import history as alpaca_history
from rollotape.producers.feeds.alpaca.history import Account, AlpacaHistory
from rollotape.producers.feeds.alpaca.session import AlpacaSession
from rollotape.producers.feeds.closing import DAY_US
from rollotape.producers.feeds.files.session import FilesAgain, FilesSession
from rollotape.producers.feeds.history import CatchUp, History
from rollotape.producers.feeds.sending import Live, Polls, Session, polled
from rollotape.producers.feeds.yahoo import chart
from rollotape.producers.feeds.yahoo.history import YahooHistory
from rollotape.producers.feeds.yahoo.library import Library
from rollotape.producers.keeper import Source
from rollotape.settings import Settings

SOURCES = ("iex", "sip", "delayed_sip")
ADJUSTMENTS = ("raw", "split", "all")
BACK_DAYS = {"1m": 5, "5m": 30, "15m": 50, "30m": 50, "1h": 365, "1d": 800, "1w": 2_000}
"""Without --since, of symbols that the stack has no bars of: enough for what is derived from them."""
ON_MACHINE = {"localhost", "127.0.0.1", "::1"}
ALPACA_DELAY_S, YAHOO_DELAY_S = 5.0, 20.0
"""After the end of a bar the history is expected to have it."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Bring in bars as they are made, until Ctrl-C: from Alpaca, from Yahoo, or from files that grow.\n\n"
    "Each feed first sends what is missing since the newest stored bar of each symbol, then bars as they"
    " close; one that is said again with other numbers is sent again, as a restated one. One process of a"
    " feed sends at a time: a second one waits, and takes over. Example: rollo feed csv bars.csv --follow",
)

SymbolsOption = Annotated[
    list[str] | None, typer.Option(help="Like AAPL,MSFT; repeat the option or separate by commas.")
]
SymbolsFileOption = Annotated[
    Path | None, typer.Option(help="A file with a symbol on each line, the first word of it.")
]
TimeframesOption = Annotated[
    list[str] | None, typer.Option("--timeframe", help="May be repeated, or separated by commas.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        help="Where symbols begin that the stack has no bars of, like 2024-01-02."
        " [default: days back for minutes, years for days]"
    ),
]
AgainOption = Annotated[
    bool,
    typer.Option("--again", help="At the start ask for everything since --since, and send what differs."),
]
NameOption = Annotated[
    str | None, typer.Option(help="Of this feed: one process of a name sends at a time, on any machine.")
]
DataOption = Annotated[
    Path | None, typer.Option(help="Directory of the running stack; the feed's journal is in it.")
]


@app.command()
def alpaca(
    symbols: SymbolsOption = None,
    symbols_file: SymbolsFileOption = None,
    timeframe: TimeframesOption = None,
    source: Annotated[
        str, typer.Option(help="iex (free), sip or delayed_sip, as the subscription allows.")
    ] = "iex",
    adjustment: Annotated[str, typer.Option(help="Of past prices: raw, split or all.")] = "split",
    since: SinceOption = None,
    again: AgainOption = False,
    name: NameOption = None,
    data: DataOption = None,
) -> None:
    """Bars of US stocks from Alpaca: minutes over its WebSocket as they close, others from its history.

    Without --timeframe that is 1m and 1d. Also 5m 15m 30m 1w.

    The key is read from ROLLO_ALPACA_KEY and ROLLO_ALPACA_SECRET, or from the files that
    ROLLO_ALPACA_KEY_FILE and ROLLO_ALPACA_SECRET_FILE name; never from the command line. Alpaca allows one
    connection for a key.

    Example: rollo feed alpaca --symbols SPY,AAPL,MSFT --source iex
    """
    frames = _timeframes(timeframe, ("1m", "1d"), alpaca_history.NAMES)
    _one_of("--source", source, SOURCES)
    _one_of("--adjustment", adjustment, ADJUSTMENTS)
    wanted = _symbols(symbols, symbols_file)
    since_us = _since(since)
    settings = ends.stack_of(data)
    with ends.refusals():
        kind = Alpaca(_account(settings, source, adjustment), settings, wanted, frames, since_us, again)
    _run(settings, kind, name or "alpaca", data)


@app.command()
def yfinance(
    symbols: SymbolsOption = None,
    symbols_file: SymbolsFileOption = None,
    timeframe: TimeframesOption = None,
    extended: Annotated[
        bool, typer.Option("--extended", help="Also bars before the open and after the close.")
    ] = False,
    since: SinceOption = None,
    again: AgainOption = False,
    name: NameOption = None,
    data: DataOption = None,
) -> None:
    """Bars from Yahoo, asked for whenever one is over, with the library yfinance.

    Without --timeframe that is 1d. Also 1m 5m 15m 30m 1h 1w. Yahoo answers one symbol at a time, and refuses
    those who ask too often: many symbols are for days, few for minutes. Symbols are Yahoo's: BRK-B, ^GSPC.

    It takes the extra yfinance of this package.

    Example: rollo feed yfinance --symbols SPY,AAPL,MSFT --since 2023-01-01
    """
    frames = _timeframes(timeframe, ("1d",), chart.INTERVALS)
    wanted = _symbols(symbols, symbols_file)
    since_us = _since(since)
    settings = ends.stack_of(data)
    with ends.refusals():
        _must_be("ROLLO_YAHOO_URL", settings.yahoo_url, "https")
        fetch = Library(settings.yahoo_url)
    _run(settings, Yahoo(fetch, wanted, frames, since_us, again, extended), name or "yfinance", data)


@app.command()
def csv(
    files: FilesArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as the files grow and are replaced.")
    ] = False,
    timeframe: TimeframeOption = None,
    revision: RevisionOption = None,
    symbol: SymbolOption = None,
    timezone: TimezoneOption = None,
    thousands: ThousandsOption = None,
    again: Annotated[bool, typer.Option("--again", help="Also rows older than what is stored.")] = False,
    name: NameOption = None,
    data: DataOption = None,
) -> None:
    """Bars from files that something else writes, line by line.

    A row counts when its line has ended, and is sent when its bar is over. A file that is replaced, or cut to
    nothing and begun anew, is read from its beginning. Rows of a bar that was sent before restate it. Older
    rows than the newest stored bar of their symbol are passed by, but for the last few.

    Example: rollo feed csv today.csv --timeframe 1m --follow
    """
    options = options_of(timeframe, revision, symbol, timezone, thousands)
    settings = ends.stack_of(data)
    _run(settings, Files(files, options, follow, again), name or _name_of(files), data)


@dataclass(frozen=True, slots=True)
class Alpaca:
    """`cli.feeding.Kind` of Alpaca."""

    account: Account
    settings: Settings
    symbols: Sequence[str]
    timeframes: Sequence[str]
    since_us: int | None
    again: bool
    feed: str = "alpaca"
    follows: bool = True

    def open(self, desk: Desk) -> tuple[Session, Source]:
        history = AlpacaHistory(self.account, desk.sessions)
        catch_up = _catch_up(history, desk, self.since_us, self.again)
        polls = Polls(
            catch_up, self.symbols, desk.sessions, desk.watcher, desk.standing,
            delay_s=ALPACA_DELAY_S, extended=True,
        )  # fmt: skip
        session = AlpacaSession(
            self.account, self.settings.alpaca_stream_url, self.symbols, self.timeframes,
            desk.outgoing, polls, desk.watcher, desk.standing,
        )  # fmt: skip
        again = AskedAgain(self.feed, catch_up, self.symbols, self.timeframes, tells=history.tells)
        return session, again


@dataclass(frozen=True, slots=True)
class Yahoo:
    """`cli.feeding.Kind` of Yahoo."""

    fetch: Library
    symbols: Sequence[str]
    timeframes: Sequence[str]
    since_us: int | None
    again: bool
    extended: bool
    feed: str = "yfinance"
    follows: bool = True

    def open(self, desk: Desk) -> tuple[Session, Source]:
        def unknown(sentence: str) -> None:
            desk.watcher.happened("unknown_symbol", f"{sentence}: it is left out until the next start")

        history = YahooHistory(self.fetch, desk.sessions, extended=self.extended, unknown=unknown)
        catch_up = _catch_up(history, desk, self.since_us, self.again)
        polls = Polls(
            catch_up, self.symbols, desk.sessions, desk.watcher, desk.standing,
            delay_s=YAHOO_DELAY_S, extended=self.extended,
        )  # fmt: skip

        async def session(live: Live) -> None:
            await polled(polls, self.timeframes, live)

        again = AskedAgain(self.feed, catch_up, self.symbols, self.timeframes, tells=history.tells)
        return session, again


@dataclass(frozen=True, slots=True)
class Files:
    """`cli.feeding.Kind` of files."""

    paths: Sequence[Path]
    options: Options
    follows: bool
    again: bool
    feed: str = "csv"

    def open(self, desk: Desk) -> tuple[Session, Source]:
        session = FilesSession(
            self.paths, self.options, desk.outgoing, desk.stored, desk.watcher, desk.standing,
            follow=self.follows, again=self.again,
        )  # fmt: skip
        return session, FilesAgain(self.paths, self.options, desk.outgoing, _now_us)


def _run(settings: Settings, kind: Kind, name: str, data: Path | None) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,39}", name):
        ends.stop(
            f"--name {name}: must be 1 to 40 characters a-z 0-9 _ . -, a letter or digit first", ends.USAGE
        )
    feeding = Feeding(settings, kind, name, data)
    ends.run(feeding.run(), interrupted=feeding.interrupted)
    typer.echo(feeding.summary())


def _catch_up(history: History, desk: Desk, since_us: int | None, again: bool) -> CatchUp:
    def since(timeframe: str) -> int:
        if since_us is None:
            return (_now_us() // DAY_US - BACK_DAYS[timeframe]) * DAY_US
        return since_us if TIMEFRAMES[timeframe].intraday else since_us // DAY_US * DAY_US

    return CatchUp(history, desk.stored, desk.outgoing, since_us=since, now_us=_now_us, again=again)


def _now_us() -> int:
    return time.time_ns() // 1_000


def _account(settings: Settings, source: str, adjustment: str) -> Account:
    missing = [
        f"ROLLO_ALPACA_{what.upper()}"
        for what in ("key", "secret")
        if getattr(settings, f"alpaca_{what}") is None
    ]
    if missing:
        raise Refused(
            f"{' and '.join(missing)} not set: make a key at Alpaca, and set the variable, or"
            f" {missing[0]}_FILE to a file that holds it"
        )
    assert settings.alpaca_key
    assert settings.alpaca_secret
    _must_be("ROLLO_ALPACA_STREAM_URL", settings.alpaca_stream_url, "wss")
    _must_be("ROLLO_ALPACA_DATA_URL", settings.alpaca_data_url, "https")
    return Account(
        settings.alpaca_key.get_secret_value(),
        settings.alpaca_secret.get_secret_value(),
        source,
        settings.alpaca_data_url,
        adjustment,
    )


def _must_be(variable: str, url: str, scheme: str) -> None:
    """A key is sent encrypted, unless the other side is this machine.

    Raises:
        Refused: the address is none, or would show the key to others.
    """
    parts = urlsplit(url)
    plain = scheme.removesuffix("s")
    if not parts.hostname or parts.scheme not in (scheme, plain):
        raise Refused(f"{variable}: {url!r} is no URL like {scheme}://host")
    if parts.scheme == plain and parts.hostname not in ON_MACHINE:
        raise Refused(f"{variable}: must begin with {scheme}:// unless it is on this machine, got {url!r}")


def _symbols(given: Sequence[str] | None, file: Path | None) -> list[str]:
    words = [word for part in given or () for word in part.split(",")]
    if file is not None:
        try:
            lines = file.read_text("utf-8").splitlines()
        except (OSError, ValueError) as error:
            ends.stop(f"--symbols-file {file}: cannot be read: {error}", ends.USAGE)
        words += [re.split(r"[\s,;]", line, maxsplit=1)[0] for line in lines if not line.startswith("#")]
    found = list(dict.fromkeys(word.strip().upper() for word in words if word.strip()))
    if not found:
        ends.stop("name symbols: --symbols AAPL,MSFT, or --symbols-file FILE", ends.USAGE)
    if wrong := [symbol for symbol in found if not symbol_is_valid(symbol)]:
        ends.stop(f"--symbols {wrong[0]}: must be 1 to 20 characters A-Z 0-9 . - ^ /", ends.USAGE)
    return found


def _timeframes(given: Sequence[str] | None, default: Sequence[str], there: Collection[str]) -> list[str]:
    words = [word.strip() for part in given or default for word in part.split(",") if word.strip()]
    found = []
    for word in words:
        known = known_timeframe(word)
        if known is None or known.name not in there:
            ends.stop(f"--timeframe {word}: this feed has {' '.join(there)}", ends.USAGE)
        found.append(known.name)
    return list(dict.fromkeys(found))


def _since(text: str | None) -> int | None:
    if text is None:
        return None
    since_us = moment("--since", text, timedelta(0))
    if since_us > _now_us():
        ends.stop(f"--since {text}: is in the future", ends.USAGE)
    return since_us


def _one_of(option: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        ends.stop(f"{option} {value}: must be one of {' '.join(allowed)}", ends.USAGE)


def _name_of(files: Sequence[Path]) -> str:
    """The same for the same files, whoever follows them."""
    told = "\n".join(sorted(str(path.absolute()) for path in files))
    return f"csv-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
