// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
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
		{name: "failure elsewhere", in: `<testsuite><testcase name="t"><system-out><failure/><testcase/></system-out></testcase><x><failure/></x></testsuite>`, want: counts{1, 0, 0}},
		{name: "of a suite", in: `<testsuites><testsuite name="db"><testcase name="t"/><error message="refused"/></testsuite></testsuites>`,
			want: counts{2, 1, 0}, failure: pipeline.TestFailure{Name: "db", Message: "refused"}},
		{name: "of a suite, twice and without a name", in: `<testsuites><failure>one</failure><testsuite><failure/></testsuite></testsuites>`, want: counts{2, 2, 0}},
		{name: "counted and not shown", in: `<testsuites failures="1" errors="2"><testsuite name="s" failures="1" errors="2" tests="9"/></testsuites>`,
			want: counts{1, 1, 0}, failure: pipeline.TestFailure{Name: "s", Message: "the suite reports failures: 1, errors: 2, but contains no test"}},
		{name: "counted in the totals only", in: `<testsuites name="all" failures="3"><testsuite/></testsuites>`,
			want: counts{1, 1, 0}, failure: pipeline.TestFailure{Name: "all", Message: "the suite reports failures: 3, errors: 0, but contains no test"}},
		{name: "counted and shown", in: `<testsuites failures="1"><testsuite failures="1"><testcase><failure/></testcase></testsuite></testsuites>`, want: counts{1, 1, 0}},
		{name: "counts that make no sense", in: `<testsuite failures="-1" errors="none"><testsuite failures="0" errors=""/></testsuite>`},
		{name: "todo", in: `<testsuite failures="1"><testcase name="t"><skipped type="todo"/><failure message="not yet"/></testcase></testsuite>`, want: counts{1, 0, 1}},
		{name: "todo, the other way around", in: `<testsuite><testcase name="t"><failure/><skipped/></testcase></testsuite>`, want: counts{1, 0, 1}},
		{name: "disabled", in: `<testsuite><testcase status="notrun"/><testcase status="disabled"/><testcase status="run"/></testsuite>`, want: counts{3, 0, 2}},
		{name: "suites skip nothing", in: `<testsuite><skipped/><testcase><failure/></testcase><error/></testsuite>`, want: counts{2, 2, 0}},
		{name: "tests in tests and in wrappers", in: `<testsuite><group><testcase><testcase name="in"><failure/></testcase></testcase></group></testsuite>`,
			want: counts{2, 1, 0}, failure: pipeline.TestFailure{Name: "in"}},
		{name: "namespaces", in: `<j:testsuites xmlns:j="urn:j" xmlns:x="urn:x"><j:testsuite><j:testcase x:name="other" name="t" x:time="9" time="1"><j:failure message="m"/></j:testcase></j:testsuite></j:testsuites>`,
			want: counts{1, 1, 0}, took: time.Second, failure: pipeline.TestFailure{Name: "t", Message: "m"}},
		{name: "document type", in: `<!DOCTYPE testsuites [<!ELEMENT testsuites ANY> <!ENTITY company "ACME">]><testsuites><testcase name="&company; &nbsp;"><failure/></testcase></testsuites>`,
			want: counts{1, 1, 0}, failure: pipeline.TestFailure{Name: "&company; &nbsp;"}},
		{name: "ampersands", in: `<testsuite><testcase name="a & b &amp; c &#x41;&#66; &#xZ;"><failure>x && y<![CDATA[ && &amp; &#1;]]><!-- && --></failure></testcase></testsuite>`,
			want: counts{1, 1, 0}, failure: pipeline.TestFailure{Name: "a & b & c AB &#xZ;", Message: "x && y && &amp; &#1;"}},
		{name: "control characters", in: "<testsuite><testcase name='a\x00b\x1b[31mc&#27;&#x1F;&#0;'><failure>\x0b\xff\ufffe</failure></testcase></testsuite>",
			want: counts{1, 1, 0}, failure: pipeline.TestFailure{Name: "a\ufffdb\ufffd[31mc\ufffd\ufffd\ufffd", Message: "\ufffd\ufffd\ufffd"}},
		{name: "XML 1.1 below a blank line", in: "\n <?xml version='1.1' encoding='utf-8'?>\n<testsuite><testcase/></testsuite>", want: counts{1, 0, 0}},
		{name: "several documents in one", in: "<?xml version='1.0'?><testsuite><testcase/></testsuite>\n<?xml version='1.0'?><testsuite><testcase/></testsuite>", want: counts{2, 0, 0}},
		{name: "no tests", in: `<testsuites/>`},
		{name: "times that make no sense", in: `<testsuite><testcase time="1,000.5"/><testcase time="-3"/><testcase time="NaN"/><testcase time="1e99"/><testcase time="x"/></testsuite>`,
			want: counts{5, 0, 0}, took: 1000*time.Second + 500*time.Millisecond},
		{name: "times of many languages", in: `<testsuite><testcase time="1,234.5"/><testcase time="0,5"/><testcase time="1.234,5"/><testcase time="1 234,5"/><testcase time="1,234,567"/><testcase time="1e-1"/></testsuite>`,
			want: counts{6, 0, 0}, took: 3*(1234*time.Second+500*time.Millisecond) + 500*time.Millisecond + 1234567*time.Second + 100*time.Millisecond},
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

