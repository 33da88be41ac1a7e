# `make` lists the targets.

.DEFAULT_GOAL := help
.PHONY: help run demo test check bench chaos hostile fuzz prepare setup

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-8s  %s\n' "$$name" "$$text"; done

run: ## build HookSentry and run it with a private database, e.g. make run ARGS=--demo
	cargo run --bin hooksentry -- dev $(ARGS)

demo: ## run it with demonstration data
	@$(MAKE) --no-print-directory run ARGS="--demo $(ARGS)"

test: setup ## run all tests, or a selection: make test ONLY=local_postgres
	@.ci/test $(ONLY)

check: setup ## check formatting, lints, documentation, SQL descriptions and dependencies
	@.ci/check

bench: setup ## measure performance on this machine, e.g. make bench ARGS="--in-process latency"
	@.ci/bench $(ARGS)

chaos: setup ## inject faults into a running installation, e.g. make chaos SEED=1 EVENTS=20000 FAULTS=50
	@SEED=$(SEED) EVENTS=$(EVENTS) FAULTS=$(FAULTS) .ci/chaos $(ARGS)

hostile: setup ## attack a running installation, and measure what that costs another tenant
	@.ci/hostile $(ARGS)

fuzz: setup ## give every parser of foreign bytes random input for ten minutes each, e.g. make fuzz MINUTES=1 ONLY=cursor
	.ci/fuzz $(or $(MINUTES),10) $(ONLY)

prepare: setup ## update .sqlx after a change of SQL or migrations
	@.ci/prepare-sqlx

setup: ## install what building and testing need
	@.ci/setup
