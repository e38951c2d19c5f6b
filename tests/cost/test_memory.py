"""Each term of the peak against arithmetic by hand; what more of a thing may do to the sum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.cost import memory
from errata.cost.arch import Arch
from errata.cost.memory import GIB, Setup, adapter_params, layer_bytes, peak, terms
from errata.cost.stack import Stack
from errata.cost.stage import LLAMA_7B, LLAMA_13B, fits
from errata.cost.words import LINEARS, METHODS, Method, Optimizer, Precision, Unclear

ALL = frozenset(LINEARS)


def setup(method: str = "lora", **changes: object) -> Setup:
    base = Setup(
        arch=LLAMA_7B,
        method=METHODS[method],
        seq_len=2048,
        micro_batch=1,
        grad_accum=1,
        checkpointing=True,
        optimizer=Optimizer(2),
        precision=Precision(2, 2),
        loss="full",
        reading="allocated",
        lora_r=0 if method == "full" else 16,
        targets=frozenset() if method == "full" else ALL,
    )
    return base._replace(**changes)  # type: ignore[arg-type]


def test_a_block_of_7b_by_hand() -> None:
    """32 · (4·4096² + 3·4096·11008) = 6,476,005,376; embeddings 2·32000·4096 = 262,144,000; with 65
    norms of 4096 that is 6,738,415,616, the published size."""
    assert LLAMA_7B.block == 6_476_005_376
    assert LLAMA_7B.embeddings == 262_144_000
    assert LLAMA_7B.block + LLAMA_7B.embeddings + 65 * 4096 == 6_738_415_616
    LLAMA_7B.check()
    LLAMA_13B.check()


@pytest.mark.parametrize(
    ("rank", "targets", "count"),
    [
        (8, frozenset("qv"), 4_194_304),  # 8 · 32 · 2 · (4096 + 4096)
        (16, ALL, 39_976_960),  # 16 · 32 · (4·8192 + 3·15104)
        (64, frozenset({"head"}), 2_310_144),  # 64 · (4096 + 32000)
    ],
)
def test_adapter_parameters_by_hand(rank: int, targets: frozenset[str], count: int) -> None:
    assert adapter_params(LLAMA_7B, rank, targets) == count


def test_weights_by_type_by_hand() -> None:
    """bf16: 2 bytes each. nf4: 4.5 bits in the blocks, 16 in embeddings and norms. With double
    quantisation: 4 + 8/64 + 32/16384 bits."""
    rest = 6.738e9 - 6_476_005_376
    assert terms(setup())["weights"] == pytest.approx(6.738e9 * 2 / GIB)
    assert terms(setup())["weights"] == pytest.approx(12.55, abs=0.01)
    nf4 = (6_476_005_376 * 4.5 / 8 + rest * 2) / GIB
    assert terms(setup("qlora-nf4"))["weights"] == pytest.approx(nf4)
    dq = (6_476_005_376 * 4.126953125 / 8 + rest * 2) / GIB
    assert terms(setup("qlora-nf4-dq"))["weights"] == pytest.approx(dq)
    mixed = setup("full", precision=Precision(4, 4, compute_copy=2))
    # at the loss the 16-bit copies stand beside them, at the end of backward the gradients do
    assert terms(mixed)["weights"] == pytest.approx(6.738e9 * 4 / GIB)
    held = setup("full", precision=Precision(4, 4, compute_copy=2), grad_accum=2)
    assert terms(held)["weights"] == pytest.approx(6.738e9 * 6 / GIB)


def test_adapters_are_float32_with_float32_adam() -> None:
    """4 bytes for the adapter, 4 for its gradient, 8 for two moments: 16 a parameter."""
    found = terms(setup())
    per = 39_976_960 / GIB
    assert found["adapters"] == pytest.approx(4 * per)
    assert found["gradients"] == pytest.approx(4 * per)
    assert found["optimizer"] == pytest.approx(8 * per)


@pytest.mark.parametrize(
    ("optimizer", "reading", "bytes_each"),
    [
        (Optimizer(2), "allocated", 4.0),  # bf16 moments of bf16 parameters
        (Optimizer(2, 1), "allocated", 2 * (1 + 4 / 256)),
        (Optimizer(2, 1, paged=True), "allocated", 0.0),  # managed: not in the allocator's count
        (Optimizer(2, 1, paged=True), "device", 2 * (1 + 4 / 256)),
        (Optimizer(0), "allocated", 0.0),
    ],
)
def test_optimizer_states_of_a_full_run(
    optimizer: Optimizer, reading: memory.Reading, bytes_each: float
) -> None:
    found = terms(setup("full", optimizer=optimizer, reading=reading))
    assert found["optimizer"] == pytest.approx(6.738e9 * bytes_each / GIB)


def test_what_a_layer_keeps_by_hand() -> None:
    """Two norms in float32: 8·4096. q, k, v: 2·3·4096. Attention's output: 2·4096, and a float32
    for each of 32 heads. The gated MLP: 6·11008. Full: two norms' and linears' inputs 8·4096, and
    down's 2·11008. LoRA on all: each float32 input, 4·(6·4096 + 11008), and r of each, 4·7·16."""
    shared = 8 * 4096 + 6 * 4096 + 2 * 4096 + 4 * 32 + 6 * 11008
    assert layer_bytes(setup("full")) == shared + 8 * 4096 + 2 * 11008
    assert layer_bytes(setup()) == shared + 4 * (6 * 4096 + 11008) + 4 * 7 * 16


