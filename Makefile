# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
RECIPE ?= params/digits.yaml
POOL   := lavaflow
RUN    := PATH="$(CURDIR)/$(BIN):$$PATH"
# whose home is this folder: flows that run here and the servers of `make up` share one history
PREFECT := PREFECT_HOME="$(CURDIR)/.prefect" PREFECT_API_URL=http://127.0.0.1:4200/api PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
MLFLOW  := MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=1

.DEFAULT_GOAL := help
.PHONY: help install demo test lint bench up down deploy worker repro vllm clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## the environment in .venv, exactly as constraints.txt has it

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[quantize,qlora,serve,dev]'
	@touch $@

demo: install ## a whole retraining on two cores, then one answered chat request with a picture
	@$(RUN) lavaflow retrain $(RECIPE)
	@$(RUN) lavaflow serve $(RECIPE) --try

test: install lint ## lint, types and all tests
	@$(RUN) pytest

lint: install ## ruff and mypy
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy

bench: install ## the measurements in bench/; each file says what it measures and against what
	@for file in bench/*.py; do echo "== $$file"; $(RUN) python $$file || exit 1; done

up: install ## the Prefect server (port 4200) and the MLflow server (port 5000), in the background
	@mkdir -p runs/servers
	@$(PREFECT) $(RUN) sh bin/server.sh start prefect 4200/api/health prefect server start --host 127.0.0.1 --port 4200
	@$(MLFLOW) $(RUN) sh bin/server.sh start mlflow 5000/health mlflow server --host 127.0.0.1 --port 5000 \
	  --backend-store-uri sqlite:///mlflow.db --serve-artifacts

down: ## stop them
	@sh bin/server.sh stop prefect
	@sh bin/server.sh stop mlflow

deploy: install ## register the deployments of prefect.yaml (needs `make up`)
	@$(PREFECT) $(RUN) prefect work-pool inspect $(POOL) >/dev/null 2>&1 || $(PREFECT) $(RUN) prefect work-pool create $(POOL) --type process
	@$(PREFECT) $(RUN) prefect work-pool set-concurrency-limit $(POOL) 1
	@$(PREFECT) $(RUN) LAVAFLOW_HOME="$(CURDIR)" prefect --no-prompt deploy --all

worker: install ## run what the deployments schedule, one at a time, until Ctrl-C
	@$(PREFECT) $(RUN) prefect worker start --pool $(POOL) --limit 1

repro: install ## the file-to-file stages of dvc.yaml, without a server
	@DVC_NO_ANALYTICS=1 $(RUN) dvc repro

vllm: ## an environment of its own for serving with vLLM, in .vllm
	$(PYTHON) -m venv .vllm
	sh bin/vllm.sh .vllm

clean: ## remove what runs left: results, registry, sample data (not your own data, not .venv)
	rm -rf runs refs data/digits data/prepared/digits* mlflow.db mlruns mlartifacts .prefect
