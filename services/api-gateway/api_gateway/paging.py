"""The next page, said in a header too: a CSV body has no place for it."""

from fastapi import Request


def next_page(request: Request, token: str | None) -> dict[str, str]:
    """`Link` (RFC 8288) to the page that `token` leads to; empty on the last page."""
    if token is None:
        return {}
    target = request.url.include_query_params(page_token=token)
    return {"Link": f'<{target.path}?{target.query}>; rel="next"'}