def test_activations_with_and_without_checkpointing() -> None:
    """Without: every layer keeps its tensors. With: its 16-bit input, and one is recomputed."""
    one = layer_bytes(setup()) * 2048
    off = terms(setup(checkpointing=False))
    assert off["activations"] == pytest.approx(32 * one / GIB)
    on = terms(setup(loss="fused"))
    turn = (4 * 11008 + 2 * 4096) * 2048  # gradients of an MLP's two halves and of its input
    assert on["activations"] == pytest.approx((32 * 2 * 4096 * 2048 + one + turn) / GIB)
    away = terms(setup(loss="fused", stack=Stack(offload=True)))
    assert away["activations"] == pytest.approx((one + turn) / GIB)


def test_what_a_compiler_and_fused_kernels_do_not_keep() -> None:
    """Full: a compiler recomputes norms before their weights (4·4096) and what goes into down
    (2·11008). Fused kernels keep norms' inputs in 16 bits, and SiLU's result not at all."""
    plain = layer_bytes(setup("full"))
    assert (
        plain - layer_bytes(setup("full", stack=Stack(kernels="compiled"))) == 4 * 4096 + 2 * 11008
    )
    fused = layer_bytes(setup("full", stack=Stack(kernels="fused")))
    assert plain - fused == 4 * 4096 + 2 * 11008 + 4 * 4096 + 2 * 11008


def test_adapters_of_the_models_own_type_share_their_inputs() -> None:
    """litgpt, torchtune: one 16-bit input for q, k, v, one for gate and up, down's own."""
    frozen = 8 * 4096 + 6 * 4096 + 2 * 4096 + 4 * 32 + 6 * 11008
    native = Stack(inputs="native")
    assert layer_bytes(setup(stack=native)) == frozen + 4 * 4096 + 2 * 11008 + 2 * 7 * 16
    assert terms(setup(stack=native))["adapters"] == pytest.approx(2 * 39_976_960 / GIB)


def test_a_k_bit_base_as_peft_prepares_it() -> None:
    """Embeddings, head and norms in float32; hidden states too, so that a checkpoint keeps 4 bytes
    of each and the logits are four float32 tables."""
    up = setup("qlora-nf4", stack=Stack(upcast=True))
    rest = 6.738e9 - 6_476_005_376
    assert terms(up)["weights"] == pytest.approx((6_476_005_376 * 4.5 / 8 + rest * 4) / GIB)
    one = 2 * (4 * 11008 + 2 * 4096) + layer_bytes(up)
    assert terms(up)["activations"] == pytest.approx((32 * 4 * 4096 + one) * 2048 / GIB)
    all_kept = terms(up._replace(checkpointing=False))
    assert all_kept["logits"] == pytest.approx(16 * 32000 * 2048 / GIB)


def test_eager_attention_keeps_its_scores() -> None:
    """6 bytes a head and pair of tokens: float32 and 16 bits."""
    eager = layer_bytes(setup(stack=Stack(eager=True)))
    assert eager - layer_bytes(setup()) == 6 * 32 * 2048


def test_what_several_gpus_divide() -> None:
    """ZeRO-1 divides the moments, ZeRO-2 the gradients too, ZeRO-3 and FSDP the weights as well."""
    one = terms(setup("full", grad_accum=2))
    for sharding, divided in (
        ("ddp", set()), ("zero1", {"optimizer"}), ("zero2", {"optimizer", "gradients"}),
        ("zero3", {"optimizer", "gradients", "weights"}),
    ):  # fmt: skip
        here = terms(setup("full", grad_accum=2, gpus=8, sharding=sharding))
        for name in ("optimizer", "gradients", "weights"):
            share = 8 if name in divided else 1
            assert here[name] == pytest.approx(one[name] / share), (sharding, name)


def test_ppo_peaks_while_it_generates_or_while_it_learns() -> None:
    """Keys and values of 512 answers of 2,048 tokens: 2·2·4096·32 bytes a token, more than a step;
    of one, less."""
    many = terms(setup(rollout=512, logits=True))
    assert many["kv_cache"] == pytest.approx(4 * 4096 * 32 * 2048 * 512 / GIB)
    assert many["activations"] == 0
    assert "kv_cache" not in terms(setup(rollout=1))
    four = terms(setup(learners=2, frozen_copies=2))
    assert four["weights"] == pytest.approx(4 * 6.738e9 * 2 / GIB)


