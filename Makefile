# `make test` installs the Python packages that tests and lints need into target/venv.

PYTHON ?= python3
VENV := target/venv
PIP_STAMP := $(VENV)/.installed

.PHONY: test lint python-tools bench bench-quick

## All that the gate holds: formatting, lints, docs, protos, tests.
test: lint
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" GRANTMINT_PYTHON="$(CURDIR)/$(VENV)/bin/python" cargo test --locked

lint: python-tools
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	$(VENV)/bin/buf lint proto
	$(VENV)/bin/buf format -d --exit-code proto

python-tools: $(PIP_STAMP)

$(PIP_STAMP): tests/python/requirements.txt
	$(PYTHON) -m venv $(VENV) || { echo "python3 with venv is needed: apt-get install python3-venv"; exit 1; }
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

## What is promised of speed and size, as ratios measured in one run; `ARGS=--json` for machines.
bench:
	cargo build --locked --release
	cargo bench --locked --bench figures -- --command target/release/grantmint $(ARGS)

## The same in under a minute, with fewer and shorter rounds.
bench-quick:
	$(MAKE) bench ARGS="--quick $(ARGS)"
