// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package npm

import (
	"crypto/sha512"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// A registry that fails is asked again, and another archive than the known one is refused.
func TestDownload(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("archive"))
	}))
	defer s.Close()
	sum := sha512.Sum512([]byte("archive"))
	got, err := Download(t.Context(), s.URL, base64.StdEncoding.EncodeToString(sum[:]))
	if err != nil || string(got) != "archive" || asked.Load() != 3 {
		t.Errorf("%q after %d tries: %v", got, asked.Load(), err)
	}
	if _, err := Download(t.Context(), s.URL, "another"); err == nil || !strings.Contains(err.Error(), "its SHA-512 is") {
		t.Errorf("another archive: %v", err)
	}
}
