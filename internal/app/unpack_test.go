// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// What comes back from a runner's machine can't fill the disk of this one.
func TestUnpackIsLimited(t *testing.T) {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zip)
	if err := archive.WriteHeader(&tar.Header{Name: "bomb", Typeflag: tar.TypeReg, Mode: 0o600, Size: maxTree + 1}); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil { // its content need not come
		t.Fatal(err)
	}
	err := unpack(t.Context(), &packed, t.TempDir(), func(string, time.Time) {})
	if pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(fmt.Sprint(err), `"bomb"`) {
		t.Errorf("it ends with %v", err)
	}
}
