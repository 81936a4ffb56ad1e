// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline_test

import (
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		secrets []pipeline.Secret
		in, out string
	}{
		{"none", nil, "text", "text"},
		{"empty", []pipeline.Secret{"", "  \n"}, "a text", "a text"},
		{"one", []pipeline.Secret{"abc"}, "xabcabcx abc", "x***x ***"},
		{"single character", []pipeline.Secret{"x"}, "axb", "a***b"},
		{"one in another", []pipeline.Secret{"pass", "password"}, "password pass", "*** ***"},
		{"overlapping", []pipeline.Secret{"abcd", "cdef"}, "xabcdefx", "x***x"},
		{"overlapping itself", []pipeline.Secret{"aba"}, "xababax", "x***x"},
		{"trailing newline", []pipeline.Secret{"token\n"}, "a token.", "a ***."},
		{"several lines", []pipeline.Secret{"{\n  \"key\": \"v\"\n}\n"}, "{\n\t\"key\": \"v\"\n}", "{\n\t***\n}"},
		{"several short lines", []pipeline.Secret{"ab\ncd"}, "ab-cd", "***-***"},
		{"not ASCII", []pipeline.Secret{"pässwörd"}, "ein pässwörd!", "ein ***!"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := pipeline.NewRedactor(tt.secrets...).Text(tt.in); got != tt.out {
				t.Errorf("got %q, want %q", got, tt.out)
			}
		})
	}
}
