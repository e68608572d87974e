"""Messages with little sense over WebSocket: every answer, and every close, is what AsyncAPI says."""

import asyncio
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx
import jsonschema_rs
import orjson
from redis.asyncio import Redis

from rollotape import asyncapi
from rollotape.embedded.server import free_port
from rollotape.settings import Settings
from support import told
from support.following import happened
from support.frames import BINARY, CLOSE, CONTINUED, PING, PONG, TEXT, Raw, connect, frame
from support.sockets import Talker, talking, tell
from support.waiting import eventually_sync

MB = 1024 * 1024
LARGEST = 64 * 1024
WITHIN_S = 60.0
AT_ONCE = 4
"""Connections of those who mean harm; more of them would measure this machine."""
MOST_FAULTS = 10
GROWTH = 24 * MB
"""What a process may seem to grow by between the first tenth and the end: allocators are not exact."""
_ANSWERS = frozenset({"subscription", "authenticated", "error"})


class Document:
    """AsyncAPI, to hold messages against."""

    def __init__(self) -> None:
        self._said: dict[str, Any] = orjson.loads(orjson.dumps(asyncapi.document()))

    @cached_property
    def told(self) -> jsonschema_rs.Validator:
        return self.of("Told")

    @cached_property
    def heard(self) -> list[jsonschema_rs.Validator]:
        return [self.of(name) for name in ("Auth", "Subscribe", "Unsubscribe")]

    @cached_property
    def event(self) -> jsonschema_rs.Validator:
        return self.of("EventTold")

    @property
    def closes(self) -> set[int]:
        return {int(code) for code in self._said["channels"]["stream"]["x-closes"]}

    def allows(self, message: Any) -> bool:
        """Whether a client may say this."""
        return any(validator.is_valid(message) for validator in self.heard)

    def of(self, *models: str) -> jsonschema_rs.Validator:
        """Takes what any of these schemas describes."""
        any_of = [{"$ref": f"#/components/schemas/{model}"} for model in models]
        whole = {"anyOf": any_of, "components": self._said["components"]}
        return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


class Sent(NamedTuple):
    """One message: its bytes, and how the server may take it."""

    kind: str
    framed: bytes
    text: bytes | None = None
    """What it says, where it is a whole text message in UTF-8."""
    ends: frozenset[int] = frozenset()
    """It must end the connection with one of these."""


