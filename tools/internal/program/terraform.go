// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package program

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/hashicorp/go-version"
)

// versionTimeout bounds how long a terraform may take to print its version.
const versionTimeout = 30 * time.Second

// TerraformVersion asks a terraform or tofu for its version.
func TerraformVersion(ctx context.Context, path string) (*version.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version", "-json")
	cmd.Dir = os.TempDir() // which is no configuration
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ask for its version: %w", err)
	}
	var answer struct {
		Version string `json:"terraform_version"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("read its version: %w", err)
	}
	got, err := version.NewVersion(answer.Version)
	if err != nil {
		return nil, fmt.Errorf("read its version: %w", err)
	}
	return got, nil
}
