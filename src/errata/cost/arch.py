"""The shape of a decoder: what its config.json says, or a row of specs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from errata.cost.words import LINEARS, Unclear


class Arch(BaseModel):
    """Sizes in numbers of elements; absurd ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab: int = Field(gt=0, le=10_000_000)
    hidden: int = Field(gt=0, le=1_000_000)
    layers: int = Field(gt=0, le=10_000)
    heads: int = Field(gt=0, le=10_000)
    kv_heads: int = Field(gt=0, le=10_000)
    head_dim: int = Field(gt=0, le=100_000)
    ffn: int = Field(gt=0, le=10_000_000)
    mlp_linears: int = Field(3, ge=2, le=3)
    params_B: float = Field(gt=0, le=100_000)
    tied: bool = False

    def linears(self) -> dict[str, tuple[int, int]]:
        """(in, out) of each linear layer of a block."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        h, f = self.hidden, self.ffn
        sizes = ((h, q), (h, kv), (h, kv), (q, h), (h, f), (h, f), (f, h))
        found = dict(zip(LINEARS, sizes, strict=True))
        if self.mlp_linears == 2:
            del found["gate"]
        return found

    @property
    def block(self) -> int:
        """Weights of all linear layers of all blocks."""
        return self.layers * sum(a * b for a, b in self.linears().values())

    @property
    def embeddings(self) -> int:
        """Input and output embeddings; one matrix when tied."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def params(self) -> float:
        """All of them."""
        return self.params_B * 1e9

    def check(self) -> None:
        """A dense decoder is its blocks and embeddings; one with experts is not estimated.

        Published sizes leave embeddings out, count them once or twice, and are rounded."""
        if self.kv_heads > self.heads:
            raise Unclear(f"kv_heads {self.kv_heads} are more than heads {self.heads}")
        known = self.block + self.embeddings
        if self.params > 1.15 * known or self.params < 0.85 * self.block:
            raise Unclear(
                f"params_B {self.params_B:g} does not fit the shape, which has {known / 1e9:.2f} B:"
                " terms for experts, a second tower or other layers are missing"
                " (a mixture of experts is not estimated)"
            )


_ENCODERS = ("bert", "electra", "deberta", "roberta", "albert", "mpnet", "vit", "clip", "t5",
             "bart", "whisper", "wav2vec", "hubert")  # fmt: skip
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_intermediate_size")
_STATES = ("mamba", "rwkv", "ssm", "recurrent", "jamba", "zamba")
_NAMES: dict[str, tuple[str, ...]] = {
    "vocab": ("vocab_size",),
    "hidden": ("hidden_size", "n_embd", "d_model", "dim"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
}


def missing(said: dict[str, Any]) -> list[str]:
    """Parts of a model, by its config.json, for which there is no formula."""
    kind = str(said.get("model_type", "")).lower()
    parts = [f"experts ({name})" for name in _EXPERTS if said.get(name)][:1]
    if any(word in kind for word in _STATES):
        parts.append("layers with a state")
    if said.get("vision_config") or said.get("audio_config"):
        parts.append("a tower for images or sound")
    if said.get("kv_lora_rank"):
        parts.append("latent attention (kv_lora_rank)")
    return parts


def from_config(said: dict[str, Any], where: str) -> Arch:
    """The shape a config.json tells; Unclear names what is missing, or why there is none."""
    if isinstance(said.get("text_config"), dict) and not missing(said):
        said = {**said, **said["text_config"]}
    kind = str(said.get("model_type", "")).lower()
    decodes = any("CausalLM" in str(name) for name in said.get("architectures") or [])
    encodes = said.get("is_encoder_decoder") or any(word in kind for word in _ENCODERS)
    if encodes and not decodes:
        raise Unclear(f"{where}: {kind or 'this'} is an encoder; only decoders can be estimated")
    if parts := missing(said):
        raise Unclear(f"{where}: no estimate: terms are missing for {', '.join(parts)}")
    found: dict[str, Any] = {}
    for name, keys in _NAMES.items():
        found[name] = next((said[key] for key in keys if said.get(key)), None)
        if not isinstance(found[name], int) or found[name] < 1:
            raise Unclear(f"{where}: no '{keys[0]}'; only decoders shaped like Llama are known")
    heads, gated = found["heads"], _gated(said)
    width = said.get("intermediate_size") or said.get("ffn_dim") or said.get("n_inner")
    if not width and gated:
        raise Unclear(f"{where}: no 'intermediate_size'; only decoders shaped like Llama are known")
    kv = said.get("num_key_value_heads") or (1 if said.get("multi_query") else heads)
    bare = Arch(
        **found,
        kv_heads=kv,
        head_dim=said.get("head_dim") or max(1, found["hidden"] // heads),
        ffn=width or 4 * found["hidden"],
        mlp_linears=3 if gated else 2,
        tied=bool(said.get("tie_word_embeddings", not gated)),
        params_B=1.0,
    )
    norms = (2 * bare.layers + 1) * bare.hidden
    return bare.model_copy(update={"params_B": (bare.block + bare.embeddings + norms) / 1e9})


_TWO_MATRICES = ("gpt2", "gpt_neox", "gptj", "gpt_neo", "opt", "falcon", "phi", "bloom", "mpt",
                 "starcoder2", "gpt_bigcode", "stablelm_alpha")  # fmt: skip


def _gated(said: dict[str, Any]) -> bool:
    return str(said.get("model_type", "")).lower() not in _TWO_MATRICES
