"""The signature of what is sent: HMAC-SHA256 over a time and the body."""

import hmac
from base64 import urlsafe_b64encode
from hashlib import sha256


def shown(secret: bytes) -> str:
    """The secret as its owner sees it, and as the key of the signature: its ASCII bytes."""
    return "whsec_" + urlsafe_b64encode(secret).decode().rstrip("=")


def signature(secret: bytes, timestamp: int, body: bytes) -> str:
    """`v1=` and 64 hexadecimal digits, of the timestamp, a dot, and the body."""
    signed = b"%d.%s" % (timestamp, body)
    return "v1=" + hmac.new(shown(secret).encode(), signed, sha256).hexdigest()
