// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestReadJUnit(t *testing.T) {
	t.Parallel()
	type counts struct{ total, failed, skipped int }
	tests := []struct {
		name, in string
		want     counts
		took     time.Duration
		failure  pipeline.TestFailure
	}{
		{name: "go", in: `<?xml version="1.0" encoding="UTF-8"?><testsuites tests="3"><testsuite name="shop">
			<properties><property name="go.version" value="1.26"/></properties>
			<testcase classname="shop" name="TestA" time="0.250"/>
			<testcase classname="shop" name="TestB" time="1.5"><failure message="Failed" type="">shop_test.go:3: no</failure></testcase>
			<testcase classname="shop" name="TestC" time="0"><skipped message="later"/></testcase>
			</testsuite></testsuites>`,
			want: counts{3, 1, 1}, took: 1750 * time.Millisecond, failure: pipeline.TestFailure{Name: "shop.TestB", Message: "Failed"}},
		{name: "message in the text", in: `<testsuite><testcase name="t"><error type="E"><![CDATA[  first
			second]]></error></testcase></testsuite>`,
			want: counts{1, 1, 0}, failure: pipeline.TestFailure{Name: "t", Message: "first\n\t\t\tsecond"}},
		{name: "nested suites", in: `<testsuites><testsuite><testsuite><testsuite><testcase name="deep"/></testsuite></testsuite><testcase name="flat"/></testsuite></testsuites>`,
			want: counts{2, 0, 0}},
		{name: "failure and error count once", in: `<testsuite><testcase name="t"><failure message="a"/><error message="b"/></testcase></testsuite>`,
			want: counts{1, 1, 0}, failure: pipeline.TestFailure{Name: "t", Message: "a"}},
		{name: "class in the name", in: `<testsuite><testcase classname="a.B" name="a.B.c"><failure/></testcase></testsuite>`,
			want: counts{1, 1, 0}, failure: pipeline.TestFailure{Name: "a.B.c"}},
		{name: "flaky and output are no failures", in: `<testsuite><testcase><flakyFailure/><system-out>failure</system-out></testcase><system-err/></testsuite>`, want: counts{1, 0, 0}},
		{name: "failure elsewhere", in: `<testsuite><testcase name="t"><system-out><failure/></system-out></testcase><failure/></testsuite>`, want: counts{1, 0, 0}},
		{name: "no tests", in: `<testsuites/>`},
		{name: "times that make no sense", in: `<testsuite><testcase time="1,000.5"/><testcase time="-3"/><testcase time="NaN"/><testcase time="1e99"/><testcase time="x"/></testsuite>`,
			want: counts{5, 0, 0}, took: 1000*time.Second + 500*time.Millisecond},
		{name: "Latin-1", in: "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><testsuite><testcase name=\"\xfc\"><failure message=\"\xe4\"/></testcase></testsuite>",
			want: counts{1, 1, 0}, failure: pipeline.TestFailure{Name: "ü", Message: "ä"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got pipeline.TestCounts
			if err := readJUnit(strings.NewReader(tt.in), maxReport, &got); err != nil {
				t.Fatal(err)
			}
			if (counts{got.Total, got.Failed, got.Skipped}) != tt.want || got.Duration != tt.took {
				t.Errorf("got %+v", got)
			}
			if tt.failure != (pipeline.TestFailure{}) && (len(got.Failures) != 1 || got.Failures[0] != tt.failure) {
				t.Errorf("failures are %q", got.Failures)
			}
		})
	}
}

func TestReadJUnitRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, says string }{
		{"empty", "", "no XML element"},
		{"no XML", "ok  shop 0.3s", "is no JUnit report: "},
		{"another root", "<html/>", "root is <html>"},
		{"cut off", "<testsuite><testcase name='t'>", "unexpected EOF"},
		{"entities", `<!DOCTYPE t [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite name="&b;"/>`, "invalid character entity"},
		{"deep", strings.Repeat("<testsuite>", 200), "deeper than 100"},
		{"unknown encoding", `<?xml version="1.0" encoding="EBCDIC"?><testsuite/>`, "not known"},
		{"large", "<testsuite><system-out>" + strings.Repeat("x", 1<<20), "larger than 1048576 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := readJUnit(strings.NewReader(tt.in), 1<<20, &pipeline.TestCounts{})
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want %q", err, tt.says)
			}
		})
	}
}

