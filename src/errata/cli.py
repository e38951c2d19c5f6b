"""The command line: one table of stages, and a parser of sixty lines.

    errata <stage> [-C DIR] [--config FILE] [--json] [--debug]
           [key=value | --key value | --flag]… [FILE…]

A stage is a module with a docstring, a `Config` and a `main(ws, config) -> Outcome`; it is imported
only when it is called. Exit codes: 0 done or pass, 1 failed, 2 usage, config or bad input,
3 blocked, 4 no decision.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from errata.errors import BadInput, ErrataError
from errata.language import UNSEEN, say, unescaped, visible

if TYPE_CHECKING:
    from errata.outcome import Outcome

STAGES: dict[str, tuple[str, str, str]] = {
    "init": ("errata.init", "lay down a workspace that works as it is", "建立开箱即用的工作区"),
    "demo": ("errata.demo", "the whole loop on the embedded model", "用内置小模型跑通全流程"),
    "status": (
        "errata.store.status",
        "where everything stands, and the next action",
        "现状与下一步",
    ),
    "doctor": (
        "errata.doctor.stage",
        "check machine, models, data and configs; what to fix first",
        "检查机器、模型、数据与配置，先修什么",
    ),
    "check": (
        "errata.release.check",
        "every deliverable with its digest; what is lacking",
        "交付物清单与摘要，缺什么",
    ),
    "intake": ("errata.intake.stage", "raw rows → data/failures.jsonl", "原始失败样本 → 脱敏入库"),
    "redact": ("errata.intake.redact_stage", "redact JSONL from stdin", "对标准输入的 JSONL 脱敏"),
    "build": (
        "errata.build.stage",
        "failures → SFT rows and preference pairs",
        "失败样本 → SFT 与偏好对",
    ),
    "review": (
        "errata.build.review",
        "what waits for a person: answers, pairs, labels",
        "待人工处理的回答、偏好对与标签",
    ),
    "promote": (
        "errata.evaluate.promote",
        "a failure → a regression case; where each stands",
        "失败样本 → 回归用例及其状态",
    ),
    "sft": ("errata.train.sft", "supervised fine-tuning with LoRA", "LoRA 监督微调"),
    "dpo": ("errata.train.dpo", "direct preference optimisation", "DPO 偏好对齐"),
    "rm": ("errata.train.reward", "train a reward model", "训练奖励模型"),
    "ppo": ("errata.train.ppo", "RLHF with adaptive KL", "PPO（自适应 KL）"),
    "evaluate": ("errata.evaluate.stage", "business suite → metrics", "业务回归评估"),
    "mtbench": (
        "errata.evaluate.mtbench.stage",
        "two-turn questions, graded by a judge or by checks",
        "两轮问题评分（评审模型或机械判定）",
    ),
    "human": (
        "errata.evaluate.people.stage",
        "a sample for people to rate: sheets, queue, report",
        "人工抽检：评分表、队列与报告",
    ),
    "safety": ("errata.safety.audit", "attack suites → metrics and reports", "安全红队回归"),
    "suite": (
        "errata.safety.suite_stage",
        "attack suites of other projects → suites/foreign.jsonl",
        "导入其他项目的攻击集",
    ),
    "mitigate": (
        "errata.safety.mitigate",
        "what isolation, prompt, filter and training change",
        "隔离、提示词、过滤器与训练的效果",
    ),
    "judge": (
        "errata.safety.judge_stage",
        "refusal or answer; `judge eval`: a judge's licence",
        "判别拒答；`judge eval` 测出判别器的许可",
    ),
    "leak": ("errata.safety.leak_stage", "secrets given away, in any code", "检测泄露的秘密"),
    "compare": ("errata.compare", "effect and cost of runs side by side", "并列比较效果与成本"),
    "guard": ("errata.safety.guard.stage", "the output filter: check, eval, train", "输出过滤器"),
    "gate": ("errata.release.gate", "evidence of one digest → verdict", "发布门禁"),
    "waive": ("errata.release.waiver", "signed, scoped, expiring exceptions", "签署、限时的豁免"),
    "rollout": ("errata.release.rollout", "1 → 5 → 25 → 100 %", "灰度发布 1→5→25→100%"),
    "rollback": (
        "errata.release.rollback",
        "route back to the last good release",
        "回滚到上一个好版本",
    ),
    "gateway": (
        "errata.gateway.stage",
        "before any model server: routes, filters, measures",
        "模型服务前的网关：路由、过滤、度量",
    ),
    "monitor": (
        "errata.release.monitor",
        "live window → alerts and new failures",
        "线上监控与失败回写",
    ),
    "card": ("errata.release.card", "the model card, from the records", "由记录生成模型卡"),
    "serve": (
        "errata.serve.stage",
        "an OpenAI-compatible server of this workspace's models",
        "兼容 OpenAI 接口的模型服务",
    ),
    "export": (
        "errata.export.stage",
        "merged, quantised, GGUF: a new candidate",
        "合并、量化、GGUF",
    ),
    "bench": ("errata.infer.stage", "throughput, latency, quality delta", "推理基准"),
    "cost": ("errata.cost.stage", "memory, hours and money, low and high", "显存、时长与费用区间"),
    "runs": ("errata.store.show", "list the runs", "列出所有 run"),
    "trace": ("errata.store.trace", "lineage of an id, both ways", "双向溯源"),
    "diff": ("errata.store.versions", "rows that differ between two versions", "数据版本差异"),
    "checkout": (
        "errata.store.checkout",
        "data/, configs/, policies/ as they were",
        "恢复历史状态",
    ),
    "repair": (
        "errata.store.repair",
        "record what was changed for a failure",
        "登记针对失败的修复",
    ),
    "erase": (
        "errata.privacy.erase",
        "a person's rows, everywhere; who learnt from them",
        "删除某人的数据",
    ),
    "reveal": ("errata.privacy.vault", "a value that redaction took out", "查看保险库中的原值"),
    "audit": ("errata.store.audit", "`audit verify`: find and locate tampering", "审计链校验"),
}
_GRAMMAR = "[-C DIR] [--config FILE] [--json] [--debug] [key=value | --key value | --flag]… [FILE…]"


@dataclass
class Words:
    """The command line, taken apart."""

    stage: str = ""
    directory: str | None = None
    config: str | None = None
    flags: set[str] = field(default_factory=set)
    rest: list[str] = field(default_factory=list)


def split(argv: Sequence[str]) -> Words:
    """Take the words every stage shares out of `argv`; the others go to the stage as they are."""
    words, queue = Words(), list(argv)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.partition("=")
        if name in ("-C", "--config"):
            if not equals and not queue:
                raise BadInput(f"{name} needs a value")
            value = value if equals else queue.pop(0)
            if name == "-C":
                words.directory = value
            else:
                words.config = value
        elif word in ("--json", "--debug", "--help", "-h", "--version"):
            words.flags.add("--help" if word == "-h" else word)
        elif not words.stage and not word.startswith("-"):
            words.stage = word
        else:
            words.rest.append(word)
    return words


def overrides(rest: Sequence[str], flags: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """`--key value`, `--key=value`, `--flag` and `key=value` → overrides; others: positionals.

    `flags` says of each setting whether it is one that needs no value.
    """
    found: list[str] = []
    positionals: list[str] = []
    queue = list(rest)
    while queue:
        word = queue.pop(0)
        if word == "--":
            positionals += queue
            break
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            key = key.replace("-", "_")
            if not equals:
                wants = bool(queue) and not queue[0].startswith("--")
                if flags.get(key):
                    wants = wants and queue[0] in ("true", "false")
                elif key in flags and not wants:
                    raise BadInput(f"--{key} needs a value")
                value = queue.pop(0) if wants else "true"
            found.append(f"{key}={value}")
        elif re.match(r"[A-Za-z_][\w.]*=", word):
            found.append(word)
        else:
            positionals.append(word)
    return found, positionals


def stage_module(name: str) -> Any:
    """The module of a stage; an unknown name gets a hint."""
    if name not in STAGES:
        close = difflib.get_close_matches(name, STAGES, n=1)
        advice = f"did you mean `{close[0]}`?" if close else "see `errata --help`"
        raise BadInput(f"no command `{name}`; {advice}")
    return importlib.import_module(STAGES[name][0])


def run(words: Words) -> Outcome:
    """Import the stage, make its config, call it."""
    from errata.config import load  # here: pydantic costs 0.15 s that `--help` need not pay
    from errata.workspace import Workspace

    module = stage_module(words.stage)
    start = Path(words.directory or Path.cwd())
    if getattr(module, "NEEDS_WORKSPACE", True):
        ws = Workspace.find(start)
    else:
        ws = Workspace(start.expanduser().resolve())
    fields = module.Config.model_fields
    aliases = getattr(module, "ALIASES", {})
    flags = {name: info.annotation is bool for name, info in fields.items()}
    flags |= {alias: flags.get(name, False) for alias, name in aliases.items()}
    typed, positionals = overrides(words.rest, flags)
    if positionals and "args" not in fields:
        raise BadInput(
            f"`errata {words.stage}` takes no `{positionals[0]}`; write key=value, or see --help"
        )
    default = getattr(module, "DEFAULT_CONFIG", f"{words.stage}.yaml")
    path = config_file(ws.root, words.config, default)
    extra: dict[str, Any] = {"args": positionals} if positionals else {}
    if "as_json" in fields and "--json" in words.flags:  # a server has more to say than its end
        extra["as_json"] = True
    config = load(
        path,
        module.Config,
        typed,
        aliases=aliases,
        extra=extra,
        name=ws.relative(path) if path else None,
    )
    outcome: Outcome = module.main(ws, config)
    return outcome


def config_file(root: Path, given: str | None, default: str) -> Path | None:
    """--config as a path from here, the workspace or its configs/; else the stage's own."""
    if given is None:
        path = root / "configs" / default
        return path if path.is_file() else None
    for path in (Path(given).expanduser(), root / given, root / "configs" / given):
        if path.is_file():
            return path.resolve()
    raise BadInput(f"{given}: no such config; looked here, in the workspace and in its configs/")


