// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// commit is one commit of a repository of the lab.
type commit struct {
	author, message string
	file            string // that it changes
	before          time.Duration
}

// makeRepository makes a repository with commits, and returns their IDs. The same commits at
// the same times have the same IDs.
func makeRepository(ctx context.Context, dir string, end time.Time, commits []commit) ([]string, error) {
	var in bytes.Buffer
	blob := func(text string) { fmt.Fprintf(&in, "data %d\n%s\n", len(text), text) }
	for i, c := range commits {
		at := end.Add(-c.before).Unix()
		fmt.Fprintf(&in, "commit refs/heads/main\nmark :%d\n", i+1)
		fmt.Fprintf(&in, "author %s %d +0000\ncommitter %s %d +0000\n", c.author, at, c.author, at)
		blob(c.message)
		if i > 0 {
			fmt.Fprintf(&in, "from :%d\n", i)
		}
		fmt.Fprintf(&in, "M 100644 inline %s\n", c.file)
		blob(fmt.Sprintf("version %d\n", i+1))
	}
	fmt.Fprintln(&in, "done")
	if _, err := git(ctx, nil, "init", "-q", "-b", "main", dir); err != nil {
		return nil, err
	}
	if _, err := git(ctx, &in, "-C", dir, "fast-import", "--quiet", "--done"); err != nil {
		return nil, err
	}
	if _, err := git(ctx, nil, "-C", dir, "reset", "-q", "--hard"); err != nil {
		return nil, err
	}
	ids, err := git(ctx, nil, "-C", dir, "rev-list", "--reverse", "main")
	return strings.Fields(ids), err
}

func git(ctx context.Context, in *bytes.Buffer, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
	if in != nil {
		cmd.Stdin = in
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// sources reads the lab's repositories. No step of the lab needs a work tree, so that none is
// made.
type sources struct{ *source.Source }

// Checkout makes an empty directory.
func (sources) Checkout(_ context.Context, r pipeline.CheckoutRequest) error {
	return os.Mkdir(r.Dir, 0o700)
}
