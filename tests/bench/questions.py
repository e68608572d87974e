"""Questions about trades: a fixed mix of each kind, and what dashboards ask over HTTP."""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from urllib.parse import urlencode

from bench import market
from rollotape.analytics import DEFAULT_PER_PAGE, OWN_TYPES, Question, defaults
from rollotape.postgres.analytics import Filters, Page
from rollotape.postgres.questions import Origin

DAYS = (7, 30, 90, None)
PHASES = (None, "A", "B", "C", "D", "E")
TIMEFRAMES = (None, "1d", "1h", "1w")
ORIGINS: tuple[Origin | None, ...] = (None, "paper", "external")
DEEP = 50
"""A page that nobody leafs to, and that a link may name."""
UNUSUAL = 200
"""So many other questions are asked now and then: one in `ONE_IN`."""
ONE_IN = 25


def mix() -> dict[str, list[Question]]:
    """By the name of its kind every combination that a dashboard offers."""
    days, origins, phases, timeframes = DAYS, ORIGINS, PHASES, TIMEFRAMES
    types = (None, *OWN_TYPES)
    pages = (Page(DEFAULT_PER_PAGE, 1), Page(DEFAULT_PER_PAGE, 2), Page(DEFAULT_PER_PAGE, DEEP), Page(100))
    return {
        "pattern_performance": [
            Question("pattern_performance", d, Filters(phase=p, origin=o))
            for d, p, o in product(days, phases, origins)
        ],
        "sector_breakdown": [
            Question("sector_breakdown", d, Filters(timeframe=t, origin=o))
            for d, t, o in product(days, timeframes, origins)
        ],
        "trend": [
            Question("trend", d, Filters(origin=o), pattern_type=t)
            for d, t, o in product(days, OWN_TYPES, origins)
        ],
        "trades": [
            Question("trades", d, Filters(origin=o, pattern_types=(t,) if t else ()), page=page)
            for d, t, o, page in product(days, types, origins, pages)
        ],
    }


def dashboards(count: int) -> list[str]:
    """Targets: the sixteen questions whose answers are made ready, and one in so many of the others."""
    rng = random.Random(market.SEED)
    usual = defaults()
    others = list(_others(rng))[:UNUSUAL]
    chosen = [rng.choice(others if rng.randrange(ONE_IN) == 0 else usual) for _ in range(count)]
    return [target(question) for question in chosen]


def _others(rng: random.Random) -> Iterator[Question]:
    """Each is another one."""
    every = [question for kind in mix().values() for question in kind]
    known = {question.words for question in defaults()}
    rng.shuffle(every)
    yield from (question for question in every if question.words not in known)


def target(question: Question) -> str:
    """How it is asked over HTTP."""
    filters, page = question.filters, question.page
    given: dict[str, object] = {"days": question.days or "all", "origin": filters.origin or "all"}
    if filters.phase:
        given["phase"] = filters.phase
    if filters.timeframe:
        given["timeframe"] = filters.timeframe
    if filters.pattern_types:
        given["pattern_types"] = ",".join(filters.pattern_types)
    if page and page.number:
        given |= {"page": page.number, "per_page": page.size}
    elif page:
        given["limit"] = page.size
    path = question.name.replace("_", "-")
    of = f"/{question.pattern_type}" if question.pattern_type else ""
    return f"/api/analytics/{path}{of}?{urlencode(given, safe=',')}"


def of_probe(question: Question, pattern_type: str) -> Question:
    """The same of trades that nobody else writes."""
    if question.name == "trend":
        return replace(question, pattern_type=pattern_type)
    return replace(question, filters=replace(question.filters, pattern_types=(pattern_type,)))
