# Everything a clean machine with Python 3.11 and make needs: `make demo`, `make test`.
PYTHON ?= python3.11
VENV := .venv
RADMAE := $(VENV)/bin/radmae
STAMP := $(VENV)/.installed

.PHONY: setup demo test lint clean

setup: $(STAMP)

# torch first, at the version the tests compare with: nothing later asks for another.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet torch==2.13.0
	$(VENV)/bin/pip install --quiet --editable '.[test]'
	touch $(STAMP)

demo: setup
	$(RADMAE) demo --workdir runs/demo

test: setup lint
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright

clean:
	rm -rf $(VENV) runs dist build
