"""Webhooks from a fact on `updates` to an answer: nothing is lost, nothing is sent where it may not go."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from cache_builder import hooks
from cache_builder.hooks import QueueFacts, Send
from rollotape.postgres import webhooks as stored
from rollotape.postgres.pool import open_pool
from rollotape.postgres.sql import queries
from rollotape.settings import Settings
from rollotape.streams.entries import Entry
from rollotape.webhooks.addresses import policy
from rollotape.webhooks.sending import Resolve, Sender
from rollotape.webhooks.signing import shown
from support.following import happened
from support.receivers import Answer, Receiver, receiving, status, well

HERE = policy("127.0.0.0/8", "on")
_ADD = """
INSERT INTO webhooks (id, owner, name, content, secret)
VALUES ($1, $2, $3, $4::jsonb, sha256(convert_to($3, 'UTF8')))
"""


@dataclass(slots=True)
class Desk:
    """A queue, and somebody who sends."""

    pool: "asyncpg.Pool[Any]"
    send: Send

    async def hook(
        self, url: str, *, owner: str = "ada", events: Sequence[str] = ("pattern.detected",)
    ) -> UUID:
        made = uuid4()
        content = orjson.dumps({"url": url, "events": list(events)}).decode()
        await self.pool.execute(_ADD, made, owner, made.hex, content)
        return made

    async def say(self, *facts: dict[str, Any]) -> None:
        at = int(time.time() * 1_000)
        payloads = [orjson.dumps(fact) for fact in facts]
        entries = [Entry("updates", f"{at}-{n}", {b"json": p}) for n, p in enumerate(payloads)]
        await QueueFacts(self.pool).apply(entries)

    async def attempt(self) -> None:
        """Everything that is due, once."""
        await self.send.turn()
        await self.send.settled()

    async def hasten(self) -> None:
        """As if the pauses and the leases were over."""
        await self.pool.execute("UPDATE webhook_deliveries SET due_at = now(), leased_until = NULL")

    async def log(self) -> list[tuple[Any, ...]]:
        """Status, attempts, last status and error of every delivery."""
        query = "SELECT status, attempts, last_status, last_error FROM webhook_deliveries ORDER BY id"
        return [tuple(row) for row in await self.pool.fetch(query)]

    async def standing(self, webhook_id: UUID) -> "asyncpg.Record":
        query = "SELECT * FROM webhooks WHERE id = $1"
        row: asyncpg.Record | None = await self.pool.fetchrow(query, webhook_id)
        assert row is not None
        return row


@asynccontextmanager
async def open_desk(settings: Settings, sender: Sender) -> AsyncIterator[Desk]:
    async with await open_pool(settings, service="test", raw_times=True) as pool:
        send = Send(pool, sender, patience_days=3)
        try:
            yield Desk(pool, send)
        finally:
            await send.close()


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    async with open_desk(settings, Sender(HERE)) as opened:
        yield opened


def pattern(n: int = 1, symbol: str = "AAPL", kind: str = "detected") -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    said = {"symbol": symbol, "detected_at": at, "confirmed_at": None}
    return {"version": 1, "type": f"pattern.{kind}", "id": f"p{n}", "fact_version": n, "pattern": said}


def newcomers(n: int, owner: str) -> dict[str, Any]:
    told = {"version": 1, "type": "scan.new_entrants", "id": f"s{n}", "fact_version": n, "owner": owner}
    return told | {"scan": {"id": str(UUID(int=n)), "name": "x"}, "entrants": [{"symbol": "AAPL"}]}


# ---- what goes well


async def test_a_fact_is_sent_once_signed_and_named(desk: Desk) -> None:
    async with receiving(well) as receiver:
        made = await desk.hook(receiver.url)
        fact = pattern()
        await desk.say(fact, pattern(2, kind="updated"))
        await desk.say(fact)  # the entry comes again, as after a crash
        await desk.attempt()
        await desk.attempt()
        [came] = receiver.received
    assert came.head == "POST /hook?a=b HTTP/1.1"
    assert orjson.loads(came.body) == fact
    assert came.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert came.headers["content-type"] == "application/json"
    assert (came.headers["rollo-webhook"], came.headers["rollo-event"]) == (str(made), "pattern.detected")
    timestamp, secret = came.headers["rollo-timestamp"], (await desk.standing(made))["secret"]
    assert abs(int(timestamp) - time.time()) < 60
    digest = hmac.new(shown(secret).encode(), timestamp.encode() + b"." + came.body, hashlib.sha256)
    assert came.headers["rollo-signature"] == f"v1={digest.hexdigest()}"
    assert await desk.log() == [("delivered", 1, 204, None)]
    assert (await desk.standing(made))["last_status"] == 204


async def test_newcomers_are_told_to_their_owner_alone(desk: Desk) -> None:
    events = ("scan.new_entrants",)
    async with receiving(well) as ada, receiving(well) as bob:
        await desk.hook(ada.url, owner="ada", events=events)
        await desk.hook(bob.url, owner="bob", events=events)
        await desk.say(newcomers(1, "ada"), newcomers(2, "carl"), pattern())
        await desk.attempt()
        assert [orjson.loads(r.body)["owner"] for r in ada.received] == ["ada"]
        assert bob.received == []


# ---- what goes wrong


@pytest.mark.parametrize("number", [301, 302, 307, 308, 400, 404, 410, 429, 500, 503])
async def test_any_answer_but_2xx_is_tried_again(desk: Desk, number: int) -> None:
    def answer(n: int) -> bytes:
        return status(number if n == 1 else 200, "Location: http://127.0.0.1:1/")

    async with receiving(answer) as receiver:
        made = await desk.hook(receiver.url)
        await desk.say(pattern())
        await desk.attempt()
        assert await desk.log() == [("waiting", 1, number, f"answered {number}")]
        assert (await desk.standing(made))["failing_since"] is not None
        await desk.attempt()
        assert len(receiver.received) == 1, "there is a pause between attempts"
        await desk.hasten()
        await desk.attempt()
        assert await desk.log() == [("delivered", 2, 200, None)]
        assert (await desk.standing(made))["failing_since"] is None


async def test_a_redirect_to_this_machine_is_not_followed(desk: Desk) -> None:
    async with receiving(well) as inside:
        async with receiving(lambda _n: status(307, f"Location: {inside.url}")) as receiver:
            await desk.hook(receiver.url)
            await desk.say(pattern())
            await desk.attempt()
            assert len(receiver.received) == 1
        assert inside.connections == 0
    assert await desk.log() == [("waiting", 1, 307, "answered 307")]


async def test_a_receiver_that_is_down_has_its_facts_when_it_is_back(desk: Desk) -> None:
    async with receiving(well) as receiver:
        url = receiver.url
    await desk.hook(url)
    await desk.say(pattern(1), pattern(2))
    await desk.attempt()
    assert [row[:3] for row in await desk.log()] == [("waiting", 1, None)] * 2
    server = Receiver(well)
    opened = await asyncio.start_server(server._serve, "127.0.0.1", int(url.split(":")[2].split("/")[0]))
    async with opened:
        await desk.hasten()
        await desk.attempt()
    assert [row[:2] for row in await desk.log()] == [("delivered", 2)] * 2
    assert sorted(orjson.loads(r.body)["id"] for r in server.received) == ["p1", "p2"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda _n: None, "no answer within 0.5 s"),
        (lambda _n: b"SSH-2.0-OpenSSH_9.6\r\n", None),
        (lambda _n: b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, None),
        (lambda _n: b"", "the connection was closed without an answer"),
    ],
)
async def test_who_is_slow_or_speaks_no_http_costs_a_moment(
    settings: Settings, answer: Answer, error: str | None
) -> None:
    async with open_desk(settings, Sender(HERE, within_s=0.5)) as desk, receiving(answer) as receiver:
        await desk.hook(receiver.url)
        await desk.say(pattern())
        async with asyncio.timeout(10):
            await desk.attempt()
        [[state, attempts, number, said]] = await desk.log()
        assert (state, attempts, number) == ("waiting", 1, None)
        assert said and (error is None or error in said)


async def test_who_is_slow_does_not_hold_up_the_others(settings: Settings) -> None:
    async with (
        open_desk(settings, Sender(HERE, within_s=300)) as desk,
        receiving(lambda _n: None) as slow,
        receiving(well) as quick,
    ):
        await desk.hook(slow.url)
        await desk.say(*(pattern(n) for n in range(20)))
        await desk.hook(quick.url)
        await desk.send.turn()
        await desk.say(*(pattern(n) for n in range(100, 104)))
        async with asyncio.timeout(60):
            while len(quick.received) < 4:
                await desk.send.turn()
                await asyncio.sleep(0.01)
        assert slow.connections == hooks.OF_ONE


# ---- where it may not go


async def test_without_the_setting_nothing_is_sent_to_this_machine(settings: Settings) -> None:
    async with open_desk(settings, Sender(policy("", "on"))) as desk, receiving(well) as receiver:
        for host in ("127.0.0.1", "localhost"):
            await desk.hook(f"http://{host}:{receiver.port}/")
        await desk.say(pattern())
        await desk.attempt()
        log = await desk.log()
        assert receiver.connections == 0
    assert [row[:3] for row in log] == [("waiting", 1, None)] * 2
    assert all(row[3].startswith("not sent: ") for row in log)


async def test_plain_http_is_not_sent_without_the_setting(settings: Settings) -> None:
    async with (
        open_desk(settings, Sender(policy("127.0.0.0/8", "off"))) as desk,
        receiving(well) as receiver,
    ):
        await desk.hook(receiver.url)
        await desk.say(pattern())
        await desk.attempt()
        assert (receiver.connections, len(await desk.log())) == (0, 1)


def _rebinding(*answers: Sequence[str]) -> Resolve:
    """A name that leads elsewhere each time it is asked for."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return left.pop(0)

    return resolve


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["169.254.169.254"], []],
)
async def test_a_name_that_leads_inside_is_not_connected_to(settings: Settings, answer: list[str]) -> None:
    async with receiving(well) as receiver:
        sender = Sender(policy("", "on"), _rebinding(answer))
        outcome = await sender.send(f"http://innocent.example:{receiver.port}/", b"k" * 32, b"{}", [])
        assert receiver.connections == 0
    assert outcome.status is None and not outcome.went_well


