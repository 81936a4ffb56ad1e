// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package codebuild

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// What is sealed comes back whole; what was changed, cut or sealed by another does not pass.
// That the job's shell seals in the same way, every other test shows.
func TestSeal(t *testing.T) {
	t.Parallel()
	s := newSeal()
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	with := func(s seal, content string) string { return content + hash(s.outer+hash(s.inner+content)) }
	long := strings.Repeat("0123456789abcdef", 20_000)
	for name, tt := range map[string]struct {
		text, want string
		ok         bool
	}{
		"short": {with(s, "tree"), "tree", true}, "empty": {with(s, ""), "", true}, "long": {with(s, long), long, true},
		"changed": {"T" + with(s, "tree")[1:], "Tree", false}, "cut": {with(s, "tree")[1:], "ree", false}, "extended": {with(s, "tree") + "x", "", false},
		"sealed by another": {with(newSeal(), "tree"), "tree", false}, "no seal": {"tree", "", false}, "nothing": {"", "", false},
	} {
		for how, r := range map[string]io.Reader{"at once": strings.NewReader(tt.text), "in bytes": iotest.OneByteReader(strings.NewReader(tt.text))} {
			sealed := s.open(r)
			got, err := io.ReadAll(io.LimitReader(sealed, 3)) // an unpacker does not read to the end
			if err == nil {
				var rest []byte
				rest, err = io.ReadAll(sealed)
				got = append(got, rest...)
			}
			if err == nil {
				err = sealed.check()
			}
			if tt.ok && (err != nil || !bytes.Equal(got, []byte(tt.want))) || !tt.ok && pipeline.CodeOf(err) != pipeline.CodeCorrupt {
				t.Errorf("%s, read %s: got %d bytes, %v", name, how, len(got), err)
			}
		}
	}
}
