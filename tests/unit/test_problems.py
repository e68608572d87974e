"""Problem documents: what every error answer says, and what it never says."""

import orjson
import pytest

from api_gateway import problems
from api_gateway.problems import FieldError, Problem


def _document(problem: Problem) -> dict[str, object]:
    said = orjson.loads(problems.document(problem, instance="/api/bars", request_id="abc"))
    assert isinstance(said, dict)
    return said


def test_a_problem_says_all_that_rfc_9457_and_our_api_ask_for() -> None:
    error = FieldError("query", "limit", "must be a whole number")

    said = _document(problems.invalid([error]))

    assert said == {
        "type": "urn:rollotape:problem:invalid-request",
        "title": "The request does not say what it has to say",
        "status": 422,
        "detail": "limit: must be a whole number",
        "instance": "/api/bars",
        "request_id": "abc",
        "errors": [{"in": "query", "field": "limit", "reason": "must be a whole number"}],
    }


def test_every_status_of_the_catalogue_has_a_name_of_its_own() -> None:
    slugs = [kind.slug for kind in problems.CATALOGUE.values()]

    assert len(set(slugs)) == len(slugs)
    assert all(status == kind.status for status, kind in problems.CATALOGUE.items())


def test_unavailable_says_when_to_come_back_and_not_why() -> None:
    problem = problems.unavailable("PostgreSQL")

    assert problem.headers == {"Retry-After": "2"}
    assert "PostgreSQL" in problem.detail


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("limit", "limit"),
        ("a\x00b", "'a\\x00b'"),
        ("x" * 100, "x" * 60 + "..."),
        ("\ud800", "'\\ud800'"),
    ],
)
def test_names_from_strangers_are_printable_and_short(name: str, shown: str) -> None:
    assert problems.short(name) == shown


def test_a_lone_surrogate_does_not_break_the_document() -> None:
    said = _document(Problem(problems.NOT_FOUND, "no \ud800", errors=[FieldError("body", "\udfff", "bad")]))

    assert said["detail"] == "no \\ud800"
