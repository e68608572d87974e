"""401 and 403: who is not let in, and what would do."""

from api_gateway.problems import FORBIDDEN, UNAUTHORIZED, FieldError, Problem
from rollotape.keys import Scope


def unauthorized(reason: str, more: str = "") -> Problem:
    """401 with the reason; `more` goes into `WWW-Authenticate`."""
    said = {"WWW-Authenticate": f'Bearer realm="rollo"{more}'}
    errors = [FieldError("header", "authorization", reason)]
    return Problem(UNAUTHORIZED, f"{reason[0].upper()}{reason[1:]}.", errors=errors, headers=said)


def forbidden(reason: str, needed: Scope) -> Problem:
    """403 with the scope that would do."""
    said = {"WWW-Authenticate": f'Bearer realm="rollo", error="insufficient_scope", scope="{needed}"'}
    return Problem(FORBIDDEN, reason, headers=said)
