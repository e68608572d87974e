"""Scans before routing: a question that is well put is answered by a layer that knows nothing else."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlencode

from fastapi import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway import packing, responses, scan
from api_gateway.envelope import ANSWERED_AS
from api_gateway.problems import Problem
from api_gateway.scan import Wording

if TYPE_CHECKING:  # it has a `Scans`
    from api_gateway.backends import Backends

CACHE_CONTROL = "private, max-age=30"
_MOST_WORDS = 4_096
_LONGEST_WORDS = 2_048
"""Of a longer query string nothing is remembered, so that memory has a bound."""
_SAME = [(b"cache-control", CACHE_CONTROL.encode()), (b"vary", responses.VARY.encode())]

Headers = list[tuple[bytes, bytes]]


class Given(NamedTuple):
    """An answer as it goes out."""

    status: int
    headers: Headers
    body: bytes


class Said(NamedTuple):
    """The headers of a request that an answer depends on, where it has them."""

    accept: bytes
    accept_encoding: bytes
    if_none_match: bytes

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> "Said":
        """The first of each name counts, as everywhere else."""
        accept = encoding = match = None
        for name, value in headers:
            if name == b"accept":
                accept = value if accept is None else accept
            elif name == b"accept-encoding":
                encoding = value if encoding is None else encoding
            elif name == b"if-none-match":
                match = value if match is None else match
        return cls(accept or b"", encoding or b"", match or b"")


Reading = Callable[[Scope, Said], Wording]


class Scans:
    """Answers scans; remembers what was asked, and what the answer was as long as nothing has changed."""

    def __init__(self) -> None:
        self._wordings: OrderedDict[tuple[bytes, bytes], Wording] = OrderedDict()
        self._answers = scan.Answers()
        self._moments = scan.Moments()

    def wording(self, scope: Scope, said: Said, read: Reading) -> Wording:
        """The question that a request asks; the same words are read once.

        Raises:
            Problem: whatever `read` raises.
        """
        words = scope["query_string"], said.accept
        if found := self._wordings.get(words):
            self._wordings.move_to_end(words)
            return found
        made = read(scope, said)
        if len(words[0]) + len(words[1]) <= _LONGEST_WORDS:
            self._wordings[words] = made
            if len(self._wordings) > _MOST_WORDS:
                self._wordings.popitem(last=False)
        return made

    async def give(self, servers: "Backends", scope: Scope, said: Said, wording: Wording) -> Given:
        """The answer to a question.

        Raises:
            Problem: 503, there is no sound read model.
        """
        began = time.perf_counter()
        snapshot, now = await servers.snapshot(), scan.now_us()
        key = scan.key_of(self._moments.name(snapshot, now), wording)
        etag = f'W/"{key.hex()}"'
        headers = [*_SAME, (b"etag", etag.encode())]
        if said.if_none_match and responses.is_among(etag, said.if_none_match.decode("latin-1")):
            servers.reader.count(hit=True)
            return Given(304, headers, b"")

        answer = self._answers.find(key)
        cached = answer is not None
        servers.reader.count(hit=cached)
        if answer is None:
            answer = scan.answer(snapshot, wording, etag, now)
            self._answers.keep(key, answer)
        rest = answer.rest(cached=cached, took_s=time.perf_counter() - began)
        encoding = responses.encoding_of(said.accept_encoding.decode("latin-1"))
        if encoding is None or not packing.is_worth_it(answer.start):
            body = answer.start + rest
        else:
            headers.append((b"content-encoding", encoding.encode()))
            body = (await self._packed(key, answer, encoding)).with_rest(rest)
        if answer.token:
            headers.append((b"link", _link(scope, answer.token)))
        headers += (b"content-type", answer.media_type.encode()), (b"content-length", b"%d" % len(body))
        return Given(200, headers, body)

    async def _packed(self, key: bytes, answer: scan.Answer, encoding: str) -> packing.Packed:
        if encoding not in answer.packed:
            answer.packed[encoding] = await packing.packed(answer.start, encoding)
            self._answers.keep(key, answer)  # it has grown
        return answer.packed[encoding]


def _link(scope: Scope, token: str) -> bytes:
    """To the next page (RFC 8288): a CSV body has no place for it."""
    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    query = urlencode([*((n, v) for n, v in asked if n != "page_token"), ("page_token", token)])
    return f'<{scope["path"]}?{query}>; rel="next"'.encode()


class Raw(Response):
    """What `Scans` gives, for a route to return."""

    def __init__(self, given: Given) -> None:
        super().__init__(given.body, given.status)
        self.raw_headers = given.headers


class BeforeRouting:
    """Plain ASGI. What goes wrong goes on to the route, which meets it again and says what it is."""

    def __init__(self, app: ASGIApp, servers: "Backends", paths: Iterable[str], read: Reading) -> None:
        self._app = app
        self._servers = servers
        self._paths = frozenset(paths)
        self._read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in self._paths:
            given = await self._given(scope)
            if given is not None:
                scope[ANSWERED_AS] = scope["path"]
                await send({"type": "http.response.start", "status": given.status, "headers": given.headers})
                await send({"type": "http.response.body", "body": given.body})
                return
        await self._app(scope, receive, send)

    async def _given(self, scope: Scope) -> Given | None:
        said, scans = Said.of(scope["headers"]), self._servers.scans
        try:
            wording = scans.wording(scope, said, self._read)
            return await scans.give(self._servers, scope, said, wording)
        except Problem:
            return None
