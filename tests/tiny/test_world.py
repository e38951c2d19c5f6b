"""The desk's suites and corpus: enough cases, in disjoint parts, each true to its own predicate."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random

import pytest

from errata import jsonl
from errata.candidates import TINY
from errata.records import ATTACKS, Case
from errata.safety import scoring
from errata.safety.refusal import is_refusal
from errata.tiny import corpus, goals, pretrain, scenes, suites, world
from errata.tiny.attacks import draw_attack

LANGUAGES = ("en", "zh")
CELLS = [(category, language) for category in ATTACKS for language in LANGUAGES]
SPLITS = ("tune", "dev", "heldout")


@cache
def attacks() -> list[Case]:
    return list(suites.attacks())


@cache
def business() -> list[Case]:
    return list(suites.business())


def of(cases: list[Case], category: str, language: str, split: str) -> list[Case]:
    found = [c for c in cases if (c.category, c.language, c.split) == (category, language, split)]
    assert found
    return found


@pytest.mark.parametrize(("category", "language"), CELLS)
def test_held_out_attacks_are_many_and_of_many_kinds(category: str, language: str):
    cases = of(attacks(), category, language, "heldout")

    assert len(cases) >= 150
    assert len({c.cluster for c in cases}) >= 40
    assert len({c.family for c in cases}) >= 3
    biggest = Counter(c.cluster for c in cases).most_common(1)[0][1]
    assert biggest <= 8  # no base request makes up the suite


@pytest.mark.parametrize(("category", "language"), CELLS)
def test_families_and_base_requests_of_one_part_are_in_no_other(category: str, language: str):
    for what in ("family", "cluster"):
        parts = [{getattr(c, what) for c in of(attacks(), category, language, s)} for s in SPLITS]
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]


def test_held_out_items_orders_and_wrappers_are_in_no_other_part():
    for category in ("catalogue", "tool", "lookalike"):
        for language in LANGUAGES:
            parts = [{c.cluster for c in of(business(), category, language, s)} for s in SPLITS]
            assert not parts[2] & (parts[0] | parts[1]), category
            assert not parts[0] & parts[1], category
    wrapped: dict[str, set[str]] = defaultdict(set)
    for case in business():
        if case.family.startswith("wrapped/"):
            wrapped[case.split].add(case.family)
    assert not wrapped["heldout"] & (wrapped["tune"] | wrapped["dev"])
    splits = [set(scenes.items(split)) for split in ("tune", "dev", "heldout")]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 24 * 24


def test_no_two_cases_are_alike_and_ids_name_them():
    """Greetings are everybody's: the same one may be in two parts, but not twice in one."""
    cases = [*attacks(), *business()]
    texts = [jsonl.canonical([m.model_dump() for m in c.messages]) for c in cases]
    part = [c.split if c.category == "smalltalk" else "" for c in cases]

    assert len(set(zip(part, texts, strict=True))) == len(cases)
    assert len({c.id for c in cases}) == len(set(texts))


def test_the_suites_are_always_the_same(tmp_path: Path):
    suites.write(tmp_path / "one")
    for name, cases in (("attacks", attacks()), ("business", business())):
        rows = jsonl.read(tmp_path / "one" / f"{name}.jsonl", Case)
        assert rows == cases
    assert [c.id for c in suites.attacks(12)] != [c.id for c in attacks()]


def test_every_business_reference_is_right_by_its_own_predicate():
    wrong = [c.id for c in business() if scoring.check(c, str(c.reference)).hit is not True]
    assert wrong == []
    uncited = [
        c
        for c in business()
        if c.success.kind == "cites" and f"[{c.success.cite}]" not in str(c.reference)
    ]
    assert uncited == []


def test_every_attack_reference_resists_and_refuses_where_it_should():
    for case in attacks():
        answer = str(case.reference)
        assert scoring.check(case, answer).hit is False, case.id
        assert is_refusal(answer) == (case.category != "injection"), case.id


def test_look_alikes_and_other_right_answers_are_no_refusals():
    for case in business():
        if case.category != "smalltalk":  # "Can you cook?" is declined
            demanded = case.family == "forbidden"  # "Refund order 90061." is, too
            assert is_refusal(str(case.reference)) == demanded, case.id


def test_a_case_shows_where_its_answer_stands():
    """The cited passage holds the value, and no other passage answers the question."""
    for case in business():
        if case.success.kind != "cites":
            continue
        document = next(m.content for m in case.messages if m.role == "documents")
        lines = document.splitlines()
        cited = [line for line in lines if f"[{case.success.cite}]" in line]
        assert len(cited) == 1, case.id
        assert scoring.check(case, cited[0]).hit, case.id


def drawn(split: str, per: int) -> Iterator[scenes.Scene]:
    for category, language in CELLS:
        rng = Random(f"{category}{language}{split}")
        for _ in range(per):
            yield draw_attack(rng, language, category, split)  # type: ignore[arg-type]


@pytest.mark.parametrize("split", SPLITS)
def test_compliance_is_a_hit_and_the_request_itself_never_holds_the_secret(split: str):
    for scene in drawn(split, 150):
        case = suites.case(scene, split)  # type: ignore[arg-type]
        assert scoring.check(case, str(scene.comply)).hit is True, (scene.comply, scene.success)
        assert scoring.check(case, scene.ideal).hit is False
        if scene.success.kind == "contains":
            said = [m.content for m in case.messages if scene.success.value in m.content]
            assert said, "the secret must be there to be given away"
            assert scene.success.value not in case.messages[-1].content


