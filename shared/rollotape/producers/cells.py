"""What one cell of a table says: a moment, a number, a revision, or text that is none of these."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, tzinfo
from functools import cache
from math import inf, isfinite

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)0* ?([Zz]|[+-]\d\d:\d\d)?", re.ASCII
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
THOUSANDS = {".": ".", ",": ",", " ": " \u00a0\u2009\u202f", "'": "'\u2019"}
"""What may separate thousands, and every character that is taken for it."""
_DOTTED = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+", re.ASCII)
_COMMAS = re.compile(r"[+-]?\d[\d.]*(?:,\d+)+(?:\.\d+)?", re.ASCII)
_DIGITS_AND_DOTS = str.maketrans("", "", "0123456789.")
_EPOCH = date(1970, 1, 1).toordinal()

Moment = tuple[str, float]
"""RFC 3339 in UTC, and seconds since 1970."""


def moment(cell: str, *, intraday: bool, timezone: tzinfo | None) -> Moment | str:
    """What an ISO date or RFC 3339 timestamp says, or a sentence why the cell is neither."""
    text = cell.strip()
    try:
        if _DATE.fullmatch(text):
            return _day(text, intraday)
        if found := _TIMESTAMP.fullmatch(text):
            return _instant(found, timezone)
    except (ValueError, OverflowError) as error:
        return f"{text!r} is no date: {error}"
    return (
        f"{text[:60]!r} is neither an ISO date (2020-12-31) nor an RFC 3339 timestamp "
        "(2020-12-31T14:30:00Z), and other shapes are not guessed"
    )


def _day(text: str, intraday: bool) -> Moment | str:
    day = date.fromisoformat(text)
    if intraday:
        return f"{text!r} is a day without a time, but an intraday bar starts at a time"
    return f"{text}T00:00:00Z", float((day.toordinal() - _EPOCH) * 86_400)


def _instant(found: re.Match[str], timezone: tzinfo | None) -> Moment | str:
    text = found.group()
    day, time, zone = found.groups()
    when = datetime.fromisoformat(f"{day}T{time}{zone.upper() if zone else ''}")
    if zone is None:
        if timezone is None:
            return f"{text!r} has no time zone: say --timezone UTC or --timezone America/New_York"
        when = when.replace(tzinfo=timezone)
        if when.utcoffset() != when.replace(fold=1).utcoffset():  # skipped or repeated: two offsets
            return f"{text!r} was skipped or came twice in {timezone}, where clocks were changed"
    when = when.astimezone(UTC)
    return when.isoformat().replace("+00:00", "Z"), when.timestamp()


def numbers(cells: Sequence[str], thousands: str | None = None) -> list[float | str | None]:
    """For each cell a float, None when it is empty, or its text when that is no finite number.

    `thousands` is what separates them; then the dot or the comma that does not is the decimal mark.
    """
    if thousands is not None:
        grouped = _grouped(thousands)
        return [_ungrouped(cell.strip(), grouped) for cell in cells]
    if not "".join(cells).translate(_DIGITS_AND_DOTS):  # the common case, quickly
        try:
            values: list[float | str | None] = [float(cell) if cell else None for cell in cells]
            if inf not in values:
                return values
        except ValueError:
            pass  # two dots in one cell
    return [_number(cell.strip()) for cell in cells]


def may_be_thousands(cell: str) -> bool:
    """Whether each dot of a number has one to three digits before it and three behind it."""
    return _DOTTED.fullmatch(cell) is not None


def has_comma(cell: str) -> bool:
    """Whether it would be a number, were it not for its commas."""
    return _COMMAS.fullmatch(cell) is not None


@cache
def _grouped(thousands: str) -> re.Pattern[str]:
    signs, marks = re.escape(THOUSANDS[thousands]), ".,".replace(thousands, "")
    whole = rf"(?P<sign>[+-]?)(?P<whole>\d+|\d{{1,3}}(?:[{signs}]\d{{3}})+)"
    return re.compile(rf"{whole}(?:[{marks}](?P<part>\d*))?(?P<power>(?:[eE][+-]?\d+)?)", re.ASCII)


def _ungrouped(text: str, grouped: re.Pattern[str]) -> float | str | None:
    """Thousands that are not set apart by three digits are no number: nothing is guessed."""
    if not text:
        return None
    if not (found := grouped.fullmatch(text)):
        return text
    whole = "".join(filter(str.isdigit, found["whole"]))
    value = float(f"{found['sign']}{whole}.{found['part'] or ''}{found['power']}")
    return value if isfinite(value) else text


def _number(text: str) -> float | str | None:
    if not text:
        return None
    value = float(text) if _NUMBER.fullmatch(text) else inf
    return value if isfinite(value) else text


def revision(cell: str) -> int | str:
    """A whole number below 10**18, 0 when the cell is empty, or its text."""
    text = cell.strip()
    if not text:
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else text


def symbol(cell: str) -> str:
    """Lower case is raised at the door; letters outside ASCII stay, for upper() makes SS of a sharp s."""
    text = cell.strip()
    return text.upper() if text.isascii() else text
