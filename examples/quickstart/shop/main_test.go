// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRunServesUntilItIsToldToEnd(t *testing.T) {
	t.Setenv("PENSTOCK_DATA", t.TempDir())
	t.Setenv("SHOP_CONFIG", "config/shop.json")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()

	ctx, end := context.WithTimeout(context.Background(), 10*time.Second)
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"--port", port}, io.Discard) }()
	for {
		resp, err := http.Get("http://127.0.0.1:" + port + "/healthz")
		if err == nil {
			resp.Body.Close()
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("it ended before it answered: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	end()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Setenv("PENSTOCK_DATA", t.TempDir())
	for want, args := range map[string][]string{
		"unknown command":     {"sell"},
		"use --sample":        {"seed"},
		"unexpected argument": {"migrate", "now"},
		"invalid value":       {"--port", "http"},
	} {
		if err := run(context.Background(), args, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v; want %q", args, err, want)
		}
	}
}

func TestFirstThere(t *testing.T) {
	if got := firstThere("none.json", "config/shop.json"); got != "config/shop.json" {
		t.Errorf("of a file and none it takes %s", got)
	}
	if got := firstThere("none.json", "nothing.json"); got != "none.json" {
		t.Errorf("where there is neither it says %s", got)
	}
}

// TestRunListensOnHost: a shop that listens to its own machine alone is reached by nobody.
func TestRunListensOnHost(t *testing.T) {
	t.Setenv("SHOP_CONFIG", "config/shop.json")
	t.Setenv("HOST", "192.0.2.1") // nobody has this address
	if err := run(context.Background(), []string{"--port", "0"}, io.Discard); err == nil || !strings.Contains(err.Error(), "192.0.2.1") {
		t.Errorf("got %v", err)
	}
}
