"""Where a webhook may go, and where it may not."""

import pytest

from backline.webhooks import WebhookSettings, check_url, is_public
from backline.webhooks.addresses import check_addresses
from backline.webhooks.settings import networks

STRICT = WebhookSettings()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1",
        "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16",
        "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808",
        "100::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2002:7f00:1::", "2002:808:808::",
        "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1",
        "ff02::1", "2606:4700::1111%1", "localhost", "", "127.1", "0x7f.0.0.1", "2130706433",
    ],
)  # fmt: skip
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(ValueError, match="not public"):
        check_addresses("host", ["1.1.1.1", address])


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "100.63.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_what_is_public(address: str) -> None:
    assert is_public(address)
    assert check_addresses("host", [address]) == [address]


def test_a_network_that_is_allowed_is_open_and_no_other() -> None:
    allowed = networks(["10.1.0.0/16", "fd00::/8"])
    assert check_addresses("host", ["10.1.2.3", "fd00::5"], allowed) == ["10.1.2.3", "fd00::5"]
    for address in ("10.2.0.1", "::ffff:10.1.2.3", "fe80::1%1"):
        with pytest.raises(ValueError, match="not public"):
            check_addresses("host", [address], allowed)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://example.com", "https://example.com:443/"),
        ("https://EXAMPLE.com./a?b=c%20d", "https://example.com:443/a?b=c%20d"),
        ("https://xn--bcher-kva.example:8443/x", "https://xn--bcher-kva.example:8443/x"),
        ("https://8.8.8.8/", "https://8.8.8.8:443/"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]:443/"),
    ],
)
def test_a_url_that_may_be(url: str, sent: str) -> None:
    assert check_url(url, STRICT).url == sent


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "//example.com", "http://example.com/", "ftp://example.com/",
        "file:///etc/passwd", "gopher://example.com/", "https:///x", "https://",
        "https://user@example.com/", "https://user:pw@example.com/", "https://@example.com/",
        "https://example.com:22/", "https://example.com:80/", "https://example.com:0/",
        "https://example.com:99999/", "https://example.com:x/", "https://example.com/#a",
        "https://exa mple.com/", "https://example.com/\r\nHost: x", "https://example.com\\@evil/",
        "https://exämple.com/", "https://example。com/", "https://ⓔxample.com/",
        "https://127.0.0.1/", "https://127.0.0.1./", "https://169.254.169.254/latest/",
        "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::7f00:1]/",
        "https://127.1/", "https://0x7f.1/", "https://0x7f000001/", "https://2130706433/",
        "https://017700000001/", "https://0177.0.0.1/", "https://1.1.1.256/", "https://1.1.1/",
        "https://example.1/", "https://a.0x1/", "https://[::ffff:127.0.0.1/",
        "https://[fe80::1%25eth0]/", "https://[1.1.1.1]/", "https://a..b/", "https://.a/",
        "https://example.com../", "https://-a.com/", "https://%31%32%37.0.0.1/",
        "https://" + "a" * 64 + ".com/", "https://example.com/" + "a" * 2_048,
    ],
)  # fmt: skip
def test_a_url_that_may_not_be(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_url(url, STRICT)


def test_http_only_where_it_is_allowed() -> None:
    settings = WebhookSettings(allow_http=True)
    assert check_url("http://example.com/", settings).port == 80
