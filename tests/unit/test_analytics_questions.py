"""Questions about trades have words of their own: no other question has them, and the same one always."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from uuid import UUID

from rollotape import analytics
from rollotape.analytics import Question
from rollotape.postgres.analytics import Filters
from rollotape.postgres.generations import TAPE, TRADES
from rollotape.postgres.pages import Page, Position

WHEN = datetime(2026, 11, 20, 21, tzinfo=UTC)
FILTERS = (
    Filters(),
    Filters(origin="paper"),
    Filters(origin="external"),
    Filters(phase="A"),
    Filters(timeframe="1d"),
    Filters(pattern_types=("SOS",)),
    Filters(pattern_types=("SOS", "SPRING")),
    Filters(symbols=("SOS",)),
    Filters(symbols=("SOS", "SPRING")),
    Filters(sectors=("Energy",)),
    Filters(sectors=("Energy", "Utilities")),
)
PAGES = (
    Page(30, 1), Page(30, 2), Page(31, 1), Page(30),
    Page(30, None, Position(WHEN, UUID(int=1))), Page(30, None, Position(WHEN, UUID(int=2))),
)  # fmt: skip


def _questions() -> list[Question]:
    plain = [
        Question(name, days)
        for name in ("pattern_performance", "sector_breakdown", "vsa")
        for days in (7, 30, None)
    ]
    trends = [Question("trend", pattern_type=name) for name in ("SOS", "SOW")]
    filtered = [Question("pattern_performance", 90, filters) for filters in FILTERS]
    pages = [Question("trades", page=page) for page in PAGES]
    others = [replace(pages[0], status="all"), replace(pages[0], sort="asc"), replace(pages[0], days=None)]
    return [*plain, *trends, *filtered, *pages, *others]


def test_no_two_questions_have_the_same_words() -> None:
    for one, other in combinations(_questions(), 2):
        assert one.words != other.words


def test_the_same_question_has_the_same_words() -> None:
    assert [q.words for q in _questions()] == [q.words for q in _questions()]


def test_words_that_an_operator_meets_in_redis_can_be_read() -> None:
    assert Question("pattern_performance").words == "pattern_performance:30:all:all:paper:-"
    assert Question("trend", None, Filters(phase="C"), "SPRING").words == "trend.SPRING:all:C:all:all:-"


def test_what_is_counted_in_the_tape_has_a_generation_of_its_own() -> None:
    assert {question.name for question in _questions() if question.dataset == TAPE} == {"vsa"}
    assert {question.dataset for question in analytics.defaults()} == {TRADES}
