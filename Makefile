# The commands people use. `make help` lists them.
#
# Everything is built for everyday use (`dev` profile, hot dependencies optimised); `make release`
# builds what gets installed. Downloads and built images are kept under target/cache.

SHELL := /bin/bash
# What fails on the left of a pipe has failed.
.SHELLFLAGS := -o pipefail -c
CARGO ?= cargo
OUT := target/debug
AGENT := target/agent/x86_64-unknown-linux-gnu/agent/bessemer-agent
RAMDISK := target/ramdisk
OS_IMAGE := target/os-image
LAB := target/lab
# The program that makes the package, in this very version and nowhere else.
CARGO_DEB_VERSION := 3.8.0
CARGO_DEB := target/tools/cargo-deb-$(CARGO_DEB_VERSION)
# The program that builds and runs what is in fuzz/.
CARGO_FUZZ_VERSION := 0.13.2
CARGO_FUZZ := target/tools/cargo-fuzz-$(CARGO_FUZZ_VERSION)
# Namespaces, taps and a switch need root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.DEFAULT_GOAL := help
.PHONY: help demo test runs soak rack bench fuzz lint release man package build agent ramdisk os-image dependencies demo-dependencies rack-test boots handovers networks ramdisk-hardware ramdisk-test boot-images test-programs tests simulated-runs

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: demo-dependencies build ramdisk os-image ## Bring up a virtual rack and carry two orders to an SSH login
	$(SUDO) $(OUT)/bessemer-lab demo --dir $(LAB) --bessemer $(OUT)/bessemer --ramdisk $(RAMDISK) --os-image $(OS_IMAGE) --report target/demo.json

# Which packages `build` is asked for. Cargo gives a dependency the features that all chosen packages
# want together: another choice is another build of everything above it.
PACKAGES := -p bessemer -p bessemer-sim
# A test waits for a machine, a database or a deadline most of the time: two at a time for each processor.
TEST_THREADS := $(shell echo $$(($$(nproc) * 2)))

# Two things at a time, as far as they do not disturb each other: compiling needs a processor, and so do the simulated
# runs; making what machines boot waits for disks, and other tests for deadlines. The rack has the machine for itself.
test: dependencies ## Install what tests need and run all of them
	$(MAKE) --jobs=2 test-programs boot-images
	$(MAKE) --jobs=2 tests simulated-runs
	$(MAKE) ramdisk-test rack-test PACKAGES=--workspace

test-programs:
	$(CARGO) test --workspace --locked --no-run
	$(CARGO) test --workspace --locked --no-run --test runs

# The seed makes property tests the same every time; without it, they look elsewhere each time.
tests:
	PROPTEST_RNG_SEED=1856 RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --workspace --locked

# They live by a clock of their own, and leave the processors to tests that do not.
simulated-runs:
	nice -n 10 $(CARGO) test --workspace --locked --test runs

# The RAM disk for real servers has what it should, whenever and wherever it is built.
boot-images:
	$(MAKE) ramdisk-hardware ramdisk os-image
	ramdisk/check $(RAMDISK)-hardware --reproducible $(AGENT)

# The same as in `make test`, in an optimised program.
runs: dependencies ## Two thousand simulated runs that everything goes wrong in
	$(CARGO) test --release --locked -p bessemer-sim --test runs -- --nocapture

# New seeds for as long as SECONDS_TO_SOAK says; what fails prints its seed, its story and how to see it again.
SECONDS_TO_SOAK := 3600
soak: dependencies ## Simulated sites that everything goes wrong at, from new seeds, for SECONDS_TO_SOAK
	BESSEMER_SOAK_SECONDS=$(SECONDS_TO_SOAK) $(CARGO) test --release --locked -p bessemer-sim --test runs soak -- --ignored --nocapture

# It finds and erases every disk of a server.
ramdisk-test: dependencies ramdisk-hardware
	BESSEMER_RAMDISK=$(CURDIR)/$(RAMDISK)-hardware $(CARGO) test --locked --workspace --test hardware -- --ignored

# The whole path on real firmware, with the server killed in the middle of the image write.
rack-test: dependencies build ramdisk os-image
	$(SUDO) $(OUT)/bessemer-lab demo --dir target/rack-test --bessemer $(OUT)/bessemer --ramdisk $(RAMDISK) --os-image $(OS_IMAGE) --report target/rack-test.json --kill-server-in write_image
	$(MAKE) boots

