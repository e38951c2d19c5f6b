"""The table of stages: what `errata <name>` runs, and one line of help in each language.

A stage is a module with a docstring, a `Config` and a `main(ws, config) -> Outcome`; it is imported
only when it is called.
"""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from errata.errors import BadInput

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
    "web": ("errata.web.stage", "the desk: a local web app", "工作台：本地网页应用"),
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


def stage_module(name: str) -> Any:
    """The module of a stage; an unknown name gets a hint."""
    if name not in STAGES:
        close = difflib.get_close_matches(name, STAGES, n=1)
        advice = f"did you mean `{close[0]}`?" if close else "see `errata --help`"
        raise BadInput(f"no command `{name}`; {advice}")
    return importlib.import_module(STAGES[name][0])