def help_text() -> str:
    """All commands, one line each, in the reader's language."""
    head = say("From a model's failures to its next release.", "把模型的失败变成下一次发布。")
    lines = [f"errata <{say('command', '命令')}> {_GRAMMAR}", "", head, ""]
    lines += [f"  {name:<10}{say(en, zh)}" for name, (_, en, zh) in STAGES.items()]
    foot = say(
        "`errata <command> --help` lists its settings.", "`errata <命令> --help` 列出其设置。"
    )
    lines += ["", foot]
    return "\n".join(lines)


def stage_help(name: str) -> str:
    """The docstring of a stage and each of its settings with default and meaning."""
    module = stage_module(name)
    lines = [f"errata {name} {_GRAMMAR}", "", (module.__doc__ or "").strip(), ""]
    for key, info in module.Config.model_fields.items():
        default = info.get_default(call_default_factory=True)
        shown = say("required", "必填") if info.is_required() else _shown(default)
        lines.append(f"  {key:<18} {info.description or ''} [{shown}]")
    aliases = getattr(module, "ALIASES", {})
    lines += [f"  {alias:<18} = {key}" for alias, key in aliases.items()]
    return "\n".join(lines).rstrip()


def _shown(value: Any) -> str:
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, str) and value:
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    what = error.strerror or str(error)
    step = "check the path and its permissions, then run the command again"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        step = "nothing half-written is left; free some space and run the command again"
    return f"{where}{what}; {step}"


