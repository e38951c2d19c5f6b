"""Replace personal data and credentials by typed pseudonyms such as `<PHONE:7f3a12c4>`.

A pseudonym is an HMAC with the workspace's own key: the same value has the same name inside one
workspace, another name in the next, and without the key no list of phone numbers gives it away.
Offsets count code points of the input. Full-width digits and zero-width joiners hide nothing: the
rules look at a plain shadow of the text, and what they find is mapped back.

Redacting twice changes nothing. Inside a pass, what was found is collapsed to a wall that no rule
can cross, and the rules look again until nothing new appears; a pseudonym in the input is such a
wall from the start, so the second pass sees exactly what the first one left.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from errata import config as configs
from errata import jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.intake import fold, ner
from errata.intake.own import OwnRule, compiled, held_to_examples
from errata.intake.rules import OPTIONAL, RULES, Rule
from errata.intake.spans import Span, rounds
from errata.records import Label
from errata.store import keys
from errata.workspace import Workspace

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

POLICY_FILE = "policies/redaction.yaml"
_VALUE = 200  # characters of what a name may say the kind of; more is prose, and says it itself


class Policy(Section):
    """Which rules run, and what is kept of a failure; its hash is stored with every row."""

    off: list[str] = Field(default_factory=list, description="ids of rules that do not run")
    on: list[str] = Field(default_factory=list, description="ids of optional rules that do run")
    own: list[OwnRule] = Field(
        default_factory=list, alias="rules", description="rules of your own: see docs/extend.md"
    )
    ner: str | None = Field(
        default=None, description="a spaCy pipeline, folder or package, for names and addresses"
    )
    vault: list[str] = Field(
        default_factory=list,
        description="tags (PHONE, EMAIL …) whose values `errata reveal` may give back",
    )
    retention: dict[Label, Literal["full", "summary"]] = Field(
        default_factory=dict,
        description="per label: `full` keeps the redacted text, `summary` a keyed hash and counts",
    )

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that run, in order of precedence."""
        own = tuple(rule.model_dump_json() for rule in self.own)
        return _active(tuple(self.off), tuple(self.on), own, self.ner)

    @property
    def summarised(self) -> frozenset[Label]:
        """The labels of whose rows no text is kept."""
        return frozenset(label for label, kept in self.retention.items() if kept == "summary")

    @property
    def hash(self) -> str:
        """Changes when a switch, a retention or the pattern of a rule changes."""
        kept = tuple(sorted(self.vault))
        told = tuple(sorted(self.retention.items()))
        return _policy_hash(self.rules, told, kept)


class Finding(NamedTuple):
    """One replaced span, in code points of the input text."""

    rule: str
    start: int
    end: int
    tag: str


class Redacted(NamedTuple):
    """The text without its secrets, and where they were."""

    text: str
    findings: list[Finding]


_new = tuple.__new__  # of a named tuple, in half the time


@cache
def _active(
    off: tuple[str, ...], on: tuple[str, ...], own: tuple[str, ...], pipeline: str | None
) -> tuple[Rule, ...]:
    """Our rules and after them those of the policy, which are held to their examples here."""
    mine = [compiled(OwnRule.model_validate_json(rule), POLICY_FILE) for rule in own]
    models = ner.rules(pipeline, POLICY_FILE) if pipeline else ()
    known = [rule.id for rule in (*RULES, *mine, *models)]
    for name in known:
        if known.count(name) > 1:
            raise BadInput(f"{POLICY_FILE}: rule `{name}`: there is one of this id; choose another")
    for name in (*off, *on):
        if name not in known:
            raise BadInput(f"{POLICY_FILE}: unknown rule `{name}`{configs.hint(name, known)}")
    for rule in mine:
        held_to_examples(rule, partial(_caught, rule), POLICY_FILE)
    stopped = set(off) | (OPTIONAL - set(on))
    return tuple(rule for rule in (*RULES, *mine, *models) if rule.id not in stopped)


def _caught(rule: Rule, text: str) -> list[str]:
    return [text[found.start : found.end] for found in apply(text, [rule], b"").findings]


