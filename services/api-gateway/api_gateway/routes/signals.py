"""Trades of other systems in: what they opened, moved and closed."""

from fastapi import FastAPI, Request, Response

from api_gateway import ingest, queries
from api_gateway.dependencies import Servers
from rollotape import signals
from rollotape.answers import IngestAnswer

_KIND = ingest.Kind("signals", ingest.judge_events(signals.read))
_EXAMPLE = {
    "event": "opened", "source": "desk-2", "symbol": "AAPL", "timeframe": "1d", "pattern_type": "SPRING",
    "direction": "long", "generated_at": "2026-01-02T21:00:00Z", "stop": 180.5, "target": 214.0,
}  # fmt: skip


def add_to(app: FastAPI, prefix: str, tag: str) -> None:
    app.add_api_route(
        f"{prefix}/signals",
        post_signals,
        methods=["POST"],
        tags=[tag],
        summary="Send trades in",
        status_code=202,
        response_model=IngestAnswer,
        responses=ingest.RESPONSES,
        openapi_extra=ingest.request("signals", "events about trades", "SignalEvent", _EXAMPLE),
    )


async def post_signals(request: Request, servers: Servers) -> Response:
    """Up to 1,000 events as `{"signals": [...]}`, or one per line; each is judged alone, as the stream does.

    202: all were sent on. 207: some, or all, were refused, and the answer says which and why. An event is
    the full state of a trade; the greatest revision holds, in whatever order they come, and sending one
    twice changes nothing. R is computed by us.
    """
    queries.parse(queries.Query, request.query_params.multi_items())
    return await ingest.take(request, servers, _KIND)
