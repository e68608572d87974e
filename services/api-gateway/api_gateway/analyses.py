"""Answers about trades as they go out: their bytes, by what was asked and of which moment they are."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
import structlog
from pydantic import AwareDatetime, TypeAdapter
from starlette.types import Scope

from api_gateway import callers, cursors, packing, problems, responses, scan
from api_gateway.at_once import Given, Headers
from api_gateway.before import Said, link_to
from api_gateway.envelope import FOUND_READY
from rollotape import analytics
from rollotape.analytics import Question
from rollotape.cache.answers import HITS, Answer
from rollotape.errors import Unavailable
from rollotape.postgres.generations import Moment
from rollotape.postgres.pages import Position, TooFar
from rollotape.postgres.questions import NOBODY, Filters

if TYPE_CHECKING:  # it has an `Analyses`
    from api_gateway.backends import Backends

STALE = "private, no-cache"
"""An older answer that had to do is not to be kept by anybody."""
log = structlog.get_logger()
_MOST_BYTES = 32 * 1_024 * 1_024

_POSITION: TypeAdapter[tuple[datetime, UUID]] = TypeAdapter(tuple[AwareDatetime, UUID])

Table = Callable[[dict[str, Any]], tuple[list[str], list[list[Any]]]]
"""Columns and rows of an answer, for CSV."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was asked."""

    question: Question
    words: str
    """Of the question."""
    form: responses.Form
    table: Table
    bound: str | None = None
    """What page tokens are bound to."""
    watchlist_id: UUID | None = None
    """Of the caller: its symbols are put in by `settled`."""
    universe: str | None = None
    """Likewise."""

    @property
    def is_to_be_settled(self) -> bool:
        """Whether symbols are to be put in."""
        return self.watchlist_id is not None or self.universe is not None


async def settled(servers: "Backends", scope: Scope, asked: Asked) -> Asked:
    """The question of the caller's watchlist and of a universe, where it names them.

    Raises:
        Problem: 404, the caller has no such watchlist; 422, there is no such universe; 503, nobody can tell
            now.
    """
    if not asked.is_to_be_settled:
        return asked
    filters = asked.question.filters
    if asked.watchlist_id is not None:
        watched = await servers.lists.symbols(callers.of(scope).owner, asked.watchlist_id)
        filters = _within(filters, watched)
    if asked.universe is not None:
        universe = await servers.universes.members(asked.universe)
        if universe.category == "sector" and not filters.sectors:  # rollups know these without their symbols
            filters = replace(filters, sectors=(universe.description,))
        else:
            filters = _within(filters, universe.symbols)
    question = replace(asked.question, filters=filters)
    return replace(asked, question=question, words=question.words)


def _within(filters: Filters, symbols: Iterable[str]) -> Filters:
    """Of these symbols alone, and of those that were asked for already."""
    given = set(filters.symbols)
    both = tuple(symbol for symbol in symbols if not given or symbol in given)
    return replace(filters, symbols=both or NOBODY)


