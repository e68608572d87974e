"""What a client does, as steps: written once, and taken with or without an event loop.

A generator says what is to be done next (ask, wait, open, say, hear) and is given what came of it, or an
`Unreachable` where nobody answered; what it finds out it tells. It does nothing by itself.
"""

import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

import orjson

from rollotape.client.attempts import Attempts, Patience, is_worth_another
from rollotape.client.errors import ClientError, NotFound, Refusal, Unreachable, refusal
from rollotape.client.following import MEDIA_TYPE, Events, Following, Gap, Subscription, Told, Update
from rollotape.client.questions import BASE, A, Call, I, Listing, Sending, Sent

DEFAULT_URL = "http://127.0.0.1:8080"
KEY = "ROLLO_API_KEY"
EVENTS = f"{BASE}/patterns/stream"
SOCKET = f"{BASE}/stream"
_NEXT = re.compile(r'<([^>]*)>; rel="next"')

T = TypeVar("T")
F = TypeVar("F", bound=Following)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; what comes of it is a `Reply`."""

    call: Call[Any]
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Open:
    """A connection in the place of the one before; what comes of it is a `Reply`, refused or not."""

    kind: Literal["events", "socket"]
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Hear:
    """What comes next over the connection; nothing (b""): it has ended."""


@dataclass(frozen=True, slots=True)
class Tell(Generic[T]):
    """What the caller wanted to know."""

    found: T


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes = b""


Step = Ask | Wait | Open | Say | Hear
Steps = Generator[Step | Tell[T], Any, None]


def after(steps: Steps[T], outcome: Any) -> Step | Tell[T] | None:
    """The next step, now that this came of the one before; None after the last one."""
    try:
        return steps.throw(outcome) if isinstance(outcome, Unreachable) else steps.send(outcome)
    except StopIteration:
        return None


class Asker:
    """Whom to ask, and as whom. Who does not answer, or cannot now, is passed over for the next one."""

    def __init__(self, urls: str | Sequence[str], key: str | None, patience: Patience) -> None:
        self._urls = [urls] if isinstance(urls, str) else list(urls)
        if not self._urls:
            raise ValueError("urls: name at least one gateway")
        self._at = 0
        self.patience = patience
        key = os.environ.get(KEY) if key is None else key
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    # ---- questions

    def ask(self, call: Call[A]) -> Steps[A]:
        reply = yield from self._replied(call)
        yield Tell(call.read(reply.body))

    def pages(self, listing: Listing[A, I]) -> Steps[A]:
        following: Call[A] | None = listing
        while following is not None:
            page = following.read((yield from self._replied(following)).body)
            yield Tell(page)
            following = listing.after(page)

    def each(self, listing: Listing[A, I]) -> Steps[I]:
        following: Call[A] | None = listing
        while following is not None:
            page = following.read((yield from self._replied(following)).body)
            for item in listing.items(page):
                yield Tell(item)
            following = listing.after(page)

    def tables(self, call: Call[Any]) -> Steps[str]:
        """The header stands on the first page alone."""
        following, is_first = call.at("format", "csv"), True
        while True:
            reply = yield from self._replied(following)
            text = reply.body.decode()
            yield Tell(text if is_first else text.partition("\n")[2])
            found = _NEXT.search(reply.headers.get("link", ""))
            if found is None:
                return
            token = parse_qs(urlsplit(found[1]).query)["page_token"][0]
            following, is_first = following.at("page_token", token), False

    def send(self, sending: Sending) -> Steps[Sent]:
        sent = Sent()
        for first, call in sending.calls():
            sent.add(call.read((yield from self._replied(call)).body), first)
        yield Tell(sent)

    def _replied(self, call: Call[Any]) -> Generator[Step, Any, Reply]:
        """A good answer, however often it takes.

        What was to be deleted and is not there, after a try of which nobody knows the end, was deleted by it.
        """
        attempts, unsure = Attempts(self.patience), False
        while True:
            try:
                reply: Reply = yield Ask(call, self._url(call.path), self._headers | dict(call.headers))
                error: ClientError | None = _problem(reply)
            except Unreachable as lost:
                error = lost
            if error is None or (unsure and isinstance(error, NotFound)):
                return reply
            if isinstance(error, Refusal) and not call.waits:
                raise error
            unsure = call.method == "DELETE" and (unsure or _is_open(error))
            self._pass_over(error)
            yield Wait(attempts.wait_after(error))

    # ---- streams

    def stream(self, following: Events) -> Steps[Update | Gap]:
        return self._followed(following, self._events)

    def subscribe(self, following: Subscription) -> Steps[Told]:
        return self._followed(following, self._socket)

    def _followed(self, following: F, connected: Callable[[F], Steps[T]]) -> Steps[T]:
        """One connection after the other."""
        while True:
            try:
                yield from connected(following)
                error: ClientError = Unreachable("the stream has ended")
            except ClientError as failure:
                error = failure
            self._pass_over(error)
            yield Wait(following.wait_after(error))

    def _events(self, following: Events) -> Steps[Update | Gap]:
        url = self._url(EVENTS) + following.query
        opened: Reply = yield Open("events", url, self._headers | following.headers())
        if error := _problem(opened) or _no_stream(opened):
            raise error
        following.begin()
        while part := (yield Hear()):
            for event in following.feed(part):
                yield Tell(event)

    def _socket(self, following: Subscription) -> Steps[Told]:
        url = re.sub("^http", "ws", self._url(SOCKET))
        opened: Reply = yield Open("socket", url, self._headers)
        if opened.status != 101:
            raise refused(opened)
        while message := (yield Hear()):
            for item in orjson.loads(message):
                if item["T"] == "authenticated":
                    yield Say(following.message())
                for found in following.feed(item):
                    yield Tell(found)

    # ---- gateways

    def _url(self, path: str) -> str:
        return self._urls[self._at].rstrip("/") + path

    def _pass_over(self, error: ClientError) -> None:
        """The next request goes to the next gateway, where that may help."""
        if is_worth_another(error):
            self._at = (self._at + 1) % len(self._urls)


def refused(reply: Reply) -> Refusal:
    """The error for an answer that is none."""
    return refusal(reply.status, reply.reason, reply.body, reply.headers.get("retry-after"))


def _problem(reply: Reply) -> ClientError | None:
    return None if 200 <= reply.status < 300 else refused(reply)


def _no_stream(reply: Reply) -> ClientError | None:
    kind = reply.headers.get("content-type", "").partition(";")[0]
    return None if kind == MEDIA_TYPE else ClientError(f"no stream of events, but {kind!r}")


def _is_open(error: ClientError) -> bool:
    """Whether what was asked may have been done."""
    return isinstance(error, Unreachable) or (isinstance(error, Refusal) and error.problem.status >= 500)
