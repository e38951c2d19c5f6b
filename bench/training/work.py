"""What both sides are given: models with random weights, a tokenizer, and rows in our formats.

Run as `python -m training.work FOLDER MODEL DATA ROWS`: torch stays out of the process that starts
the sides, because a child's peak memory is never less than its parent's was.

Words are numbers ("w17"), one token each, so lengths are exact. The chat template sets turns one
after another and ends an answer with the end token: our chat-template path and TRL's plain-text
path give the same token ids (`check_ids`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

SEED = 17
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}"
    "{{ eos_token if m['role'] == 'assistant' else ' ' }}{% endfor %}"
)

# hidden, layers, heads, key/value heads, feed-forward, vocabulary
MODELS: dict[str, tuple[int, int, int, int, int, int]] = {
    "61m": (576, 12, 9, 3, 1536, 32_768),  # SmolLM-135M's shape, 12 of its 30 layers
    "small": (256, 4, 4, 4, 688, 8_000),
    "2m": (192, 4, 6, 6, 512, 1_024),  # the embedded model's shape
    "toy": (64, 2, 4, 4, 128, 512),  # for --quick
    "1b": (2048, 16, 32, 8, 8192, 128_256),  # Llama-3.2-1B's shape; bench/gpu.py
}
# Tokens of a prompt and of an answer, from and to.
PAIRS: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "prompt-heavy": ((120, 270), (30, 110)),
    "answer-heavy": ((20, 40), (100, 200)),
    "prompts": ((40, 60), (8, 16)),  # PPO answers the prompts; its reward model sees the pairs
}
ROW, LABELLED = 512, 0.35  # a packed row, and the share of its tokens that is learnt


def words(rng: Random, count: int, vocabulary: int) -> str:
    """`count` tokens of text; the first ids are special ones and the unknown word."""
    return " ".join(f"w{rng.randrange(3, vocabulary)}" for _ in range(count))


def pairs(kind: str, rows: int, vocabulary: int) -> list[dict[str, Any]]:
    """`prefs.jsonl`: two answers to each prompt, lengths drawn evenly from PAIRS[kind]."""
    rng = Random(SEED)
    prompt, answer = PAIRS[kind]
    return [
        {
            "id": f"p{index}",
            "prompt": words(rng, rng.randint(*prompt), vocabulary),
            "chosen": words(rng, rng.randint(*answer), vocabulary),
            "rejected": words(rng, rng.randint(*answer), vocabulary),
            "reason": "bench",
        }
        for index in range(rows)
    ]


def packed(rows: int, vocabulary: int) -> list[dict[str, Any]]:
    """`sft.jsonl`: two examples a row of 512 tokens, in the order of TRL's own packed rows.

    Lengths a > 256 and 512 - a, all different: best-fit-decreasing must put just these together,
    longest first, and wastes nothing. trl_side.py asserts that it did.
    """
    rng = Random(SEED)
    longs = sorted(rng.sample(range(ROW // 2 + 1, ROW - 32), rows // 2), reverse=True)
    examples = []
    for index, length in enumerate(n for a in longs for n in (a, ROW - a)):
        learnt = round(LABELLED * length)
        examples.append(
            {
                "id": f"s{index}",
                "instruction": words(rng, length - learnt, vocabulary),
                "output": words(rng, learnt - 1, vocabulary),  # and the end token
                "why": "bench",
                "origin": "template",
            }
        )
    return examples


def desk(rows: int) -> list[dict[str, Any]]:
    """`prefs.jsonl` of the embedded model's own world: attacks, refused and obeyed."""
    from errata.records import ATTACKS
    from errata.tiny import attacks

    rng, found = Random(SEED), []
    while len(found) < rows:
        language, kind = rng.choice(("en", "zh")), rng.choice(ATTACKS)
        scene = attacks.draw_attack(rng, language, kind, "tune", rng.randint(1, 3))
        if not scene.comply or scene.comply == scene.ideal:
            continue
        found.append(
            {
                "id": f"d{len(found)}",
                "prompt": [{"role": role, "content": text} for role, text in scene.messages],
                "chosen": [{"role": "assistant", "content": scene.ideal}],
                "rejected": [{"role": "assistant", "content": scene.comply}],
                "reason": "bench",
            }
        )
    return found


def failures() -> list[dict[str, Any]]:
    """`prefs.jsonl` as the product makes it of the embedded model's own failures."""
    with tempfile.TemporaryDirectory() as made:
        ws = Path(made) / "ws"
        for line in (
            "init {ws}",
            "safety -C {ws} model=tiny split=tune write_back=inbox/attacks.jsonl",
            "evaluate -C {ws} model=tiny split=tune write_back=inbox/business.jsonl",
            "intake -C {ws} inbox/attacks.jsonl --source red_team",
            "intake -C {ws} inbox/business.jsonl --source online",
            "build -C {ws}",
        ):
            words = [sys.executable, "-m", "errata", *line.format(ws=ws).split()]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode not in (0, 3, 4):  # a model that fails its exam is what is wanted
                raise SystemExit(f"errata {line}: {done.stderr or done.stdout}")
        text = (ws / "data" / "prefs.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def make_tokenizer(vocabulary: int) -> Any:
    """Word-level, split at white space; pad and end, no BOS."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {PAD: 0, END: 1, UNKNOWN: 2} | {f"w{n}": n for n in range(3, vocabulary)}
    core = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, eos_token=END, unk_token=UNKNOWN
    )
    made.chat_template = TEMPLATE
    return made


def make_model(name: str, folder: Path) -> None:
    """Random weights of MODELS[name], saved in float32; the embedded model is copied."""
    if name == "embedded":
        from errata.candidates import TINY

        shutil.copytree(TINY, folder)
        return
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, layers, heads, kv_heads, inner, vocabulary = MODELS[name]
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.05,  # answers differ clearly in probability
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    make_tokenizer(vocabulary).save_pretrained(folder)


def check_ids(tokenizer: Any, rows: list[dict[str, Any]]) -> None:
    """The chat-template path and the plain-text path must give the same ids."""
    for row in rows:
        prompt = row.get("prompt", row.get("instruction"))
        for answer in (row[k] for k in ("chosen", "rejected", "output") if k in row):
            plain = tokenizer(f"{prompt} {answer}{tokenizer.eos_token}")["input_ids"]
            turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
            chat = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
            assert chat == plain, (row["id"], chat[-5:], plain[-5:])


def main(folder: Path, model: str, data: str, rows: int) -> None:
    """Lay down `MODEL/` and `DATA-ROWS-MODEL.jsonl` in a folder."""
    home, file = folder / model, folder / f"{data}-{rows}-{model}.jsonl"
    shape = json.dumps(MODELS.get(model, model))
    stamp = folder / f"{model}.shape"
    if not stamp.exists() or stamp.read_text() != shape:  # never weights of an older shape
        shutil.rmtree(home, ignore_errors=True)
        make_model(model, home)
        stamp.write_text(shape)
    if data == "desk":
        made = desk(rows)
    elif data == "failures":
        made = failures()
    else:
        vocabulary = MODELS[model][-1]
        made = packed(rows, vocabulary) if data == "packed" else pairs(data, rows, vocabulary)
        check_ids(make_tokenizer(vocabulary), made)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made))
    print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
