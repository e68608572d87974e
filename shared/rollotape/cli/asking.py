"""Asks the gateway as anybody would: over HTTP, with the key of ROLLO_API_KEY where there is one."""

import http.client
import json
import os
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from rollotape.errors import Refused, Unavailable

ANSWER_S = 10.0
TOO_MANY = 429
_OPEN = build_opener(ProxyHandler({}))  # a stack of this machine is never behind a proxy


def ask(target: str) -> Any:
    """The answer of the gateway.

    Raises:
        Refused: it does not take the question; Unavailable: it does not answer now.
    """
    key = os.environ.get("ROLLO_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = Request(target, headers=headers)  # noqa: S310 - its scheme was looked at
    try:
        with _OPEN.open(request, timeout=ANSWER_S) as answer:
            return json.load(answer)
    except HTTPError as error:
        with error:
            reason = _detail(error)
        kind = Refused if error.code < 500 and error.code != TOO_MANY else Unavailable
        raise kind(f"the gateway answers {error.code}: {reason}") from None
    except (URLError, OSError, ValueError, http.client.HTTPException) as error:
        raise Unavailable(f"the gateway cannot be asked ({_in_words(error)})") from None


def _detail(error: HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(error.reason)


def _in_words(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return str(cause) or type(cause).__name__
