"""The library yfinance, for what it knows of Yahoo's cookies and of how Yahoo wants to be asked."""

import asyncio
from collections.abc import Mapping
from typing import Any

from rollotape.errors import Refused, Unavailable

ANSWER_S = 15
URL = "https://query2.finance.yahoo.com"


class Library:
    """Fetches through one session of yfinance. The numbers are read by us: a table of pandas no longer says
    which of them were missing, nor which bar was still running."""

    def __init__(self, url: str = URL, *, session: object = None) -> None:
        """With a session of curl_cffi or requests, or one that looks like a browser.

        Raises:
            Refused: the library is not installed.
        """
        try:
            from yfinance.data import YfData
        except ImportError as error:
            raise Refused(
                f"rollo feed yfinance needs a library ({error}): pip install 'rollotape[yfinance]'"
            ) from None
        self._url = url.rstrip("/")
        self._data: Any = YfData(session=session)

    async def __call__(self, path: str, query: Mapping[str, str]) -> bytes:
        return await asyncio.to_thread(self._get, path, dict(query))

    def _get(self, path: str, query: dict[str, str]) -> bytes:
        from yfinance.exceptions import YFRateLimitError

        try:
            answer = self._data.get(f"{self._url}{path}", params=query, timeout=ANSWER_S)
        except YFRateLimitError:
            raise Unavailable(
                "Yahoo says 429: too many questions from this address; fewer --symbols"
            ) from None
        except Exception as error:  # of three libraries below it, which share no class of errors
            raise Unavailable(f"Yahoo: {type(error).__name__}: {error}") from error
        body = bytes(answer.content)
        if answer.status_code != 200 and not body.lstrip().startswith(b"{"):
            raise Unavailable(f"Yahoo says {answer.status_code}")
        return body
