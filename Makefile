# TherapyBridge. `make help` lists the targets.
#
# Each target installs the missing Debian packages that it needs, as root or through sudo.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The packages to build, to run everything on one machine, and to test.
BUILD_PACKAGES := libpq-dev zlib1g-dev libbrotli1 pkg-config
RUN_PACKAGES := $(BUILD_PACKAGES) postgresql ffmpeg pocketsphinx pocketsphinx-en-us curl
TEST_PACKAGES := $(RUN_PACKAGES) pgbouncer python3 python3-httpx nodejs node-react node-react-test-renderer \
    chromium chromium-driver

# The servers to compare with. The benchmark leaves out the missing ones.
PEER_PACKAGES := nginx libnginx-mod-nchan python3-venv
PEER_PYTHON := .data/bench-venv
PEER_REQUIREMENTS := Sources/Tools/bench/Peers/requirements.txt

# Schemathesis reads the description of the API and sends requests made from it.
FUZZ_PACKAGES := $(RUN_PACKAGES) python3-venv
FUZZ_PYTHON := .data/fuzz-venv
FUZZ_REQUIREMENTS := Tests/Fuzz/requirements.txt

# tuspy is a client of resumable uploads.
UPLOADS_PACKAGES := $(RUN_PACKAGES) python3-venv
UPLOADS_PYTHON := .data/uploads-venv
UPLOADS_REQUIREMENTS := Tests/Uploads/requirements.txt

# Generators of clients (one runs on Java), clients of Server-Sent Events and WebSockets from PyPI, OkHttp, and a browser with
# React for the page of another website.
CLIENTS_PACKAGES := $(RUN_PACKAGES) python3-venv default-jre-headless libokhttp-java chromium chromium-driver \
    node-react node-react-dom node-typescript
CLIENTS_PYTHON := .data/clients-venv

# The library that receivers of webhooks use.
WEBHOOKS_PACKAGES := $(RUN_PACKAGES) python3-venv
WEBHOOKS_PYTHON := .data/webhooks-venv
WEBHOOKS_REQUIREMENTS := Tests/Webhooks/requirements.txt

# Three engines. Debian has no geckodriver: Firefox takes the same commands by Marionette. WebKitGTK needs a screen.
BROWSERS_PACKAGES := $(RUN_PACKAGES) python3-venv chromium chromium-driver firefox-esr webkit2gtk-driver xvfb locales \
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good
BROWSERS_PYTHON := .data/browsers-venv
BROWSERS_REQUIREMENTS := Tests/Browsers/requirements.txt

# mkdocs renders docs/ as a site.
DOCS_PACKAGES := $(TEST_PACKAGES) python3-venv
DOCS_PYTHON := .data/docs-venv
DOCS_REQUIREMENTS := .mkdocs/requirements.txt

AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

SWIFT_SOURCES := Package.swift Sources Tests

# What "swift build -c release --product therapybridge" made. BINARY names one that is elsewhere.
RELEASE := $(or $(BINARY),.build/release/therapybridge)

.PHONY: help run program test bombs package test-package image test-image test-proxies packages-package packages-image packages-proxies estimates test-recordings lint format migrate schema docs bench fuzz test-browsers test-page pictures test-clients test-uploads test-uploads-large test-workers test-faults test-postgres test-monitoring packages-faults packages-monitoring packages-postgres packages-build packages-run packages-test packages-peers \
    packages-browsers packages-clients packages-docs packages-fuzz packages-uploads packages-workers packages-webhooks test-webhooks

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: packages-build ## Build and run the server with its own PostgreSQL and demo accounts
	@$(MAKE) --no-print-directory --jobs=2 packages-run program
	exec .build/debug/therapybridge dev

# A demo does not need the optimizer.
program:
	swift build --product therapybridge

test: packages-test ## Run all tests, with their own PostgreSQL; FILTER=StreamOrder for the suites with that name
	swift test $(if $(FILTER),--filter '$(FILTER)')

test-recordings: packages-recordings ## Upload several hundred recordings of every shape, and check what becomes of each
	swift build --product therapybridge
	exec Tests/Recordings/run .build/debug/therapybridge $(RECORDINGS)

