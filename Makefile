# Each target installs what it needs into .venv. PYTHON selects the interpreter (3.11 or newer).
PYTHON ?= python3
# jax release, such as 0.11.2; if empty, the newest one for this Python
JAX ?=
VENV := .venv
BIN := $(VENV)/bin
# fallback if uv fails; uv is four times faster
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
TEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# allow .pyc files, or every worker recompiles every module
export PYTHONDONTWRITEBYTECODE :=

.PHONY: law claims test short deep bench docs clean

law: $(VENV)/law ## test the speed law: table, verdict, figure in out/law
	$(BIN)/infomech law

claims: $(VENV)/claims ## test all claims: verdicts, numbers, figures in report/index.html; resumes an interrupted run
	$(BIN)/python -m experiments

# compilation dominates the test time, so only tests marked "optimized" use XLA's full optimization
test: $(VENV)/test ## run lint, type checks and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy & types=$$!; $(TEST) --fast-compile -m "not optimized and not deep" && wait $$types
	$(TEST) -m "optimized and not deep"

short: $(VENV)/test ## test the law, the canary and the numerical core; for other versions of Python or jax
	$(BIN)/infomech law
	$(TEST) -m "optimized and not deep" tests/test_canary.py
	$(TEST) --fast-compile -m "not optimized and not deep" $(addprefix tests/test_,$(CORE))
CORE := kernels.py rollout.py engines.py gradients.py mesh.py

deep: $(VENV)/test ## run all tests, including those too slow for every change, with all of XLA's optimizations
	$(TEST) -m ""

bench: $(VENV)/bench ## run all benchmarks: benchmarks/*.md
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.design
	$(BIN)/python -m benchmarks.scattering
	$(BIN)/python -m benchmarks.networks
	$(BIN)/python -m benchmarks.sweeps

# NO_MKDOCS_2_WARNING silences the banner of Material for MkDocs
docs: $(VENV)/docs ## build the documentation: out/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove the virtual environment and all output
	rm -rf $(VENV) out report

# extras of each target; the stamp file in .venv has the name of the target
$(VENV)/law: EXTRA = cli
$(VENV)/claims: EXTRA = cli,design,native
$(VENV)/test: EXTRA = test
$(VENV)/bench: EXTRA = bench
$(VENV)/docs: EXTRA = docs
PACKAGES = --editable '.[$(EXTRA)]' $(if $(JAX),'jax==$(JAX)' 'jaxlib==$(JAX)')
$(VENV)/law $(VENV)/claims $(VENV)/test $(VENV)/bench $(VENV)/docs: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("infomech needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) uv && $(BIN)/uv pip install --quiet --python $(BIN)/python $(PACKAGES) || $(PIP) $(PACKAGES)
	@touch $@
