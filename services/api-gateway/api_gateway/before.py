"""Answers before routing: a question that is well put is answered by a layer that knows nothing else."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway import heads, packing, problems, responses, scan
from api_gateway.at_once import Given
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

T = TypeVar("T")


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

    def has(self, etag: str) -> bool:
        """Whether the client has this very answer already."""
        return bool(self.if_none_match) and responses.is_among(etag, self.if_none_match.decode("latin-1"))

    def encoding(self, body: bytes) -> str | None:
        """What a body is to be compressed in; None: it goes out as it is."""
        encoding = responses.encoding_of(self.accept_encoding.decode("latin-1"))
        return encoding if encoding is not None and packing.is_worth_it(body) else None


_said = Said.of
"""One and the same at every look, for `heads.read`."""

Reading = Callable[[Scope, Said], T]


class Giver(NamedTuple):
    """Who answers by words alone."""

    route: str
    """That a request is counted under."""
    give: Callable[["Backends", Scope, Said], Awaitable[Given | None]]
    """None and a `Problem` leave it to the route."""
    at_once: Callable[["Backends", Scope, Said], Given | None]
    """What is there already; None and a `Problem` leave it to `give`."""


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
        if said.has(etag):
            return _unchanged(servers, scope, etag)
        answer = self._answers.find(key)
        cached = answer is not None
        if answer is None:
            answer = scan.answer(snapshot, wording, etag, now)
            self._answers.keep(key, answer)
        encoding = said.encoding(answer.start)
        if encoding is not None and encoding not in answer.packed:
            answer.packed[encoding] = await packing.packed(answer.start, encoding)
            self._answers.keep(key, answer)  # it has grown
        return _whole(servers, scope, answer, encoding, cached=cached, began=began)

    def at_once(self, servers: "Backends", scope: Scope, said: Said, wording: Wording) -> Given | None:
        """The answer, if it was given before and nothing has changed."""
        began = time.perf_counter()
        snapshot, now = servers.reader.at_hand(), scan.now_us()
        if snapshot is None:
            return None
        if wording.question.universe is not None:
            universe = servers.universes.at_hand(wording.question.universe)
            if universe is None:
                return None
            wording = wording.within(universe)
        key, etag = wording.named(self._moments.name(snapshot, now))
        if said.has(etag):
            return _unchanged(servers, scope, etag)
        answer = self._answers.find(key)
        if answer is None:
            return None
        encoding = said.encoding(answer.start)
        if encoding is not None and encoding not in answer.packed:
            return None
        return _whole(servers, scope, answer, encoding, cached=True, began=began)


def _unchanged(servers: "Backends", scope: Scope, etag: str) -> Given:
    servers.reader.count(hit=True)
    _UNCHANGED.inc()
    scope[FOUND_READY] = True
    return Given(304, [*_SAME, (b"etag", etag.encode())], b"")


def _whole(
    servers: "Backends",
    scope: Scope,
    answer: scan.Answer,
    encoding: str | None,
    *,
    cached: bool,
    began: float,
) -> Given:
    """An answer whose packed form, where one is wanted, is there."""
    scope[FOUND_READY] = cached
    servers.reader.count(hit=cached)
    (_READY if cached else _MADE).inc()
    headers = [*_SAME, (b"etag", answer.etag.encode())]
    rest = answer.rest(cached=cached, took_s=time.perf_counter() - began)
    if encoding is None:
        body = answer.start + rest
    else:
        headers.append((b"content-encoding", encoding.encode()))
        body = answer.packed[encoding].with_rest(rest)
    if answer.token:
        headers.append((b"link", link_to(scope, answer.token)))
    headers += (b"content-type", answer.media_type.encode()), (b"content-length", b"%d" % len(body))
    return Given(200, headers, body)


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

    `givers` has, by path, who answers it. A path that ends in `/` stands for everything directly below it.
    """

    def __init__(self, app: ASGIApp, servers: "Backends", givers: Mapping[str, Giver]) -> None:
        self._app = app
        self._servers = servers
        self._givers = dict(givers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            found = self._giver(scope["path"])
            given = await self._given(found, scope) if found else None
            if found and given is not None:
                scope[ANSWERED_AS] = found.route
                await send({"type": "http.response.start", "status": given.status, "headers": given.headers})
                await send({"type": "http.response.body", "body": given.body})
                return
        await self._app(scope, receive, send)

    def at_once(self, scope: Scope) -> Given | None:
        found = self._giver(scope["path"])
        given = found.at_once(self._servers, scope, heads.read(scope, _said)) if found else None
        if found and given is not None:
            scope[ANSWERED_AS] = found.route
        return given

    def _giver(self, path: str) -> Giver | None:
        return self._givers.get(path) or self._givers.get(path[: path.rfind("/") + 1])

    async def _given(self, found: Giver, scope: Scope) -> Given | None:
        try:
            return await found.give(self._servers, scope, heads.read(scope, _said))
        except Problem:
            return None
