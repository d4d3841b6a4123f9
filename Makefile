# The commands to remember. Everything runs by uv, which is put into .uv/ where it is missing.
# `make help` lists the targets.

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
UV_IF_MISSING := $(filter .uv/bin/uv,$(UV))

# What is in uv.lock, and nothing newer. `serve` leaves out the tools of developers.
RUN := $(UV) run --frozen
RUN_ONLY := $(RUN) --no-default-groups

# As on a server: what `check --deploy` would say there, it says here.
PRODUCTION = \
	DATABASE_URL=postgresql://gateway@database.example.org/gateway \
	REDIS_URL=redis://redis.example.org:6379/0 \
	GATEWAY_UPSTREAM_URL=http://vllm.example.org:8000 \
	GATEWAY_SECRET_KEY=$(shell $(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(64))') \
	GATEWAY_ENCRYPTION_KEYS=$(shell $(PYTHON) -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())') \
	GATEWAY_ALLOWED_HOSTS=gateway.example.org \
	GATEWAY_CSRF_TRUSTED_ORIGINS=https://gateway.example.org \
	GATEWAY_SECURE_PROXY=true

.PHONY: help serve test check format bench docs

help:  ## List the targets.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/'

serve: $(UV_IF_MISSING)  ## Run the gateway: the demo, or UPSTREAM=http://host:8000; ARGS="--port 6000".
	@$(RUN_ONLY) python manage.py serve $(if $(UPSTREAM),--upstream $(UPSTREAM),$(if $(GATEWAY_UPSTREAM_URL),,--demo)) $(ARGS)

test: $(UV_IF_MISSING)  ## Run the tests; ARGS="-k words" for some of them.
	$(RUN) pytest --numprocesses logical --maxprocesses 4 --dist loadfile $(ARGS)

check: export GATEWAY_SECRET_KEY ?= for the checks only
check: export DATABASE_URL = sqlite://:memory:
check: $(UV_IF_MISSING)  ## Check style, types, imports, migrations, settings and their reference.
	$(UV) lock --check
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy .
	$(RUN) lint-imports
	$(RUN) python manage.py check --fail-level WARNING
	$(RUN) python manage.py makemigrations --check --dry-run
	@echo "$(RUN) python manage.py check --deploy"
	@$(PRODUCTION) $(RUN) python manage.py check --deploy --fail-level WARNING
	$(RUN) python manage.py settings_reference --check

format: $(UV_IF_MISSING)  ## Format the code, and mend what ruff can mend.
	$(RUN) ruff check --fix
	$(RUN) ruff format

bench: $(UV_IF_MISSING)  ## Measure the gateway against a scripted upstream; ARGS are for the bench.
	$(RUN) python -m bench $(ARGS)

docs: $(UV_IF_MISSING)  ## Build the documentation into var/docs/.
	NO_MKDOCS_2_WARNING=1 $(RUN) --only-group docs mkdocs build --strict

.uv/bin/uv:
	@$(PYTHON) scripts/install_uv.py .uv $(UV_VERSION)
