# Every target is one line where it can be; .ci/run calls these and nothing else.
SHELL := /bin/bash
GO ?= go
LDFLAGS := -X main.version=$(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
SAMPLES := hello api chat
FUZZTIME ?= 10s

# $(call put,FILE,WHAT TO BUILD) builds next to FILE and renames, so that a
# running program is never written to.
put = mkdir -p $(dir $(1)) && $(GO) build -trimpath -o $(1).new $(2) && mv -f $(1).new $(1)

# $(call need,TOOL,WHY) stops with exit code 2 if TOOL is missing.
need = command -v $(1) >/dev/null || { echo "make $@: $(1) is missing: $(2)" >&2; exit 2; }

# What `make test` leaves out on this machine, in one line.
left_out = race detector (make race)$(if $(AERIE_LONG),,, 1 GiB streams and hundreds of recycles (AERIE_LONG=1))$(if $(shell command -v node),,, Node tests (node is missing))

.PHONY: build samples run test race lint cross bench bench-deps fuzz cover generate clean help
.DEFAULT_GOAL := build

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

build: ## bin/aerie
	@$(call put,bin/aerie,-ldflags '$(LDFLAGS)' ./cmd/aerie)

samples: ## the sample apps, deployed into pools/
	@for s in $(SAMPLES); do $(call put,pools/$$s/$$s,./examples/$$s) || exit; done
	@mkdir -p pools/node && cp examples/node/server.js pools/node/server.js.new && mv -f pools/node/server.js.new pools/node/server.js

run: build samples ## the host with the samples, in the foreground; Ctrl-C drains and ends
	@bin/aerie check && exec bin/aerie run

test: ## every test that needs nothing but Go
	@echo 'left out: $(left_out)'
	$(GO) test $(if $(AERIE_LONG),-timeout 30m) ./...

race: ## every test, under the race detector (needs a C compiler)
	@$(call need,$(or $(shell $(GO) env CC),gcc),the race detector needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 30m ./...

lint: ## gofmt, go vet, staticcheck
	@files=$$(gofmt -l .) && { [ -z "$$files" ] || { echo "gofmt -w:" $$files >&2; exit 1; }; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

cross: ## build and vet for the other systems
	@for os in linux darwin windows; do for arch in amd64 arm64; do echo $$os/$$arch; CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build ./... || exit; done; CGO_ENABLED=0 GOOS=$$os $(GO) vet ./... || exit; done

bench: ## side by side with peers, on this machine (needs wrk); BENCHFLAGS=-quick is shorter
	@$(call need,wrk,make bench-deps installs it on Debian)
	$(GO) run ./bench $(BENCHFLAGS)

bench-deps: ## what make bench needs, on Debian
	apt-get install -y --no-install-recommends wrk

fuzz: ## each fuzz test for FUZZTIME (10s)
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed 's|/[^/]*:func | |' | while read -r dir name; do $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$dir || exit; done

cover: ## coverage of all packages by all tests, in bin/cover.html
	@mkdir -p bin && $(GO) test -coverpkg=./... -coverprofile=bin/cover.out ./... && $(GO) tool cover -func=bin/cover.out | tail -n 1 && $(GO) tool cover -html=bin/cover.out -o bin/cover.html

generate: ## the control service's code, from proto/control.proto (needs protoc)
	@$(call need,protoc,it is in Debian's protobuf-compiler)
	$(GO) build -o bin/tools/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH="$(CURDIR)/bin/tools:$$PATH" protoc --go_out=. --go_opt=module=aerie --go-grpc_out=. --go-grpc_opt=module=aerie proto/control.proto

clean: ## what was built; logs and state stay
	rm -rf bin $(SAMPLES:%=pools/%) pools/node
