# Cyvive. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# What is made and booted: amd64 or arm64.
ARCH ?= $(shell go env GOARCH)
# Regular expression that picks tests, for unit-test, root-test and vm-test.
RUN ?=
# Folder with the keys that sign releases; hack/release/keys has the same default.
export CYVIVE_KEYS ?= $(or $(XDG_DATA_HOME),$(HOME)/.local/share)/cyvive/keys

# File of the public key of whoever may give nodes of the image their first
# configuration (docs/maintenance.md); none without it.
CYVIVE_OWNER ?=

# When a machine in setup mode enrols the keys of Secure Boot from a signed disk
# image: if-safe (in virtual machines), force (in all), off (docs/secure-boot.md).
ENROL ?= if-safe
# File of the public keys of whoever may sign extensions for nodes of the image,
# besides those of releases (docs/extensions.md); none without it.
CYVIVE_EXTENSION_KEYS ?=

# Whose processors the image has microcode for: amd, intel, or both (amd,intel), which
# makes it 16 MB larger; amd64 only (docs/install.md).
export MICROCODE ?= amd

# Commit that the protos must stay compatible with.
BASE ?= $(shell git rev-parse --verify --quiet origin/main || git rev-parse HEAD)

RUNFLAG = $(if $(RUN),-run '$(RUN)')
# Tests that run beside others mostly wait, so there are more of them than
# processors; make check has vetted all.
UNITFLAGS := -vet=off -parallel 4
# Ginkgo, which csi-sanity is written with, refuses -parallel.
GINKGO := ./internal/csi
TOOL := go tool -modfile=hack/tools/go.mod
# Packages whose tests in virtual machines have long forms, which LONG=1 asks for. They take hours, and more memory.
LONG_VM := ./internal/csi/mounter ./internal/machined/peer ./internal/storage/pool/zpool ./internal/storage/replication ./internal/storage/zfs/command
VM_TIMEOUT := $(if $(filter 1,$(LONG)),24h,20m)
# Packages with tests that say they need root, or a virtual machine.
packages_with = $$(grep -rlE --include=*_test.go '$(1)' internal cmd hack test/planes | xargs -r -n1 dirname | sort -u | sed 's|^|./|')

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:[^#]*## /\t/' | expand -t 16

.PHONY: setup
setup: ## install the programs that are missing (apt-get; asks sudo where needed)
	@go run ./hack/qemu setup --arch $(ARCH)

.PHONY: image
image: setup keys bin/nodectl ## build the node image into out/ARCH
	@keys=$$(realpath -m "$$CYVIVE_KEYS"); more=(); [ ! -e "$$keys/policy.pem" ] || more+=(--policy-keys "$$keys/policy.pem"); \
		if [ -e "$$keys/db.key" ]; then \
			(cd images && go run ./cmd/mkimage build --arch $(ARCH) --until userland); \
			go run ./hack/release modules --dir out/$(ARCH)/zfs --program out/$(ARCH)/boot-loader.efi --out out/$(ARCH)/module-signatures; \
			more+=(--module-signatures "$(CURDIR)/out/$(ARCH)/module-signatures"); \
		fi; \
		cd images && go run ./cmd/mkimage build --arch $(ARCH) --keys "$$keys/release.pem" --microcode "$(MICROCODE)" "$${more[@]}" \
			$(if $(CYVIVE_OWNER),--owner "$(abspath $(CYVIVE_OWNER))") $(if $(CYVIVE_EXTENSION_KEYS),--extension-keys "$(abspath $(CYVIVE_EXTENSION_KEYS))")

.PHONY: keys
keys: ## make your keys for signing releases, what sealed disks open by, and Secure Boot, unless there are some
	@go run ./hack/release keys --ensure

.PHONY: release
release: iso ## sign the image: out/ARCH/cyvive-VERSION-ARCH.cyvive for upgrades, .raw, a disk, and what iso makes (ENROL=if-safe|force|off)
	@go run ./hack/release bundle --dir out/$(ARCH) --out "out/$(ARCH)/cyvive-$$(cat images/VERSION)-$(ARCH).cyvive"

.PHONY: iso
iso: image ## sign the image as a disk (.raw) and as what machines are installed from: out/ARCH/cyvive-VERSION-ARCH.iso, a CD or USB stick, and .efi for PXE and HTTP boot
	@name="out/$(ARCH)/cyvive-$$(cat images/VERSION)-$(ARCH)"; \
		go run ./hack/release disk --enrol $(ENROL) --dir out/$(ARCH) --out "$$name.raw"; \
		go run ./hack/release media --dir out/$(ARCH) --disk "$$name.raw" --out "$$name"

.PHONY: golden
golden: image ## write the reviewed list of the image again (images/testdata)
	@cd images && ARCH=$(ARCH) REQUIRE_IMAGE=1 go test -count=1 -run TestImageIsAsReviewed ./internal/build -update

.PHONY: lock
lock: setup ## move the pins of images/lock.json to the newest packages
	@cd images && go run ./cmd/mkimage lock

.PHONY: bin/nodectl bin/qemu bin/guest
bin/nodectl:
	@CGO_ENABLED=0 go build -trimpath -o $@ ./cmd/nodectl
bin/qemu:
	@CGO_ENABLED=0 go build -trimpath -o $@ ./hack/qemu
bin/guest:
	@CGO_ENABLED=0 GOOS=linux GOARCH=$(ARCH) go build -trimpath -o $@ ./hack/qemu/guest

.PHONY: preflight
preflight: setup
	@go run ./hack/qemu preflight --arch $(ARCH)

.PHONY: cluster
cluster: preflight image ## make a one-node cluster and fetch an answer from a pod on it
	@go run ./hack/qemu up --arch $(ARCH)

.PHONY: cluster-start
cluster-start: ## start a cluster again whose node was shut down, with the disks that it has
	@go run ./hack/qemu start

.PHONY: cluster-down
cluster-down: ## remove the cluster and all that it left
	@go run ./hack/qemu down

.PHONY: test
test: setup image check unit-test root-test repro-short vm-test ## run every test there is

.PHONY: unit-test
unit-test: ## run the tests that need nothing, once more with the race detector (RUN=regexp)
	go test $(UNITFLAGS) $(RUNFLAG) $$(go list ./... | grep -vE '/(test/e2e|trust/volumes|internal/csi)$$') # root-test runs the second whole
	go test -vet=off $(RUNFLAG) $(GINKGO)
	go test -race -short $(UNITFLAGS) $(RUNFLAG) $$(go list ./internal/... ./cmd/... | grep -vE '/(trust/volumes|internal/csi)$$') # the first left out starts nothing beside itself
	go test -race -short -vet=off $(RUNFLAG) $(GINKGO)
	cd images && go test $(RUNFLAG) ./... github.com/cyvive/cyvive/images/startup
	cd images/kubernetes && CGO_ENABLED=0 go test -trimpath -tags grpcnotrace $(RUNFLAG) ./gates ./csi

.PHONY: root-test
root-test: ## run the tests that need root, in namespaces of their own (RUN=regexp)
	@hack/root-test.sh '$(RUN)' $(call packages_with,REQUIRE_ROOT)

# Of tests of whole nodes that run beside each other, two at a time: their deadlines
# are for emulated processors, each of which has one of the host to itself. What of
# the packages needs no machine has run whole in unit-test, and is short here.
.PHONY: vm-test
vm-test: bin/qemu bin/nodectl bin/guest ## run the tests in virtual machines, and whole nodes (RUN=regexp)
	@$(if $(filter 1,$(LONG)),bin/qemu setup --arch $(ARCH) --with fio)
	REQUIRE_VM=1 REQUIRE_ROOT=1 CGO_ENABLED=0 go test -p 2 $(if $(filter 1,$(LONG)),,-short) -timeout $(VM_TIMEOUT) $(RUNFLAG) \
		-exec '$(CURDIR)/bin/qemu exec --timeout $(VM_TIMEOUT) $(if $(filter 1,$(LONG)),--memory-mib 2048) --out $(CURDIR)/out --arch $(ARCH) --guest $(CURDIR)/bin/guest' $(call packages_with,CYVIVE_VM)
	cd images && ARCH=$(ARCH) REQUIRE_IMAGE=1 go test -count=1 $(RUNFLAG) ./internal/build
	REQUIRE_VM=1 ARCH=$(ARCH) go test -count=1 -timeout 10h -parallel 2 -v $(RUNFLAG) ./test/e2e

.PHONY: fuzz
fuzz: ## run each fuzz test for a while, beginning with its corpus (TIME=20s, RUN=regexp)
	@hack/fuzz.sh '$(or $(TIME),20s)' '$(RUN)'

.PHONY: soak
soak: setup image bin/qemu bin/nodectl bin/guest ## run the long tests: kill every part of a node 20 times (ROUNDS=n), watch an idle one for an hour (QUIET=1h), upgrades good and bad, installation and reset, 200 power cuts (CUTS=n, SEED=n), 50 of pools, what opens disks, pools whose disks fail, OpenZFS itself, replication on real pools and between two nodes, volumes of pods
	@bin/qemu setup --arch $(ARCH) --with fio
	REQUIRE_VM=1 ARCH=$(ARCH) ROUNDS=$(or $(ROUNDS),20) QUIET=$(or $(QUIET),1h) LONG=1 CUTS=$(or $(CUTS),200) \
		go test -count=1 -timeout 24h -v -run '$(or $(RUN),^(TestHostile|TestUpgrade|TestBadReleases|TestSilentAgent|TestPull|TestDrain|TestInstall|TestInstallFromISO|TestInstallFromNetwork|TestReset|TestPowerCuts|TestPools|TestPoolCuts|TestReplication|TestVolumes|TestSecureBoot|TestEncryption|TestKeyServer|TestDiskPassphrase|TestEncryptedPools|TestExtensions)$$)' ./test/e2e
	REQUIRE_VM=1 LONG=1 CGO_ENABLED=0 go test -p 1 -count=1 -timeout 24h -v -run '$(or $(RUN),^TestVM)' \
		-exec '$(CURDIR)/bin/qemu exec --timeout 24h --memory-mib 2048 --out $(CURDIR)/out --arch $(ARCH) --guest $(CURDIR)/bin/guest' $(LONG_VM)

.PHONY: bench
bench: image $(if $(ONLY),$(findstring baseline,$(ONLY)),baseline) bin/qemu ## measure a node beside Debian with kubeadm, upgrades, rollbacks, pools and replication into out/bench.json (IDLE=15m, ONLY=node,baseline,upgrade,rollback,memory,pools,replication)
	@bin/qemu bench --arch $(ARCH) --idle $(or $(IDLE),15m) $(if $(ONLY),--only $(ONLY) --result out/bench-$(ONLY).json,--result out/bench.json)

.PHONY: baseline
baseline: setup
	@go run ./hack/qemu setup --arch $(ARCH) --with mmdebstrap,zstd
	@cd images && go run ./cmd/mkimage baseline --arch $(ARCH)

.PHONY: check
check: ## check format, vet, staticcheck, generated code, import rules and protos
	@echo "check: gofmt"; files=$$(gofmt -l api cmd hack images internal test); [ -z "$$files" ] || { echo "not formatted:"; echo "$$files"; exit 1; }
	@echo "check: vet"; go vet ./...; cd images && go vet ./... github.com/cyvive/cyvive/images/startup
	@echo "check: staticcheck"; $(TOOL) staticcheck ./...; cd images && go tool -modfile=../hack/tools/go.mod staticcheck ./...
	@echo "check: import rules"; go test ./internal/importrules
	@echo "check: protos"; $(TOOL) buf lint; $(TOOL) buf breaking --against ".git#ref=$(BASE)"
	@echo "check: generated code"; hack/generated.sh
	@echo "check: reference"; go test -run '^TestReference$$' ./cmd/nodectl ./internal/machined/server ./internal/machined/plan; go test -run '^TestSchema$$' ./internal/machined/config

.PHONY: generate
generate: setup ## write the generated code, the reference and the man pages again
	@$(TOOL) buf generate
	@hack/bpf.sh
	@$(TOOL) buf build -o - | go run ./hack/apidoc > docs/reference/api.md
	@go test -count=1 -run '^TestSchema$$' ./internal/machined/config -update-schema
	@go test -count=1 -run '^TestReference$$' ./cmd/nodectl ./internal/machined/server ./internal/machined/plan -update

.PHONY: repro repro-short
repro: image ## build the image again from nothing, elsewhere and as another user, and compare
	@hack/repro.sh $(ARCH) full
repro-short: image ## the same with the cached results of third-party inputs
	@hack/repro.sh $(ARCH) short

.PHONY: clean
clean: cluster-down ## remove all that was built; the cache stays
	@rm -rf out bin