def test_a_shared_prompt_is_computed_once() -> None:
    pair = setup(sequences=2, shared_prompt=1500)
    assert pair.tokens == 2 * 2048 - 1500


def test_freeze_and_galore() -> None:
    """freeze: gradients and moments of the last two of 32 blocks. GaLore: moments of r × n and a
    projector of m × r for each m × n matrix (Zhao et al. 2024, table 1)."""
    last = terms(setup("full", grad_accum=2)._replace(method=Method("freeze", layers=2)))
    assert last["gradients"] == pytest.approx(6_476_005_376 * 2 / 32 * 2 / GIB)
    low = terms(setup("full")._replace(method=Method("galore", rank=128)))
    square, wide = 2 * 128 * 4096 + 128 * 4096, 2 * 128 * 11008 + 128 * 4096
    rest = 2 * (6.738e9 - 6_476_005_376)
    assert low["optimizer"] == pytest.approx(2 * (32 * (4 * square + 3 * wide) + rest) / GIB)


def test_logits_are_made_for_every_token_unless_the_loss_is_fused() -> None:
    found = terms(setup(checkpointing=False))
    assert found["logits"] == pytest.approx(12 * 32000 * 2048 / GIB)
    assert terms(setup(checkpointing=False, logits=False))["logits"] == 0


def test_the_worst_moment_of_a_full_run() -> None:
    """With checkpointing, all gradients at the end of the backward pass outweigh the logits; with
    accumulation they are there during the next forward pass as well."""
    found = terms(setup("full"))
    assert found["gradients"] == pytest.approx(6.738e9 * 2 / GIB)
    assert found["logits"] == 0
    held = terms(setup("full", grad_accum=2))
    assert held["gradients"] == found["gradients"]
    assert held["logits"] > 0
    swept = terms(setup("full", optimizer=Optimizer(2, in_backward=True)))
    assert swept["gradients"] <= 32000 * 4096 * 2 / GIB


def test_preference_pairs_take_two_sequences() -> None:
    pair, single = setup(sequences=2, micro_batch=1), setup(micro_batch=2)
    assert terms(pair) == terms(single)


def test_a_shape_that_is_not_dense_is_refused() -> None:
    experts = LLAMA_7B.model_copy(update={"params_B": 46.7})
    with pytest.raises(Unclear, match="mixture of experts"):
        peak(setup(arch=experts))


SETUPS = st.builds(
    setup,
    st.sampled_from(sorted(METHODS)),
    arch=st.sampled_from([LLAMA_7B, LLAMA_13B]),
    seq_len=st.integers(16, 16384),
    micro_batch=st.integers(1, 16),
    grad_accum=st.integers(1, 4),
    checkpointing=st.booleans(),
    optimizer=st.builds(Optimizer, st.integers(0, 3), st.sampled_from([None, 1]), st.booleans()),
    loss=st.sampled_from(["full", "chunked", "fused"]),
    reading=st.sampled_from(["allocated", "reserved", "device"]),
    lora_r=st.integers(1, 256),
)


@given(SETUPS)
def test_more_of_anything_never_needs_less(run: Setup) -> None:
    here = peak(run)
    assert 0 < here.low < here.gib < here.high
    assert here.gib == pytest.approx(sum(here.terms.values()))
    assert all(value >= 0 for value in here.terms.values())
    for more in (
        {"seq_len": run.seq_len + 1},
        {"micro_batch": run.micro_batch + 1},
        {"grad_accum": run.grad_accum + 1},
        {"lora_r": run.lora_r + 1},
        {"sequences": 2},
        {"loss": "full"},
        {"reading": "device"},
        {"optimizer": run.optimizer._replace(states=run.optimizer.states + 1)},
    ):
        assert peak(run._replace(**more)).gib >= here.gib - 1e-9, more  # type: ignore[arg-type]


@given(SETUPS, st.integers(1, 200), st.integers(1, 200))
def test_fits_is_judged_on_the_upper_end_of_what_the_device_holds(
    run: Setup, a: int, b: int
) -> None:
    found = peak(run._replace(reading="device"))
    answer = fits([run], (min(a, b), max(a, b)))
    if answer is True:
        assert found.high <= min(a, b)
    elif answer is False:
        assert found.low > max(a, b)
    else:
        assert found.high > min(a, b)
        assert found.low <= max(a, b)


def test_an_arch_may_have_two_mlp_matrices() -> None:
    two = Arch(vocab=100, hidden=8, layers=1, heads=2, kv_heads=1, head_dim=4, ffn=16,
               mlp_linears=2, params_B=1e-6)  # fmt: skip
    assert two.block == 8 * 8 + 2 * 8 * 4 + 8 * 8 + 2 * 8 * 16
