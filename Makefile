# Comptroller with nothing but Python 3.11 or newer and make: `make run`, `make test`, `make bench`.
# All dependencies come from the hash-locked files into .venv; a second run finds them there.

# Plain `=`: a HOST or PORT that happens to be in the environment does not count, `make run PORT=9000` does.
HOST = 127.0.0.1
PORT = 8000
ARGS =
SYSTEM_PYTHON := $(shell for python in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo "$$python"; break; fi; done)
PYTHON := .venv/bin/python
PIP_INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes

.PHONY: help run install test bench venv

help:
	@echo "make run     start Comptroller on http://$(HOST):$(PORT) (PORT=, HOST=, ARGS= change it)"
	@echo "make test    check everything that must hold"
	@echo "make bench   measure what the gateway adds to a request"
	@echo "make install only build .venv"

run: install
	@exec $(PYTHON) manage.py up --host $(HOST) --port $(PORT) $(ARGS)

install: .venv/installed

test: .venv/installed-dev
	@exec $(PYTHON) -m tests.run $(ARGS)

bench: .venv/installed-dev
	@exec $(PYTHON) -m tests.benchmarks $(ARGS)

.venv/installed: requirements.lock | venv
	@echo "Installing the locked requirements into .venv ..."
	@$(PIP_INSTALL) -r requirements.lock
	@touch $@

.venv/installed-dev: requirements-dev.lock | venv
	@echo "Installing the locked development requirements into .venv ..."
	@$(PIP_INSTALL) -r requirements-dev.lock
	@touch $@ .venv/installed

# A .venv that works is kept, whoever made it; one that is broken, too old or (made by uv) without pip is mended.
venv:
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		if [ -z "$(SYSTEM_PYTHON)" ]; then \
			echo "Comptroller needs Python 3.11 or newer. Found: $$(python3 --version 2>&1). Install one and run make again." >&2; \
			exit 1; \
		fi; \
		rm -f .venv/installed .venv/installed-dev; \
		$(SYSTEM_PYTHON) -m venv --clear .venv || { \
			echo "Python cannot make a virtual environment here. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
			exit 1; \
		}; \
	fi
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip --default-pip >/dev/null