async def test_the_connection_is_made_to_the_very_address_that_was_judged() -> None:
    """The second answer of the resolver, which is for those who ask again, leads somewhere else."""
    async with receiving(well) as judged, receiving(well) as other:
        sender = Sender(policy("127.0.0.1/32", "on"), _rebinding(["127.0.0.1"], ["127.0.0.2"]))
        url = f"http://rebound.example:{judged.port}/"
        assert (await sender.send(url, b"k" * 32, b"{}", [])).status == 204
        again = await sender.send(url, b"k" * 32, b"{}", [])
        assert again.error == "not sent: 127.0.0.2 is no public address"
        assert (judged.connections, other.connections) == (1, 0)
        assert judged.received[0].headers["host"] == f"rebound.example:{judged.port}"


async def test_an_address_that_leads_nowhere_is_passed_over_and_all_of_them_are_judged() -> None:
    async with receiving(well) as receiver:
        url = f"http://two.example:{receiver.port}/"
        both = Sender(policy("127.0.0.0/8", "on"), _rebinding(["127.0.0.2", "127.0.0.1"], ["127.0.0.2"]))
        assert (await both.send(url, b"k" * 32, b"{}", [])).status == 204
        assert (await both.send(url, b"k" * 32, b"{}", [])).error is not None
        one = Sender(policy("127.0.0.2/32", "on"), _rebinding(["127.0.0.2", "127.0.0.1"]))
        assert (await one.send(url, b"k" * 32, b"{}", [])).error == "not sent: 127.0.0.1 is no public address"
        assert receiver.connections == 1


