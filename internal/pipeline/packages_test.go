// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import "testing"

func TestParsePackage(t *testing.T) {
	for line, want := range map[string][2]string{
		"== package openssl 3.0.2-1":                           {"openssl", "3.0.2-1"},
		"2026-01-02T03:04:05.000Z == package zlib1g:amd64 1:1": {"zlib1g:amd64", "1:1"},
		"echo == package evil 6.6.6":                           {},
		"2026-01-02T03:04:05.000Z say == package evil 6.6.6":   {},
		"== package nameless":                                  {},
		"== package two versions here":                         {},
		"":                                                     {},
	} {
		name, version, ok := ParsePackage(line)
		if ok != (want[0] != "") || ok && (name != want[0] || version != want[1]) {
			t.Errorf("%q is %q %q %v", line, name, version, ok)
		}
	}
}
