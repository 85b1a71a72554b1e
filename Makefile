.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
SYNCED := .venv/.synced

.PHONY: help setup run test lint fmt docs protos protos-check promises up down clients-go test-clients test-compose test-packages test-faults test-kill9 test-mutants test-soak conformance evals bench

help: ## Show what there is to do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

setup: $(SYNCED) ## Make .venv, and install what the machine lacks

$(SYNCED): uv.lock pyproject.toml $(wildcard */pyproject.toml */*/pyproject.toml) scripts/setup.sh
	@scripts/setup.sh
	@touch $@

run: setup ## Run everything in one process, on embedded defaults
	@$(BIN)/virtlease up

test-packages:
	@scripts/test_packages.sh

test: setup test-packages ## Run the tests: unit, contract, integration, the main job end to end
	$(BIN)/pytest --junitxml=.venv/tests.xml -o junit_logging=no

lint: setup ## Check style, types, contracts and layering
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code --exclude-path protos/google
	$(BIN)/yamllint --strict .
	$(BIN)/python scripts/docs.py --check

fmt: setup ## Put everything in the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format --write --exclude-path protos/google

protos: setup ## Generate the Python stubs and the descriptor set
	scripts/protos.sh

docs: setup ## Write the pages that say what the code says
	$(BIN)/python scripts/docs.py

protos-check: setup ## Fail when what is generated is not what is committed
	@scripts/protos.sh .venv/protos-check
	@for part in $$(ls .venv/protos-check/virtlease); do \
	  diff -r --exclude=__pycache__ .venv/protos-check/virtlease/$$part clients/python/virtlease/$$part || exit 1; \
	done && echo "the stubs are those of the protos"

promises: setup ## Hold docs/promises.md against the tests
	@$(BIN)/python scripts/promises.py

up: ## Run everything with Compose, with a token of its own
	docker compose up --build --detach --wait 2>/dev/null || docker-compose up --build --detach
	@echo "token: $$( (docker compose exec -T session cat /run/virtlease/user.token || docker-compose exec -T session cat /run/virtlease/user.token) 2>/dev/null)"

down: ## Stop what `make up` started
	docker compose down 2>/dev/null || docker-compose down

bench: setup test-packages ## Measure it against its peers: NAME=session for one of them, QUICK=1 to see that it runs
	@GRPC_VERBOSITY=ERROR PYTHONPATH=tests QUICK=$(QUICK) $(BIN)/python -m bench $(NAME)

test-kill9: setup test-packages ## Kill a durable session service at random, ROUNDS times
	ROUNDS=$(or $(ROUNDS),40) $(BIN)/pytest -s tests/kill9

test-faults: setup test-packages ## Servers, daemons and QEMU guests that move, stand still and die
	@scripts/test_packages.sh libvirtd:libvirt-daemon virsh:libvirt-clients qemu-system-x86_64:qemu-system-x86 \
	  qemu-img:qemu-utils busybox:busybox-static
	$(BIN)/pytest -s tests/faults

clients-go: setup ## Generate the Go stubs, with the plugins that its go.mod pins
	$(BIN)/buf generate --template clients/go/buf.gen.yaml

test-clients: setup ## Build the Go, Java and Node clients and run them against real services
	@scripts/client_packages.sh
	@if command -v go >/dev/null; then $(MAKE) --no-print-directory clients-go; fi
	$(BIN)/pytest tests/clients

test-mutants: setup test-packages ## Put faults into a copy of the code, and see that a test finds each
	$(BIN)/pytest tests/mutants

test-soak: setup test-packages ## Use the services for long, QUICK=1 for less, and see that they do not grow
	QUICK=$(QUICK) $(BIN)/pytest -s tests/soak

test-compose: setup ## Run the main job through Compose, with images made on this machine (needs root)
	scripts/test_compose.sh

conformance: setup ## Run MCP's official suite, inspector and clients against the gateway
	@scripts/node_modules.sh tests/conformance
	$(BIN)/pytest -s tests/conformance

evals: setup test-packages ## Have an agent without a model do tasks by the tools' texts alone
	$(BIN)/pytest -s tests/evals