# ---- bounds, crashes, and the end of patience


async def test_too_many_that_wait_are_counted_instead(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MOST_WAITING", 3)
    async with receiving(well) as receiver:
        made = await desk.hook(receiver.url)
        await desk.say(*(pattern(n) for n in range(5)))
        await desk.say(pattern(9))
        assert (await desk.standing(made))["dropped"] == 3
        await desk.attempt()
        await desk.say(pattern(10))
        await desk.attempt()
        assert len(receiver.received) == 4


async def test_who_dies_while_sending_has_it_sent_by_another(desk: Desk, settings: Settings) -> None:
    async with receiving(lambda n: None if n == 1 else status(200)) as receiver:
        await desk.hook(receiver.url)
        await desk.say(pattern())
        await desk.send.turn()
        await happened(lambda: bool(receiver.received), "the request having come")
        await desk.send.close()
        async with open_desk(settings, Sender(HERE)) as other:
            await other.attempt()
            assert len(receiver.received) == 1, "whoever has it may still be at it"
            await other.hasten()
            await other.attempt()
            assert await other.log() == [("delivered", 2, 200, None)]


async def test_two_who_send_do_not_send_the_same(desk: Desk, settings: Settings) -> None:
    async with receiving(well) as receiver, open_desk(settings, Sender(HERE)) as other:
        for _ in range(8):
            await desk.hook(receiver.url)
        await desk.say(*(pattern(n) for n in range(4)))
        while any(row[0] == "waiting" for row in await desk.log()):
            await asyncio.gather(desk.send.turn(), other.send.turn())
            await asyncio.gather(desk.send.settled(), other.send.settled())
        assert len(receiver.received) == 32


async def test_what_fails_for_days_is_disabled_visibly_and_nothing_more_is_queued(desk: Desk) -> None:
    async with receiving(lambda _n: status(500)) as receiver:
        made = await desk.hook(receiver.url)
        await desk.say(pattern(1), pattern(2))
        await desk.attempt()
        await desk.send.tidy()
        assert (await desk.standing(made))["disabled_at"] is None
        await desk.pool.execute("UPDATE webhooks SET failing_since = now() - interval '3 days 1 minute'")
        await desk.send.tidy()
        assert (await desk.standing(made))["disabled_at"] is not None
        assert [row[0] for row in await desk.log()] == ["dropped", "dropped"]
        await desk.say(pattern(3))
        await desk.hasten()
        await desk.attempt()
        assert len(receiver.received) == 2


async def test_a_fact_is_given_up_a_day_after_it_came_and_forgotten_after_a_week(desk: Desk) -> None:
    async with receiving(lambda _n: status(500)) as receiver:
        await desk.hook(receiver.url)
        await desk.say(pattern())
        await desk.pool.execute("UPDATE webhook_deliveries SET created_at = now() - interval '25 hours'")
        await desk.attempt()
        assert await desk.log() == [("failed", 1, 500, "answered 500")]
        await desk.send.tidy()
        assert len(await desk.log()) == 1
        await desk.pool.execute("UPDATE webhook_deliveries SET finished_at = now() - interval '8 days'")
        await desk.send.tidy()
        assert await desk.log() == []


async def test_one_that_is_removed_meanwhile_is_nobodys_defect(desk: Desk) -> None:
    async with receiving(lambda _n: status(500)) as receiver:
        made = await desk.hook(receiver.url)
        await desk.say(pattern())
        await desk.send.turn()
        await desk.pool.execute("DELETE FROM webhooks WHERE id = $1", made)
        await desk.send.settled()
        assert await desk.log() == []


async def test_what_waits_and_what_is_over_is_found_by_its_index(desk: Desk) -> None:
    made = [await desk.hook("https://example.org/") for _ in range(50)]
    await desk.pool.execute(
        "INSERT INTO webhook_deliveries (webhook_id, type, fact_id, fact_version, body, status, finished_at)"
        " SELECT id, 'x', 'x', n, '', CASE WHEN n % 50 = 0 THEN 'waiting' ELSE 'delivered' END,"
        " CASE WHEN n % 50 > 0 THEN now() - n * interval '1 minute' END"
        " FROM unnest($1::uuid[]) AS id, generate_series(1, 1000) n",
        made,
    )
    await desk.pool.execute("ANALYZE webhook_deliveries; ANALYZE webhooks")
    waiting = "SELECT count(*) FROM webhook_deliveries d WHERE d.webhook_id = $1 AND d.status = 'waiting'"
    for query, argument, index in (
        (queries("webhooks")["cut"], 7 * 86_400.0, "webhook_deliveries_finished_at"),
        (waiting, made[0], "webhook_deliveries_due"),
    ):
        plan = "\n".join(row[0] for row in await desk.pool.fetch(f"EXPLAIN {query}", argument))
        assert index in plan, plan
        assert "Seq Scan on webhook_deliveries d" not in plan, plan
