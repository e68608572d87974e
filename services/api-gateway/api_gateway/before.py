"""Answers before routing: a question that is well put is answered by a layer that knows nothing else."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway import heads, packing, problems, responses, scan
from api_gateway.envelope import ANSWERED_AS, FOUND_READY
from api_gateway.problems import Problem
from api_gateway.scan import Wording
from rollotape.metrics import ANSWERS

if TYPE_CHECKING:  # it has a `Scans`
    from api_gateway.backends import Backends

CACHE_CONTROL = "private, max-age=30"
_MOST_WORDS = 4_096
_LONGEST_WORDS = 2_048
"""Of a longer query string nothing is remembered, so that memory has a bound."""
_SAME = [(b"cache-control", CACHE_CONTROL.encode()), (b"vary", responses.VARY.encode())]

_UNCHANGED, _READY, _MADE = (ANSWERS.labels("scan", source) for source in ("unchanged", "memory", "model"))

Headers = list[tuple[bytes, bytes]]
T = TypeVar("T")


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


_said = Said.of
"""One and the same at every look, for `heads.read`."""

Reading = Callable[[Scope, Said], T]
Giver = Callable[["Backends", Scope, Said], Awaitable[Given | None]]
"""Answers by words alone; None and a `Problem` leave it to the route."""


class Wordings(Generic[T]):
    """What requests asked lately: the same words on the same path are read once."""

    def __init__(self, read: Reading[T]) -> None:
        self._read = read
        self._known: OrderedDict[tuple[str, bytes, bytes], T] = OrderedDict()

    def of(self, scope: Scope, said: Said) -> T:
        """The question that a request asks.

        Raises:
            Problem: whatever `read` raises.
        """
        words = scope["path"], scope["query_string"], said.accept
        if found := self._known.get(words):
            self._known.move_to_end(words)
            return found
        made = self._read(scope, said)
        if sum(map(len, words)) <= _LONGEST_WORDS:
            self._known[words] = made
            if len(self._known) > _MOST_WORDS:
                self._known.popitem(last=False)
        return made


class Scans:
    """Answers scans; remembers what the answer was as long as nothing has changed."""

    def __init__(self) -> None:
        self._answers = scan.Answers()
        self._moments = scan.Moments()

    async def give(self, servers: "Backends", scope: Scope, said: Said, wording: Wording) -> Given:
        """The answer to a question.

        Raises:
            Problem: 422, there is no such universe; 503, there is no sound read model.
        """
        began = time.perf_counter()
        if wording.question.universe is not None:
            wording = wording.within(await servers.universes.members(wording.question.universe))
        snapshot, now = await servers.snapshot(), scan.now_us()
        key, etag = wording.named(self._moments.name(snapshot, now))
        headers = [*_SAME, (b"etag", etag.encode())]
        if said.if_none_match and responses.is_among(etag, said.if_none_match.decode("latin-1")):
            servers.reader.count(hit=True)
            _UNCHANGED.inc()
            scope[FOUND_READY] = True
            return Given(304, headers, b"")

        answer = self._answers.find(key)
        cached = scope[FOUND_READY] = answer is not None
        servers.reader.count(hit=cached)
        (_READY if cached else _MADE).inc()
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
            headers.append((b"link", link_to(scope, answer.token)))
        headers += (b"content-type", answer.media_type.encode()), (b"content-length", b"%d" % len(body))
        return Given(200, headers, body)

    async def _packed(self, key: bytes, answer: scan.Answer, encoding: str) -> packing.Packed:
        if encoding not in answer.packed:
            answer.packed[encoding] = await packing.packed(answer.start, encoding)
            self._answers.keep(key, answer)  # it has grown
        return answer.packed[encoding]


def link_to(scope: Scope, token: str) -> bytes:
    """To the next page (RFC 8288): a CSV body has no place for it."""
    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    query = urlencode([*((n, v) for n, v in asked if n != "page_token"), ("page_token", token)])
    return f'<{scope["path"]}?{query}>; rel="next"'.encode()


def failed(scope: Scope, problem: Problem) -> Given:
    """What became of a question that was well put."""
    said = problems.answer(Request(scope), problem)
    return Given(said.status_code, said.raw_headers, bytes(said.body))


class Raw(Response):
    """What `Scans` gives, for a route to return."""

    def __init__(self, given: Given) -> None:
        super().__init__(given.body, given.status)
        self.raw_headers = given.headers


class BeforeRouting:
    """Plain ASGI. What is not ready, or goes wrong, goes on to the route, which says what it is.

    `givers` has, by path, the route that a request is counted under and who answers it. A path that ends in
    `/` stands for everything directly below it.
    """

    def __init__(self, app: ASGIApp, servers: "Backends", givers: Mapping[str, tuple[str, Giver]]) -> None:
        self._app = app
        self._servers = servers
        self._givers = dict(givers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            path = scope["path"]
            found = self._givers.get(path) or self._givers.get(path[: path.rfind("/") + 1])
            given = await self._given(found, scope) if found else None
            if found and given is not None:
                scope[ANSWERED_AS] = found[0]
                await send({"type": "http.response.start", "status": given.status, "headers": given.headers})
                await send({"type": "http.response.body", "body": given.body})
                return
        await self._app(scope, receive, send)

    async def _given(self, found: tuple[str, Giver], scope: Scope) -> Given | None:
        try:
            return await found[1](self._servers, scope, heads.read(scope, _said))
        except Problem:
            return None
