"""A tokenizer as llama.cpp reads it: tokens, types, merges or scores, and its name for the splits.

llama.cpp does not read a tokenizer's regular expression: it knows some by name. Which name is right
is found by behaviour: the tokenizer, with its own splits replaced by those of each name, reads real
and awkward texts; the name is right whose ids are the tokenizer's own. Where none is, the nearest
one is taken and the share of texts that come out otherwise is told.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from errata.errors import BadInput
from errata.language import say

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # llama.cpp's token types
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_CASED = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CJK = r"[一-龥぀-ゟ゠-ヿ]+"
_DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# llama.cpp's name → its expressions, each splitting what the one before left (llama-vocab.cpp).
PRE: dict[str, list[str]] = {
    "gpt-2": [_GPT2],
    "smollm": [r"\p{N}", _GPT2],
    "qwen2": [_CASED + r"|\p{N}" + _REST],
    "llama-bpe": [_CASED + r"|\p{N}{1,3}" + _REST],
    "deepseek-v3": [r"\p{N}{1,3}", _CJK, _DEEPSEEK],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
}
_WHOLE_WORDS = ("llama-bpe",)  # a word that is a token is taken as it is, whatever its merges
PROBES = (
    "Where is order 20260481? It's $3,499.00 — I'LL wait (2 days).",
    "订单 20260481 在哪里？请在３天内退款，谢谢！",
    "mixed 中文 and English，e.g. 5G手机 x2\n\n  indented\tline\r\n\r\nend  ",
    "don't DON'T we've naïve café Ünïcödé ① ½ 🙂🙂 a_b-c/d==e{f}",
    "two  spaces  之间  中文  5  and  6",
    '{"name": "order_status", "arguments": {"id": "A-1009"}}\n<b>x</b>',
)


class Vocabulary(NamedTuple):
    """What `tokenizer.ggml.*` holds; `scores` of a SentencePiece model, `merges` of a BPE."""

    model: str  # gpt2 or llama, as llama.cpp calls them
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]
    space_first: bool
    notes: list[str]


def vocabulary(tokenizer: Any, size: int, texts: Sequence[str] = ()) -> Vocabulary:
    """Of a fast tokenizer, for a model of `size` rows; BadInput for what llama.cpp cannot read.

    `texts` are read beside PROBES to find the name of its splits.
    """
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    model = told["model"]
    if model["type"] != "BPE":
        raise BadInput(
            f"tokenizer {model['type']}: GGUF is written for BPE tokenizers alone; "
            "use format=bf16 or int8"
        )
    tokens, types = _tokens(told, size)
    pairs = [m.split(" ", 1) if isinstance(m, str) else m for m in model["merges"]]
    if model.get("byte_fallback"):
        scores = _scores(tokens, pairs)
        types = [BYTE if _is_byte(token) and kind == NORMAL else kind
                 for token, kind in zip(tokens, types, strict=True)]  # fmt: skip
        return Vocabulary("llama", "default", tokens, types, [], scores, _space_first(told), [])
    if "ByteLevel" not in json.dumps(told["pre_tokenizer"]):
        raise BadInput(
            "tokenizer: its BPE is neither byte-level nor SentencePiece's, which is all that "
            "llama.cpp reads; use format=bf16 or int8"
        )
    # Ids of added words are found before the splits, so llama.cpp's own search gives the same.
    pre, notes = splits(tokenizer, told, [*PROBES, *texts])
    merges = [f"{left} {right}" for left, right in pairs]
    return Vocabulary("gpt2", pre, tokens, types, merges, [], False, notes)


def splits(tokenizer: Any, told: dict[str, Any], texts: Sequence[str]) -> tuple[str, list[str]]:
    """llama.cpp's name for a tokenizer's splits, and what has to be told of it."""
    from tokenizers import Tokenizer

    notes = []
    if told.get("normalizer"):
        kind = told["normalizer"]["type"]
        notes.append(
            say(f"llama.cpp does not normalise ({kind}): text in another form reads otherwise",
                f"llama.cpp 不做 {kind} 规范化：其他形式的文本会得到不同的 token")
        )  # fmt: skip
    true = [tokenizer.backend_tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
    differ = {}
    for name, expressions in PRE.items():
        model = {**told["model"], "ignore_merges": name in _WHOLE_WORDS}
        swapped = {**told, "model": model, "pre_tokenizer": _pre_tokenizer(expressions)}
        other = Tokenizer.from_str(json.dumps(swapped))
        read = [other.encode(text, add_special_tokens=False).ids for text in texts]
        differ[name] = sum(a != b for a, b in zip(true, read, strict=True))
        if not differ[name]:
            return name, notes
    best = min(differ, key=lambda name: differ[name])
    count, total = differ[best], len(texts)
    notes.append(
        say(f"no pre-tokenizer of llama.cpp splits as this one does; `{best}` is the nearest: "
            f"{count} of {total} texts give other ids",
            f"llama.cpp 没有相同的预分词方式；最接近的是 `{best}`："
            f"{total} 段文本中 {count} 段的 token 不同")
    )  # fmt: skip
    return best, notes


def _pre_tokenizer(expressions: Sequence[str]) -> dict[str, Any]:
    """llama.cpp's splitting, as the tokenizers library says it."""
    parts: list[dict[str, Any]] = [
        {"type": "Split", "pattern": {"Regex": one}, "behavior": "Isolated", "invert": False}
        for one in expressions
    ]
    # `use_regex: false`: bytes become letters, and nothing is split again.
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {"type": "Sequence", "pretokenizers": [*parts, {**level, "use_regex": False}]}


def _tokens(told: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Text and type of each id below `size`; rows that no token has are named and unused."""
    words = {place: token for token, place in told["model"]["vocab"].items()}
    added = {entry["id"]: entry for entry in told["added_tokens"]}
    most = max([*words, *added])
    if most >= size:
        raise BadInput(
            f"tokenizer: id {most} has no row in a model of {size}; give a complete checkpoint"
        )
    tokens, types = [], []
    for place in range(size):
        entry = added.get(place)
        tokens.append(entry["content"] if entry else words.get(place, f"[PAD{place}]"))
        if entry:
            types.append(CONTROL if entry["special"] else USER_DEFINED)
        else:
            types.append(NORMAL if place in words else UNUSED)
    unknown = told["model"].get("unk_token")
    if unknown in tokens:
        types[tokens.index(unknown)] = UNKNOWN
    return tokens, types


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _scores(tokens: Sequence[str], pairs: Sequence[Sequence[str]]) -> list[float]:
    """SentencePiece joins the pair whose union has the best score: the earlier merge, the better.
    What no merge makes (bytes, single characters) is never joined to."""
    rank: dict[str, int] = {}
    for place, (left, right) in enumerate(pairs):
        rank.setdefault(left + right, place)
    return [-float(rank.get(token, len(pairs))) for token in tokens]


def _space_first(told: dict[str, Any]) -> bool:
    """Whether a text is read as if a space stood before it."""
    said = json.dumps([told.get("normalizer"), told.get("pre_tokenizer")])
    return '"Prepend"' in said or '"prepend_scheme": "first"' in said or (
        '"prepend_scheme": "always"' in said
    )  # fmt: skip
