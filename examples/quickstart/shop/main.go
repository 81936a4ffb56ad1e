// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Command shop is a small shop: products, and orders that several instances of
// it take at once. It keeps its data as files in $PENSTOCK_DATA and reads its
// settings from $SHOP_CONFIG, by default etc/shop.json of the image that it runs
// on: here, or at the root of a machine. It listens on $HOST. It has no users, payments
// or stock.
//
//	shop --port 8080       serve
//	shop migrate           bring the data to the form that this build needs
//	shop seed --sample     add sample orders
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// version is the build's, set by the linker.
var version = "dev"

// drainTimeout bounds how long requests in flight may take once the shop is told to end.
const drainTimeout = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	command := "serve"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("shop "+command, flag.ContinueOnError)
	store := &Store{Dir: env("PENSTOCK_DATA", "data")}
	switch command {
	case "serve":
		host := flags.String("host", env("HOST", "127.0.0.1"), "address to listen on")
		port := flags.Int("port", 8080, "port to listen on")
		if err := parse(flags, args); err != nil {
			return err
		}
		return serve(ctx, store, net.JoinHostPort(*host, strconv.Itoa(*port)))
	case "migrate":
		if err := parse(flags, args); err != nil {
			return err
		}
		return migrate(store, out)
	case "seed":
		sample := flags.Bool("sample", false, "add sample orders")
		if err := parse(flags, args); err != nil {
			return err
		}
		if !*sample {
			return errors.New("seed: nothing to add; use --sample")
		}
		return seed(store, "db/sample.jsonl", out)
	case "version":
		_, err := fmt.Fprintln(out, version)
		return err
	}
	return fmt.Errorf("unknown command %q; the commands are serve, migrate, seed and version", command)
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s: unexpected argument %q", flags.Name(), flags.Arg(0))
	}
	return nil
}

// firstThere returns the first of the files that exists, or the first.
func firstThere(files ...string) string {
	for _, f := range files {
		if _, err := os.Stat(f); err == nil {
			return f
		}
	}
	return files[0]
}

// serve answers requests until ctx ends, and then those that are in flight.
func serve(ctx context.Context, store *Store, address string) error {
	cfg, err := loadConfig(env("SHOP_CONFIG", firstThere("etc/shop.json", "/etc/shop.json")))
	if err != nil {
		return err
	}
	handler, err := newServer(store, cfg, os.DirFS("static"))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	slog.Info("shop is open", "version", version, "address", listener.Addr().String(), "data", store.Dir)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	slog.Info("shop is closing", "version", version)
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return server.Shutdown(drain)
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
