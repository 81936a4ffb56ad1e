// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// makeDataDir makes the directory, readable by its owner only, and keeps git from
// adding it.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return dirError(dir, err)
	}
	ignore := filepath.Join(dir, ".gitignore")
	if _, err := os.Stat(ignore); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(ignore, []byte("*\n"), 0o600); err != nil {
			return dirError(dir, err)
		}
	}
	return nil
}

func dirError(dir string, err error) error {
	return pipeline.Errorf(pipeline.CodeInvalid, "open data directory", "%s: %w", dir, err).
		WithHint("Set data_dir in the provider block, or %s, to a directory that this user may write to.", DataDirVariable)
}

// contents are the entries of a data directory that may be removed whole when it
// holds no pipeline. Environments are not among them: if one is there, somebody
// still needs it, and the directory stays.
var contents = []string{"ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.new", "cache", "artifacts", "logs", "work", "images", contextFile, ".gitignore", lockName}

// removeDataDir removes a data directory that holds no pipeline.
func removeDataDir(dir string) error {
	if entries, err := os.ReadDir(filepath.Join(dir, "environments")); err == nil && len(entries) > 0 {
		return nil
	}
	_ = os.Remove(filepath.Join(dir, "environments"))
	for _, name := range contents {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove data directory: %w", err)
		}
	}
	_ = os.Remove(dir) // stays if the user put something of their own there
	return nil
}
