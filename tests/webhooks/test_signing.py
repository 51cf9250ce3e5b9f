"""Signatures, by the test vector of the scheme and by somebody else's verifier."""

import base64
import time

import pytest
from standardwebhooks import Webhook

from backline.errors import ConfigError
from backline.webhooks import WebhookSettings, signature, signing_keys

VECTOR = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def test_the_vector_of_the_scheme() -> None:
    [key] = signing_keys(VECTOR)
    signed = signature([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("known", [VECTOR, OTHER])
def test_while_secrets_are_rotated_either_verifies(known: str) -> None:
    now = int(time.time())
    body = b'{"type":"job.dead"}'
    headers = {
        "webhook-id": "0190",
        "webhook-timestamp": str(now),
        "webhook-signature": signature(signing_keys(f"{OTHER} {VECTOR}"), "0190", now, body),
    }
    assert Webhook(known).verify(body, headers) == {"type": "job.dead"}


@pytest.mark.parametrize(
    "text", ["", " ", "hunter2", "whsec_!!", "whsec_c2hvcnQ=", f"{OTHER} whsk_abc"]
)
def test_what_is_no_secret_is_refused_and_not_shown(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOKS", text)
    with pytest.raises(ConfigError, match="HOOKS") as caught:
        WebhookSettings(secret_env="HOOKS").keys()
    for secret in text.split():
        assert secret not in str(caught.value)