class Maker:
    """Makes messages; the same seed makes the same ones."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._kinds: list[tuple[str, Callable[[str], Sent], int]] = [
            ("valid", self._valid, 30),
            ("half-valid", self._half, 30),
            ("not JSON", self._nonsense, 8),
            ("other JSON", self._other, 8),
            ("deep", self._deep, 3),
            ("numbers", self._numbers, 4),
            ("binary", self._binary, 4),
            ("in pieces", self._pieces, 6),
            ("long", self._long, 3),
            ("too long", self._too_long, 1),
            ("not UTF-8", self._no_text, 1),
            ("no WebSocket", self._no_protocol, 1),
            ("closing", self._closing, 1),
        ]

    def message(self) -> Sent:
        kinds, weights = zip(*(((n, m), w) for n, m, w in self._kinds), strict=True)
        name, make = self._chance.choices(kinds, weights)[0]
        made: Sent = make(name)
        return made

    def _text(self, kind: str, text: bytes) -> Sent:
        return Sent(kind, frame(TEXT, text), text)

    # ---- what may be said

    def said(self) -> dict[str, Any]:
        """A message that the document allows."""
        chance = self._chance
        action = chance.choice(("subscribe", "subscribe", "unsubscribe"))
        channels = chance.sample(("patterns", "vsa", "wyckoff", "rs", "bars"), chance.randint(0, 3))
        message: dict[str, Any] = {"action": action}
        message |= {channel: self._symbols() for channel in channels}
        if action == "subscribe":
            if chance.random() < 0.5 or not channels:
                message["filters"] = self._filters()
            if chance.random() < 0.05:
                message["since"] = chance.choice(
                    ("x", "0" * 32 + "-1-0", "f" * 32 + f"-{2**62}-0", "\u2028" * 99)
                )
        elif not channels:
            message["vsa"] = []
        return message

    def _symbols(self) -> list[str]:
        names = ("*", "AAPL", "msft", "BTC/USD", "^GSPC", "BRK.B", "x" * 20, "0", "-")
        return self._chance.choices(names, k=self._chance.randint(0, 4))

    def _filters(self) -> dict[str, Any] | None:
        chance = self._chance
        if chance.random() < 0.1:
            return None
        whole: dict[str, Callable[[], Any]] = {
            "pattern_types": lambda: chance.sample(["SPRING", "sos", "BULL_FLAG", "X" * 40], 2),
            "symbols": lambda: ["AAPL", "msft"],
            "sectors": lambda: ["Energy"],
            "timeframes": lambda: chance.sample(["1d", "1h", "1m"], 2),
            "confidence_min": lambda: chance.choice([0, 1, 0.7, 1e-9]),
            "rs_min": lambda: chance.uniform(-5, 5),
            "rs_excess_min": lambda: chance.randint(-50, 50),
            "vol_min": lambda: chance.random() * 9,
            "rsi_range": lambda: sorted((chance.randint(0, 100), chance.uniform(0, 100))),
            "phase": lambda: chance.sample("ABCDE", chance.randint(1, 5)),
            "test_confirmed": lambda: chance.random() < 0.5,
            "side": lambda: ["accumulation", "distribution"],
            "detected_since": lambda: "2024-01-02T00:00:00Z",
            "universe": lambda: "sp500",
        }
        return {name: whole[name]() for name in chance.sample(sorted(whole), chance.randint(0, 4))}

    def _valid(self, kind: str) -> Sent:
        return self._text(kind, orjson.dumps(self.said()))

    # ---- what may not

    def _junk(self) -> Any:
        return self._chance.choice(
            (None, True, False, 0, -1, 1e308, 2**63, "", "*", "\x00", "\u2028", "AAPL,MSFT", [], {}, [[]],
             [None], [1], ["*", {}], {"$ne": 1}, ["A" * 21], ["\ud7ff"], "nan", -0.0, [True])
        )  # fmt: skip

    def _half(self, kind: str) -> Sent:
        """One that is allowed, but for one or two fields."""
        chance, message = self._chance, self.said()
        for _ in range(chance.randint(1, 2)):
            within = message.get("filters")
            target = within if isinstance(within, dict) and chance.random() < 0.5 else message
            names = [
                *target,
                "action",
                "filters",
                "since",
                "token",
                "patterns",
                "Patterns",
                "",
                "x" * 99,
                "T",
            ]
            if chance.random() < 0.2 and target:
                target.pop(chance.choice(list(target)))
            else:
                target[chance.choice(names)] = self._junk()
        return self._text(kind, orjson.dumps(message))

    def _nonsense(self, kind: str) -> Sent:
        pieces = (
            '{"action":"subscribe"', '"patterns":["*"]', "}", "[", "]", "{}", "null", "\\u0000", '"', ",",
            ":", "\U0001f4c9", "'", "\\ud800", "/*", "True", " ",
        )  # fmt: skip
        return self._text(kind, "".join(self._chance.choices(pieces, k=self._chance.randint(0, 8))).encode())

    def _other(self, kind: str) -> Sent:
        chance = self._chance
        action = chance.choice(("auth", "listen", "", "SUBSCRIBE", "subscribe ", "__class__", "a" * 1_000))
        message = chance.choice((self._junk(), [self.said()], {"action": action, "token": self._junk()}, {}))
        return self._text(kind, orjson.dumps(message))

    def _deep(self, kind: str) -> Sent:
        deep = self._chance.choice((10, 100, 1_000, 1_025, 30_000))
        opened, closed = self._chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
        deep = min(deep, (LARGEST - 200) // (len(opened) + 1))
        nested = opened * deep + b"1" + closed * deep
        return self._text(
            kind, b'{"action":"subscribe","patterns":["*"],"filters":{"symbols":' + nested + b"}}"
        )

    def _numbers(self, kind: str) -> Sent:
        number = self._chance.choice(
            (
                b"NaN",
                b"-Infinity",
                b"1e999",
                b"-1e999",
                b"1e-999",
                b"9" * 5_000,
                b"0" * 50,
                b"01",
                b"1.",
                b"0x1",
            )
        )
        name = self._chance.choice((b"confidence_min", b"rs_min", b"vol_min", b"rsi_range"))
        return self._text(kind, b'{"action":"subscribe","filters":{"' + name + b'":' + number + b"}}")

    def _binary(self, kind: str) -> Sent:
        chance = self._chance
        payload = chance.choice((b"", b"\x00", orjson.dumps(self.said()), chance.randbytes(300)))
        return Sent(kind, frame(BINARY, payload))

    def _pieces(self, kind: str) -> Sent:
        """Cut into frames, anywhere, also within a letter; with signs of life between them."""
        chance = self._chance
        text = orjson.dumps(
            self.said() | {"since": "\U0001f4c9\u00e9"} if chance.random() < 0.5 else self.said()
        )
        cuts = sorted(chance.choices(range(len(text) + 1), k=chance.randint(1, 6)))
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        framed = b""
        for n, part in enumerate(parts):
            framed += frame(CONTINUED if n else TEXT, part, last=n == len(parts) - 1)
            if n < len(parts) - 1 and chance.random() < 0.3:
                framed += frame(chance.choice((PING, PONG)), chance.randbytes(chance.randint(0, 125)))
        return Sent(kind, framed, text)

    def _long(self, kind: str) -> Sent:
        chance = self._chance
        text = orjson.dumps(self.said())
        blank = chance.randint(LARGEST // 2, LARGEST - len(text))
        many = {"action": "subscribe", "patterns": [f"S{n}" for n in range(chance.choice((1_001, 5_000)))]}
        return self._text(kind, chance.choice((b" " * blank + text, orjson.dumps(many))))

    # ---- what ends the connection

    def _too_long(self, kind: str) -> Sent:
        chance = self._chance
        whole = frame(TEXT, b" " * (LARGEST + chance.randint(1, 5_000)))
        in_pieces = frame(TEXT, b" " * LARGEST, last=False) + frame(CONTINUED, b"  ")
        announced = frame(TEXT, b"x", size=2**40)
        return Sent(kind, chance.choice((whole, in_pieces, announced)), ends=frozenset({1009}))

    def _no_text(self, kind: str) -> Sent:
        bad = self._chance.choice(
            (b"\xff", b'{"action":"\xed\xa0\x80"}', b"\xc0\xaf", b"[\xf8]", b"\xe2\x82")
        )
        return Sent(kind, frame(TEXT, bad), ends=frozenset({1007}))

    def _no_protocol(self, kind: str) -> Sent:
        return Sent(
            kind,
            self._chance.choice(
                (
                    frame(TEXT, b"{}", masked=False),
                    frame(TEXT, b"{}", reserved=self._chance.randint(1, 7)),
                    frame(self._chance.choice((3, 4, 7, 11, 15)), b""),
                    frame(PING, b"x" * 126),
                    frame(PING, b"x", last=False),
                    frame(CONTINUED, b"x"),
                    frame(TEXT, b"a", last=False) + frame(TEXT, b"b"),
                    frame(CLOSE, b"\x03"),
                    frame(CLOSE, (1005).to_bytes(2, "big")),
                    b"GET / HTTP/1.1\r\n\r\n" + b"\x00" * 20,
                )
            ),
            ends=frozenset({1002, 1007}),
        )

    def _closing(self, kind: str) -> Sent:
        code = self._chance.choice((0, 1000, 1001, 3000, 4999))
        said = code.to_bytes(2, "big") + b"bye" if code else b""
        return Sent(kind, frame(CLOSE, said), ends=frozenset({code or 1005}))


class Wrong(AssertionError):
    """The gateway did not keep to its document."""


Identity = Literal["open", "key", "nobody"]


@dataclass
class Harm:
    """Connections that say what a `Maker` makes, and judge what is answered."""

    url: str
    document: Document
    key: str | None = None
    sent: Counter[str] = field(default_factory=Counter)
    """By kind; of those alone that were answered or ended their connection."""
    answered: Counter[str] = field(default_factory=Counter)
    closed: Counter[int] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return self.sent.total()

    async def talk(self, chance: random.Random) -> None:
        """One connection."""
        maker = Maker(chance)
        who: Identity = "open" if self.key is None else ("nobody" if chance.random() < 0.15 else "key")
        path = chance.choice(("/api/stream", "/api/v1/stream"))
        headers = {"X_API_Key": self.key} if who == "key" and self.key else {}
        raw = await connect(self.url, path, **headers)
        try:
            await self._greeted(raw, who)
            faults = 0
            for _ in range(chance.randint(1, 40)):
                burst = [maker.message() for _ in range(chance.choice((1, 1, 1, 2, 5)))]
                for message in burst:
                    raw.say(message.framed)
                for message in burst:
                    faults = await self._judge(raw, message, burst, who, faults)
                    if raw.code is not None:
                        return
        finally:
            await raw.leave()

    async def _greeted(self, raw: Raw, who: Identity) -> None:
        expected = ["welcome"] if who == "nobody" else ["welcome", "authenticated"]
        for kind in expected:
            items = await self._items(raw)
            if items is None or [item["T"] for item in items] != [kind]:
                raise Wrong(f"greeted by {items} and {raw.code}")

    async def _items(self, raw: Raw) -> list[dict[str, Any]] | None:
        try:
            text = await raw.text(WITHIN_S)
        except TimeoutError:
            raise Wrong("no answer") from None
        if text is None:
            return None
        items: list[dict[str, Any]] = orjson.loads(text)
        if error := next(self.document.told.iter_errors(items), None):
            raise Wrong(f"{text[:300]!r} is not what the document says: {error.message[:300]}")
        return items

    async def _judge(self, raw: Raw, message: Sent, burst: list[Sent], who: Identity, faults: int) -> int:
        """Faults in a row after this message was answered."""
        answer = await self._answer(raw)
        self.sent[message.kind] += 1
        if answer is None:
            self._judge_end(raw, message, burst, faults)
            return faults
        if message.ends:
            raise Wrong(f"{message.kind}: {message.framed[:60]!r} was answered by {answer}")
        self._judge_answer(message, answer, who)
        if answer["T"] != "error":
            return 0
        if faults + 1 >= MOST_FAULTS:
            self.answered["the last of ten faults"] += 1
            number = 4_000 + answer["code"]
            if await self._items(raw) is not None or raw.code != number:
                raise Wrong(f"the tenth fault in a row ended with {raw.code}, after {answer}")
            self.closed[number] += 1
        return faults + 1

    async def _answer(self, raw: Raw) -> dict[str, Any] | None:
        """To a message: facts and values that come in between are passed over."""
        while (items := await self._items(raw)) is not None:
            for item in items:
                if item["T"] in _ANSWERS:
                    if len(items) != 1:
                        raise Wrong(f"an answer beside something else: {items}")
                    return item
        return None

    def _judge_end(self, raw: Raw, message: Sent, burst: list[Sent], faults: int) -> None:
        code = raw.code or 0
        self.closed[code] += 1
        expected = frozenset().union(*(m.ends for m in burst))  # what comes at once is taken apart at once
        if code == 1006 and len(burst) > 1 and any(m.kind == "closing" for m in burst):
            return  # who closes without waiting for answers may miss the last one
        if code not in self.document.closes and code not in expected:
            said = [m.framed[:40] for m in burst]
            raise Wrong(f"{said} was closed with {code}, which nobody documents")
        if code not in expected:
            raise Wrong(
                f"{message.kind}: {message.framed[:80]!r} ended the connection with {code} ({faults=})"
            )

    def _judge_answer(self, message: Sent, answer: Mapping[str, Any], who: Identity) -> None:
        said = _parsed(message.text)
        code = answer.get("code")
        allowed = said is not None and self.document.allows(said)
        self.answered[f"{answer['T']} {code or ''}".strip()] += 1
        if who == "nobody":
            good = code in ((401, 400) if said is None or not allowed else (401,))
        elif allowed and said["action"] != "auth" and not _names_others(said):
            good = answer["T"] == "subscription"
        elif isinstance(said, dict) and isinstance(said.get("filters"), dict):
            good = answer["T"] == "subscription" or code == 400  # values may also be put as in a query string
        else:
            good = code == 400
        if not good:
            raise Wrong(
                f"{message.kind}: {(message.text or message.framed)[:300]!r} was answered by {answer}"
            )


def _names_others(said: Mapping[str, Any]) -> bool:
    """Whether it is about something that is not there: that is no matter of shapes."""
    filters = said.get("filters") or {}
    return filters.get("universe", "sp500") != "sp500" or not {"watchlist_id", "scan_id"}.isdisjoint(filters)


def _parsed(text: bytes | None) -> Any:
    try:
        return None if text is None else orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


class Witness:
    """A client that means well: it is told facts all the while, and must have heard each of them once."""

    def __init__(self, talker: Talker, redis: Redis) -> None:
        self._talker, self._redis = talker, redis
        self.told = 0
        self.heard: list[int] = []
        self.gaps = 0

    @classmethod
    @asynccontextmanager
    async def beside(cls, url: str, redis: Redis, key: str | None) -> AsyncIterator["Witness"]:
        async with talking(url, additional_headers={"X-API-Key": key} if key else {}) as talker:
            await talker.subscribe(patterns=["*"], vsa=["*"], wyckoff=["*"])
            witness = cls(talker, redis)
            tasks = [asyncio.create_task(witness._tell()), asyncio.create_task(witness._hear())]
            try:
                yield witness
                tasks[0].cancel()
                await happened(witness._has_heard_all, "every fact")
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self) -> None:
        while True:
            told_now = [told.some(n) for n in range(self.told, self.told + 5)]
            self.told += len(told_now)
            await tell(self._redis, told_now)
            await asyncio.sleep(0.05)  # the pace of a busy market

    async def _hear(self) -> None:
        while True:
            item = await self._talker.next()
            self.gaps += item["T"] in ("gap", "error")
            if "data" in item:
                self.heard.append(item["data"]["fact_version"])

    def _has_heard_all(self) -> bool:
        return len(self.heard) >= self.told or self.gaps > 0

    def judge(self) -> None:
        """After everything."""
        if self.gaps or self.heard != list(range(self.told)):
            raise Wrong(
                f"a client that means well heard {len(self.heard)} of {self.told} facts, {self.gaps} gaps"
            )


async def events(url: str, chance: random.Random, document: Document, key: str | None) -> str:
    """Server-sent events from a made-up id: 200 and what the document says, or a problem."""
    last = chance.choice(
        (None, "", "0-0", "x", "f" * 32 + "-0-0", "0" * 32 + f"-{2**64}-{2**64}", "\xff" * 9, "-" * 5_000)
    )
    headers = {b"Last-Event-ID": last.encode("latin-1")} if last is not None else {}
    if key:
        headers[b"X-API-Key"] = key.encode()
    async with (
        httpx.AsyncClient(timeout=WITHIN_S) as client,
        client.stream("GET", f"{url}/api/patterns/stream", headers=headers) as answer,
    ):
        if answer.status_code != 200:
            raise Wrong(f"{last!r}: {answer.status_code}")
        text = ""
        async for part in answer.aiter_text():
            text += part
            if "\n\n" in text.removeprefix("retry: 1000\n\n") or last is None:
                break
    for said in re.findall(r"^data: (.*)$", text, re.MULTILINE):
        document.event.validate(orjson.loads(said))
    return "gap" if "event: gap" in text else "plain"


class Running(NamedTuple):
    """A gateway in a process of its own."""

    url: str
    process: "subprocess.Popen[bytes]"

    def memory(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        assert found
        return int(found[1]) * 1024

    def lives(self) -> bool:
        return self.process.poll() is None


@contextmanager
def gateway(settings: Settings, *, auth: str) -> Iterator[Running]:
    """One that answers."""
    port = free_port()
    environment = os.environ | {
        "ROLLO_REDIS_URL": settings.redis_url,
        "ROLLO_CACHE_URL": settings.cache_url or settings.redis_url,
        "ROLLO_DATABASE_URL": settings.database_url,
        "ROLLO_AUTH": auth,
        "ROLLO_HOSTS": "",
        "ROLLO_HTTP_PORT": str(port),
        "ROLLO_OPS_PORT": "0",
        "ROLLO_RATE_REQUESTS": "1000000000",
        "ROLLO_RATE_STRANGERS": "1000000000",
        "ROLLO_WS_CLIENTS_PER_KEY": "1000",
        "ROLLO_LOG_LEVEL": "ERROR",
    }
    process = subprocess.Popen([sys.executable, "-P", "-m", "api_gateway"], env=environment)
    running = Running(f"http://127.0.0.1:{port}", process)
    try:
        eventually_sync(lambda: _answers(running), within_s=60, what="a gateway that answers")
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()


def _answers(running: Running) -> bool:
    try:
        return httpx.get(f"{running.url}/livez", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Report:
    """What came of it."""

    harm: Harm
    facts: int = 0
    event_streams: Counter[str] = field(default_factory=Counter)
    grown: int = 0
    """Bytes, from the first tenth of all messages to the end."""


async def say(
    running: Running,
    settings: Settings,
    messages: int,
    seed: int,
    *,
    key: str | None = None,
    done: Callable[[int], None] = lambda _: None,
) -> Report:
    """So many messages, a client that means well beside them; raises `Wrong` at the first thing that is."""
    document = Document()
    harm = Harm(running.url, document, key)
    report = Report(harm)
    number = 0
    after_tenth = 0

    async def some() -> None:
        nonlocal number, after_tenth
        while harm.count < messages:
            number += 1
            chance = random.Random(seed * 1_000_003 + number)
            await harm.talk(chance)
            if number % 20 == 0:
                report.event_streams[await events(running.url, chance, document, key)] += 1
            if not after_tenth and harm.count >= messages / 10:
                after_tenth = running.memory()
            done(harm.count)

    async with (
        Redis.from_url(settings.redis_url) as redis,
        Witness.beside(running.url, redis, key) as witness,
    ):
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(some())
        report.grown = running.memory() - after_tenth
    witness.judge()
    report.facts = witness.told
    if not running.lives():
        raise Wrong("the gateway has ended")
    return report
