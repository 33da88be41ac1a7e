# The newcomer's door: `make` lists what there is.

.DEFAULT_GOAL := help
.PHONY: help run demo test check bench prepare setup

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-8s  %s\n' "$$name" "$$text"; done

run: ## build and run HookSentry with everything embedded, e.g. make run ARGS=--demo
	cargo run --bin hooksentry -- dev $(ARGS)

demo: ## run it with something to look at
	@$(MAKE) --no-print-directory run ARGS="--demo $(ARGS)"

test: setup ## install what is missing and run all tests, or some: make test ONLY=local_postgres
	@.ci/test $(ONLY)

check: setup ## formatting, lints, documentation, SQL descriptions, dependencies
	@.ci/check

bench: setup ## measure it on this machine, or a part: make bench ARGS="--in-process latency"
	@.ci/bench $(ARGS)

prepare: setup ## renew .sqlx after a change of SQL or migrations
	@.ci/prepare-sqlx

setup: ## install what building and testing need
	@.ci/setup
