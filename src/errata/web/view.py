"""How a page is made: templates, the reader's language, and text that somebody hostile wrote."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from errata import __version__, report
from errata.intake.redact import load_policy, redact_many, workspace_key
from errata.language import is_chinese, say, visible
from errata.report import bounds
from errata.store.database import now
from errata.web import chart
from errata.web.words import word
from errata.workspace import Workspace

LONG = 2000  # characters of a text that a page shows; the rest has an address of its own
PAGES = (
    ("/", "Loop", "闭环"),
    ("/failures", "Failures", "失败样本"),
    ("/review", "Review", "人工审核"),
    ("/runs", "Runs", "运行"),
    ("/verdicts", "Verdict", "裁决"),
    ("/rollout", "Rollout", "灰度"),
    ("/lineage", "Lineage", "溯源"),
    ("/cost", "Cost", "成本"),
    ("/reports", "Reports", "报告"),
)


def passage(text: str | None, whole: str = "", limit: int = LONG) -> Markup:
    """Text as it was written, and as nothing but text: markup is escaped, what would turn the
    writing's direction is spelled out, and only the beginning of a long one is shown."""
    told = text or ""
    cut = told[:limit]
    out = Markup('<bdi class="said">{}</bdi>').format(visible(cut))
    if len(told) <= limit:
        return out
    more = say(f"… {len(told):,} characters in all", f"…… 共 {len(told):,} 字符")
    link = Markup('<a href="{}">{}</a>').format(whole, more) if whole else escape(more)
    return Markup('{} <span class="more">{}</span>').format(out, link)


def hidden(ws: Workspace, texts: Sequence[str]) -> list[str]:
    """Texts as today's policy lets them be seen: what was kept under an older one may say more."""
    found = redact_many(texts, load_policy(ws).rules, workspace_key(ws))
    return [one.text for one in found]


def ago(ts: str | None) -> str:
    """How long ago a time of a record was: `3 d`."""
    try:
        then = datetime.datetime.fromisoformat((ts or "").replace("Z", "+00:00"))
    except ValueError:
        return "–"
    if then.tzinfo is None:
        then = then.replace(tzinfo=datetime.UTC)
    seconds = max(0, int((datetime.datetime.now(datetime.UTC) - then).total_seconds()))
    return span(seconds)


def shown(value: float | None, unit: str = "") -> str:
    """A number for people, in their language where there is none."""
    return say("no data", "无数据") if value is None else report.shown(value, unit)


def span(seconds: float) -> str:
    """Seconds in the largest unit that fits."""
    units = ((86400, "d", "天"), (3600, "h", "小时"), (60, "min", "分钟"), (1, "s", "秒"))
    for size, en, zh in units:
        if seconds >= size:
            return f"{seconds / size:.0f} {say(en, zh)}"
    return f"0 {say('s', '秒')}"


_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "autolink"])


def markdown(text: str) -> Markup:
    """A report as HTML: its own marks count, markup and pictures in it do not, and `<PHONE:…>` is
    what stands for a value, no address."""
    return Markup(_MARKDOWN.render(visible(text)))


def short(text: str, size: int = 12) -> str:
    """The beginning of a digest or a long id."""
    told = text.removeprefix("sha256:")
    return told if len(told) <= size + 8 else told[:size] + "…"


def query(**facts: Any) -> str:
    """`?a=1&b=2`, without what is empty."""
    told = {name: value for name, value in facts.items() if value not in ("", None)}
    return f"?{urlencode(told)}" if told else ""


def environment() -> jinja2.Environment:
    """Templates that escape everything, and stop at a name that is not there."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("errata.web"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    made.globals |= {
        "say": say, "word": word, "passage": passage, "ago": ago, "span": span, "shown": shown,
        "bounds": bounds, "short": short, "query": query, "PAGES": PAGES, "version": __version__,
        "chart": chart, "hidden": hidden, "chinese": is_chinese,
    }  # fmt: skip
    return made


TEMPLATES = environment()


def page(request: Request, template: str, status: int = 200, **facts: Any) -> HTMLResponse:
    """A template with what every page needs."""
    desk = request.app.state.desk
    inside = desk.keys.inside(request.headers)
    told = TEMPLATES.get_template(template).render(
        request=request, desk=desk, csrf=desk.keys.csrf if inside else "",
        inside=inside, here=request.url.path,
        said=desk.said.take(request.query_params.get("said", "")), time=now(), **facts,
    )  # fmt: skip
    return HTMLResponse(told, status)


def whole_number(told: str, default: int) -> int:
    """A number of an address; `default` for anything else, and for more digits than pages have."""
    return int(told) if told.isdecimal() and len(told) < 10 else default


def words(values: Iterable[str]) -> str:
    """A list for a sentence."""
    return say(", ", "、").join(values)
