"""What every test may use: a workspace, rows to train on, no trace of this machine's settings."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest
from safetensors.torch import load_file

from errata import git, jsonl
from errata.records import Case, Message, Predicate, PreferencePair, SftExample
from errata.workspace import Workspace


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """English, and the workspace's own store."""
    monkeypatch.setenv("ERRATA_LANG", "en")
    monkeypatch.delenv("ERRATA_DATABASE_URL", raising=False)


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """An empty workspace in a git repository with one commit; no suites, no configs."""
    root = tmp_path / "ws"
    for folder in ("configs", "policies", "suites", "data", "reports", "inbox"):
        (root / folder).mkdir(parents=True)
    for folder in ("data", "reports"):
        (root / folder / ".gitkeep").touch()
    (root / ".gitignore").write_text("inbox/\nruns/\n.errata/\n")
    git.git(root, "init", "--quiet", "--initial-branch=main", ".")
    found = Workspace.find(root)
    git.commit(found, ["."], "first")
    return found


@pytest.fixture
def ws(bare: Workspace) -> Workspace:
    """The same; what is tested on both databases overrides it (tests/store/conftest.py)."""
    return bare


# Models this small are fastest on one thread, and tests on two cores run beside each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Read when huggingface_hub is imported, which a session's fixture does before any test's own.
os.environ["HF_HUB_OFFLINE"] = "1"

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "head_dim": 8,
    "max_position_embeddings": 512,
    # Weights far larger than usual, so that random models differ clearly from prompt to prompt.
    "initializer_range": 0.3,
}
# One of each kind of trouble: soft-capped logits, sliding windows, norms on queries and keys, and
# positions that are counted and not turned (a wrong start shows in no other).
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {},
    "gemma2": {"final_logit_softcapping": 5.0, "query_pre_attn_scalar": 8, "sliding_window": 16},
    "mistral": {"sliding_window": 16},
    "qwen2": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
}


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Name → folder of a checkpoint with random weights and the desk's tokenizer, made once."""
    folder = tmp_path_factory.mktemp("models")

    @cache
    def make(kind: str = "llama") -> str:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        from errata.tiny import corpus, pretrain, tokenizer

        rng = Random(0)
        texts = [pretrain.render(corpus.draw(rng, 1.0, corpus.BROAD)) for _ in range(300)]
        tok = tokenizer.train(texts, 512)
        ends = {"pad_token_id": tok.pad_token_id, "bos_token_id": tok.bos_token_id}
        shape = {**SMALL, **SHAPES[kind], **ends, "eos_token_id": tok.eos_token_id}
        config = AutoConfig.for_model(kind, vocab_size=len(tok), **shape)
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config)
        model.save_pretrained(folder / kind)
        tok.save_pretrained(folder / kind)
        return str(folder / kind)

    return make


ITEMS = [("amber lamp", 42), ("jade kettle", 17), ("solar fan", 230), ("misty tent", 88)]
ASKED = [
    "How much is the {}?",
    "What does the {} cost?",
    "What is the price of the {}?",
    "{} 多少钱？",
]


@pytest.fixture
def lessons(ws: Workspace, tiny_models: Callable[[str], str]) -> Workspace:
    """16 SFT rows and 16 pairs (the good answer cites, the bad one insults), of uneven lengths."""
    rows, pairs = [], []
    for number, (item, price) in enumerate(ITEMS):
        for way, ask in enumerate(ASKED):
            id = f"{number}-{way}"
            prompt = [
                Message(
                    role="documents", content=f"[1] The {item} costs {price} yuan." * (way + 1)
                ),
                Message(role="user", content=ask.format(item)),
            ]
            good = f"It costs {price} yuan. [1]" + " Thank you for asking." * number
            said = [*prompt, Message(role="assistant", content=good)]
            rows.append(SftExample(id=f"s-{id}", messages=said, why="w", origin="reference"))
            pairs.append(
                PreferencePair(
                    id=f"p-{id}",
                    prompt=prompt,
                    chosen=good,
                    rejected="You stupid fool!",
                    reason="r",
                )
            )
    jsonl.write(ws.data / "sft.jsonl", rows)
    jsonl.write(ws.data / "prefs.jsonl", pairs)
    return ws


@pytest.fixture
def knobs(tiny_models: Callable[[str], str]) -> dict[str, Any]:
    """A panel for seconds, not minutes; the loss at every step."""
    return {
        "model": tiny_models("llama"),
        "max_steps": 6,
        "micro_batch": 4,
        "lora_r": 4,
        "lora_alpha": 8.0,
        "lr": 1e-2,
        "seq_len": 256,
    }


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """The process gets one SIGTERM at the beginning of step `n` (counted from 0); the list holds
    every step that was begun, in this run and the next ones."""
    from errata.train.job import Watch

    def arm(step: int) -> list[int]:
        begun: list[int] = []

        def on_step_begin(self: Watch, args: Any, state: Any, control: Any, **_: Any) -> None:
            begun.append(state.global_step)
            if begun.count(step) == 1 and begun[-1] == step:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(Watch, "on_step_begin", on_step_begin)
        return begun

    return arm


@pytest.fixture
def adapter_of() -> Callable[[Workspace, str], dict[str, Any]]:
    """The adapter's tensors of a run."""

    def read(ws: Workspace, run_id: str) -> dict[str, Any]:
        return load_file(Path(ws.runs) / run_id / "adapter" / "adapter_model.safetensors")

    return read


@pytest.fixture
def suited(bare: Workspace) -> Workspace:
    """A workspace whose suites hold one held-out case each: nothing is replayed, nothing drawn."""
    for name, category in (("attacks", "privacy"), ("business", "catalogue")):
        asked = [Message(role="user", content=f"Something that only the {name} suite asks?")]
        one = Case(
            id=f"h-{name}", category=category, language="en", family="f", cluster=name,
            split="heldout", messages=asked, success=Predicate(kind="polite"),
        )  # fmt: skip
        jsonl.write(bare.suites / f"{name}.jsonl", [one])
    return bare


class Server:
    """An OpenAI-compatible server on loopback. `say` answers each request with a status, a body
    (bytes as they are, else JSON) and perhaps headers."""

    def __init__(self, say: Callable[[dict[str, Any]], tuple[Any, ...]]) -> None:
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.at_once, self.most, lock = 0, 0, threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.seen.append(body)
                    outer.keys.append(self.headers.get("Authorization"))
                    outer.at_once += 1
                    outer.most = max(outer.most, outer.at_once)
                status, reply, *headers = say(body)
                content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                with lock:
                    outer.at_once -= 1
                try:
                    self.send_response(status if self.path.endswith("/chat/completions") else 404)
                    for name, value in dict(*headers).items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # who asked has gone

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Starts servers that answer as a function says; nobody waits long between two tries."""
    from errata.serve import chat

    monkeypatch.setattr(chat, "BACKOFF", 0.001)
    running: list[Server] = []

    def start(say: Callable[[dict[str, Any]], tuple[Any, ...]]) -> Server:
        running.append(Server(say))
        return running[-1]

    yield start
    for server in running:
        server.http.shutdown()
        server.http.server_close()
