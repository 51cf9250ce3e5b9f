"""Signatures by Standard Webhooks 1.0.0 (https://www.standardwebhooks.com): pure."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

_PREFIX: Final = "whsec_"
_FEWEST: Final = 24
_MOST: Final = 64


def signing_keys(text: str) -> list[bytes]:
    """The keys of some secrets, `whsec_` and base64, with spaces or commas between them.

    Raises ValueError, which never shows a secret, for none and for one that is none.
    """
    secrets = text.replace(",", " ").split()
    if not secrets:
        raise ValueError("there is no secret in it")
    return [_key(secret, n) for n, secret in enumerate(secrets, 1)]


def signature(keys: Sequence[bytes], message: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature a key, so that receivers that know only
    the old or only the new one accept it while secrets are rotated.
    """
    signed = f"{message}.{timestamp}.".encode() + body
    digests = [hmac.digest(key, signed, hashlib.sha256) for key in keys]
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _key(secret: str, n: int) -> bytes:
    if not secret.startswith(_PREFIX):
        raise ValueError(f"secret {n} does not begin with {_PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"secret {n} is not {_PREFIX} and base64") from None
    if not _FEWEST <= len(key) <= _MOST:
        raise ValueError(f"secret {n} has {len(key)} bytes; {_FEWEST} to {_MOST} are wanted")
    return key
