"""The client's decisions: what it asks, when it asks again, what it takes for new."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from rollotape.client import AsyncClient, Client, Gap, Patience, Unreachable, Update, calls, errors
from rollotape.client.asking import Asker, Hear, Open, Reply, Say, Tell, Wait, after
from rollotape.client.attempts import Attempts
from rollotape.client.following import Channels, Events, Subscription, Told
from rollotape.events import ScanUpdate, VsaUpdate

Answerer = Callable[[httpx.Request], httpx.Response]
QUICK = Patience(tries=4, first_s=0.001, longest_s=0.002)
EPOCH = "0" * 32


def problem(status: int, **headers: str) -> httpx.Response:
    document = {
        "type": "urn:rollotape:problem:x", "title": "X", "status": status, "detail": "Not so.",
        "instance": "/api/bars", "request_id": "r1",
        "errors": [{"in": "query", "field": "limit", "reason": "must be less"}],
    }  # fmt: skip
    return httpx.Response(status, json=document, headers={n.replace("_", "-"): v for n, v in headers.items()})


def page(symbols: list[str], token: str | None) -> httpx.Response:
    items = [
        {
            "symbol": name, "name": None, "exchange": None, "kind": "stock", "sector": None, "industry": None,
            "active": True, "rs_score": None, "rs_as_of": None, "sector_rank": None,
            "is_sector_leader": False, "last_bar": None, "added_later": 1,
        }
        for name in symbols
    ]  # fmt: skip
    said = {"symbols": items, "next_page_token": token, "as_of": None, "stale": False, "added_later": 1}
    return httpx.Response(200, json=said)


def client(answerer: Answerer, **more: Any) -> Client:
    return Client(
        more.pop("urls", "http://g"), patience=QUICK, transport=httpx.MockTransport(answerer), **more
    )


# ---- questions


def test_a_question_says_what_was_given_and_nothing_else() -> None:
    call = calls.scan(
        sectors=["Energy", "Technology"],
        symbols="AAPL",
        confidence_min=0.25,
        test_confirmed=False,
        rsi_range=(30, 70.5),
        detected_since=datetime(2024, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))),
    )

    assert dict(call.parameters) == {
        "sectors": "Energy,Technology", "symbols": "AAPL", "confidence_min": "0.25",
        "test_confirmed": "false", "rsi_range": "30,70.5", "detected_since": "2024-01-02T01:00:00Z",
        "limit": "100",
    }  # fmt: skip
    watchlist = UUID(int=7)
    assert dict(calls.trades(watchlist_id=watchlist).parameters)["watchlist_id"] == str(watchlist)
    assert dict(calls.strength(as_of=date(2024, 1, 2)).parameters)["as_of"] == "2024-01-02"


def test_a_time_without_a_zone_is_no_time() -> None:
    with pytest.raises(ValueError, match="time zone"):
        calls.bars("AAPL", start=datetime(2024, 1, 2))  # noqa: DTZ001 - that is what is tested


def test_a_symbol_with_a_slash_is_one_part_of_the_path() -> None:
    assert calls.strength_history("BTC/USD").path == "/api/v1/symbols/BTC%2FUSD/rs"
    assert calls.strength_history("BTC/USD").parameters == (("limit", "100"),)


def test_pages_are_followed_to_the_last_and_what_is_new_in_them_is_passed_over() -> None:
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        token = request.url.params.get("page_token")
        assert request.url.params["limit"] == "2"
        asked.append(token)
        return {None: page(["A", "B"], "t1"), "t1": page(["C", "D"], "t2"), "t2": page(["E"], None)}[token]

    with client(answer) as rollo:
        assert [item.symbol for item in rollo.each(calls.symbols(limit=2))] == ["A", "B", "C", "D", "E"]
    assert asked == [None, "t1", "t2"]


async def test_pages_are_the_same_with_an_event_loop() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return page(["B"], None) if "page_token" in request.url.params else page(["A"], "t")

    async with AsyncClient("http://g", transport=httpx.MockTransport(answer)) as rollo:
        assert [item.symbol async for item in rollo.each(calls.symbols())] == ["A", "B"]


def test_a_key_comes_from_the_argument_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return page([], None)

    client(answer).ask(calls.symbols())
    monkeypatch.setenv("ROLLO_API_KEY", "from-outside")
    client(answer).ask(calls.symbols())
    client(answer, key="given").ask(calls.symbols())

    assert seen == [None, "Bearer from-outside", "Bearer given"]


# ---- what goes wrong


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadCursor),
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (413, errors.TooLarge),
        (422, errors.Invalid),
        (500, errors.Refusal),
    ],
)
def test_an_error_is_of_its_own_kind_carries_the_problem_and_is_not_asked_for_again(
    status: int, kind: type[errors.Refusal]
) -> None:
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return problem(status)

    with pytest.raises(errors.Refusal) as raised:
        client(answer).ask(calls.symbols())

    assert type(raised.value) is kind
    assert (raised.value.problem.status, raised.value.problem.request_id) == (status, "r1")
    assert raised.value.problem.errors == (errors.FieldProblem("query", "limit", "must be less"),)
    assert "Not so." in str(raised.value)
    assert asked == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"type":1}', b'{"errors":null}', b""])
def test_an_answer_of_somebody_else_is_an_error_all_the_same(body: bytes) -> None:
    with pytest.raises(errors.Refusal) as raised:
        client(lambda _: httpx.Response(418, content=body)).ask(calls.symbols())

    assert raised.value.problem.status == 418


def test_an_outage_is_waited_out_for_as_long_as_the_gateway_said(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("rollotape.client.lines.time.sleep", slept.append)
    said = iter([problem(503, Retry_After="2"), problem(429, Retry_After="7"), page(["A"], None)])

    answer = client(lambda _: next(said)).ask(calls.symbols())

    assert [item.symbol for item in answer.symbols] == ["A"]
    assert 2.0 <= slept[0] < 2.1
    assert 7.0 <= slept[1] < 7.1


def test_nobody_waits_beyond_their_patience() -> None:
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return problem(503, Retry_After="3600")

    with pytest.raises(errors.ServerAway) as raised:
        client(answer).ask(calls.symbols())

    assert (asked, raised.value.retry_after_s) == (1, 3_600.0)


def test_the_number_of_tries_has_an_end() -> None:
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return problem(503)

    with pytest.raises(errors.ServerAway):
        client(answer).ask(calls.symbols())
    assert asked == QUICK.tries


def test_pauses_grow_up_to_the_longest_and_are_never_all_the_same() -> None:
    patience = Patience(tries=9, most_s=1_000, first_s=1, longest_s=8)
    unreachable = Unreachable("away")

    def pauses(chance: float) -> list[float]:
        attempts = Attempts(patience, clock=lambda: 0.0, chance=lambda: chance)
        return [attempts.wait_after(unreachable) for _ in range(5)]

    assert pauses(0.0) == [0.5, 1, 2, 4, 4]
    assert pauses(1.0) == [1, 2, 4, 8, 8]


def test_a_date_to_come_back_at_is_understood_too() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)

    assert 28 < (errors.seconds(format_datetime(soon, usegmt=True)) or 0) <= 30
    assert errors.seconds("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert errors.seconds("soon") is None
    assert errors.seconds(None) is None


def test_a_gateway_that_is_gone_or_cannot_now_is_passed_over_for_the_other() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "a":
            raise httpx.ConnectError("refused")
        return problem(503) if request.url.host == "full" else page(["A"], None)

    assert client(answer, urls=["http://a", "http://b/"]).ask(calls.symbols()).symbols[0].symbol == "A"
    assert client(answer, urls=["http://full", "http://b"]).ask(calls.symbols()).symbols[0].symbol == "A"
    with pytest.raises(Unreachable, match="http://a"):
        client(answer, urls="http://a").ask(calls.symbols())


def test_an_address_that_is_none_is_not_tried_again() -> None:
    with pytest.raises(httpx.UnsupportedProtocol):
        Client("g:8080", patience=Patience(first_s=60)).ask(calls.symbols())


# ---- sending


def test_what_is_sent_goes_by_the_thousand_and_keeps_its_place() -> None:
    sizes = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.headers["content-type"]) == ("POST", "application/x-ndjson")
        lines = request.content.split(b"\n")
        sizes.append(len(lines))
        bad = [i for i, line in enumerate(lines) if orjson.loads(line)["n"] % 1_100 == 7]
        refused = [{"index": i, "faults": [{"field": "n", "reason": "is bad"}]} for i in bad]
        accepted = {"count": len(lines) - len(bad), "entries": []}
        said = {"accepted": accepted, "refused": refused, "refused_count": len(bad)}
        return httpx.Response(207, json=said)

    sent = client(answer).send(calls.send_bars({"n": n} for n in range(2_500)))

    assert sizes == [1_000, 1_000, 500]
    assert sent.accepted == 2_497
    assert [one.index for one in sent.refused] == [7, 1_107, 2_207]
    assert sent.refused[0].faults[0].reason == "is bad"


def test_nothing_to_send_is_no_request() -> None:
    sent = client(lambda _: problem(500)).send(calls.send_signals([]))

    assert (sent.accepted, sent.refused) == (0, [])


# ---- the stream


def event(n: int, *, fact: str = "p1", version: int | None = None, epoch: str = EPOCH) -> bytes:
    said = {"type": "pattern.updated", "id": fact, "fact_version": n if version is None else version}
    return f"event: pattern.updated\nid: {epoch}-{n}-0\ndata: ".encode() + orjson.dumps(said) + b"\n\n"


def heard(following: Events, *parts: bytes) -> list[Update | Gap]:
    return [found for part in parts for found in following.feed(part)]


def versions(found: list[Update | Gap]) -> list[int | None]:
    return [one.fact_version if isinstance(one, Update) else None for one in found]


@pytest.mark.parametrize("size", [1, 2, 7, 50, 10_000])
def test_events_are_the_same_however_they_are_cut_on_their_way(size: int) -> None:
    content = b": here\n\nretry: 1000\n\n" + event(1) + b"id: " + EPOCH.encode() + b"-2-0\n\n" + event(3)
    content += b"event: gap\r\nid: 1-9-0\r\ndata: {}\r\n\r\n" + event(4, fact="\u2028")
    following = Events(None, QUICK)

    found = heard(following, *(content[i : i + size] for i in range(0, len(content), size)))

    assert versions(found) == [1, 3, None, 4]
    assert found[2] == Gap("1-9-0")
    assert following.last_id == f"{EPOCH}-4-0"


def test_half_an_event_moves_nothing() -> None:
    following = Events(None, QUICK)
    following.begin()
    assert versions(heard(following, event(1), event(2)[:-1])) == [1]
    assert following.headers()["Last-Event-ID"] == f"{EPOCH}-1-0"

    following.begin()

    assert versions(heard(following, event(2))) == [2]


def test_a_repeat_is_dropped_and_a_newer_version_is_not() -> None:
    following = Events(None, QUICK)

    found = heard(
        following,
        event(1, version=5),
        event(2, version=5),
        event(3, version=4),
        event(4, version=6),
        event(5, fact="p2", version=5),
    )

    assert [(one.fact_id, one.fact_version) for one in found if isinstance(one, Update)] == [
        ("p1", 5), ("p1", 6), ("p2", 5),
    ]  # fmt: skip
    assert following.repeats == 2
    assert following.last_id == f"{EPOCH}-5-0"


def test_another_installation_counts_its_versions_anew() -> None:
    following = Events(None, QUICK)

    assert versions(heard(following, event(1, version=9), event(2, version=3, epoch="f" * 32))) == [9, 3]


def test_a_fact_without_a_version_is_never_a_repeat() -> None:
    following = Events(None, QUICK)
    entrant = b'event: scan.new_entrant\nid: 1-1-0\ndata: {"scan_id":"s"}\n\n'

    assert len(heard(following, entrant, entrant)) == 2


class Lives:
    """A gateway that breaks off as often as it is told to."""

    def __init__(self, *lives: Iterator[bytes] | httpx.Response) -> None:
        self.last_ids: list[str | None] = []
        self._lives = iter(lives)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.last_ids.append(request.headers.get("last-event-id"))
        life = next(self._lives)
        if isinstance(life, httpx.Response):
            return life
        return httpx.Response(200, content=life, headers={"Content-Type": "text/event-stream"})


def broken_off(*parts: bytes) -> Iterator[bytes]:
    yield from parts
    raise httpx.ReadError("killed")


def test_a_stream_goes_on_where_it_was_over_kills_ends_and_outages() -> None:
    gateway = Lives(
        problem(503),
        broken_off(event(1), event(2)[:20]),
        problem(503, Retry_After="0"),
        iter([event(2)]),
        iter([event(2), event(3)]),
    )

    with client(gateway).stream() as stream:
        found = [next(iter(stream)) for _ in range(3)]
        assert stream.last_id == f"{EPOCH}-3-0"

    assert versions(found) == [1, 2, 3]
    one, two = f"{EPOCH}-1-0", f"{EPOCH}-2-0"
    assert gateway.last_ids == [None, None, one, one, two]
    assert (stream.following.connections, stream.following.repeats) == (3, 1)


def test_a_stream_may_be_of_other_channels() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, content=event(1), headers={"Content-Type": "text/event-stream"})

    next(iter(client(answer).stream(channels=("patterns", "scans"))))
    assert asked == ["http://g/api/v1/patterns/stream?channels=patterns,scans"]


async def test_a_stream_goes_on_the_same_with_an_event_loop() -> None:
    async def broken_off_later() -> Any:
        yield event(1)
        raise httpx.ReadError("killed")

    lives = iter([broken_off_later(), broken_off_later()])
    last_ids = []

    async def answer(request: httpx.Request) -> httpx.Response:
        last_ids.append(request.headers.get("last-event-id"))
        life = next(lives, None)
        if life is None:
            return problem(401)
        return httpx.Response(200, content=life, headers={"Content-Type": "text/event-stream"})

    found: list[Update | Gap] = []
    transport = httpx.MockTransport(answer)
    async with AsyncClient("http://g", patience=QUICK, transport=transport) as rollo, asyncio.timeout(30):
        with pytest.raises(errors.Unauthorized):
            async for one in rollo.stream(f"{EPOCH}-0-1"):
                found.append(one)  # noqa: PERF401 - what came before the error counts

    assert versions(found) == [1]
    assert last_ids == [f"{EPOCH}-0-1", f"{EPOCH}-1-0", f"{EPOCH}-1-0"]


def test_a_stream_that_never_began_is_given_up() -> None:
    with pytest.raises(errors.ServerAway):
        next(iter(client(lambda _: problem(503)).stream()))


def test_what_is_no_stream_is_not_read_as_one() -> None:
    with pytest.raises(errors.ClientError, match="text/html"):
        next(iter(client(lambda _: httpx.Response(200, html="<p>")).stream()))


# ---- what is asked once, however often it is tried


def test_a_wish_keeps_its_key_over_tries_and_the_next_one_has_another() -> None:
    keys: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers.get("idempotency-key"))
        if len(keys) == 1:
            raise httpx.ReadError("killed")
        return problem(503) if len(keys) == 2 else httpx.Response(201, json=watchlist())

    rollo = client(answer)
    made = rollo.ask(calls.make_watchlist("Mine", "AAPL"))
    rollo.ask(calls.make_watchlist("Mine", "AAPL"))
    rollo.ask(calls.make_watchlist("Mine", "AAPL", key="given"))

    assert made.symbols == ["AAPL"]
    assert keys[0] is not None
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert keys[4] == "given"


def watchlist() -> dict[str, Any]:
    return {
        "id": str(UUID(int=1)), "name": "Mine", "version": 1, "created_at": "2024-01-01T00:00:00Z",
        "changed_at": "2024-01-01T00:00:00Z", "symbols": ["AAPL"], "symbol_count": 1, "unknown_symbols": [],
    }  # fmt: skip


def test_what_was_deleted_by_a_try_without_an_answer_is_deleted() -> None:
    lost: Iterator[httpx.Response | httpx.TransportError] = iter(
        [httpx.ReadError("killed"), problem(429), problem(404), problem(429), problem(404)]
    )

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.headers["if-match"]) == ("DELETE", '"3"')
        said = next(lost)
        if isinstance(said, httpx.TransportError):
            raise said
        return said

    rollo = client(answer)
    rollo.ask(calls.delete_watchlist(UUID(int=1), version=3))
    with pytest.raises(errors.NotFound):
        rollo.ask(calls.delete_scan(UUID(int=1), version=3))


def test_of_health_an_outage_is_the_answer_and_the_findings_are_in_it() -> None:
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        said = orjson.loads(problem(503).content) | {"components": [{"name": "postgresql"}]}
        return httpx.Response(503, json=said, headers={"Retry-After": "2"})

    with pytest.raises(errors.ServerAway) as raised:
        client(answer).ask(calls.discovery_health())

    assert asked == 1
    assert raised.value.problem.said["components"] == [{"name": "postgresql"}]


def test_pages_of_csv_are_one_table() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.url.params["format"], request.url.params["limit"]) == ("csv", "2")
        token = request.url.params.get("page_token")
        link = {None: "a+b/c", "a+b/c": "t2", "t2": None}[token]
        told = httpx.QueryParams({"limit": "2", "format": "csv", "page_token": link or ""})
        headers = {} if link is None else {"Link": f'</api/v1/symbols?{told}>; rel="next"'}
        return httpx.Response(200, text=f"symbol\r\nof {token}\r\n", headers=headers)

    assert list(client(answer).csv(calls.symbols(limit=2))) == [
        "symbol\r\nof None\r\n", "of a+b/c\r\n", "of t2\r\n",
    ]  # fmt: skip


def test_filters_go_into_a_body_as_lists_and_words() -> None:
    call = calls.save_scan("Mine", symbols="AAPL", rsi_range=(0, 50), watchlist_id=UUID(int=1), phase=("C",))

    assert orjson.loads(call.content or b"") == {
        "name": "Mine",
        "filters": {
            "symbols": ["AAPL"], "rsi_range": [0, 50], "watchlist_id": str(UUID(int=1)), "phase": ["C"],
        },
    }  # fmt: skip


# ---- the stream over WebSocket


AT = f"{EPOCH}-%d-0"
PATTERNS: Channels = {"patterns": "*"}
WELCOME = [[{"T": "welcome"}, {"T": "authenticated"}], [{"T": "subscription", "id": AT % 0}]]


def item(n: int, letter: str = "p") -> dict[str, Any]:
    said = {"type": "pattern.updated", "id": "p1", "fact_version": n}
    return {"T": letter, "S": "AAPL", "id": AT % n, "data": said}


def ended(code: int, **more: Any) -> list[dict[str, Any]]:
    return [{"T": "error", "code": code, "msg": "So it is.", **more}]


class Talk:
    """Takes the steps of a client that subscribes; what comes of them is written down."""

    def __init__(
        self, *lives: Any, since: str | None = None, urls: Any = "http://a", channels: Channels = PATTERNS
    ) -> None:
        self.opened: list[str] = []
        self.said: list[dict[str, Any]] = []
        self.waited: list[float] = []
        self.found: list[Told] = []
        self._lives = iter(lives)
        self._messages: Iterator[Any] = iter(())
        asker = Asker(urls, "k1", QUICK)
        self.following = Subscription(channels, {"symbols": "AAPL"}, since, QUICK)
        self._steps = asker.subscribe(self.following)

    def go_on(self) -> list[Told]:
        """Until there is no life left."""
        step = after(self._steps, None)
        while step is not None:
            outcome: Any = None
            match step:
                case Open():
                    assert step.headers["Authorization"] == "Bearer k1"
                    self.opened.append(step.url)
                    life = next(self._lives, None)
                    if life is None:
                        return self.found
                    outcome = life if isinstance(life, Reply | Unreachable) else Reply(101, "", {})
                    self._messages = iter(life if isinstance(life, list) else ())
                case Hear():
                    message = next(self._messages, None)
                    outcome = Unreachable("killed") if message is None else orjson.dumps(message)
                case Say():
                    self.said.append(orjson.loads(step.text))
                case Wait():
                    self.waited.append(step.seconds)
                case Tell():
                    self.found.append(step.found)
            step = after(self._steps, outcome)
        return self.found


def test_a_subscription_goes_on_where_it_was_at_the_next_gateway() -> None:
    talk = Talk(
        [*WELCOME, [item(1), item(2)]],
        Unreachable("away"),
        [
            *WELCOME[:1],
            [{"T": "subscription", "id": AT % 2}],
            [item(2), item(3)],
            [{"T": "here", "id": AT % 9}],
        ],
        urls=["http://a", "https://b/"],
    )

    assert versions([one for one in talk.go_on() if isinstance(one, Update | Gap)]) == [1, 2, 3]
    assert talk.opened == [
        "ws://a/api/v1/stream", "wss://b/api/v1/stream", "ws://a/api/v1/stream", "wss://b/api/v1/stream",
    ]  # fmt: skip
    wanted = {"action": "subscribe", "patterns": ["*"], "filters": {"symbols": ["AAPL"]}}
    assert talk.said == [wanted, wanted | {"since": AT % 2}]
    assert (talk.following.last_id, talk.following.repeats) == (AT % 9, 1)


def test_a_slow_client_goes_on_where_it_is_told_to() -> None:
    talk = Talk([*WELCOME, [item(1)], ended(407, id=AT % 5)], [*WELCOME[:1]])
    talk.go_on()

    assert [said.get("since") for said in talk.said] == [None, AT % 5]


def test_before_the_first_acknowledgement_patience_has_an_end() -> None:
    full = [[{"T": "welcome"}], ended(406)]
    with pytest.raises(errors.CutOff, match="So it is"):
        Talk(*[full] * QUICK.tries).go_on()
    with pytest.raises(Unreachable):
        Talk(*[Unreachable("away")] * QUICK.tries).go_on()


def test_after_it_outages_are_waited_out_for_as_long_as_it_takes() -> None:
    away = Reply(503, "Away", {"retry-after": "3"})
    talk = Talk(WELCOME, *[away] * 20, *[[ended(503)]] * 20)
    talk.go_on()

    assert len(talk.waited) == 41
    assert all(3 <= waited < 4 for waited in talk.waited[1:21])


@pytest.mark.parametrize(
    ("life", "kind"),
    [
        ([*WELCOME, ended(402)], errors.Unauthorized),
        ([*WELCOME, ended(500)], errors.Refusal),
        ([*WELCOME[:1], ended(400, errors=[{"field": "vsa", "reason": "must be a list"}])], errors.Invalid),
        (Reply(403, "Forbidden", {}, problem(403).content), errors.Forbidden),
    ],
)
def test_what_would_come_again_is_raised_with_its_reason(life: Any, kind: type[errors.Refusal]) -> None:
    with pytest.raises(errors.Refusal) as raised:
        Talk(life).go_on()

    assert type(raised.value) is kind
    if kind is errors.Invalid:
        assert raised.value.problem.errors == (errors.FieldProblem("body", "vsa", "must be a list"),)


def test_a_gap_is_told_and_another_installation_counts_anew() -> None:
    gap = {"T": "gap", "id": f"{'f' * 32}-1-0"}
    other = item(3) | {"id": f"{'f' * 32}-2-0"}
    talk = Talk([*WELCOME, [item(9)], [gap, other]], since=AT % 0)

    assert versions([one for one in talk.go_on() if isinstance(one, Update | Gap)]) == [9, None, 3]
    assert talk.found[1] == Gap(gap["id"])


def test_a_fact_is_read_as_its_contract() -> None:
    event = {
        "symbol": "AAPL", "timeframe": "1d", "rule_set": "seed-1", "kind": "no_demand",
        "direction": "bearish", "event_ts": "2024-01-02T00:00:00Z", "confirmed_ts": "2024-01-02T00:00:00Z",
        "knowable_at": "2024-01-02T21:00:00Z", "added_later": 1,
    }  # fmt: skip
    said = {"version": 1, "type": "vsa.detected", "id": "e1", "fact_version": 1, "event": event}
    [update] = Talk([*WELCOME, [item(1) | {"T": "v", "data": said}]]).go_on()

    assert isinstance(update, Update)
    assert isinstance(update.fact, VsaUpdate)
    assert update.fact.event.knowable_at == datetime(2024, 1, 2, 21, tzinfo=UTC)


def test_who_comes_into_a_saved_scan_is_told_like_any_fact() -> None:
    symbol = {"symbol": "AAPL", "timeframe": "1d", "pattern_type": "SPRING", "confidence": 0.9}
    said = {
        "version": 1, "type": "scan.new_entrants", "id": "s1", "fact_version": 4, "owner": "me",
        "scan": {"id": str(UUID(int=1)), "name": "Mine"},
        "entrants": [symbol | {"pattern_id": str(UUID(int=2))}],
    }  # fmt: skip
    talk = Talk([*WELCOME, [{"T": "s", "id": AT % 1, "data": said}] * 2], channels={"scans": UUID(int=1)})
    [update] = talk.go_on()

    assert talk.said[0]["scans"] == [str(UUID(int=1))]
    assert isinstance(update, Update)
    assert isinstance(update.fact, ScanUpdate)
    assert update.fact.entrants[0].symbol == "AAPL"
