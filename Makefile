# TherapyBridge. `make help` lists the targets.
#
# Each target installs the Debian packages that it needs and that are missing: as root, or through sudo.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# What it takes to build; and to run everything on one machine, or to test it.
BUILD_PACKAGES := libpq-dev pkg-config
RUN_PACKAGES := $(BUILD_PACKAGES) postgresql ffmpeg pocketsphinx pocketsphinx-en-us curl
TEST_PACKAGES := $(RUN_PACKAGES) pgbouncer

SWIFT_SOURCES := Package.swift Sources Tests

.PHONY: help run test lint format migrate packages-build packages-run packages-test

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: packages-run ## Build, then run everything on this machine: PostgreSQL, demo accounts, the server
	swift build -c release --product therapybridge
	exec .build/release/therapybridge dev

test: packages-test ## Run every test, on a PostgreSQL of their own
	swift test

lint: ## Check the format of the sources
	swift format lint --strict --recursive --parallel $(SWIFT_SOURCES)

format: ## Format the sources
	swift format --in-place --recursive --parallel $(SWIFT_SOURCES)

migrate: packages-build ## Apply the migrations to the database of DATABASE_MIGRATE_URL
	swift build -c release --product therapybridge
	.build/release/therapybridge migrate up

# PostgreSQL's package would start a cluster of its own, which nobody here needs.
define install
	@missing=$$(for package in $(1); do \
	    dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q '^install ok installed$$' || echo $$package; \
	done); \
	if [ -n "$$missing" ]; then \
	    echo "Installing:" $$missing; \
	    as_root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	    $$as_root apt-get update -qq; \
	    $$as_root mkdir -p /etc/postgresql-common/createcluster.d; \
	    echo 'create_main_cluster = false' | $$as_root tee /etc/postgresql-common/createcluster.d/no-main.conf >/dev/null; \
	    $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

packages-build:
	$(call install,$(BUILD_PACKAGES))
packages-run:
	$(call install,$(RUN_PACKAGES))
packages-test:
	$(call install,$(TEST_PACKAGES))
