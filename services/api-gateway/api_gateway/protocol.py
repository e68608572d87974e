"""HTTP/1.1 whose own refusals, before any route is known, are problem documents too."""

from uuid import uuid4

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from api_gateway import problems


class StrictH11(H11Protocol):
    """uvicorn's protocol; what cannot be read as HTTP gets the same shape of answer as everything else."""

    def send_400_response(self, msg: str) -> None:
        request_id = uuid4().hex
        kind = problems.Kind(400, "malformed-http", "The request is not HTTP/1.1")
        body = problems.document(problems.Problem(kind, msg), instance="", request_id=request_id)
        headers = [
            (b"content-type", problems.MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        events = (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage())
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