# The agent booted in every way, with seconds for each in target/boots.json.
boots: dependencies build ramdisk
	$(SUDO) $(OUT)/bessemer-lab boots --dir target/boots --bessemer $(OUT)/bessemer --ramdisk $(RAMDISK) --report target/boots.json

# Not part of `make test`: seven minutes of firmware. Every way to hand a machine over, and to have it come back to the network, in target/handovers.json.
handovers: dependencies build ramdisk os-image
	$(SUDO) $(OUT)/bessemer-lab handovers --dir target/handovers --bessemer $(OUT)/bessemer --ramdisk $(RAMDISK) --os-image $(OS_IMAGE) --report target/handovers.json

# Not part of `make test` either: four machines in two racks, two tenants, bonds and tagged networks, in target/networks.json.
networks: dependencies build ramdisk os-image
	$(SUDO) $(OUT)/bessemer-lab networks --dir target/networks --bessemer $(OUT)/bessemer --ramdisk $(RAMDISK) --os-image $(OS_IMAGE) --report target/networks.json

rack: demo-dependencies build ramdisk ## Bring up the virtual rack and leave it running (bessemer-lab down ends it)
	$(SUDO) $(OUT)/bessemer-lab up --dir $(LAB)

# Standard output has nothing but the figures.
bench: ## Measure; one JSON line a figure
	@$(MAKE) --no-print-directory dependencies >&2
	@$(MAKE) --no-print-directory release >&2
	@$(CARGO) build --release --locked -p bessemer-bench >&2
	@target/release/bessemer-bench
	@$(CARGO) test --release --quiet --locked -p bessemer-fabric --test ovsdb thousand -- --ignored --nocapture | grep '^{'
	@$(CARGO) test --release --quiet --locked -p bessemer-sim --test site thousand -- --include-ignored --nocapture --test-threads=1 | grep '^{'

# Needs a nightly compiler; what is found and learned stays under target/ and fuzz/artifacts.
TARGET ?= dhcp_request
SECONDS ?= 60
fuzz: $(CARGO_FUZZ)/bin/cargo-fuzz ## Look for inputs that break a reader: make fuzz TARGET=dhcp_request SECONDS=60
	mkdir -p target/fuzz-corpus/$(TARGET)
	PATH="$(CURDIR)/$(CARGO_FUZZ)/bin:$$PATH" $(CARGO) +nightly fuzz run --fuzz-dir fuzz --target-dir $(CURDIR)/target/fuzz $(TARGET) target/fuzz-corpus/$(TARGET) fuzz/seeds/$(TARGET) -- -max_total_time=$(SECONDS) -max_len=65536 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1

$(CARGO_FUZZ)/bin/cargo-fuzz:
	$(CARGO) install cargo-fuzz --version $(CARGO_FUZZ_VERSION) --locked --root $(CARGO_FUZZ)

lint: ## Formatting, clippy, shell scripts
	scripts/lint

release: ## Build what gets installed, with optimisation
	$(CARGO) build --profile dist --locked -p bessemer

man: build ## Manual pages and bash completions into target/
	$(OUT)/bessemer man target/man
	$(OUT)/bessemer completions bash >target/bessemer.bash

# Real machines need Debian's general kernel, not the lab's.
package: dependencies release agent man $(CARGO_DEB)/bin/cargo-deb ## A Debian package, in target/debian
	ramdisk/build $(AGENT) $(RAMDISK)-hardware
	$(CARGO_DEB)/bin/cargo-deb -p bessemer --profile dist --no-build

$(CARGO_DEB)/bin/cargo-deb:
	$(CARGO) install cargo-deb --version $(CARGO_DEB_VERSION) --locked --root $(CARGO_DEB)

build:
	$(CARGO) build --locked $(PACKAGES)

agent:
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --locked --profile agent --target x86_64-unknown-linux-gnu -p bessemer-agent --target-dir target/agent

# Emulated machines unpack Debian's cloud kernel three seconds quicker than the general one that
# real hardware needs.
ramdisk: agent
	BESSEMER_MACHINES=virtual ramdisk/build $(AGENT) $(RAMDISK)

ramdisk-hardware: agent ## The RAM disk for real servers, into target/ramdisk-hardware; which devices it covers
	ramdisk/build $(AGENT) $(RAMDISK)-hardware
	ramdisk/check $(RAMDISK)-hardware

os-image:
	lab/os-image/build $(OS_IMAGE)

dependencies:
	scripts/install-dependencies test

demo-dependencies:
	scripts/install-dependencies demo
