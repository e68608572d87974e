"""Days and instants as they are typed behind `--from` and `--to`."""

from datetime import UTC, date, datetime, timedelta

import typer


def moment(option: str, text: str, *, end_of_day: bool = False) -> int:
    """Microseconds since 1970; of a day without a time its beginning, or its end.

    Raises:
        typer.BadParameter: it is neither.
    """
    try:
        day = date.fromisoformat(text)
        when = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=end_of_day)
    except (ValueError, OverflowError):
        when = _instant(option, text)
    return round(when.timestamp() * 1e6)


def _instant(option: str, text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a day like 2018-02-05 nor a time like 2018-02-05T14:30Z", param_hint=option
        ) from None
    if when.tzinfo is None:
        raise typer.BadParameter(f"{text} names no time zone: write {text}Z for UTC", param_hint=option)
    return when
