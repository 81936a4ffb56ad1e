// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Command terraform-provider-penstock is Penstock: it serves Terraform's plugin
// protocol when Terraform starts it, and is the penstock command when a person does.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	tfprovider "github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/cli"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/supervisor"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/provider"
)

// version is set when a release is built.
var version = "dev"

// address is where the provider is published.
const address = "registry.terraform.io/penstock-io/penstock"

func main() {
	process.Guard()
	supervisor.Main()
	app.KeeperMain()
	attached := slices.Contains(os.Args[1:], "-debug")
	if os.Getenv("TF_PLUGIN_MAGIC_COOKIE") != "" || attached {
		os.Exit(serve(attached))
	}
	loosenMemory(800)
	streams, signals := cli.System(), make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	streams.Signals = signals
	os.Exit(cli.Main(context.Background(), os.Args[1:], streams, version))
}

// serve serves the provider until Terraform ends it. One that is attached to
// with TF_REATTACH_PROVIDERS goes on without a parent.
func serve(attached bool) int {
	p := provider.New(version)
	if !attached {
		go endWithParent(p)
	}
	tune()
	ctx := context.Background()
	err := providerserver.Serve(ctx, func() tfprovider.Provider { return p }, providerserver.ServeOpts{
		Address: address, Debug: attached, ProtocolVersion: 6,
	})
	p.Close(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// tune makes large plans faster, unless the environment says otherwise. Terraform's
// libraries trace every call in the log even where nobody reads it, which costs about
// a quarter of a plan's time.
func tune() {
	loosenMemory(400)
	if logged := slices.ContainsFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TF_LOG") }); logged {
		return
	}
	for _, name := range []string{"TF_LOG_SDK", "TF_LOG_SDK_PROTO", "TF_LOG_SDK_FRAMEWORK"} {
		_ = os.Setenv(name, "off")
	}
}

// loosenMemory lets the memory grow further before it is tidied, by so many percent of
// what is in use: most of what a plan or a listing takes is garbage soon. Commands that
// stay tighten it again.
func loosenMemory(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// orphanGrace is what a provider whose Terraform was killed has left to clean up:
// the requests under way are cancelled, and remove what they were making.
const orphanGrace = 5 * time.Second

// endWithParent ends the process some time after its parent has ended. A Terraform
// that is killed does not tell its plugins.
func endWithParent(p *provider.Provider) {
	parent := os.Getppid()
	for range time.Tick(200 * time.Millisecond) {
		if os.Getppid() != parent {
			break
		}
	}
	time.AfterFunc(orphanGrace, func() {
		time.AfterFunc(time.Second, func() { os.Exit(1) }) // whatever the ledger does
		p.Abandon(context.Background())
		os.Exit(1)
	})
}
