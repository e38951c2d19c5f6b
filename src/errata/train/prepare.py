"""What every training stage gets ready: the model as the panel wants it, and encoded rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformers import set_seed

from errata.errors import BadInput
from errata.language import say
from errata.records import PreferencePair, SftExample
from errata.store import database, tombstone
from errata.train import fused, lean
from errata.train.logprobs import Scorer, ready
from errata.train.model import adapt, kept_knobs, load, weights_dtype, without_dropout
from errata.train.packing import Tree
from errata.train.settings import Panel
from errata.train.step import Example
from errata.train.tokens import encode_pairs, encode_sft, show_mask

if TYPE_CHECKING:
    from errata.train.stage import Job


def build(job: Job, config: Panel, kind: str = "causal") -> tuple[Any, Any, Scorer]:
    """(model, tokenizer, scorer): seeded, loaded, adapted, and ready to score; notes say how."""
    set_seed(config.seed)
    model, tokenizer = load(
        job.start.base, weights_dtype(config), kind, nf4=config.method == "qlora"
    )
    without_dropout(model)
    model = adapt(model, config, job.start.adapter, kind)
    if kept := kept_knobs(model, config):
        job.config = config.model_copy(update=kept)  # what the report says is what was trained
        told = ", ".join(f"{name}={value:g}" for name, value in kept.items())
        job.notes.append(say(f"the adapter that this run goes on with keeps its {told}",
                             f"本次运行所续的适配器保持 {told}"))  # fmt: skip
    fused.fuse(model)
    lean.fuse_norms(model)
    if config.checkpointing:
        model.enable_input_require_grads()  # frozen embeddings would cut the graph
        model.gradient_checkpointing_enable({"use_reentrant": False})
    scorer = ready(model, tokenizer.pad_token_id, config.seq_len)
    job.tokenizer, job.scorer = tokenizer, scorer
    job.extra["scoring"] = scorer.way
    if scorer.why:
        job.notes.append(
            say(f"rows are padded, not packed: {scorer.why}", f"按行填充，不打包：{scorer.why}")
        )
    return model, tokenizer, scorer


def learns(job: Job, rows: Sequence[SftExample | PreferencePair], how: str = "trained") -> None:
    """Say of each row that this run learnt from it; BadInput where one was erased since, as after
    git brought an earlier data/ back."""
    with database.reading(job.run.ws) as connection:
        erased = tombstone.among(connection, (row.id for row in rows))
    if erased:
        raise BadInput(
            f"{job.run.ws.relative(job.dataset)}: {len(erased)} rows were erased ({erased[0]} …); "
            "`errata build` makes the version without them"
        )
    job.run.links((row.id, job.run.id, how) for row in rows)


def sft_examples(job: Job, tokenizer: Any, rows: list[SftExample]) -> list[Example]:
    """Encoded rows; a note says how many prompts lost their beginning."""
    shortened: list[str] = []
    trees = encode_sft(tokenizer, rows, job.config.seq_len, shortened)
    _tell(job, shortened, trees)
    return [Example(row.id, tree) for row, tree in zip(rows, trees, strict=True)]


def pair_trees(job: Job, tokenizer: Any, rows: list[PreferencePair]) -> list[Tree]:
    """Encoded pairs, the prompt once; a note says how many prompts lost their beginning."""
    shortened: list[str] = []
    trees = encode_pairs(tokenizer, rows, job.config.seq_len, shortened)
    _tell(job, shortened, trees)
    return trees


def _tell(job: Job, shortened: list[str], trees: list[Tree]) -> None:
    job.longest = max([job.longest or 0, *(tree.tokens for tree in trees)])
    note_shortened(job, shortened)


def note_shortened(job: Job, shortened: list[str]) -> None:
    """A note in the record, if prompts of these rows lost their beginning."""
    if shortened:
        seq_len = job.config.seq_len
        job.notes.append(
            say(
                f"{len(shortened)} prompts are longer than seq_len {seq_len} allows and lost their "
                f"beginning, such as {shortened[0]}",
                f"{len(shortened)} 个提示超过 seq_len {seq_len}，开头被截去，例如 {shortened[0]}",
            )
        )


def show_first(job: Job, tokenizer: Any, tree: Tree) -> None:
    """The first row with its mask, for the record and the report."""
    shown = show_mask(tokenizer, tree)
    job.extra["first_row"] = shown
    page = f"## First row, what is learnt in ⟦ ⟧\n\n```\n{shown}\n```"
    job.extra["pages"] = [*job.extra.get("pages", []), page]


def note_halved(job: Job, times: int, where: str) -> None:
    """A note in the record, if memory ran out."""
    if times:
        job.notes.append(
            say(f"{where}: out of memory, micro batch halved {times} times, the numbers unchanged",
                f"{where}：内存不足，micro batch 减半 {times} 次，数值不变")
        )  # fmt: skip
