"""Addresses of machines, and links that let in whoever has them."""

from __future__ import annotations

from errata.intake.checks import ipv6, letters_and_digits, mac, routable, secret_value
from errata.intake.rules.rule import DOTS, ORDER, SIGNS, Rule, gate, rx

COLONS = gate("colons", rb":[0a]{0,4}:")
IPV4 = Rule(
    "ipv4",
    "IP",
    rx(
        r"""(?<![0-9A-Za-z.])(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}
            (?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?![0-9A-Za-z])(?!\.[0-9])"""
    ),
    DOTS,
    catches=("IP是⟦192.168.1.10⟧的机器", "from ⟦8.8.4.4⟧:53", "地址⟦20.30.113.7⟧，"),
    spares=(
        "v1.2.3.4",
        "256.1.1.1",
        "章节 1.2.3",
        "1.2.3.4.5",
        "http://127.0.0.1:8000",
        "版本 10.2.3.4",
        "see chapter 1.2.3.4",
        "benchmarks use 198.18.0.7",
    ),
    check=routable,
    not_after=ORDER,
)
IPV6 = Rule(
    "ipv6",
    "IP",
    rx(r"""(?<![0-9A-Za-z.])(?<![0-9A-Fa-f:]:)(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4}
            (?![0-9A-Za-z])(?!:[0-9A-Fa-f:])(?!\.[0-9])"""),
    COLONS,
    catches=(
        "来自：⟦2400:3200:baba::1⟧.",
        "⟦fe80:0:0:0:204:61ff:fe9d:f156⟧",
        "[⟦2a00:1450:4001:81b::200e⟧]:443",
    ),
    spares=("10:30:00", "std::vector", "::1", "12:30:45:10", "a::b", "2001:db8::8 是文档地址"),
    check=ipv6,
    canon=str.lower,
)
_OCTET = "[0-9A-Fa-f]{2}"
_BEFORE_MAC, _AFTER_MAC = r"(?<![0-9A-Za-z-])(?<![0-9A-Fa-f]:)", r"(?![0-9A-Za-z-])(?!:[0-9A-Fa-f])"
MAC = Rule(
    "mac",
    "MAC",
    rx(rf"{_BEFORE_MAC}{_OCTET}:(?:{_OCTET}:){{4}}{_OCTET}{_AFTER_MAC}"),
    COLONS,
    catches=("网卡：⟦3c:22:fb:4d:0a:91⟧：掉线", "MAC ⟦3C:22:FB:4D:0A:91⟧."),
    spares=("00:00:00:00:00:00", "3c:22:fb:4d:0a", "3c:22-fb:4d-0a:91"),
    check=mac,
    canon=letters_and_digits,
)
MAC_HYPHENS = Rule(
    "mac-hyphens",
    "MAC",
    rx(rf"{_BEFORE_MAC}{_OCTET}-(?:{_OCTET}-){{4}}{_OCTET}{_AFTER_MAC}"),
    gate("hyphens", rb"-[0a]{2}-[0a]{2}-"),
    catches=("mac ⟦3C-22-FB-4D-0A-91⟧.", "网卡⟦3c-22-fb-4d-0a-91⟧掉线"),
    spares=("20-25-12-16-10-30", "3c-22-fb-4d-0a", "3c:22-fb:4d-0a:91"),
    check=mac,
    canon=letters_and_digits,
)
URL_TOKEN = Rule(
    "url-token",
    "TOKEN",
    rx(
        r"""[?&;\#](?i:(?:[a-z]{1,16}[_-])?(?:token|key|apikey|sig|signature|auth|secret|password|passwd|pwd|
            session|sessionid|sid|ticket|code|credential|jwt|hash|x-amz-signature|access[_-]?key(?:id)?))
            =(?P<value>[A-Za-z0-9%._~+/-]{5,512}[A-Za-z0-9%_~+/-]=*)"""
    ),
    SIGNS,
    catches=(
        "打开https://a.cn/x?token=⟦9f86d081884c⟧&p=2",
        "https://api.io/v1?user=3&api_key=⟦q9w8e7r6t5⟧",
        "reset at https://s.com/r#code=⟦a8Fh29dk⟧.",
    ),
    spares=("https://a.cn/?page=2&size=20", "?code=zh", "https://a.cn/?key=none"),
    check=secret_value,
)
URL_PASSWORD = Rule(
    "url-password",
    "PASSWORD",
    rx(
        r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s:/@<>\x00-\x1f]{0,64}:"
        r"(?P<value>[^\s/@<>\x00-\x1f]{3,128}(?:@[^\s/@<>\x00-\x1f,;:]{1,64})*)@"
    ),
    gate("url with a name", rb"://[^\s/\x1e]{0,80}:"),
    catches=(
        "postgres://app:⟦s3cr3t⟧@db.example.com/x",
        "用https://u:⟦pass⟧@git.example.cn拉取",
        "mongodb+srv://root:⟦Zx-9!kk⟧@cluster0.mongodb.net",
        "redis://:⟦S3cret9⟧@cache:6379",
        "mysql://root:⟦Zx9@kk1!⟧@db/x",
    ),
    spares=("http://example.com:8080/a@b", "https://example.com/"),
)
