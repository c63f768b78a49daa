# Each target sets up what it needs in .venv; PYTHON names another interpreter (3.11 or newer).
PYTHON ?= python3
# which release of jax, such as 0.11.2; if empty, the newest that pip finds for this Python
JAX ?=
VENV := .venv
BIN := $(VENV)/bin
# uv installs four times faster; where it can't, pip does
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
TEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# of many processes each would compile all that it imports, where the environment forbids to keep it
export PYTHONDONTWRITEBYTECODE :=

.PHONY: law claims test short deep bench docs clean

law: $(VENV)/law ## test the speed law: table, verdict, figure in out/law
	$(BIN)/infomech law

claims: $(VENV)/claims ## every claim: verdicts, numbers, figures in report/index.html; goes on where it was stopped
	$(BIN)/python -m experiments

# most of the time goes into compiling, so that only tests about compiled code let XLA optimize
test: $(VENV)/test ## lint, types and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy & types=$$!; $(TEST) --haste -m "not optimized and not deep" && wait $$types
	$(TEST) -m "optimized and not deep"

short: $(VENV)/test ## the law, the canary and the numerical core, to try another Python or jax
	$(BIN)/infomech law
	$(TEST) -m "optimized and not deep" tests/test_canary.py
	$(TEST) --haste -m "not optimized and not deep" $(addprefix tests/test_,$(CORE))
CORE := kernels.py rollout.py engines.py gradients.py mesh.py

deep: $(VENV)/test ## every test, those too long for every change too, with all of XLA's optimizations
	$(TEST) -m ""

bench: $(VENV)/bench ## the rollout beside its peers, solvers beside each other: benchmarks/*.md
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.design
	$(BIN)/python -m benchmarks.scattering
	$(BIN)/python -m benchmarks.networks
	$(BIN)/python -m benchmarks.sweeps

# what Material says of its end, on each run, is no warning of ours
docs: $(VENV)/docs ## the documentation, to look at: out/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove the virtual environment and everything written
	rm -rf $(VENV) out report

# `make law` needs the command line only, the others their extra; each stamp is named for its target
$(VENV)/law: EXTRA = cli
$(VENV)/claims: EXTRA = cli,design,native
$(VENV)/test: EXTRA = test
$(VENV)/bench: EXTRA = bench
$(VENV)/docs: EXTRA = docs
WHAT = --editable '.[$(EXTRA)]' $(if $(JAX),'jax==$(JAX)' 'jaxlib==$(JAX)')
$(VENV)/law $(VENV)/claims $(VENV)/test $(VENV)/bench $(VENV)/docs: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("infomech needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) uv && $(BIN)/uv pip install --quiet --python $(BIN)/python $(WHAT) || $(PIP) $(WHAT)
	@touch $@
