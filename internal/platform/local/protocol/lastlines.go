// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package protocol

import (
	"io"
	"os"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// LastLines returns the end of a log, at most n lines, including lines from before
// its rotation. It is empty for a log that can't be read.
func LastLines(path string, n int) []string {
	lines := endOf(path)
	if len(lines) < n {
		lines = append(endOf(path+".1"), lines...)
	}
	return lines[max(0, len(lines)-n):]
}

func endOf(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	const window = 8 << 10
	if info, err := f.Stat(); err == nil && info.Size() > window {
		_, _ = f.Seek(-window, io.SeekEnd)
	}
	data, _ := io.ReadAll(io.LimitReader(f, window))
	text := strings.TrimSpace(present.Text(string(data)))
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// DescribeLines is how much of its log says why a supervisor is gone.
const DescribeLines = 5
