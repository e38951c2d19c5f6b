"""The opponents' own environment: TRL beside the very torch, transformers and peft that we use.

`.venv-bench/` sees this environment's packages through a `.pth` file, so that both sides run the
same kernels; only TRL, and what it needs besides, is installed into it. TRL 1.12, the last with
PPO, goes into a folder of its own that is put on PYTHONPATH for that duel alone.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".venv-bench"
PYTHON = HOME / "bin" / "python"
TRL, PPO_TRL = "1.16.0", "1.12.0"
PPO_FOLDER = HOME / f"trl-{PPO_TRL}"
# What must be the same code on both sides, or the duel measures something else.
SHARED = ("torch", "transformers", "peft", "accelerate", "tokenizers", "numpy")

_ASK = """
import importlib.metadata as m, json, sys
print(json.dumps({name: [m.version(name), str(m.distribution(name).locate_file(""))]
                  for name in sys.argv[1:]}))
"""


def _pip(*words: str) -> None:
    done = subprocess.run([str(PYTHON), "-m", "pip", "install", "--quiet",
                           "--disable-pip-version-check", *words], check=False)  # fmt: skip
    if done.returncode:
        sys.exit(f"bench: could not install {words[-1]} into {HOME.name}; see pip's words above")


def install() -> None:
    """Make the environment; nothing to do the second time."""
    stamp = HOME / "ready.json"
    wanted = {"trl": TRL, "ppo": PPO_TRL, **{n: importlib.metadata.version(n) for n in SHARED}}
    if stamp.exists() and json.loads(stamp.read_text()) == wanted:
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(HOME)}))
    (site / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pins = HOME / "pins.txt"
    pins.write_text("".join(f"{name}=={wanted[name]}\n" for name in SHARED))
    _pip("-c", str(pins), f"trl=={TRL}")
    _pip("--no-deps", "--target", str(PPO_FOLDER), f"trl=={PPO_TRL}")
    check()
    stamp.write_text(json.dumps(wanted))


def check() -> None:
    """Both sides must load the same files; exits with a line if pip laid down another copy."""
    ask = [str(PYTHON), "-c", _ASK, *SHARED]
    found = json.loads(subprocess.run(ask, check=True, capture_output=True, text=True).stdout)
    for name in SHARED:
        ours = importlib.metadata.distribution(name)
        if found[name] != [ours.version, str(ours.locate_file(""))]:
            sys.exit(f"bench: {HOME.name} has its own {name} {found[name][0]}; delete {HOME.name}")