docs: packages-docs schema ## Write the generated parts of docs/, and all of it as a site to .data/site
	WRITE_DOCS=1 swift test --filter DocumentTests
	$(DOCS_PYTHON)/bin/mkdocs build --config-file .mkdocs/mkdocs.yml

lint: ## Check the format of the sources
	swift format lint --strict --recursive --parallel $(SWIFT_SOURCES)

format: ## Format the sources
	swift format --in-place --recursive --parallel $(SWIFT_SOURCES)

migrate: packages-build ## Apply the migrations to the database of DATABASE_MIGRATE_URL
	swift build -c release --product therapybridge
	.build/release/therapybridge migrate up

schema: packages-run ## Write docs/schema.md and the checksums of migrations/code
	swift build --product write-schema
	.build/debug/write-schema .

bench: packages-run packages-peers ## Measure the server and its peers, and write docs/benchmarks.md; BENCH="--quick" to try it
	for product in therapybridge sseload bench; do swift build -c release --product $$product; done
	exec .build/release/bench --python-environment $(PEER_PYTHON) $(or $(BENCH),--write docs/benchmarks.md)

fuzz: packages-fuzz ## Send hostile input to the parsers and to a running server; FUZZ="--max-examples 500" for more
	FUZZ_CASES=300 swift test --filter Property
	swift build --product therapybridge
	exec Tests/Fuzz/run .build/debug/therapybridge $(FUZZ_PYTHON) $(FUZZ)

test-workers: packages-workers ## Kill workers at random moments, and let workers of three kinds race; WORKERS="--seed 7" to repeat
	swift build --product therapybridge
	Tests/Workers/run .build/debug/therapybridge kills $(WORKERS)
	exec Tests/Workers/run .build/debug/therapybridge race $(WORKERS)

test-uploads: packages-uploads packages-test ## Upload with tuspy, a client of tus: lost connections, killed servers, encryption; and in every state of the database
	swift build --product therapybridge
	UPLOAD_STATES=all swift test --filter UploadStateTests
	Tests/Uploads/run .build/debug/therapybridge $(UPLOADS_PYTHON) resume
	UPLOADS_KEY=1 exec Tests/Uploads/run .build/debug/therapybridge $(UPLOADS_PYTHON) resume

test-clients: packages-clients ## Use the API with generated clients, with the streams' clients of PyPI, and from a page of another website; CLIENTS=streams for one suite
	swift build --product therapybridge
	exec Tests/Clients/run .build/debug/therapybridge $(CLIENTS_PYTHON) $(CLIENTS)

test-page: packages-test ## Drive Chromium through the most important journeys of the page
	swift build --product therapybridge
	exec Tests/Browsers/run .build/debug/therapybridge /usr chromium --quick

test-browsers: packages-browsers ## Drive Chromium, Firefox and WebKitGTK through the page, and write docs/browsers.md; BROWSERS="chromium" for one
	swift build --product therapybridge
	exec Tests/Browsers/run .build/debug/therapybridge $(BROWSERS_PYTHON) $(or $(BROWSERS),--write)

pictures: packages-test ## Take the pictures of the README anew
	swift build --product therapybridge
	exec Tests/Browsers/run .build/debug/therapybridge /usr chromium --journey '^front page$$' --images docs/images

test-webhooks: packages-webhooks ## Verify deliveries of webhooks with a library of Standard Webhooks
	swift build --product therapybridge
	exec Tests/Webhooks/run .build/debug/therapybridge $(WEBHOOKS_PYTHON)

package: packages-build ## Make a Debian package from what "swift build -c release --product therapybridge" left in .build
	deploy/package/build $(RELEASE) .build/package

test-package: packages-package ## Install, use, upgrade and remove the package on clean systems; SUITES="bookworm trixie"
	rm -rf .build/package
	deploy/package/build $(RELEASE) .build/package
	PACKAGE_VERSION=9999 PACKAGE_COMPRESSION=none deploy/package/build $(RELEASE) .build/package/newer
	$(AS_ROOT) Tests/Package/run .build/package/therapybridge_*.deb .build/package/newer/therapybridge_9999_*.deb $(or $(SUITES),bookworm trixie)