class Analyses:
    """Makes the bytes of an answer once for everybody who gets the same."""

    def __init__(self) -> None:
        self._made = scan.Answers(most_bytes=_MOST_BYTES)

    async def give(self, servers: "Backends", scope: Scope, said: Said, asked: Asked) -> Given:
        """The answer, wherever it is.

        Raises:
            Problem: 503, PostgreSQL is away and there is no older answer; 422, only tokens lead to the page.
        """
        if given := await self._unchanged(servers, scope, said, asked):
            return given

        async def compute(moment: Moment) -> bytes:
            return await servers.postgres.attempt(lambda c: analytics.answer(c, asked.question, moment))

        try:
            found = await servers.kept(asked.question.dataset).get(asked.words, compute)
        except Unavailable as error:
            log.warning("answer_unavailable", error=str(error.__context__ or error))
            raise problems.unavailable("PostgreSQL") from error
        except TooFar as error:
            reason = f"lies too far within a list {error}: go on with limit and page_token"
            raise problems.invalid([problems.FieldError("query", "page", reason)]) from error
        return await self._given(scope, said, asked, found)

    def at_once(self, servers: "Backends", scope: Scope, said: Said, asked: Asked) -> Given | None:
        """The answer, if it was given before and nothing has changed."""
        kept = servers.kept(asked.question.dataset)
        found = kept.at_hand(asked.words)
        if found is None:
            return None
        etag = _etag(found.moment.name, found.stale, asked)
        headers = _same(etag, stale=found.stale)
        if said.has(etag):
            scope[FOUND_READY] = True
            kept.count("unchanged")
            return Given(304, headers, b"")
        made = self._made.find(etag.encode())
        if made is None:
            return None
        encoding = said.encoding(made.start)
        if encoding is not None and encoding not in made.packed:
            return None
        scope[FOUND_READY] = True
        kept.count(found.source)
        return _whole(scope, made, headers, encoding)

    async def _unchanged(
        self, servers: "Backends", scope: Scope, said: Said, asked: Asked
    ) -> Given | None:
        if not said.if_none_match:
            return None
        kept = servers.kept(asked.question.dataset)
        standing = await kept.standing()
        if standing.away or standing.moment is None:
            return None
        etag = _etag(standing.moment.name, standing.behind, asked)
        if not said.has(etag):
            return None
        scope[FOUND_READY] = True
        kept.count("unchanged")
        return Given(304, _same(etag, stale=standing.behind), b"")

    async def _given(self, scope: Scope, said: Said, asked: Asked, found: Answer) -> Given:
        scope[FOUND_READY] = found.source in HITS
        etag = _etag(found.moment.name, found.stale, asked)
        headers = _same(etag, stale=found.stale)
        if said.has(etag):
            return Given(304, headers, b"")
        key = etag.encode()
        made = self._made.find(key)
        if made is None:
            made = _made(asked, found, etag)
            self._made.keep(key, made)
        encoding = said.encoding(made.start)
        if encoding is not None and encoding not in made.packed:
            made.packed[encoding] = await packing.packed(made.start, encoding)
            self._made.keep(key, made)  # it has grown
        return _whole(scope, made, headers, encoding)


def _whole(scope: Scope, made: scan.Answer, headers: Headers, encoding: str | None) -> Given:
    """An answer whose packed form, where one is wanted, is there."""
    body = made.start
    if encoding is not None:
        headers.append((b"content-encoding", encoding.encode()))
        body = made.packed[encoding].with_rest(b"")
    if made.token:
        headers.append((b"link", link_to(scope, made.token)))
    headers += (b"content-type", made.media_type.encode()), (b"content-length", b"%d" % len(body))
    return Given(200, headers, body)


def _etag(moment: str, stale: bool, asked: Asked) -> str:
    """Epoch, generation, date and question: whoever knows them knows the answer, with its page token."""
    return _named(moment, stale, asked.form, asked.words, asked.bound)


@lru_cache(4_096)
def _named(moment: str, stale: bool, form: responses.Form, words: str, bound: str | None) -> str:
    named = f"{moment}|{stale}|{form}|{words}|{bound}".encode()
    return f'W/"{blake2b(named, digest_size=12, person=b"rollo-analysis").hexdigest()}"'


def _same(etag: str, *, stale: bool) -> Headers:
    cache_control = STALE if stale else responses.DATA
    return [
        (b"cache-control", cache_control.encode()),
        (b"vary", responses.VARY.encode()),
        (b"etag", etag.encode()),
    ]


def _made(asked: Asked, found: Answer, etag: str) -> scan.Answer:
    """What was kept, with what is known only here: page tokens, and whether it is stale."""
    generation = found.moment.generation
    if asked.form == "json" and asked.question.page is None:
        whole = analytics.with_standing(found.content, generation, stale=found.stale)
        return scan.Answer(etag, whole, b"", responses.JSON_TYPE, None)
    said = orjson.loads(found.content)
    token = None
    if "pagination" in said:
        position = said.pop("next")
        if position is not None and asked.question.page and asked.question.page.number is None:
            token = cursors.seal(asked.bound, position)
        said["pagination"]["next_page_token"] = token
    if asked.form == "csv":
        return scan.Answer(etag, responses.table(*asked.table(said)), b"", responses.CSV_TYPE, token)
    whole = analytics.with_standing(responses.dumps(said), generation, stale=found.stale)
    return scan.Answer(etag, whole, b"", responses.JSON_TYPE, token)


def position(bound: Any, token: str) -> Position:
    """Where a page begins.

    Raises:
        Problem: 400, the token is damaged or was given for another question.
    """
    return Position(*cursors.unseal(bound, token, _POSITION))