def _json(told: Any) -> str:
    text = json.dumps(told, ensure_ascii=False, default=str)
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _report(message: str, code: int, words: Words) -> int:
    one_line = visible(" ".join(message.split()))
    sys.stderr.write(f"errata: {one_line}\n")
    if "--json" in words.flags:
        sys.stdout.write(_json({"error": one_line, "code": code}) + "\n")
    return code


def _dispatch(words: Words) -> int:
    if "--version" in words.flags:
        from errata import __version__

        sys.stdout.write(f"errata {__version__}\n")
        return 0
    if not words.stage and ("--help" in words.flags or not words.rest):
        sys.stdout.write(help_text() + "\n")
        return 0 if "--help" in words.flags else 2
    if not words.stage:
        raise BadInput(f"`{words.rest[0]}` before a command; see `errata --help`")
    if "--help" in words.flags:
        sys.stdout.write(stage_help(words.stage) + "\n")
        return 0
    outcome = run(words)
    if outcome.text:
        sys.stdout.write(visible(unescaped(outcome.text.rstrip("\n"))) + "\n")
    if "--json" in words.flags:
        from errata.jsonl import plain

        sys.stdout.write(_json(plain(outcome.data)) + "\n")
    sys.stdout.flush()
    return outcome.code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; every way it can fail is one line on stderr and an exit code."""
    # OpenMP's threads spin 300,000 times while they wait for each other: with another program on
    # the same cores, training took five times as long. 20,000 is as fast on an idle machine (40
    # SFT steps: 6.8 s; 7.1 s by default; 10.3 s with no spinning). Read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # Large tensors in huge pages, where Linux gives them: a third of the page faults, 2 % of the
    # CPU-seconds and 3 % of the peak memory of a DPO run with 61 M parameters.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    words = Words()
    try:
        words = split(sys.argv[1:] if argv is None else argv)
        return _dispatch(words)
    except ErrataError as error:
        if "--debug" in words.flags:
            raise
        if error.shown:
            sys.stdout.write(visible(error.shown.rstrip("\n")) + "\n")
        return _report(str(error), error.exit_code, words)
    except BrokenPipeError:
        # The reader (head, less) has gone: no more output, and no trace at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if "--debug" in words.flags:
            raise
        return _report(_os_error(error), 1, words)
    except KeyboardInterrupt:
        return _report("interrupted", 130, words)
    except Exception as error:
        if "--debug" in words.flags:
            raise
        what = f"{words.stage}: {type(error).__name__}: {error}"
        return _report(f"{what}; this is a bug, --debug shows the trace", 1, words)


def start(argv: Sequence[str] | None = None) -> NoReturn:
    """`main`, and the end of the process. One of several ends at once: on a busy machine, threads
    of torch's process group abort an interpreter that winds down, after all was done."""
    code = main(argv)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