image: packages-build ## Make an OCI image of the package, with podman, buildah or docker
	deploy/oci/build $(RELEASE)

test-image: packages-image ## Build the OCI image with buildah on a base from debootstrap, and use it
	$(AS_ROOT) Tests/Package/image $(RELEASE)

test-proxies: packages-proxies ## Use the server through nginx, HAProxy, Caddy and Apache, and write docs/proxies.md
	swift build --product therapybridge
	exec Tests/Proxies/run .build/debug/therapybridge --write $(PROXIES)

test-faults: packages-faults ## Let servers, PostgreSQL, disks and networks fail under load, and write docs/reliability.md; DURATION=8h for a soak, FAULTS="--only frozen" for some
	swift build --product therapybridge
	exec Tests/Faults/run .build/debug/therapybridge $(if $(DURATION),--duration $(DURATION)) $(or $(FAULTS),$(if $(DURATION),,--write))

test-postgres: packages-test packages-postgres ## Run the tests of the database, of streams and of migrations on PostgreSQL 16, 17 and 18; VERSIONS="18" for one
	swift build --build-tests
	exec Tests/Versions/run .build/postgres $(VERSIONS)

test-monitoring: packages-monitoring ## Test the alert rules with promtool, and the rules and the dashboard with a Prometheus that scrapes a server
	swift build --product therapybridge
	exec Tests/Monitoring/run .build/debug/therapybridge

test-uploads-large: packages-uploads ## Eight uploads of 500 MB at once, half of them cut five times; UPLOADS=50 for 50 MB each
	swift build -c release --product therapybridge
	exec Tests/Uploads/run .build/release/therapybridge $(UPLOADS_PYTHON) eight $(UPLOADS)

estimates: packages-recordings ## Measure the estimates of remaining time; ESTIMATES="--sessions 6" for fewer sessions
	swift build -c release --product therapybridge
	exec Tests/Estimates/run .build/release/therapybridge $(ESTIMATES)

bombs: packages-test ## Transcribe files that were made to cost memory or time; BOMBS_SEED=7 BOMBS_COUNT=1 for one of a seed
	BOMBS=long $(if $(BOMBS_SEED),BOMBS_SEED=$(BOMBS_SEED)) $(if $(BOMBS_COUNT),BOMBS_COUNT=$(BOMBS_COUNT)) TEST_SLOWNESS=$(or $(TEST_SLOWNESS),4) swift test --filter 'BombTests|BombQueueTests'

# The packages of servers would start them, and PostgreSQL's would make a cluster. Nothing here needs those. Exit status
# 101 of policy-rc.d forbids the scripts of a package to start a service.
define install
	@missing=$$(for package in $(1); do \
	    dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q '^install ok installed$$' || echo $$package; \
	done); \
	if [ -n "$$missing" ]; then \
	    echo "Installing:" $$missing; \
	    $(AS_ROOT) apt-get update -qq; \
	    $(AS_ROOT) mkdir -p /etc/postgresql-common/createcluster.d; \
	    echo 'create_main_cluster = false' | $(AS_ROOT) tee /etc/postgresql-common/createcluster.d/no-main.conf >/dev/null; \
	    if [ ! -e /usr/sbin/policy-rc.d ]; then \
	        trap "$(AS_ROOT) rm -f /usr/sbin/policy-rc.d" EXIT; \
	        printf '#!/bin/sh\nexit 101\n' | $(AS_ROOT) install -m 755 /dev/stdin /usr/sbin/policy-rc.d; \
	    fi; \
	    $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

packages-build:
	$(call install,$(BUILD_PACKAGES))
packages-run:
	$(call install,$(RUN_PACKAGES))
packages-test:
	$(call install,$(TEST_PACKAGES))
packages-recordings:
	$(call install,$(RUN_PACKAGES) python3)

packages-proxies:
	$(call install,$(RUN_PACKAGES) nginx haproxy caddy apache2 openssl python3)

packages-package:
	$(call install,$(BUILD_PACKAGES) debootstrap systemd-container binutils)

packages-image:
	$(call install,$(RUN_PACKAGES) debootstrap buildah crun binutils python3)

