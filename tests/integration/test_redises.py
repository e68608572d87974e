"""Clusters and Sentinels on real servers: slots that move, servers that die, and what is set up wrong."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import MaxConnectionsError

from rollotape.diagnosis import Finding, Level, Place, diagnose
from rollotape.errors import Refused
from rollotape.events import FIELD
from rollotape.observer import observe
from rollotape.postgres import migrate
from rollotape.redis.clients import open_client, servers
from rollotape.redis.outages import is_outage
from rollotape.settings import Settings
from rollotape.streams.broker import guard
from rollotape.streams.producer import Producer
from support.redises import PASSWORD, SERVICE, ClusterOfServers, Redises, WatchedServers, open_redises
from support.waiting import eventually

KEY = "bars.3"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterOfServers]:
    with open_redises("cluster") as redises:
        assert isinstance(redises, ClusterOfServers)
        yield redises


@pytest.fixture(scope="module")
def watched() -> Iterator[WatchedServers]:
    with open_redises("sentinel") as redises:
        assert isinstance(redises, WatchedServers)
        yield redises


@pytest.fixture
async def client(cluster: ClusterOfServers) -> AsyncIterator[Redis]:
    async with open_client(cluster.url, tries_once=True, answer_s=5, connect_s=2) as opened:
        await opened.flushall()
        yield opened


async def test_streams_are_spread_over_the_nodes_and_a_pipeline_reaches_them_all(client: Redis) -> None:
    messages = [(f"bars.{n % 16}", b"%d" % n) for n in range(2_000)]
    ids = await Producer(client).send_many(messages)

    assert len(ids) == len(messages)
    held = [await node.dbsize() for node in await servers(client)]
    assert len(held) == 3 and all(held) and sum(held) == 16
    for n in range(16):
        entries: Any = await client.xrange(f"bars.{n}")
        assert [int(fields[FIELD]) for _, fields in entries] == list(range(n, 2_000, 16))
        assert [name.decode() for name, _ in entries] == ids[n::16]


async def test_commands_whose_keys_are_apart_are_refused_before_they_are_sent(client: Redis) -> None:
    for wrong in (client.unlink("bars.0", "bars.1"), client.eval("return 1", 2, "bars.0", "bars.1")):
        with pytest.raises(ValueError, match="one slot"):
            await wrong
    transaction = client.pipeline(transaction=True)
    transaction.get("bars.0")
    transaction.get("bars.1")
    with pytest.raises(ValueError, match="one slot"):
        await transaction.execute()
    with pytest.raises(ValueError, match="one server"):
        await client.info()


async def test_a_slot_is_followed_at_every_step_of_its_move(
    cluster: ClusterOfServers, client: Redis
) -> None:
    """Commands, scripts, transactions and reads of groups, before, within and after."""
    script = client.register_script("return redis.call('XLEN', KEYS[1])")
    await client.xgroup_create(KEY, "g", id="0", mkstream=True)
    moving = cluster.moving(KEY)
    steps = 0
    for step in moving:
        steps += 1
        await Producer(client).send(KEY, [b"x"])
        assert await script(keys=[KEY]) == steps, step
        transaction = client.pipeline(transaction=True)
        transaction.xlen(KEY)
        transaction.xinfo_groups(KEY)
        length, [group] = await transaction.execute()
        assert (length, group["name"]) == (steps, b"g"), step
        answer: Any = await client.xreadgroup("g", "c", {KEY: ">"}, block=100)
        assert len(answer[0][1]) == 1, step
        assert await client.xack(KEY, "g", answer[0][1][0][0]) == 1, step
    assert steps == 4


async def test_a_script_waits_for_its_keys_to_be_together_again(
    cluster: ClusterOfServers, client: Redis
) -> None:
    """Half of its keys are at the one node, half at the other: for a moment neither can run it."""
    keys = ["{rm}:a", "{rm}:b"]
    for key in keys:
        await client.set(key, 1)
    add = client.register_script("return redis.call('GET', KEYS[1]) + redis.call('GET', KEYS[2])")
    moving = cluster.moving(keys[0])
    assert [next(moving), next(moving)] == ["before", "begun"]
    cluster.move_one(keys[0])
    adding = asyncio.create_task(add(keys=keys))
    await asyncio.wait([adding], timeout=0.1)
    assert not adding.done()
    await asyncio.to_thread(list, moving)
    assert await adding == 2


@pytest.mark.parametrize("paused", [False, True], ids=["killed", "paused"])
@pytest.mark.parametrize("kind", ["cluster", "watched"])
async def test_a_client_finds_the_server_that_took_the_place_of_another(
    kind: str, paused: bool, request: pytest.FixtureRequest
) -> None:
    redises: Redises = request.getfixturevalue(kind)
    async with open_client(redises.url, tries_once=True, answer_s=2, connect_s=2) as client:
        await client.set(KEY, b"kept")
        await asyncio.to_thread(redises.wait_for_replicas)
        replacing = asyncio.create_task(asyncio.to_thread(redises.replace, KEY, paused=paused))
        failures: list[Exception] = []
        while not replacing.done():
            try:
                await client.get(KEY)
            except Exception as error:
                failures.append(error)
            await asyncio.sleep(0.01)
        await replacing
        value = await eventually(lambda: _value(client), what="an answer")
        assert value == b"kept"
        assert failures and all(map(is_outage, failures)), failures
        await asyncio.to_thread(redises.revive)
        assert await eventually(lambda: _value(client), what="an answer") == b"kept"


@pytest.mark.parametrize("kind", ["cluster", "watched"])
async def test_commands_wait_in_line_where_there_are_few_connections(
    kind: str, request: pytest.FixtureRequest
) -> None:
    redises: Redises = request.getfixturevalue(kind)
    async with open_client(redises.url, tries_once=True, connections=2, waits_s=10) as client:
        done = await asyncio.gather(*(client.set(f"{KEY}:{n % 3}", n) for n in range(60)))
        assert all(done)
    async with open_client(redises.url, tries_once=True, connections=2) as client:
        asked = [client.set(f"{KEY}:{n % 3}", n) for n in range(60)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert any(isinstance(outcome, MaxConnectionsError) for outcome in outcomes)


async def _value(client: Redis) -> bytes | None:
    try:
        value: Any = await client.get(KEY)
    except Exception as error:
        assert is_outage(error), error
        return None
    return bytes(value) if value else None


async def test_what_one_node_cannot_take_is_sent_again_and_what_others_took_is_not(
    cluster: ClusterOfServers, client: Redis
) -> None:
    dead = await asyncio.to_thread(cluster.primary, KEY)
    assert dead
    apart = next(f"bars.{n}" for n in range(16) if cluster.primary(f"bars.{n}") is not dead)
    for server in cluster.servers:
        server.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    await client.xlen(apart)
    dead.pause()
    try:
        pipeline = client.pipeline(transaction=False)
        pipeline.xadd(apart, {FIELD: b"1"})
        pipeline.xadd(KEY, {FIELD: b"1"})
        pipeline.xadd(apart, {FIELD: b"2"})
        first, lost, second = await pipeline.execute(raise_on_error=False)
    finally:
        dead.resume()
    assert is_outage(lost)
    assert first < second
    await asyncio.to_thread(cluster.revive)


# ---- what is set up wrong

async def _troubles(settings: Settings) -> dict[str, Finding]:
    found = diagnose(await observe(settings), settings, Place(os.environ, migrate.revisions()))
    return {f.check: f for f in found if f.level != Level.OK and f.check.startswith("redis")}


async def test_several_servers_in_order_are_in_order(
    cluster: ClusterOfServers, watched: WatchedServers, settings: Settings
) -> None:
    for redises in (cluster, watched):
        await asyncio.to_thread(redises.revive)
        assert await _troubles(settings.model_copy(update={"redis_url": redises.url})) == {}
        async with open_client(redises.url) as client:
            await guard(client)


@pytest.mark.parametrize("option", ["maxmemory-policy", "appendonly"])
async def test_one_node_that_is_set_up_otherwise_is_named(
    option: str, cluster: ClusterOfServers, settings: Settings
) -> None:
    await asyncio.to_thread(cluster.revive)
    node = (await asyncio.to_thread(cluster.primaries))[1]
    before = node.ask("CONFIG", "GET", option)[1].decode()
    node.ask("CONFIG", "SET", option, "allkeys-lru" if option == "maxmemory-policy" else "no")
    try:
        troubles = await _troubles(settings.model_copy(update={"redis_url": cluster.url}))
        [finding] = troubles.values()
        assert f"127.0.0.1:{node.port}: " in finding.says
        async with open_client(cluster.url) as client:
            if option == "maxmemory-policy":
                with pytest.raises(Refused, match="allkeys-lru"):
                    await guard(client)
            else:
                await guard(client)
    finally:
        node.ask("CONFIG", "SET", option, before)


async def test_a_url_of_another_kind_is_named_and_refused(
    cluster: ClusterOfServers, watched: WatchedServers, settings: Settings
) -> None:
    node, sentinel, lone = cluster.servers[0].port, watched.sentinels[0].port, watched.servers[0].port
    login = f":{PASSWORD}@127.0.0.1"
    wrong = {
        f"redis://{login}:{node}": ("redis kind", "a node of a cluster"),
        f"redis://127.0.0.1:{sentinel}": ("redis kind", "a Sentinel as if"),
        f"redis+cluster://{login}:{lone}": ("redis", "no node of a cluster"),
        f"redis+sentinel://{login}:{sentinel}/nobody": ("redis", "no primary of this name"),
    }
    for url, (check, says) in wrong.items():
        finding = (await _troubles(settings.model_copy(update={"redis_url": url})))[check]
        assert finding.level is Level.BROKEN and says in finding.says and finding.remedy, url
    for url in list(wrong)[:2]:
        async with open_client(url) as client:
            with pytest.raises(Refused, match=r"redis\+(cluster|sentinel)://"):
                await guard(client)


async def test_a_primary_without_a_replica_and_a_silent_sentinel_are_named(
    cluster: ClusterOfServers, watched: WatchedServers, settings: Settings
) -> None:
    await asyncio.to_thread(cluster.revive)
    replica = next(s for s in cluster.servers if s.ask("ROLE")[0] == b"slave")
    of = replica.ask("ROLE")[2]
    replica.kill()
    clustered = settings.model_copy(update={"redis_url": cluster.url})

    async def alone() -> bool:
        finding = (await _troubles(clustered)).get("redis replicas")
        return finding is not None and f"127.0.0.1:{of} has no replica" in finding.says

    await eventually(alone, what="a primary that is alone")
    await asyncio.to_thread(cluster.revive)

    silent = watched.sentinels[0]
    silent.kill()
    try:
        troubles = await _troubles(settings.model_copy(update={"redis_url": watched.url}))
        assert f"127.0.0.1:{silent.port}" in troubles["redis sentinels"].says
        assert SERVICE not in troubles["redis sentinels"].says
    finally:
        silent.start()


async def test_slots_that_nobody_serves_are_named(cluster: ClusterOfServers, settings: Settings) -> None:
    await asyncio.to_thread(cluster.revive)
    slot = key_slot(b"unused")
    owner = await asyncio.to_thread(cluster.primary, "unused")
    assert owner
    for server in cluster.servers:
        server.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        server.ask("CLUSTER", "DELSLOTS", slot)
    try:
        troubles = await _troubles(settings.model_copy(update={"redis_url": cluster.url}))
        assert "1 slots of the cluster" in troubles["redis slots"].says
        async with open_client(cluster.url) as client:
            pipeline = client.pipeline(transaction=False)
            pipeline.get("unused")
            pipeline.get(KEY)
            lost, found = await pipeline.execute(raise_on_error=False)
        assert is_outage(lost) and not isinstance(found, Exception)
    finally:
        owner.ask("CLUSTER", "ADDSLOTS", slot)
