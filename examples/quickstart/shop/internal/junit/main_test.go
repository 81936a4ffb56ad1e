// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	const passed = `{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.5}` + "\n"
	for name, c := range map[string]struct{ in, wantXML, wantErr string }{
		"passed": {passed, `<testcase classname="p" name="TestA" time="0.5">`, ""},
		"failed": {
			`{"Action":"output","Package":"p","Test":"TestB","Output":"got <1>\u001b\n"}` + "\n" +
				`{"Action":"fail","Package":"p","Test":"TestB"}` + "\n" + `{"Action":"fail","Package":"p"}` + "\n" + passed,
			"got &lt;1&gt;", "1 of 2 tests failed",
		},
		"package failed": {`{"Action":"fail","Package":"p"}` + "\n", "(package)", "1 of 1 tests failed"},
		"skipped":        {`{"Action":"skip","Package":"p","Test":"TestC"}` + "\n", "<skipped>", ""},
		"nothing ran":    {"no such package\n", "<testsuites", "no test ran"},
	} {
		file := filepath.Join(t.TempDir(), "junit.xml")
		err := report(strings.NewReader(c.in), io.Discard, file)
		if got := text(err); got != c.wantErr {
			t.Errorf("%s: got error %q; want %q", name, got, c.wantErr)
		}
		data, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(data), c.wantXML) {
			t.Errorf("%s: got %s, %v; want %s", name, data, err, c.wantXML)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