packages-workers:
	$(call install,$(RUN_PACKAGES) python3 python3-psycopg)

packages-faults:
	$(call install,$(RUN_PACKAGES) nginx python3 python3-psycopg)

packages-monitoring:
	$(call install,$(RUN_PACKAGES) prometheus python3)

# Servers of PostgreSQL that Debian does not have.
# Not in .data, which the demo opens to its own account alone: for root, PostgreSQL runs as another one.
packages-postgres:
	$(call install,python3 python3-venv)
	@Tests/Versions/install .build/postgres

packages-fuzz:
	$(call install,$(FUZZ_PACKAGES))
	@cmp -s $(FUZZ_REQUIREMENTS) $(FUZZ_PYTHON)/requirements.txt || { \
	    /usr/bin/python3 -m venv --clear $(FUZZ_PYTHON); \
	    $(FUZZ_PYTHON)/bin/pip install --quiet --requirement $(FUZZ_REQUIREMENTS); \
	    cp $(FUZZ_REQUIREMENTS) $(FUZZ_PYTHON)/requirements.txt; \
	}

packages-clients:
	$(call install,$(CLIENTS_PACKAGES))
	@Tests/Clients/install $(CLIENTS_PYTHON)

packages-docs:
	$(call install,$(DOCS_PACKAGES))
	@cmp -s $(DOCS_REQUIREMENTS) $(DOCS_PYTHON)/requirements.txt || { \
	    /usr/bin/python3 -m venv --clear $(DOCS_PYTHON); \
	    $(DOCS_PYTHON)/bin/pip install --quiet --requirement $(DOCS_REQUIREMENTS); \
	    cp $(DOCS_REQUIREMENTS) $(DOCS_PYTHON)/requirements.txt; \
	}

packages-uploads:
	$(call install,$(UPLOADS_PACKAGES))
	@cmp -s $(UPLOADS_REQUIREMENTS) $(UPLOADS_PYTHON)/requirements.txt || { \
	    /usr/bin/python3 -m venv --clear $(UPLOADS_PYTHON); \
	    $(UPLOADS_PYTHON)/bin/pip install --quiet --requirement $(UPLOADS_REQUIREMENTS); \
	    cp $(UPLOADS_REQUIREMENTS) $(UPLOADS_PYTHON)/requirements.txt; \
	}

packages-browsers:
	$(call install,$(BROWSERS_PACKAGES))
	@cmp -s $(BROWSERS_REQUIREMENTS) $(BROWSERS_PYTHON)/requirements.txt || { \
	    /usr/bin/python3 -m venv --clear $(BROWSERS_PYTHON); \
	    $(BROWSERS_PYTHON)/bin/pip install --quiet --no-deps --requirement $(BROWSERS_REQUIREMENTS); \
	    cp $(BROWSERS_REQUIREMENTS) $(BROWSERS_PYTHON)/requirements.txt; \
	}

packages-webhooks:
	$(call install,$(WEBHOOKS_PACKAGES))
	@cmp -s $(WEBHOOKS_REQUIREMENTS) $(WEBHOOKS_PYTHON)/requirements.txt || { \
	    /usr/bin/python3 -m venv --clear $(WEBHOOKS_PYTHON); \
	    $(WEBHOOKS_PYTHON)/bin/pip install --quiet --requirement $(WEBHOOKS_REQUIREMENTS); \
	    cp $(WEBHOOKS_REQUIREMENTS) $(WEBHOOKS_PYTHON)/requirements.txt; \
	}

# The benchmark works without these packages. systemd must not start nginx at the next boot.
packages-peers:
	@[ -e /usr/sbin/nginx ] || $(AS_ROOT) systemctl mask nginx >/dev/null 2>&1 || true
	-$(call install,$(PEER_PACKAGES))
	-@cmp -s $(PEER_REQUIREMENTS) $(PEER_PYTHON)/requirements.txt || { \
	    /usr/bin/python3 -m venv --clear $(PEER_PYTHON); \
	    $(PEER_PYTHON)/bin/pip install --quiet --requirement $(PEER_REQUIREMENTS); \
	    cp $(PEER_REQUIREMENTS) $(PEER_PYTHON)/requirements.txt; \
	}
