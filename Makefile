# `make test` installs what tests and lints need: Python packages into target/venv, Node
# packages below target/examples and, run by root on a Debian machine, Debian's Go packages.

PYTHON ?= python3
VENV := target/venv
PIP_STAMP := $(VENV)/.installed

EXAMPLES := target/examples
PROTO := grantmint/v1/token_service.proto
GO_PACKAGES := golang-go golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev \
	protoc-gen-go protoc-gen-go-grpc
APT_INSTALL := DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends
GO_ENV := GO111MODULE=off GOFLAGS= GOCACHE=$(CURDIR)/$(EXAMPLES)/go/cache \
	GOPATH=$(CURDIR)/$(EXAMPLES)/go:/usr/share/gocode

.PHONY: test lint python-tools example-tools planted bench bench-quick

## All that the gate holds: formatting, lints, docs, protos, tests.
test: lint example-tools
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" GRANTMINT_PYTHON="$(CURDIR)/$(VENV)/bin/python" cargo test --locked

lint: python-tools
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	$(VENV)/bin/buf lint proto
	$(VENV)/bin/buf format -d --exit-code proto

python-tools: $(PIP_STAMP)

REQUIREMENTS := tests/python/requirements.txt examples/python/requirements.txt

$(PIP_STAMP): $(REQUIREMENTS)
	$(PYTHON) -m venv $(VENV) || { echo "python3 with venv is needed: apt-get install python3-venv"; exit 1; }
	$(VENV)/bin/pip install --quiet --disable-pip-version-check $(REQUIREMENTS:%=-r %)
	touch $@

## What the callers below examples/ need, and the one in Go.
example-tools: $(EXAMPLES)/python/.generated $(EXAMPLES)/node/.installed $(EXAMPLES)/go/caller

$(EXAMPLES)/python/.generated: proto/$(PROTO) $(PIP_STAMP)
	mkdir -p $(@D)
	$(VENV)/bin/python -m grpc_tools.protoc -I proto --python_out=$(@D) --grpc_python_out=$(@D) $(PROTO)
	touch $@

$(EXAMPLES)/node/.installed: examples/node/package.json examples/node/package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 18 or later with npm is needed"; exit 1; }
	mkdir -p $(@D)
	cp $^ $(@D)
	npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent
	touch $@

$(EXAMPLES)/go/caller: examples/go/main.go proto/$(PROTO) $(EXAMPLES)/go/.installed $(PIP_STAMP)
	mkdir -p $(@D)/src
	$(VENV)/bin/python -m grpc_tools.protoc -I proto \
		--go_out=$(@D)/src --go_opt=M$(PROTO)=grantmint/v1 \
		--go-grpc_out=$(@D)/src --go-grpc_opt=M$(PROTO)=grantmint/v1 $(PROTO)
	test -z "$$(gofmt -l examples/go)"
	$(GO_ENV) go vet ./examples/go
	$(GO_ENV) go build -o $@ ./examples/go

# Without root the packages must be there; with it they are installed, which is a moment's work
# where they are.
$(EXAMPLES)/go/.installed:
	mkdir -p $(@D)
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		$(APT_INSTALL) $(GO_PACKAGES) || { apt-get update -qq && $(APT_INSTALL) $(GO_PACKAGES); }; \
	else \
		dpkg --status $(GO_PACKAGES) >/dev/null || \
			{ echo "Debian's Go packages are needed: apt-get install $(GO_PACKAGES)"; exit 1; }; \
	fi
	touch $@

## Shows for each bug in tests/planted that a test catches it; `BUGS="no_floor …"` for some.
planted:
	tests/planted/run $(BUGS)

## What is promised of speed and size, as ratios measured in one run; `ARGS=--json` for machines.
bench:
	cargo build --locked --release
	cargo bench --locked --bench figures -- --command target/release/grantmint $(ARGS)

## The same in under a minute, with fewer and shorter rounds.
bench-quick:
	$(MAKE) bench ARGS="--quick $(ARGS)"
