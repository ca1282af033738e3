# The first rule is the help; everything generated lands in .cache/ and .venv*/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# For an inventory of your own: make harden INVENTORY=path ARGS='--limit web1 --check --diff'
INVENTORY ?=
ARGS ?=
SCENARIO ?=

VENV := .venv
BIN := $(VENV)/bin
STAMPS := .cache/stamps
LAB := $(BIN)/python lab/lab.py
LINK := .cache/collections/ansible_collections/kopano/hardening

LAB_PACKAGES := aardvark-dns catatonit crun debian-archive-keyring iproute2 iptables mmdebstrap netavark nftables \
	openssh-client openssl podman python3-venv uidmap util-linux
# Programs that the tests start themselves: servers on loopback, package managers in roots of their own.
TEST_PACKAGES := apache2-bin ca-certificates chromium-headless-shell createrepo-c dnf dnf-plugins-core git gnutls-bin gpg \
	gpg-agent knot knot-dnssecutils libnss3-tools nginx openssl openssl-provider-fips promtool rpm testssl.sh unbound zypper

# $(call interpreter,TEST,NAMES): the first of these interpreters that can make an environment and passes the test.
interpreter = $(shell for python in $(2); do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(not $(1))' 2>/dev/null && echo $$python && break; done)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- What everything else stands on

$(STAMPS)/lab-packages: Makefile lab/system.sh
	@lab/system.sh $(LAB_PACKAGES)
	@mkdir -p $(@D) && touch $@

$(STAMPS)/test-packages: Makefile lab/system.sh
	@lab/system.sh $(TEST_PACKAGES)
	@mkdir -p $(@D) && touch $@

$(LINK):
	@mkdir -p $(@D) && ln -sfn ../../../.. $@

# An environment: $(call venv,FOLDER,NEWEST or OLDEST,REQUIREMENTS…), with a message where no interpreter fits.
NEWEST_TEST := sys.version_info >= (3, 12)
NEWEST_NAMES := python3.14 python3.13 python3.12 python3 /usr/bin/python3
NEWEST_WORDS := 3.12 or newer
OLDEST_TEST := (3, 10) <= sys.version_info < (3, 13)
OLDEST_NAMES := python3.12 python3.11 python3.10 python3 /usr/bin/python3
OLDEST_WORDS := 3.10 to 3.12

define venv
	@python='$(call interpreter,$($(2)_TEST),$($(2)_NAMES))'; \
	if [ -z "$$python" ]; then echo 'No Python $($(2)_WORDS) with the module venv (python3-venv) is here.' >&2; exit 1; fi; \
	$(1)/bin/python -m pip --version >/dev/null 2>&1 || $$python -m venv --clear $(1)
	@echo 'installing $(3) in $(1)'
	@$(1)/bin/python -m pip --quiet --disable-pip-version-check install $(addprefix --requirement ,$(3))
	@mkdir -p $(STAMPS) && touch $@
endef

$(STAMPS)/run: requirements.txt | $(LINK)
	$(call venv,$(VENV),NEWEST,requirements.txt)

$(STAMPS)/test: requirements.txt requirements-test.txt $(STAMPS)/run
	$(call venv,$(VENV),NEWEST,requirements.txt requirements-test.txt)

$(STAMPS)/oldest: requirements-oldest.txt | $(LINK)
	$(call venv,.venv-oldest,OLDEST,requirements-oldest.txt)

$(STAMPS)/oracles: requirements-oracles.txt
	$(call venv,.venv-oracles,NEWEST,requirements-oracles.txt)

$(STAMPS)/docs: requirements-docs.txt | $(LINK)
	$(call venv,.venv-docs,NEWEST,requirements-docs.txt)

# Old TLS servers to compare with. Tests whose server cannot be had are skipped.
$(STAMPS)/tls-oracles: tests/unit/tls_oracles.sh
	@tests/unit/tls_oracles.sh >.cache/tls-oracles.log 2>&1 || tail -n 3 .cache/tls-oracles.log
	@mkdir -p $(@D) && touch $@

.PHONY: setup
setup: $(STAMPS)/lab-packages $(STAMPS)/test-packages $(STAMPS)/test $(STAMPS)/tls-oracles ## Install what the other rules need

# ---- The lab

.PHONY: lab lab-reset lab-down
lab: $(STAMPS)/lab-packages $(STAMPS)/run ## Start the lab: Apache and nginx on Debian 11, 12 and 13
	@$(LAB) up

lab-reset: $(STAMPS)/lab-packages $(STAMPS)/run ## Give the lab's hosts their dirty first state again
	@$(LAB) reset

lab-down: $(STAMPS)/lab-packages $(STAMPS)/run ## Remove the lab's hosts
	@$(LAB) down

# ---- Use

.PHONY: harden audit ee-context
harden: $(STAMPS)/run $(if $(INVENTORY),,lab) ## Harden the lab, or the hosts of INVENTORY=
	@ANSIBLE_INVENTORY_UNPARSED_FAILED=true $(BIN)/ansible-playbook playbooks/harden.yml $(addprefix --inventory ,$(INVENTORY)) $(ARGS)

audit: $(STAMPS)/run $(if $(INVENTORY),,lab) ## Say where the lab, or the hosts of INVENTORY=, stand
	@ANSIBLE_INVENTORY_UNPARSED_FAILED=true ANSIBLE_DISPLAY_OK_HOSTS=false ANSIBLE_DISPLAY_SKIPPED_HOSTS=false \
	$(BIN)/ansible-playbook playbooks/audit.yml $(addprefix --inventory ,$(INVENTORY)) $(ARGS)

ee-context: $(STAMPS)/test ## Make the build context of an execution environment in .cache/ee
	@rm -rf .cache/ee && mkdir -p .cache/ee/build
	@$(BIN)/ansible-galaxy collection build --output-path .cache/ee/build . >/dev/null
	@mv .cache/ee/build/*.tar.gz .cache/ee/kopano-hardening.tar.gz
	@$(BIN)/ansible-builder create --file execution-environment.yml --context .cache/ee/context

# ---- Tests

.PHONY: test quick lint docs sanity package unit molecule faults fuzz soak oldest oracles benchmark
test: setup $(STAMPS)/docs ## All checks and tests below but faults, fuzz, soak, oracles and benchmark, with a summary
	@oldest=oldest; if [ -n '$(call interpreter,$(OLDEST_TEST),$(OLDEST_NAMES))' ]; then $(MAKE) $(STAMPS)/oldest; \
	else oldest=; echo 'The oldest ansible-core is not tested: no Python $(OLDEST_WORDS) is here.'; fi && \
	$(BIN)/python tests/run.py unit $$oldest molecule,static  # what is short comes last, and leaves no core idle

quick: $(STAMPS)/test ## The quick static checks and the unit tests of what changed, in less than two minutes
	@$(BIN)/python -m tests.quick

lint: $(STAMPS)/test ## Static checks
	@$(BIN)/python tests/run.py lint

docs: $(STAMPS)/docs ## Build the documentation as a website in .cache/docs/html
	@.venv-docs/bin/python docs/site/build.py

sanity: $(STAMPS)/test ## The sanity tests of ansible-test, on what is published
	@$(BIN)/python tests/run.py sanity

package: $(STAMPS)/test ## What Galaxy, the documentation's tools and REUSE say of the tarball; one of them: package-importer …
	@$(BIN)/python tests/run.py package

PACKAGE := package-importer package-docs package-fragments package-changelog package-licences
.PHONY: $(PACKAGE)
$(PACKAGE): package-%: $(STAMPS)/test
	@$(BIN)/python tests/run.py package:$*

unit: $(STAMPS)/test-packages $(STAMPS)/test $(STAMPS)/tls-oracles ## Unit tests
	@$(BIN)/python tests/run.py unit

molecule: setup ## All Molecule scenarios, or SCENARIO=name
	@$(BIN)/python tests/run.py $(if $(SCENARIO),$(addprefix molecule:,$(SCENARIO)),molecule)

faults: setup ## Every fault, kill and reboot on every host; the other rules spread them over the hosts (slow)
	@FAULTS=all MINUTES=120 $(BIN)/python tests/run.py molecule:failure molecule:reboot

fuzz: $(STAMPS)/test ## Damaged input for whatever reads what strangers send; ARGS='--seed N --minutes M --target NAME'
	@$(BIN)/python -m tests.fuzz.run $(ARGS)

soak: export LAB_SET := soak
soak: setup ## Harden and restore an Apache and an nginx 200 times, or CYCLES=N, while requests come in (slow)
	@$(LAB) --set $(LAB_SET) reset apache13 nginx13
	@$(BIN)/python -m pytest tests/soak $(ARGS); status=$$?; $(LAB) --set $(LAB_SET) down; exit $$status

oldest: $(STAMPS)/test-packages $(STAMPS)/test $(STAMPS)/oldest ## Unit tests with the oldest ansible-core that is supported
	@$(BIN)/python tests/run.py oldest

oracles: setup $(STAMPS)/oracles ## Compare with scanners, package managers and RFCs, on generated cases as well (slow)
	@$(BIN)/python tests/run.py oracles

benchmark: setup lab ## Measurements against the lab
	@$(BIN)/python -m pytest tests/benchmark $(ARGS)

# ---- Release

.PHONY: changelog
changelog: $(STAMPS)/test ## Make a release of the version in galaxy.yml of the changelog's fragments
	@PATH="$(CURDIR)/$(BIN):$$PATH" antsibull-changelog release

.PHONY: clean
clean: ## Remove the lab, the environments and everything generated
	@if [ -d .cache/lab ] && [ -x $(BIN)/python ]; then $(LAB) clean; fi
	rm -rf .cache .venv .venv-docs .venv-oldest .venv-oracles .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible
