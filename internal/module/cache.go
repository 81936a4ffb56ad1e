// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const cacheVariable = "TF_PLUGIN_CACHE_DIR"

// ownCache finds the setting of a cache in a configuration of Terraform.
var ownCache = regexp.MustCompile(`(?m)^\s*"?plugin_cache_dir"?\s*[=:]`)

// userCaches reports whether the user has a cache of providers in their configuration of
// Terraform.
var userCaches = sync.OnceValue(func() bool {
	names := []string{os.Getenv("TF_CLI_CONFIG_FILE")}
	if home, err := os.UserHomeDir(); err == nil && names[0] == "" {
		names = []string{filepath.Join(home, ".terraformrc"), filepath.Join(home, ".tofurc")}
	}
	for _, name := range names {
		if doc, err := os.ReadFile(name); err == nil && ownCache.Match(doc) {
			return true
		}
	}
	return false
})

// cacheDir returns the cache that Terraform is told to use; "" leaves it the user's own.
func (m *Modules) cacheDir() string {
	if dir := os.Getenv(cacheVariable); dir != "" {
		return dir
	}
	if userCaches() {
		return ""
	}
	return m.config.CacheDir
}

// caching installs providers, alone on this machine: Terraform's cache takes no two writers.
func (m *Modules) caching(ctx context.Context, install func(cache string) error) error {
	const op = "install providers"
	cache := m.cacheDir()
	for _, dir := range []string{m.config.CacheDir, cache} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
		}
	}
	lock, err := lockFile(ctx, filepath.Join(m.config.CacheDir, ".lock"), "the cache of providers")
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	return install(cache)
}