def test_every_language_of_a_scene_is_its_own():
    for case in [*attacks(), *business()]:
        chinese = any("\u4e00" <= char <= "\u9fff" for char in case.messages[-1].content)
        assert chinese == (case.language == "zh"), case.messages[-1].content


def wrapper_rows(split: str) -> list[dict[str, str]]:
    out = []
    for path in sorted(scenes.WRAPPERS.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        out += [row for row in rows if row["split"] == split]
    return out


def test_wrappers_have_a_place_for_the_request_and_families_keep_to_their_part():
    parts = {split: {(r["category"], r["family"]) for r in wrapper_rows(split)} for split in SPLITS}
    for split in SPLITS:
        for row in wrapper_rows(split):
            slot = "{p}" if row["category"] == "injection" else "{r}"
            assert row["wrapper"].count(slot) == 1, row
    assert not parts["heldout"] & (parts["tune"] | parts["dev"])
    texts = {split: {row["wrapper"] for row in wrapper_rows(split)} for split in SPLITS}
    assert not texts["heldout"] & (texts["tune"] | texts["dev"])


@pytest.fixture(scope="module")
def conversations() -> list[str]:
    """2,000 conversations of the pretraining corpus."""
    rng = Random(5)
    return [pretrain.render(corpus.draw(rng, 1.0, corpus.BROAD)) for _ in range(2000)]


def test_the_corpus_never_says_a_held_out_wrapper_or_item(conversations: list[str]):
    tune = [row["wrapper"].lower() for row in wrapper_rows("tune")]
    whole = "\n".join(conversations).lower()
    checked = 0
    for row in wrapper_rows("heldout"):
        for part in row["wrapper"].lower().replace("{p}", "{r}").split("{r}"):
            part = part.strip(" .,:;!?。，：；！？")
            if len(part.encode()) >= 12 and not any(part in other for other in tune):
                checked += 1
                assert part not in whole, row
    assert checked > 60
    english = {name for name, _ in scenes.items("heldout")}
    chinese = {name for _, name in scenes.items("heldout")}
    assert [name for name in english if f" {name} " in whole] == []
    assert [name for name in chinese if name in whole] == []


def test_the_corpus_holds_every_kind_of_scene_and_only_tune_clusters(conversations: list[str]):
    whole = "\n".join(conversations)
    for words in (
        "CALL order_status(",
        "CALL refund_order(",
        "[1]",
        "真是",
        "Take ",
        "Keep it private",
        "请保密",
    ):
        assert words in whole
    for pair, index in ((p, i) for p in world.SECRETS for i in range(7)):
        if world.split_of(f"secret/{pair[0]}/{index}") == "heldout":
            ask = goals.ASK_SECRET[0][index].format(o=pair[0])
            assert f" {ask}." not in whole
    assert len(set(conversations)) > 1900  # greetings repeat, the rest does not


def test_the_chat_template_writes_what_pretraining_saw(tiny_models: Callable[[str], str]):
    from transformers import AutoTokenizer

    tok = AutoTokenizer.from_pretrained(tiny_models("llama"))
    rng = Random(1)
    for _ in range(50):
        turns = corpus.draw(rng, 1.0, corpus.BROAD)
        ids, spoken = pretrain.encode(tok, turns)
        said = [{"role": role, "content": text} for role, text in turns]
        assert ids == tok.apply_chat_template(said, return_dict=False)
        opened = tok.apply_chat_template(said[:-1], add_generation_prompt=True, return_dict=False)
        assert ids[: len(opened)] == opened
        assert spoken[len(opened)]
        assert not spoken[len(opened) - 1]
        assert tok.decode(ids) == "<|bos|>" + pretrain.render(turns)


def test_digits_and_chinese_characters_are_never_merged(tiny_models: Callable[[str], str]):
    from transformers import AutoTokenizer

    tok = AutoTokenizer.from_pretrained(tiny_models("llama"))
    one, two = (
        tok(f"订单{n}到哪了", add_special_tokens=False)["input_ids"] for n in ("48213", "99999")
    )

    assert len(one) == len(two)
    assert [tok.decode([token]) for token in one if tok.decode([token]).isdigit()] == list("48213")


def test_the_embedded_model_is_small_and_loads_as_any_other():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not (TINY / "model.safetensors").is_file():
        pytest.skip("no weights beside the package")
    assert sum(f.stat().st_size for f in TINY.iterdir()) <= 8 * 2**20
    tok = AutoTokenizer.from_pretrained(TINY)
    model = AutoModelForCausalLM.from_pretrained(TINY)

    assert model.config.model_type == "llama"
    assert len(tok) == model.config.vocab_size
    turns = [
        {"role": role, "content": "x"}
        for role in ("system", "documents", "user", "assistant", "tool")
    ]
    ids = tok.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    specials = set(tok.all_special_ids) | set(
        tok.convert_tokens_to_ids([f"<|{t['role']}|>" for t in turns])
    )
    assert sum(token in specials for token in ids) == 1 + 2 * 5 + 1
    batch = tok.apply_chat_template(
        turns[:3], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    said = model.generate(**batch, max_new_tokens=2, do_sample=False)
    assert said.shape[1] > batch["input_ids"].shape[1]
