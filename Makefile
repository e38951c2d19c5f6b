# Two commands on a fresh machine: `make demo` and `make test`. Each sets up .venv by itself.
PYTHON ?= python3
VENV ?= .venv
# Where torch comes from; for a machine without a GPU: https://download.pytorch.org/whl/cpu
TORCH_INDEX_URL ?=
# The workspace that the chapter's targets act on; laid down on first use.
W ?= .workspace
BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/.errata-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
WORKSPACE_TARGETS := check intake build sft-train rm-train dpo-train rlhf-train evaluate \
	safety-audit gate release rollback infer-bench cost web posttrain
BENCHES := $(patsubst bench/%.py,bench-%,$(wildcard bench/*.py))
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint types docs clean $(WORKSPACE_TARGETS) $(BENCHES)

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 14
	@echo "in a workspace (W=$(W)): $(WORKSPACE_TARGETS)"
	@$(if $(BENCHES),echo "benchmarks: $(BENCHES)",true)

setup: $(STAMP) ## .venv with everything in it; nothing to do the second time

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX_URL),$(BIN)/pip install --quiet -c constraints.txt --index-url $(TORCH_INDEX_URL) torch)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	rm -f $(VENV)/.errata-*
	touch $(STAMP)

demo: setup ## the whole loop on the embedded model, in a fresh folder (DEMO_DIR=…)
	$(BIN)/errata demo $(if $(DEMO_DIR),-C $(DEMO_DIR))

test: setup ## the fast tier
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-all: setup ## every test, the slow ones too
	$(BIN)/python -m pytest $(ARGS)

lint: setup ## ruff, rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy --strict on src
	$(BIN)/mypy

docs: setup ## these documents as a site, build/site/index.html
	$(BIN)/python docs/reference.py
	$(BIN)/mkdocs build --strict

clean: ## caches and the workspace; .venv stays
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist $(W)

$(W)/Makefile: | $(STAMP)
	$(BIN)/errata init $(W)

$(WORKSPACE_TARGETS): setup | $(W)/Makefile
	$(MAKE) -C $(W) $@ ERRATA=$(BIN)/errata

# One file a claim: bench-train runs bench/train.py.
$(BENCHES): bench-%: setup
	@echo "running bench/$*.py"
	$(BIN)/python bench/$*.py $(ARGS)
