"""What pydantic found wrong, in our words: a sender reads the field, what it must be, and what it was."""

from collections.abc import Mapping
from typing import Any

from rollotape.errors import short

_NUMBER = "must be a number"
_WHOLE = "must be a whole number"
_TIME = "must be an RFC 3339 time such as 2018-02-07T00:00:00Z"
_ZONE = "must have a time zone, such as Z or +01:00"
_DATE = "must be a date such as 2018-02-07"
_UUID = "must be a UUID"
_TRUTH = "must be true or false"

_REASONS = {
    "missing": "is missing",
    "extra_forbidden": "is not a field that there is",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "uuid_type": _UUID,
    "uuid_parsing": _UUID,
    "timezone_aware": _ZONE,
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "value_error": "{error}",
}
_PATTERNS = {"^[A-Z0-9_]{1,40}$": "must be 1 to 40 characters A-Z 0-9 _"}
_WITHOUT_VALUE = {"missing", "extra_forbidden"}


def reason(error: Mapping[str, Any], *, of: str = "") -> str:
    """One of pydantic's errors, its context included, as what comes after the name of the field.

    `of` is what has the fields, for the sentence about one that it does not have.
    """
    said = must(error)
    if error["type"] == "extra_forbidden" and of:
        return f"is not a field of {of}"
    return said if error["type"] in _WITHOUT_VALUE else f"{said}, got {shown(error['input'])}"


def must(error: Mapping[str, Any]) -> str:
    """The same without what was given."""
    context = {name: _plain(value) for name, value in error.get("ctx", {}).items()}
    if error["type"] == "string_pattern_mismatch" and (known := _PATTERNS.get(context["pattern"])):
        return known
    if error["type"] in _REASONS:
        return _REASONS[error["type"]].format(**context)
    return str(error["msg"]).replace("Input should be", "must be")


def shown(value: Any) -> str:
    """A value as its sender would write it, cut where a sender might be hostile."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return short(value)


def _plain(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, float) else value
