"""Passwords, keys and tokens in settings: `name=value`, quoted, behind a colon, in a tag."""

from __future__ import annotations

from errata.intake.checks import secret_value, strong_value, very_strong_value
from errata.intake.rules.password import KEY, SECRET_WORD, VALUE, WORD
from errata.intake.rules.rule import Rule, rx

PAIR = Rule(
    "password-pair",
    "PASSWORD",
    rx(
        rf"(?i:password|passwd|passphrase|pwd|secret|token|{KEY})"
        r"""["']?\s{0,3}(?:=|:=|=>|->|→)\s{0,3}["']?
            """ + VALUE
    ),
    SECRET_WORD,
    catches=(
        "password=⟦hunter2⟧",
        "db_password = '⟦correcthorse⟧'",
        '{"api_key"=⟦q9w8e7r6t5y4⟧}',
        "日志里有pwd=⟦Abcd!2345⟧。",
        "client_secret=⟦aB3-xyz⟧;",
        "Server=db;User Id=sa;Password=⟦S3cret-9⟧;",
        "AccountKey=⟦Zm9vYmFyYmF6cXV4⟧;",
        "password -> ⟦letmein99⟧",
    ),
    spares=("password=", "password = none", "token=48213", "pwd=****", "passwords = a list"),
    check=secret_value,
)

QUOTED = Rule(
    "password-quoted",
    "PASSWORD",
    rx(
        r"(?i:"
        + WORD
        + r"""|secret|token)(?:["']?\s{0,3}[:=]|\ (?i:is|was|to|of))\s{0,3}
            ["'`“](?P<value>[^\s"'`”<>\x00-\x1f]{4,128})["'`”]"""
    ),
    SECRET_WORD,
    catches=('{"password": "⟦letmein⟧"}', "the password is “⟦sunshine⟧”", "secret: '⟦opensesame⟧'"),
    spares=('"password": "required"', 'password: "***"', "the password is “48213”"),
    check=secret_value,
)

COLON = Rule(
    "password-colon",
    "PASSWORD",
    rx(rf"(?i:secret|token|{KEY})[\"']?\s?:\s{{0,3}}" + VALUE),
    SECRET_WORD,
    catches=(
        "token: ⟦abcd1234efgh⟧",
        "client_secret: ⟦9f86d081⟧",
        "refresh_token: ⟦x7Kp2q9L⟧ expired",
    ),
    spares=("token: 48213", "token: invalid", "secret: see the vault", "token:v2.0"),
    check=very_strong_value,
)

TAG = Rule(
    "password-tag",
    "PASSWORD",
    rx(rf"(?i:{WORD}|secret|token)>(?P<value>[^\s<>\x00-\x1f]{{4,128}})</"),
    SECRET_WORD,
    catches=("<password>⟦hunter2⟧</password>", "<user>bob</user><pwd>⟦Abc12345⟧</pwd>"),
    spares=("<password></password>", "<password>required</password>", "<token>48213</token>"),
    check=strong_value,
)