func TestFailuresAreBounded(t *testing.T) {
	t.Parallel()
	one := `<testcase name="` + strings.Repeat("n", 1000) + `"><failure>` + strings.Repeat("ä", 10_000) + `</failure></testcase>`
	var got pipeline.TestCounts
	if err := readJUnit(strings.NewReader("<testsuite>"+strings.Repeat(one, 50)+"</testsuite>"), maxReport, &got); err != nil {
		t.Fatal(err)
	}
	if got.Failed != 50 || len(got.Failures) != maxFailures {
		t.Errorf("%d failed, %d named", got.Failed, len(got.Failures))
	}
	for _, f := range got.Failures {
		if len(f.Message) > maxMessage+3 || len(f.Name) > maxTestName+3 || !utf8.ValidString(f.Message) {
			t.Errorf("%d bytes of message, %d of name", len(f.Message), len(f.Name))
		}
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	const good = `<testsuite><testcase name="a"/></testsuite>`
	const bad = `<testsuite><testcase name="b"><failure message="no` + "\n" + `more"/></testcase></testsuite>`
	write := func(name, text string) string { return "cat > " + name + " <<'X'\n" + text + "\nX\n" }
	tests := []struct {
		name, command, report string
		retries               int
		total                 int
		says, hint            string
	}{
		{name: "passes", command: write("j.xml", good), report: "j.xml", total: 1},
		{name: "pattern", command: "mkdir -p a/b; " + write("a/T-1.xml", good) + write("a/b/T-2.xml", good), report: "./a/**/T-*.xml", total: 2},
		{name: "failed test though it exited 0", command: write("j.xml", bad), report: "j.xml", total: 1,
			says: "step \"s\" failed: 1 of 1 tests failed\n  b: no"},
		{name: "failed test and exit", command: write("j.xml", bad) + "echo out; exit 2", report: "j.xml", total: 1,
			says: "step \"s\" failed: exit status 2; 1 of 1 tests failed\n  b: no\nThe last lines of its output:\n  out"},
		{name: "missing", command: "true", report: "none/*.xml", says: "step \"s\" failed: the command left no report \"none/*.xml\"", hint: "relative to the repository's root"},
		{name: "missing and exit", command: "exit 2", report: "j.xml", says: "step \"s\" failed: exit status 2"},
		{name: "no XML", command: write("j.xml", "nonsense"), report: "j.xml", says: "step \"s\" failed: report \"j.xml\" is no", hint: "complete"},
		{name: "that of the try before does not count", report: "j.xml", retries: 1, total: 0,
			command: "if test -e tried; then exit 0; fi; touch tried;" + write("j.xml", bad), says: "step \"s\" failed: the command left no report"},
		{name: "link that leads out", command: "ln -s /etc/passwd j.xml", report: "j.xml", says: "step \"s\" failed: ", hint: "report"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			result, _, err := run(t, t.Context(), pipeline.StepRequest{
				Step: pipeline.Step{Name: "s", Command: tt.command, Report: tt.report, Retries: tt.retries},
			}, nil)
			if tt.says == "" && err != nil || tt.says != "" && (pipeline.CodeOf(err) != pipeline.CodeFailed || !strings.HasPrefix(err.Error(), tt.says)) {
				t.Errorf("error is %v, want %q", err, tt.says)
			}
			if !strings.Contains(pipeline.HintOf(err), tt.hint) {
				t.Errorf("hint is %q", pipeline.HintOf(err))
			}
			if total := 0; result.Tests != nil {
				if total = result.Tests.Total; total != tt.total {
					t.Errorf("%d tests, want %d", total, tt.total)
				}
			} else if tt.total != 0 {
				t.Error("no tests in the result")
			}
		})
	}
}

func FuzzReadJUnit(f *testing.F) {
	f.Add([]byte(`<testsuites><testsuite><testcase name="a" time="1"><failure message="m">t</failure></testcase></testsuite></testsuites>`))
	f.Add([]byte(`<testsuite><testcase><error><![CDATA[x]]></error><skipped/></testcase>`))
	f.Add([]byte(`<?xml version="1.0" encoding="latin1"?><testsuite/>`))
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY e "e">]><testsuite>&e;</testsuite>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c pipeline.TestCounts
		if err := readJUnit(strings.NewReader(string(data)), maxReport, &c); err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
		if c.Failed+c.Skipped > c.Total || len(c.Failures) > min(c.Failed, maxFailures) || c.Duration < 0 {
			t.Errorf("counts make no sense: %+v", c)
		}
		for _, fail := range c.Failures {
			if len(fail.Message) > maxMessage+3 || !utf8.ValidString(fail.Message) || strings.ContainsAny(fail.Name+fail.Message, "\x00\x1b") {
				t.Errorf("failure is %q", fail)
			}
		}
	})
}
