"""Makes docs/first-hour.md: carries out what the page tells a newcomer to type, writes what came.

    python docs/first_hour.py                        setup, embedded, qwen
    python docs/first_hour.py PYTHON embedded qwen   these sections, by that interpreter's errata

Each section in a clean clone; one that is not named stays as the page has it. It stops where a
command ends otherwise than the page says. Half an hour on two idle cores.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "first-hour.md"
SHOWN = 16  # lines of an answer that the page keeps from its beginning and end; the rest is counted
WIDE = 200
WHOLE = ("cat ", "errata doctor", "errata gate", "errata status")
NEWEST = "$(errata runs --candidate)"
DATASHEET = """cat > policies/datasheet.yaml <<'END'
owner: "the desk's team, desk@example.com"
licence: proprietary
purpose: "to mend this desk's answers, and nothing else"
collected: "what customers, testers and our own model said to the desk; all of it invented"
known_gaps: "one shop, two languages, short turns"
END"""

INTRO = """# The first hour

You know Python and nothing of Errata. You have a clone and 30 failures of your own: things that a
model said and should not have said. This page goes from there to the gate's verdict, twice: on the
model that ships with the package, which passes, and on a model with random weights and Qwen's
shape, which is blocked. Every block below is what a real run printed, with the time each command
took; `docs/first_hour.py` carries out the page and writes it. Answers longer than a few lines are
cut where it says so.
"""

SETUP = (
    "## Set up",
    "In the clone; `TORCH_INDEX_URL` says where torch comes from, if not from the default index.",
    "make setup",
    'Then `export PATH="$PWD/.venv/bin:$PATH"`, and `errata` is a command.',
)

EMBEDDED = (
    "## Once with the model that ships",
    "A workspace is a folder, and a git repository of its own. Nothing is asked.",
    "errata init desk",
    "cd desk",
    "`errata doctor` looks at machine, models, data and configs, and says what to do first.",
    "errata doctor",
    "### Failures in",
    "Thirty rows, in the shapes that logs and tickets have: a question, the bad answer, what kind "
    "of failure it is, and in some the answer that a person wrote instead. "
    "[The file](examples/failures-30.jsonl) is an example; take your own.",
    "head -n 1 ../docs/examples/failures-30.jsonl",
    "errata intake ../docs/examples/failures-30.jsonl",
    "### The model's own failures",
    "Thirty failures say what goes wrong; they are too few to learn it from. So the model is asked "
    "the suites' *tune* part (the held-out part is kept for the gate), and what it gets wrong goes "
    "into the inbox. The embedded model fails nearly every attack: exit 3 means just that.",
    (3, "errata safety model=tiny split=tune write_back=inbox/attacks.jsonl"),
    "errata evaluate model=tiny split=tune 'more=[]' write_back=inbox/business.jsonl",
    "errata intake inbox/attacks.jsonl inbox/business.jsonl",
    "### Training data",
    "What is trained on attacks alone forgets how plain questions are answered, and the gate "
    "counts that too; `replay` says how many plain questions of the *tune* part are trained along.",
    "errata build replay=1800",
    "The gate lets no model out while nobody answers for the data that trained it. Five lines that "
    "only people can write:",
    DATASHEET,
    "### Training",
    "First the answers it should have given. An adapter of twice the size at a smaller step than "
    "`configs/sft.yaml` has: as it stands there (16, 32, 1.5e-3) this data cost the small model "
    "two points of accuracy, and with `replay` at its 400 one answer its source; the gate said no "
    "to both.",
    "errata sft lora_r=32 lora_alpha=64 lr=1e-3",
    "Then pairs: this answer rather than that one. At a third of the step that "
    "`configs/align/dpo.yaml` has, for the same reason: of two runs with 6e-5 the gate said no to "
    "one. When it says no to yours, these are the first things to try.",
    f"errata dpo --model {NEWEST} lr=2e-5",
    "### Evidence, on questions that never trained",
    "The new candidate, and the model that it is held against.",
    f"errata evaluate --model {NEWEST} --baseline tiny",
    ((0, 4), f"errata safety --model {NEWEST} --baseline tiny"),
    f"errata bench --model {NEWEST} 'formats=[float32]'",
    "errata evaluate model=tiny",
    (3, "errata safety model=tiny"),
    "### The verdict",
    f"errata gate --candidate {NEWEST} --baseline tiny",
    "A pass: exit 0. From here, `errata status` names the next command, and "
    "[release.md](release.md) tells how it reaches users.",
    "errata status",
)  # fmt: skip

QWEN = (
    "## Once with a model of your own",
    "Any folder that transformers loads will do. This one is made on the spot, so that nothing is "
    "downloaded: Qwen3's shape, random weights, a tokenizer with a chat template. "
    "[The program](examples/random_qwen.py):",
    "cat docs/examples/random_qwen.py",
    "python docs/examples/random_qwen.py my-qwen",
    "errata init desk-2",
    "cd desk-2",
    "The doctor reads the checkpoint as training will: template, end token, padding, sizes.",
    "errata doctor model=../my-qwen",
    "errata intake ../docs/examples/failures-30.jsonl",
    "errata build",
    DATASHEET,
    "Sixty steps of each are enough to see how it ends; leave `max_steps` out for real weights.",
    (3, "errata sft --model ../my-qwen max_steps=60"),
    "Exit 3: `accept` in `configs/sft.yaml` wants a lower loss, and says so before more is spent "
    "on this model. To see what the gate makes of it, the threshold is taken away:",
    "errata sft --model ../my-qwen max_steps=60 'accept={}'",
    ((0, 3), f"errata dpo --model {NEWEST} max_steps=60 'accept={{}}'"),
    "The same evidence. It knows nothing, and the commands say so with their exit codes.",
    f"errata evaluate --model {NEWEST} --baseline ../my-qwen",
    ((0, 3, 4), f"errata safety --model {NEWEST} --baseline ../my-qwen"),
    f"errata bench --model {NEWEST} 'formats=[float32]'",
    "errata evaluate model=../my-qwen",
    ((0, 3, 4), "errata safety model=../my-qwen"),
    (3, f"errata gate --candidate {NEWEST} --baseline ../my-qwen"),
    "Blocked: exit 3, with a reason for each line that was missed. That is the answer to expect of "
    "a model that was never trained; with real weights in `../my-qwen` the same commands hold.",
)  # fmt: skip


class Said(NamedTuple):
    """How a command ended."""

    output: str
    code: int
    seconds: float


class Newcomer:
    """A shell that stays in its folder, and what it was told."""

    def __init__(self, root: Path, bin: Path) -> None:
        self.root = self.folder = root
        path = f"{bin}{os.pathsep}{os.environ['PATH']}"
        self.env = {**os.environ, "PATH": path, "ERRATA_LANG": "en", "HF_HUB_OFFLINE": "1"}
        self.seconds = 0.0

    def type(self, command: str) -> Said:
        """Carry out one command."""
        if command.startswith("cd "):
            self.folder = (self.folder / command.removeprefix("cd ")).resolve()
            return Said("", 0, 0.0)
        began = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        seconds = time.monotonic() - began
        self.seconds += seconds
        return Said(done.stdout, done.returncode, seconds)

    def block(self, codes: tuple[int, ...], command: str) -> str:
        """The command as a page shows it; SystemExit where it ended otherwise."""
        said = self.type(command)
        sys.stderr.write(f"{said.seconds:5.0f} s  exit {said.code}  {command.splitlines()[0]}\n")
        if said.code not in codes:
            raise SystemExit(f"exit {said.code}, not {codes}: {command}\n{said.output}")
        lines = [f"$ {command}", *self.shown(said.output, whole=command.startswith(WHOLE))]
        if said.seconds >= 0.5 or said.code:
            code = f", exit {said.code}" if said.code else ""
            lines.append(f"({said.seconds:.0f} s{code})")
        return "\n".join(["```", *lines, "```"])

    def shown(self, output: str, whole: bool) -> Iterator[str]:
        """The lines, without what is of this machine; the middle of a long answer is counted."""
        text = output.replace(str(self.root), "~").rstrip("\n")
        # What pip warns of begins so where this machine's mirrors lack a package.
        told = [one for one in text.splitlines() if not one.startswith("WARNING: Location")]
        lines = [re.sub(f"^(.{{{WIDE}}}).+", r"\1…", line) for line in told]
        if whole or len(lines) <= SHOWN + 2:
            return iter(lines)
        half = SHOWN // 2
        cut = f"  … {len(lines) - 2 * half} lines …"
        return iter([*lines[:half], cut, *lines[-half:]])


def is_command(part: str) -> bool:
    """Prose begins with a capital, a backtick or a heading; commands do not."""
    return part.split(" ", 1)[0] in ("errata", "cd", "cat", "head", "python", "make")


def wrapped(prose: str) -> str:
    """Paragraphs as wide as the other pages have them."""
    return "\n\n".join(
        textwrap.fill(part, 100, break_long_words=False, break_on_hyphens=False)
        for part in prose.split("\n\n")
    )


def carried_out(
    newcomer: Newcomer, parts: tuple[str | tuple[int | tuple[int, ...], str], ...]
) -> str:
    """The parts of a page, each command with what it printed."""
    newcomer.folder = newcomer.root
    out = []
    for part in parts:
        codes, text = part if isinstance(part, tuple) else (0, part)
        codes = codes if isinstance(codes, tuple) else (codes,)
        out.append(newcomer.block(codes, text) if is_command(text) else wrapped(text))
    return "\n\n".join(out)


SECTIONS = {"setup": SETUP, "embedded": EMBEDDED, "qwen": QWEN}


def section(name: str, python: str) -> str:
    """One section, carried out in a clean clone of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "errata"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(root)], check=True)
        newcomer = Newcomer(root, Path(python).absolute().parent if python else root / ".venv/bin")
        text = carried_out(newcomer, SECTIONS[name])
    return f"{text}\n\nThe commands of this section took {newcomer.seconds / 60:.0f} minutes.\n"


def main(python: str = "", *names: str) -> None:
    """The sections named, or all; the others stay as the page has them."""
    there = re.split("^(?=## )", PAGE.read_text("utf-8"), flags=re.M)[1:] if PAGE.is_file() else []
    kept = {text.split("\n", 1)[0]: text for text in there}
    out = [INTRO]
    for name, parts in SECTIONS.items():
        if name in (names or SECTIONS):
            out.append(section(name, python))
        elif found := kept.get(str(parts[0])):
            out.append(found.rstrip() + "\n")
    PAGE.write_text("\n".join(out), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
