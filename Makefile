# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Every target first brings the machine into the state it needs (tests/bed/bootstrap.sh), then does its work; `make help` lists them.

RUN := tests/bed/bootstrap.sh
ARGS ?=
JOBS ?= $(shell n=$$(nproc); [ $$n -lt 4 ] && echo 3 || echo 4)

.DEFAULT_GOAL := help
.PHONY: help bootstrap bed-images demo demo-down test unit lint sanity replay integration molecule e2e manifest renew bench docs clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo
	@echo "  ARGS=...          further arguments of pytest (test, unit, lint …) or of ansible-playbook (demo)"
	@echo "  JOBS=...          processes that share the tests of make test (default 4, with fewer than 4 cores 3)"
	@echo "  OPENSHELL_BIN_DIR directory of the real openshell, openshell-gateway and openshell-sandbox. Without it those on PATH are taken,"
	@echo "                    then those in NEMOCLAW_CACHE/openshell/0.0.106, then the emulator (tests/emulator)."
	@echo "  NEMOCLAW_CACHE    downloads, images, virtual environments (default ~/.cache/nemoclaw-fleet)"

bootstrap: ## install what is missing, start the Docker engine if none answers
	@$(RUN)

demo: ## a fleet of three hosts, onboarded, then again to show that nothing changes
	@$(RUN) python -m tests.bed demo $(ARGS)

demo-down: ## take the demo fleet down; nothing of it is left on this machine but the cache
	@$(RUN) python -m tests.bed down --name demo

bed-images: ## build the test images, and have the sandbox images in this machine's engine
	@$(RUN) python -m tests.bed images --load

test: ## everything that can be tested on this machine
	@$(RUN) python -m tests.bed images --load
	@$(RUN) pytest --numprocesses=$(JOBS) --dist=loadscope --no-loadscope-reorder $(ARGS)

unit: ## unit tests alone (seconds)
	@$(RUN) pytest tests/unit $(ARGS)

lint: ## the checkers, but for ansible-test
	@$(RUN) pytest tests/checks/test_lint.py $(ARGS)

sanity: ## ansible-test sanity with every ansible-core that this machine's Pythons can run
	@$(RUN) pytest tests/checks/test_ansible_test.py $(ARGS)

replay: ## the recorded answers of the real OpenShell against the emulator
	@$(RUN) pytest tests/checks/test_replay.py $(ARGS)

integration: ## the playbooks on a fleet of test hosts
	@$(RUN) pytest tests/integration $(ARGS)

molecule: ## roles alone
	@$(RUN) pytest tests/checks/test_molecule.py $(ARGS)

e2e: ## the playbooks on a fleet with the real OpenShell, and the recordings once more; fails where it is not
	@$(RUN) pytest tests/integration tests/checks/test_replay.py tests/checks/test_policies.py -m real --require-real $(ARGS)

bench: ## what an unchanged onboarding costs (on the fleet of make demo), and the proxy against others
	@$(RUN) pytest tests/bench $(ARGS)

docs: ## lint the plugin documentation and build the reference into docs/_build
	@mkdir -p docs/_build
	@$(RUN) antsibull-docs collection --use-current --dest-dir docs/_build nemoclaw.fleet

manifest: ## pin the blueprint's files anew, after a change that is meant
	@$(RUN) python -c 'from ansible_collections.nemoclaw.fleet.plugins.plugin_utils import _blueprint as b; \
	  (b.BUNDLED / b.MANIFEST).write_text(b.pins(b.BUNDLED))'

renew: ## write anew what is made from the sources: docs/variables.md, tables of docs/policies.md, the kept plan of tests/unit
	@$(RUN) env NEMOCLAW_RENEW=1 pytest tests/unit/test_plan.py tests/unit/test_variables_table.py tests/unit/test_policies_page.py -k 'golden or current' -q $(ARGS)

clean: ## take every test bed down and remove the cache
	@$(RUN) python -m tests.bed clean
