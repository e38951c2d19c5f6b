"""Every redaction rule beside what it must catch and what it must spare.

A new rule is one `Rule(…)` in the file of its kind and its name in the tuple below;
`tests/intake/test_rules.py` walks it. What a rule is: rule.py.
"""

from __future__ import annotations

from errata.intake.rules import contact, identity, network, password, person, secret, setting
from errata.intake.rules.rule import Rule

__all__ = ["OPTIONAL", "RULES", "Rule"]

# From the most specific to the least: where two rules overlap, the earlier one names the span.
RULES: tuple[Rule, ...] = (
    secret.PEM,
    secret.JWT,
    secret.API_KEY,
    secret.BEARER,
    network.URL_PASSWORD,
    network.URL_TOKEN,
    setting.PAIR,
    setting.COLON,
    setting.TAG,
    password.CHANGED,
    setting.QUOTED,
    password.ZH,
    password.PROSE,
    password.LOGIN,
    password.BACKWARDS,
    password.BARE,
    password.DIGITS,
    contact.EMAIL,
    contact.EMAIL_SPELLED,
    identity.RESIDENT_ID,
    identity.IBAN,
    identity.BANK_CARD,
    identity.SOCIAL_CREDIT,
    identity.RESIDENT_ID_15,
    identity.SSN,
    identity.PASSPORT,
    identity.PASSPORT_NAMED,
    identity.PLATE_CN,
    contact.CN_MOBILE,
    contact.SPOKEN_MOBILE,
    contact.PHONE_NAMED,
    contact.PHONE,
    contact.PHONE_PLAIN,
    contact.ACCOUNT,
    network.IPV6,
    network.MAC,
    network.MAC_HYPHENS,
    network.IPV4,
    person.ADDRESS,
    person.NAME_TOLD,
    person.NAME_TITLED,
    secret.RANDOM,
)

# Off unless policies/redaction.yaml turns it on: a support desk talks of short codes all day.
OPTIONAL = frozenset({"password-digits"})