@cache
def _policy_hash(
    rules: tuple[Rule, ...], retention: tuple[Any, ...], vault: tuple[str, ...]
) -> str:
    told = [
        [rule.id, rule.tag, rule.pattern.pattern, rule.not_after.pattern if rule.not_after else ""]
        for rule in rules
    ]
    kept = {"vault": list(vault)} if vault else {}
    return jsonl.digest({"rules": told, "retention": list(retention), **kept})


def load_policy(ws: Workspace) -> Policy:
    """The workspace's policy; without the file, every rule that is on by default."""
    path = ws.root / POLICY_FILE
    policy = configs.load(path if path.is_file() else None, Policy)
    if policy.ner and (ws.root / policy.ner).is_dir():
        policy = policy.model_copy(update={"ner": str(ws.root / policy.ner)})
    policy.rules  # noqa: B018 - an unknown rule id is refused here, not in the middle of a file
    tags = sorted({rule.tag for rule in (*RULES, *policy.rules)})
    for tag in policy.vault:
        if tag not in tags:
            raise BadInput(f"{POLICY_FILE}: vault: no tag `{tag}`{configs.hint(tag, tags)}")
    return policy


def tokens(value: str, key: bytes) -> set[str]:
    """Every pseudonym that a value may have got, whichever rule found it."""
    shadow = fold.shadow(value).text
    forms = {(rule.tag, form) for rule in RULES for form in (shadow, rule.canon(shadow))}
    return {pseudonym(key, tag, form) for tag, form in forms}


def beside(name: str, value: str) -> str:
    """A value behind its name, which may say what it is: `password`, 电话; or nothing."""
    return f"{name}: {value}" if name and value and len(value) <= _VALUE else ""


def pseudonyms(text: str, found: Redacted) -> list[tuple[str, str]]:
    """(pseudonym, value) of each span that was replaced in a text."""
    out, shift = [], 0
    for finding in found.findings:
        start = finding.start + shift
        size = len(finding.tag) + 11  # <TAG:8 hex digits>
        out.append((found.text[start : start + size], text[finding.start : finding.end]))
        shift += size - (finding.end - finding.start)
    return out


def workspace_key(ws: Workspace) -> bytes:
    """The redaction key of the workspace, made on first use and readable by its owner alone."""
    path = ws.state / "keys" / "redaction"
    if not path.exists():
        keys.create(path, f"{secrets.token_hex(32)}\n".encode())
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (ValueError, UnicodeDecodeError):
        key = b""
    if len(key) < 16:
        raise BadInput(
            f"{path}: not a key (64 hex digits); restore it, or delete it to make a new one"
        )
    return key


@cache
def process_key() -> bytes:
    return secrets.token_bytes(32)


def keyed_hash(key: bytes, *parts: str) -> str:
    """HMAC-SHA256 over the parts; the separator keeps (a, bc) and (ab, c) apart."""
    return _keyed(key, parts[:-1])(parts[-1])


def pseudonym(key: bytes, tag: str, form: str) -> str:
    """What stands for a value of the tag, of which this is the canonical form."""
    return f"<{tag}:{_keyed(key, (tag,))(form)[:8]}>"


@lru_cache(maxsize=256)
def _keyed(key: bytes, first: tuple[str, ...]) -> Callable[[str], str]:
    """Hex digits of the HMAC of all parts, given the last: a tag goes before many values."""
    inner, outer = _padded(key)
    inner = inner.copy()
    inner.update("".join(f"{part}\x1f" for part in first).encode("utf-8", "surrogatepass"))
    begin, end = inner.copy, outer.copy

    def told(last: str) -> str:
        inside, outside = begin(), end()
        inside.update(last.encode("utf-8", "surrogatepass"))
        outside.update(inside.digest())
        return outside.hexdigest()

    return told


@lru_cache(maxsize=8)
def _padded(key: bytes) -> tuple[Hash, Hash]:
    """Both hashes of RFC 2104 after their first block: a third of what `hmac.digest` costs."""
    block = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
    return hashlib.sha256(inner), hashlib.sha256(outer)


def redact(
    text: str, policy: Policy | Mapping[str, Any] | None = None, *, key: bytes | None = None
) -> Redacted:
    """The text with every span that a rule confirms replaced, and the spans.

    `policy` is a `Policy` or its mapping (default: all rules that are on by default). Without `key`
    the key of the workspace in the current folder is used, or else one that lives as long as the
    process. Raises BadInput for an unknown rule id.
    """
    chosen = policy if isinstance(policy, Policy) else Policy.model_validate(dict(policy or {}))
    return apply(text, chosen.rules, key if key is not None else _key_here())


