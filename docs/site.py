"""A hook of mkdocs: the site has the paths of the repository.

A link that holds on GitHub then holds in the site as it stands, also one that leaves docs/:
`../bench/results/cost.md`, `../src/errata/safety/predicates.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = [
    "README*.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/**/*.md", "bench/results/*.md",
    "src/errata/template/docs/runbooks/*.md",
]  # fmt: skip
LINK = re.compile(r"\]\(([^):#\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's files, our pages, and whatever else one of them links to: code, pictures."""
    pages = sorted({page for pattern in PAGES for page in ROOT.glob(pattern)})
    linked: set[Path] = set()
    for page in pages:
        targets = LINK.findall(page.read_text(encoding="utf-8"))
        linked |= {(page.parent / target).resolve() for target in targets}
    others = sorted(path for path in linked if path.suffix != ".md" and path.is_file())
    ours = [
        File(
            path.relative_to(ROOT).as_posix(),
            str(ROOT),
            config.site_dir,
            config.use_directory_urls,
        )
        for path in [*pages, *others]
    ]
    return Files([*(file for file in files if file.src_dir != config.docs_dir), *ours])
