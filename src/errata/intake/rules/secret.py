"""Keys and tokens: what their issuers gave a shape, and what is too random to be a word."""

from __future__ import annotations

from errata.intake.checks import random_string, strong_value
from errata.intake.rules.rule import LONG, Gate, Rule, rx, words

_END = r"(?=\x1e)|\Z"  # of the text, also inside a batch

JWT = Rule(
    "jwt",
    "JWT",
    rx(r"""(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{6,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"""),
    words("jwt", "eyj"),
    catches=(
        "令牌⟦eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.SflKxwRJSMeKKF2QT4fw⟧。",
        "cookie ⟦eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.⟧",
    ),
    spares=("eyJ is how a JWT begins", "a.b.c", "eyJhbGciOiJIUzI1NiJ9"),
)
PEM = Rule(
    "private-key",
    "PRIVATE_KEY",
    rx(
        r"""-----BEGIN\ (?:[A-Z0-9]+\ ){0,3}PRIVATE\ KEY(?:\ BLOCK)?-----[^\x1e]*?
            (?:-----END\ (?:[A-Z0-9]+\ ){0,3}PRIVATE\ KEY(?:\ BLOCK)?-----|"""
        + _END
        + ")"
    ),
    Gate("private", ("private key",), lower=True),
    catches=(
        "key: ⟦-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----⟧ end",
        "截断的⟦-----BEGIN RSA PRIVATE KEY-----\nMIIEow⟧",
    ),
    spares=("-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----", "BEGIN PRIVATE KEY"),
)
API_KEY = Rule(
    "api-key",
    "API_KEY",
    rx(
        r"""(?<![A-Za-z0-9_-])(?:
            sk-(?:proj-|ant-|or-|svcacct-
              |admin-)?[A-Za-z0-9_-]{20,}  # OpenAI, Anthropic, DeepSeek, …
          | (?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,} | whsec_[A-Za-z0-9]{24,}   # Stripe
          | (?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}                   # AWS
          | LTAI[A-Za-z0-9]{12,28}                                # Alibaba Cloud
          | AKID[A-Za-z0-9]{13,40} | AKLT[A-Za-z0-9_-]{20,60}     # Tencent Cloud, Volcengine
          | bce-v3/ALTAK-[A-Za-z0-9]{10,}/[a-f0-9]{32,64}         # Baidu
          | gh[pousr]_[A-Za-z0-9]{30,} | github_pat_[A-Za-z0-9_]{22,}
          | gl(?:pat|dt|rt|ptt)-[A-Za-z0-9_-]{20,} | ATATT3[A-Za-z0-9_=-]{20,}
          | xox[abeoprs]-[A-Za-z0-9-]{10,} | xapp-[0-9]-[A-Za-z0-9-]{20,}   # Slack
          | AIza[A-Za-z0-9_-]{35} | ya29\.[A-Za-z0-9_-]{20,} | GOCSPX-[A-Za-z0-9_-]{20,}  # Google
          | hf_[A-Za-z0-9]{30,} | npm_[A-Za-z0-9]{36} | pypi-[A-Za-z0-9_-]{50,}
          | SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64} | key-[0-9a-z]{32}   # SendGrid, Mailgun
          | (?:AC|SK)[0-9a-f]{32}                                 # Twilio
          | dop_v1_[a-f0-9]{64} | tvly-[A-Za-z0-9-]{20,} | gsk_[A-Za-z0-9]{40,}
          | xai-[A-Za-z0-9]{40,}
          | pplx-[A-Za-z0-9]{32,} | r8_[A-Za-z0-9]{32,} | nvapi-[A-Za-z0-9_-]{40,}
          | jina_[A-Za-z0-9_]{40,}
          | [0-9a-f]{32}\.[A-Za-z0-9]{16}                         # Zhipu
          | [0-9]{8,10}:AA[A-Za-z0-9_-]{33}                       # Telegram bot
          | shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32} | sq0(?:atp|csp)-[A-Za-z0-9_-]{22,}
          | dapi[a-f0-9]{32} | lin_api_[A-Za-z0-9]{32,} | ntn_[A-Za-z0-9]{40,}
          | figd_[A-Za-z0-9_-]{36,}
          | sbp_[a-f0-9]{40} | gl(?:sa|c)_[A-Za-z0-9_=]{32,} | hv[sb]\.[A-Za-z0-9_-]{24,}
          | NRAK-[A-Z0-9]{27} | dckr_pat_[A-Za-z0-9_-]{20,} | PMAK-[A-Za-z0-9-]{40,}
          | AGE-SECRET-KEY-1[A-Z0-9]{58}
          )(?![A-Za-z0-9_])"""
    ),
    LONG,
    catches=(
        "密钥⟦sk-proj-abcdEFGH1234ijklMNOP5678⟧泄露了",
        "aws ⟦AKIAIOSFODNN7EXAMPLE⟧ here",
        "token ⟦ghp_" + "a1B2" * 9 + "⟧.",
        "阿里云⟦LTAI5tExampleExample01⟧，",
        "⟦hf_" + "aBcD" * 8 + "⟧",
        "stripe ⟦sk_" + "live_" + "4eC39HqLyjWDarjtT1zdp7dc⟧",
        "slack ⟦xoxb-" + "123456789012-abcdefABCDEF⟧",
        "智谱⟦" + "0a1b2c3d" * 4 + ".AbCd1234EfGh5678⟧",
        "google ⟦GOCSPX-" + "aB3dE5gH7jK9mN1pQ3rS⟧",
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
    rx(
        r"(?i:bearer|basic|token)[\ :]{1,4}"
        r"(?P<value>[A-Za-z0-9._~+/-]{16,1024}={0,2})(?![A-Za-z0-9])"
    ),
    words("bearer", "bearer basic token", around=(0, 1100)),
    catches=("Authorization: Bearer ⟦mF_9.B5f-4.1JqM8xyz⟧", "头部 bearer ⟦abcDEF0123456789abcd==⟧"),
    spares=("bearer of bad news", "the bearer responsibilities", "basic troubleshooting-steps"),
    check=strong_value,
)
RANDOM = Rule(
    "high-entropy",
    "SECRET",
    rx(
        r"[A-Za-z0-9_-](?<![A-Za-z0-9+/_=.,@%-].)[A-Za-z0-9_-]{19,255}={0,2}(?![A-Za-z0-9+/_=@%-])(?!\.[A-Za-z0-9])"
    ),
    LONG,
    catches=(
        "key ⟦wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLE7⟧ leaked",
        "值为⟦q83vEjRWeJq7zd8B_Zx0KpLm⟧。",
    ),
    spares=(
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "550e8400-e29b-41d4-a716-446655440000",
        "InternationalizationAndLocalization",
        "sha256-47DEQpj8HBSaxxTImW5JCeuQeRkm5NMpJWZG3hSuFU",
        "train_2024_11_05_checkpoint_final",
        "https://example.com/aVeryLongPathSegmentThatIsNoSecret123",
        "20241105T123456Z-run-0012-abcdef",
    ),
    check=random_string,
)