def _key_here() -> bytes:
    here = Workspace(Path.cwd())
    return workspace_key(here) if (here.state / "keys" / "redaction").exists() else process_key()


def apply(text: str, rules: Sequence[Rule], key: bytes) -> Redacted:
    """One text, redacted."""
    return redact_many([text], rules, key)[0]


def redact_many(texts: Sequence[str], rules: Sequence[Rule], key: bytes) -> list[Redacted]:
    """A batch of texts, each as `apply` would redact it, many times faster than one by one.

    ASCII texts go by themselves: a string with one Chinese character in it takes two to four bytes
    for each of its characters, and all gates then run at half the speed.
    """
    plain = [text.isascii() for text in texts]
    if all(plain) or not any(plain):
        return _redacted(texts, rules, key)
    ours = iter(_redacted([text for text in texts if text.isascii()], rules, key))
    others = iter(_redacted([text for text in texts if not text.isascii()], rules, key))
    return [next(ours if ascii_only else others) for ascii_only in plain]


def _redacted(texts: Sequence[str], rules: Sequence[Rule], key: bytes) -> list[Redacted]:
    whole = fold.joined(texts)
    shadow, places, forms = fold.shadow(fold.unmarked(whole, texts))
    outer = list(fold.starts(texts))
    inner = outer
    if places is not None:  # something invisible was left out: offsets of the shadow are others
        inner = [*np.searchsorted(places, outer[:-1]).tolist(), len(shadow) + 1]
    findings = dict[int, list[Finding]]()
    parts, at, end = list[str](), 0, 0  # of the texts in which something was found
    high, first, mine = 0, 0, list[Finding]()
    keyed = [_keyed(key, (rule.tag,)) for rule in rules]
    for start, stop, rank, named, number in _outermost(
        list(rounds(shadow, inner, tuple(rules), forms))
    ):
        rule, value = rules[rank], shadow[start:stop]
        if start >= high:
            parts += whole[at:end], fold.SEPARATOR
            at = first = outer[number]
            end, high = outer[number + 1] - 1, inner[number + 1]
            mine = findings[number] = []
        if places is not None:
            start, stop = int(places[start]), int(places[stop - 1]) + 1
        tag, form = rule.tag, rule.canon(value) if named else value
        parts += whole[at:start], f"<{tag}:{keyed[rank](form)[:8]}>"
        mine.append(_new(Finding, (rule.id, start - first, stop - first, tag)))
        at = stop
    parts.append(whole[at:end])
    touched = [texts[number] for number in findings]
    clean = iter(_parted("".join(parts), touched, [*findings.values()]))
    return [
        _new(Redacted, (next(clean), findings[number]) if number in findings else (text, []))
        for number, text in enumerate(texts)
    ]


def _parted(
    whole: str, texts: Sequence[str], findings: Sequence[Sequence[Finding]]
) -> Iterable[str]:
    """The texts of a batch one by one. Separators of their own are rare, and told by counting."""
    parts = whole.split(fold.SEPARATOR)[1:]
    if len(parts) == len(texts):
        return parts
    rest = iter(parts)
    own = (
        text.count(fold.SEPARATOR)
        - sum(text.count(fold.SEPARATOR, one.start, one.end) for one in found)
        for text, found in zip(texts, findings, strict=True)
    )
    return [fold.SEPARATOR.join(islice(rest, count + 1)) for count in own]


def _outermost(rounds: Sequence[list[Span]]) -> Iterator[Span]:
    """In order of the text; a span found later may hold an earlier one, and then stands for it."""
    if len(rounds) == 1:
        yield from rounds[0]
        return
    end = 0
    for span in sorted(chain.from_iterable(rounds), key=_outer):
        if span[0] >= end:
            yield span
            end = span[1]


def _outer(span: Span) -> tuple[int, int]:
    return span[0], -span[1]


def redactor(ws: Workspace, policy: Policy) -> Callable[[str], Redacted]:
    """`redact` with the workspace's policy and key bound to it."""
    rules, key = policy.rules, workspace_key(ws)
    return lambda text: apply(text, rules, key)
