"""`python -m api_gateway` is `api-gateway`."""

from api_gateway.main import run

run()
