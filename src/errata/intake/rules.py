"""Every redaction rule beside what it must catch and what it must spare.

A new rule is one `Rule(…)` in the tuple at the bottom; `tests/intake/test_rules.py` walks it. In
an example `⟦…⟧` marks the exact span that must be replaced; a spared example has no mark.

Two traps decided the form of the patterns. `\\b` does not exist between a Chinese character and a
digit in Unicode mode, so every boundary is an ASCII look-around (`re.ASCII`). And plain numbers
are the life of a support desk: orders, prices and codes of up to eight digits are never touched,
longer ones only where a checksum or a fixed shape speaks for a person.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from errata.intake.checks import (
    cn_mobile_digits,
    digits,
    luhn,
    nine_digits,
    resident_id,
    routable,
    secret_value,
    short_digits,
    strong_value,
)


def _always(_: str) -> bool:
    return True


def _same(value: str) -> str:
    return value


@dataclass(frozen=True)
class Rule:
    """`pattern` finds, `check` confirms, `canon` makes two spellings of one value equal.

    Where the pattern has a group `value`, only that group is replaced.
    """

    id: str
    tag: str
    pattern: re.Pattern[str]
    catches: tuple[str, ...]
    spares: tuple[str, ...]
    check: Callable[[str], bool] = _always
    canon: Callable[[str], str] = _same


def _rx(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII | re.VERBOSE)


# A password as people type one: printable ASCII without quotes, commas and angle brackets, and not
# ending in the punctuation of the sentence around it.
VALUE = r"(?P<value>[!#-&(-+\--:=?-_a-~]{3,127}[#-&*+\-/-9=@-Z^_a-z~])"

EMAIL = Rule(
    "email",
    "EMAIL",
    _rx(
        r"""(?<![A-Za-z0-9._%+-])[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,63})@
            (?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9@])"""
    ),
    catches=(
        "请联系⟦foo@example.com⟧收",
        "邮箱⟦li.na+shop@mail.example.cn⟧。",
        "write to ⟦A_b-c@EXAMPLE.co.uk⟧, please",
        "<⟦a@b.io⟧>",
    ),
    spares=("@example.com 是域名", "costs 3@2.50 each", "提到了@小王", "user@localhost"),
    canon=str.lower,
)
CN_MOBILE = Rule(
    "cn-mobile",
    "PHONE",
    _rx(
        r"""(?<![0-9])(?<![0-9][.])(?<![0-9a-fA-F]{6})(?:\+?86[-\ ]?|\(\+?86\)\ ?)?
            1[3-9][0-9][-\ ]?[0-9]{4}[-\ ]?[0-9]{4}(?![0-9])(?![0-9a-fA-F]{6})"""
    ),
    catches=(
        "我的手机是⟦13812345678⟧谢谢",
        "电话⟦138-1234-5678⟧。",
        "打⟦+86 138 1234 5678⟧找我",
        "微信号wx⟦13912345678⟧",
        "call ⟦8613812345678⟧ now",
        "全角⟦１３８１２３４５６７８⟧也是",
        "零宽⟦138\u200b1234\u200b5678⟧也是",
    ),
    spares=(
        "订单 48213 已发货",
        "单号2013812345678901",
        "12345678901",
        "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "比例 0.13812345678",
    ),
    canon=cn_mobile_digits,
)
PHONE = Rule(
    "phone",
    "PHONE",
    _rx(
        r"""(?<![0-9A-Za-z.+])(?:
            (?:\+|00)[1-9][0-9]{0,2}[-.\ ]?(?:\([0-9]{1,4}\)[-.\ ]?)?
                [0-9]{1,4}(?:[-.\ ]?[0-9]{2,4}){1,4}
          | (?:\([0-9]{3}\)\ ?|[2-9][0-9]{2}[-.])[0-9]{3}[-.\ ][0-9]{4}
          | 0[1-9][0-9]{1,2}[-\ ][0-9]{7,8}
          | \(0[1-9][0-9]{1,2}\)\ ?[0-9]{7,8}
          | 400[-\ ][0-9]{3}[-\ ][0-9]{4}
          )(?![0-9A-Za-z])"""
    ),
    catches=(
        "call ⟦+44 20 7946 0958⟧ today",
        "座机⟦010-62345678⟧转分机",
        "客服⟦400-123-4567⟧。",
        "ring ⟦(415) 555-2671⟧ or ⟦415-555-2671⟧",
        "国际⟦+49 (0)30 901820⟧号",
        "⟦+14155552671⟧",
    ),
    spares=(
        "2025-12-16 10:00",
        "订单+48213",
        "价格 1,299.00 元",
        "+5 -3 = 2",
        "区间 100-200-3000",
        "version 415.555.26",
        "+86 48213",
    ),
    check=nine_digits,
    canon=digits,
)
RESIDENT_ID = Rule(
    "cn-resident-id",
    "CN_ID",
    _rx(
        r"""(?<![0-9A-Za-z])[1-9][0-9]{5}[-\ ]?(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])
            (?:0[1-9]|[12][0-9]|3[01])[-\ ]?[0-9]{3}[0-9Xx](?![0-9A-Za-z])"""
    ),
    catches=(
        "身份证号⟦11010519491231002X⟧请核对",
        "证件⟦440524188001010014⟧，",
        "ID ⟦110105 19491231 002x⟧",
    ),
    spares=("身份证号110105194912310021", "流水 110105194902310025", "编号 110105194912310"),
    check=resident_id,
    canon=digits,
)
BANK_CARD = Rule(
    "bank-card",
    "CARD",
    _rx(
        r"""(?<![0-9A-Za-z])(?<![0-9][-.])(?:
            4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|62[0-9]{2}|6011|64[4-9][0-9]|65[0-9]{2}|35[0-9]{2}
          | 3[47][0-9]{2}|81[0-9]{2}|9558
          )(?:[-\ ]?[0-9]){9,15}(?![0-9A-Za-z])"""
    ),
    catches=(
        "卡号⟦4111111111111111⟧请核对",
        "银联⟦6222021234567890128⟧。",
        "card ⟦5500 0055 5555 5559⟧ exp",
        "amex ⟦3782-822463-10005⟧",
    ),
    spares=("卡号4111111111111112", "订单 48213", "单号 1234567890123452", "2025121600000000"),
    check=luhn,
    canon=digits,
)
IPV4 = Rule(
    "ipv4",
    "IP",
    _rx(
        r"""(?<![0-9A-Za-z.])(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}
            (?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?![0-9A-Za-z])(?!\.[0-9])"""
    ),
    catches=("IP是⟦192.168.1.10⟧的机器", "from ⟦8.8.4.4⟧:53", "地址⟦203.0.113.7⟧，"),
    spares=("v1.2.3.4", "256.1.1.1", "章节 1.2.3", "1.2.3.4.5", "http://127.0.0.1:8000"),
    check=routable,
)
JWT = Rule(
    "jwt",
    "JWT",
    _rx(r"""(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{6,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"""),
    catches=(
        "令牌⟦eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.SflKxwRJSMeKKF2QT4fw⟧。",
        "cookie ⟦eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.⟧",
    ),
    spares=("eyJ is how a JWT begins", "a.b.c", "eyJhbGciOiJIUzI1NiJ9"),
)
PEM = Rule(
    "private-key",
    "PRIVATE_KEY",
    _rx(
        r"""-----BEGIN\ (?:[A-Z0-9]+\ ){0,3}PRIVATE\ KEY(?:\ BLOCK)?-----[\s\S]*?
            (?:-----END\ (?:[A-Z0-9]+\ ){0,3}PRIVATE\ KEY(?:\ BLOCK)?-----|\Z)"""
    ),
    catches=(
        "key: ⟦-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----⟧ end",
        "截断的⟦-----BEGIN RSA PRIVATE KEY-----\nMIIEow⟧",
    ),
    spares=("-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----", "BEGIN PRIVATE KEY"),
)
API_KEY = Rule(
    "api-key",
    "API_KEY",
    _rx(
        r"""(?<![A-Za-z0-9_-])(?:
            sk-(?:proj-|ant-|or-|svcacct-)?[A-Za-z0-9_-]{20,}     # OpenAI, Anthropic, DeepSeek, …
          | (?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}           # Stripe
          | (?:AKIA|ASIA)[A-Z0-9]{16}                             # AWS
          | LTAI[A-Za-z0-9]{12,28}                                # Alibaba Cloud
          | AKID[A-Za-z0-9]{13,40}                                # Tencent Cloud
          | gh[pousr]_[A-Za-z0-9]{30,} | github_pat_[A-Za-z0-9_]{22,}
          | glpat-[A-Za-z0-9_-]{20,}
          | xox[abeoprs]-[A-Za-z0-9-]{10,}                        # Slack
          | AIza[A-Za-z0-9_-]{35}                                 # Google
          | hf_[A-Za-z0-9]{30,} | npm_[A-Za-z0-9]{36}
          | SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}            # SendGrid
          | dop_v1_[a-f0-9]{64} | tvly-[A-Za-z0-9-]{20,} | gsk_[A-Za-z0-9]{40,}
          )(?![A-Za-z0-9_])"""
    ),
    catches=(
        "密钥⟦sk-proj-abcdEFGH1234ijklMNOP5678⟧泄露了",
        "aws ⟦AKIAIOSFODNN7EXAMPLE⟧ here",
        "token ⟦ghp_" + "a1B2" * 9 + "⟧.",
        "阿里云⟦LTAI5tExampleExample01⟧，",
        "⟦hf_" + "aBcD" * 8 + "⟧",
        "stripe ⟦sk_" + "live_" + "4eC39HqLyjWDarjtT1zdp7dc⟧",
        "slack ⟦xoxb-" + "123456789012-abcdefABCDEF⟧",
    ),
    spares=(
        "sk-learn is a library",
        "task-oriented-dialogue-systems-are-fun",
        "AKIA short",
        "hf_hub",
    ),
)
BEARER = Rule(
    "bearer",
    "TOKEN",
    _rx(r"(?i:bearer)[\ :]+(?P<value>[A-Za-z0-9._~+/-]{16,}=*)(?![A-Za-z0-9])"),
    catches=("Authorization: Bearer ⟦mF_9.B5f-4.1JqM8xyz⟧", "头部 bearer ⟦abcDEF0123456789abcd==⟧"),
    spares=("bearer of bad news", "the bearer responsibilities"),
    check=strong_value,
)
URL_PASSWORD = Rule(
    "url-password",
    "PASSWORD",
    _rx(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s:/@<>]{1,64}:(?P<value>[^\s/@<>\x00]{3,128})@"),
    catches=("postgres://app:⟦s3cr3t⟧@db.example.com/x", "用https://u:⟦pass⟧@git.example.cn拉取"),
    spares=("http://example.com:8080/a@b", "https://example.com/"),
)
PASSWORD_PAIR = Rule(
    "password-pair",
    "PASSWORD",
    _rx(
        r"""(?<![A-Za-z])(?i:[a-z]{0,16}[_-]?(?:password|passwd|passphrase|pwd|secret|token|
            (?:api|access|private|secret)[_-]?key))["']?\s{0,3}(?:=|＝|:=|=>)\s{0,3}["']?
            """
        + VALUE
    ),
    catches=(
        "password=⟦hunter2⟧",
        "db_password = '⟦correcthorse⟧'",
        '{"api_key"=⟦q9w8e7r6t5y4⟧}',
        "日志里有pwd=⟦Abcd!2345⟧。",
        "client_secret=⟦aB3-xyz⟧;",
    ),
    spares=("password=", "password = none", "token=48213", "pwd=****", "passwords = a list"),
    check=secret_value,
)
PASSWORD_PROSE = Rule(
    "password-prose",
    "PASSWORD",
    _rx(
        r"""(?<![A-Za-z])(?i:pass(?:word|phrase|wd|code)|pwd|(?:api|secret)[\ _-]?key)["']?
            (?:\s{0,3}:\s{0,3}|\s{1,3}(?i:is|was|to|:)\s{1,3}(?:now\s)?)["'`]?
            """
        + VALUE
    ),
    catches=(
        "my password is ⟦Tr0ub4dor&3⟧.",
        "Password: ⟦hunter2⟧",
        "reset the password to ⟦Winter_2025⟧, thanks",
        'the api key is "⟦q9w8e7r6t5⟧"',
    ),
    spares=(
        "the password is wrong",
        "Password: required",
        "the password is case-sensitive",
        "my password is 48213",
        "Is the password Safe?",
    ),
    check=strong_value,
)
PASSWORD_ZH = Rule(
    "password-zh",
    "PASSWORD",
    _rx(
        r"""(?:密码|口令|密钥|暗号)(?:[是为:：=＝]|设[成为]|改[成为]|就是){1,2}[\s"'“‘「]{0,3}
            """
        + VALUE
    ),
    catches=(
        "密码是⟦hunter2⟧，别告诉别人",
        "我的密码：⟦Abc12345⟧。",
        "WiFi口令为“⟦qwerty99⟧”",
        "密码改成⟦Sunny_day⟧了",
        "登录密码是：⟦p@ss#word⟧",
    ),
    spares=("密码是什么", "密码：请输入", "密码是 48213", "忘记密码怎么办", "口令为空"),
    check=secret_value,
)
PASSWORD_DIGITS = Rule(
    "password-digits",
    "PASSWORD",
    _rx(
        r"""(?:(?:密码|口令)(?:[是为:：=＝]|设[成为]|改[成为]){1,2}\s{0,3}
          | (?<![A-Za-z])(?i:password|passwd|pwd|passcode|pin)(?:\s{0,3}[:=]\s{0,3}|\s(?i:is)\s))
            (?P<value>[0-9]{4,8})(?![0-9A-Za-z])"""
    ),
    catches=("密码是⟦123456⟧。", "my PIN is ⟦4821⟧", "password: ⟦12345678⟧"),
    spares=("订单 48213", "密码是 hunter2", "password length is 8"),
    check=short_digits,
)

# From the most specific to the least: where two rules overlap, the earlier one names the span.
RULES: tuple[Rule, ...] = (
    PEM,
    JWT,
    API_KEY,
    BEARER,
    URL_PASSWORD,
    PASSWORD_PAIR,
    PASSWORD_ZH,
    PASSWORD_PROSE,
    PASSWORD_DIGITS,
    EMAIL,
    RESIDENT_ID,
    BANK_CARD,
    CN_MOBILE,
    PHONE,
    IPV4,
)

# Off unless policies/redaction.yaml turns it on: a support desk talks of short codes all day.
OPTIONAL = frozenset({"password-digits"})