// TestReadEncodings reads the same report in many encodings, with declarations that are
// right, wrong and missing.
func TestReadEncodings(t *testing.T) {
	t.Parallel()
	const body = `<testsuite><testcase name="Prüfung €"><failure message="ä"/></testcase></testsuite>`
	declare := func(name, body string) string { return `<?xml version="1.0" encoding="` + name + `"?>` + "\n" + body }
	encode := func(e encoding.Encoding, s string) string {
		out, err := e.NewEncoder().String(s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	latin9 := strings.ReplaceAll(body, "€", "\xa4")
	latin9 = strings.ReplaceAll(strings.ReplaceAll(latin9, "ü", "\xfc"), "ä", "\xe4")
	little, big := unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	for name, in := range map[string]string{
		"UTF-8":                             declare("UTF-8", body),
		"UTF-8 with a mark":                 "\ufeff" + declare("utf8", body),
		"UTF-8 with a mark, declared wrong": "\ufeff" + declare("ISO-8859-1", body),
		"UTF-8, declared UTF-16":            declare("utf-16", body),
		"UTF-8, declared by no known name":  declare("ANSI", body),
		"windows-1252":                      declare("windows-1252", encode(charmap.Windows1252, body)),
		"windows-1252 as ISO-8859-1":        declare("ISO-8859-1", encode(charmap.Windows1252, body)),
		"ISO-8859-15":                       declare("iso-8859-15", latin9),
		"UTF-16LE with a mark":              encode(little, "\ufeff"+declare("UTF-16", body)),
		"UTF-16BE with a mark":              encode(big, "\ufeff"+declare("UTF-8", body)),
		"UTF-16LE":                          encode(little, declare("UTF-16", body)),
		"UTF-16BE":                          encode(big, body),
		"UTF-16LE below a blank":            encode(little, "\n"+body),
		"UTF-16BE below a blank":            encode(big, "\n"+body),
	} {
		var got pipeline.TestCounts
		err := readJUnit(iotest.OneByteReader(strings.NewReader(in)), maxReport, &got)
		if err != nil || len(got.Failures) != 1 || got.Failures[0] != (pipeline.TestFailure{Name: "Prüfung €", Message: "ä"}) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	var got pipeline.TestCounts
	if err := readJUnit(strings.NewReader(declare("UTF-8", encode(charmap.Windows1252, body))), maxReport, &got); err != nil || got.Failed != 1 || got.Failures[0].Name != "Pr\ufffdfung \ufffd" {
		t.Errorf("declared wrong: got %+v, %v", got, err)
	}
}

func TestReadJUnitRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, says string }{
		{"empty", "", "no XML element"},
		{"no XML", "ok  shop 0.3s", "is not a JUnit report: "},
		{"another root", "<html/>", "root is <html>"},
		{"cut off", "<testsuite><testcase name='t'>", "unexpected EOF"},
		{"entities", `<!DOCTYPE t [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite name="&b;"/>`, "Penstock does not expand"},
		{"deep", strings.Repeat("<testsuite>", 200), "deeper than 100"},
		{"another encoding", "\x4c\x6f\xa7\x94\x93", "is not a JUnit report"},
		{"bomb", `<!DOCTYPE t [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><testsuite name="&b;"/>`, "Penstock does not expand"},
		{"external entity", `<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite name="&x;"/>`, "Penstock does not expand"},
		{"entity of elements", `<!DOCTYPE t [<!ENTITY x "<testcase><failure/></testcase>">]><testsuite>&x;</testsuite>`, "Penstock does not expand"},
		{"entity of parameters", `<!DOCTYPE t [<!ENTITY % p "x"> %p;]><testsuite/>`, "Penstock does not expand"},
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
		{name: "missing", command: "true", report: "none/*.xml", says: "step \"s\" failed: the command wrote no report \"none/*.xml\"", hint: "relative to the repository's root"},
		{name: "missing and exit", command: "exit 2", report: "j.xml", says: "step \"s\" failed: exit status 2"},
		{name: "no XML", command: write("j.xml", "nonsense"), report: "j.xml", says: "step \"s\" failed: report \"j.xml\" is no", hint: "complete"},
		{name: "that of the try before does not count", report: "j.xml", retries: 1, total: 0,
			command: "if test -e tried; then exit 0; fi; touch tried;" + write("j.xml", bad), says: "step \"s\" failed: the command wrote no report"},
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
			if !strings.Contains(reason.Hint(err), tt.hint) {
				t.Errorf("hint is %q", reason.Hint(err))
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
