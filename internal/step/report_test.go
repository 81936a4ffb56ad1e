// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package step

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const (
	goodReport  = `<testsuite><testcase name="a"/></testsuite>`
	badReport   = `<testsuite><testcase name="b"><failure/></testcase></testsuite>`
	emptyReport = `<testsuites/>`
)

// TestReportsOfTheRun tells reports that the run wrote from those that lay there before.
func TestReportsOfTheRun(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		files   map[string]string // of the checkout
		old     bool              // as from an old commit; else as new as can be
		step    pipeline.Step
		total   int
		says    string
		remains []string // afterwards
	}{
		{name: "committed", files: map[string]string{"r.xml": goodReport}, old: true, step: pipeline.Step{Command: "true", Report: "r.xml"},
			says: `report "r.xml" has not changed since the run began: the command did not write it`},
		{name: "committed just now", files: map[string]string{"r.xml": goodReport}, step: pipeline.Step{Command: "true", Report: "r.xml"}, says: "did not write it"},
		{name: "committed with failures", files: map[string]string{"r.xml": badReport}, old: true, step: pipeline.Step{Command: "true", Report: "r.xml"}, says: "did not write it"},
		{name: "written again as it was", files: map[string]string{"r.xml": goodReport}, step: pipeline.Step{Command: "cp r.xml c; cat c > r.xml", Report: "r.xml"}, total: 1},
		{name: "replaced by the same", files: map[string]string{"r.xml": goodReport}, old: true, step: pipeline.Step{Command: "cp r.xml c; mv c r.xml", Report: "r.xml"}, total: 1},
		{name: "other content of the same time and size", files: map[string]string{"r.xml": goodReport, "at": ""}, old: true,
			step: pipeline.Step{Command: "touch -r r.xml at; sed -i s/name/nema/ r.xml; touch -r at r.xml", Report: "r.xml"}, total: 1},
		{name: "some are new", files: map[string]string{"a/r.xml": badReport, "b/r.xml": goodReport, "c/r.xml": badReport}, old: true,
			step: pipeline.Step{Command: "touch b/r.xml; cp b/r.xml d.xml", Report: "**/*.xml"}, total: 2},
		{name: "a failed command beside a committed report", files: map[string]string{"r.xml": badReport}, old: true, step: pipeline.Step{Command: "exit 3", Report: "r.xml"}, says: "step \"s\" failed: exit status 3"},
		{name: "a further try leaves what is the checkout's", files: map[string]string{"r.xml": goodReport, "pom.xml": "<project/>"}, old: true,
			step: pipeline.Step{Command: "if test -e new.xml; then exit 9; fi; if test -e tried; then exit 0; fi; touch tried; echo x > new.xml; exit 1", Report: "*.xml", Retries: 1},
			says: "did not write it", remains: []string{"pom.xml", "r.xml"}},
		{name: "no test", step: pipeline.Step{Command: "echo '" + emptyReport + "' > r.xml", Report: "r.xml"}, says: `report "r.xml" has no test`},
		{name: "no test is allowed", step: pipeline.Step{Command: "echo '" + emptyReport + "' > r.xml", Report: "r.xml", AllowEmptyReport: true}},
		{name: "one of two has no test", step: pipeline.Step{Command: "echo '" + emptyReport + "' > r1.xml; echo '" + goodReport + "' > r2.xml", Report: "r*.xml"}, total: 1},
		{name: "an empty file is no report", step: pipeline.Step{Command: ": > r.xml", Report: "r.xml", AllowEmptyReport: true}, says: `report "r.xml" is not a JUnit report`},
		{name: "a file in brackets", step: pipeline.Step{Command: "echo '" + goodReport + "' > 'r[1].xml'; echo '" + badReport + "' > r1.xml", Report: "r[1].xml"}, total: 1},
		{name: "a class where there is none", step: pipeline.Step{Command: "echo '" + goodReport + "' | tee r1.xml > r2.xml", Report: "r[1-2].xml"}, total: 2},
		{name: "a directory in brackets", step: pipeline.Step{Command: "mkdir -p 'app/[id]/deep'; echo '" + goodReport + "' | tee 'app/[id]/r.xml' > 'app/[id]/deep/r.xml'", Report: "app/[id]/**/*.xml"}, total: 2},
		{name: "half a bracket", step: pipeline.Step{Command: "echo '" + goodReport + "' > 'r[1.xml'", Report: "r[1.xml"}, total: 1},
		{name: "a file named like a pattern", step: pipeline.Step{Command: "echo '" + goodReport + "' > 'r*{1}?.xml'; echo '" + badReport + "' > rx.xml", Report: "r*{1}?.xml"}, total: 1},
		{name: "a committed file in brackets", files: map[string]string{"r[1].xml": goodReport}, old: true, step: pipeline.Step{Command: "true", Report: "r[1].xml"}, says: "did not write it"},
		{name: "a pipe", step: pipeline.Step{Command: "mkfifo r.xml", Report: "r.xml"}, says: `report "r.xml" is a named pipe, not a file`},
		{name: "a link to a pipe", step: pipeline.Step{Command: "mkfifo p; ln -s p r.xml", Report: "r.xml"}, says: `report "r.xml" is a named pipe, not a file`},
		{name: "a pipe among reports", step: pipeline.Step{Command: "mkfifo r2.xml; echo '" + goodReport + "' > r1.xml", Report: "r*.xml"}, says: `report "r2.xml" is a named pipe, not a file`},
		{name: "a link to a device", step: pipeline.Step{Command: "ln -s /dev/zero r.xml", Report: "r.xml"}, says: "escapes"},
		{name: "a link to a directory", step: pipeline.Step{Command: "mkdir d; ln -s d r.xml", Report: "r.xml"}, says: `report "r.xml" is a directory, not a file`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := checkout(t, tt.files)
			for name := range tt.files {
				if long := time.Now().Add(-time.Hour); tt.old {
					if err := os.Chtimes(filepath.Join(dir, name), long, long); err != nil {
						t.Fatal(err)
					}
				}
			}
			tt.step.Name = "s"
			result, _, err := run(t, t.Context(), pipeline.StepRequest{Step: tt.step, Checkout: dir}, nil)
			if tt.says == "" && err != nil || tt.says != "" && (pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("the error is %v, want %q", err, tt.says)
			}
			if total := 0; result.Tests != nil {
				if total = result.Tests.Total; total != tt.total {
					t.Errorf("%d tests, want %d", total, tt.total)
				}
			} else if tt.total != 0 {
				t.Error("no tests in the result")
			}
			for _, name := range tt.remains {
				if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestReportOfAnEarlierStep counts what the run wrote, whichever of its steps did.
func TestReportOfAnEarlierStep(t *testing.T) {
	t.Parallel()
	dir := checkout(t, map[string]string{"old.xml": badReport})
	steps := []pipeline.Step{{Name: "tests", Command: "echo '" + goodReport + "' > new.xml"}, {Name: "report", Command: "true", Report: "*.xml"}}
	before, err := quick(nil).Survey(t.Context(), dir, steps)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		result, _, err := run(t, t.Context(), pipeline.StepRequest{Step: s, Checkout: dir, Before: before}, nil)
		if err != nil || s.Report != "" && (result.Tests == nil || result.Tests.Total != 1) {
			t.Errorf("step %s: %+v, %v", s.Name, result, err)
		}
	}
}
