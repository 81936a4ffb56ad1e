// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestRepositoriesThatAreRefused(t *testing.T) {
	t.Parallel()
	for repository, word := range map[string]string{
		"":                                 "empty",
		"-":                                "option",
		"--upload-pack=touch /tmp/x":       "option",
		"-oProxyCommand=x":                 "option",
		"ext::sh -c touch% /tmp/x":         "transport helper",
		"fd::17/foo":                       "transport helper",
		"file::/x":                         "transport helper",
		"git-remote-foo::https://h/x":      "transport helper",
		"ext://sh":                         "scheme",
		"ftp://host/x":                     "scheme",
		"foo+bar://host/x":                 "scheme",
		"HTTPS://host/x":                   "capitals",
		"Ext::sh":                          "transport helper",
		"https://host/\x00x":               "control character",
		"https://host/\nx":                 "control character",
		"https://host/a%0ab":               "control character",
		"https://ho%0ast/x":                "URL",
		"https://u:p%0aq@host/x":           "control character",
		"/tmp/x\x7f":                       "control character",
		"/tmp/\xff":                        "UTF-8",
		"file:///tmp/%00":                  "control character",
		"file://host/share":                "file URL",
		"https:///x":                       "host",
		"https://-host/x":                  "host",
		"https://host:x/y":                 "URL",
		"ssh://-oProxyCommand=touch%20x/y": "URL",
		"ssh://-oProxyCommand=x/y":         "host",
		"ssh://user@-oProxyCommand=x/y":    "host",
		"ssh://-oProxyCommand=x@host/y":    "user",
		"ssh://%2DoProxyCommand=x@host/y":  "user",
		"ssh://%2DoProxyCommand=x/y":       "URL",
		"ssh://user:secret@host/y":         "password",
		"git://-host/x":                    "host",
		"-oProxyCommand=x:y":               "option",
		"user@-oProxyCommand=x:y":          "host",
		"-oProxyCommand=x@host:y":          "option",
		"@host:y":                          "user",
		"user@host:-y":                     "path",
		"user@host:":                       "path",
		"a@b@host:y":                       "host",
		"us er@host:y":                     "user",
		"ho;st:y":                          "host",
	} {
		err := ValidateRepository(repository)
		refused(t, err, pipeline.CodeInvalid, word)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the password is shown: %v", err)
		}
		s, j := newSource(filepath.Join(t.TempDir(), "cache"))
		_, snapErr := s.Snapshot(t.Context(), Query{Repository: repository})
		refused(t, snapErr, pipeline.CodeInvalid, word)
		refused(t, checkOut(t.Context(), s, repository, strings.Repeat("a", 40), filepath.Join(t.TempDir(), "x")), pipeline.CodeInvalid, word)
		if j.String() != "" {
			t.Errorf("git ran for %q: %s", repository, j)
		}
	}
}

func TestRepositoriesThatAreTaken(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for repository, want := range map[string]location{
		"https://host/a/b.git":           {name: "https://host/a/b.git", address: "https://host/a/b.git"},
		"https://ann:pw@host:8443/a%20b": {name: "https://host:8443/a%20b", address: "https://host:8443/a%20b", username: "ann", password: "pw"},
		"https://token@host/a":           {name: "https://host/a", address: "https://token@host/a"},
		"https://[::1]:80/a":             {name: "https://[::1]:80/a", address: "https://[::1]:80/a"},
		"ssh://git@host:22/~ann/a":       {name: "ssh://git@host:22/~ann/a", address: "ssh://git@host:22/~ann/a"},
		"git@host:a/b.git":               {name: "git@host:a/b.git", address: "git@host:a/b.git"},
		"host:a":                         {name: "host:a", address: "host:a"},
		"git@[::1]:a":                    {name: "git@[::1]:a", address: "git@[::1]:a"},
		"/a/../b//c":                     {name: "/a/../b//c", address: "/b/c", dir: "/b/c"},
		"file:///a%20b":                  {name: "file:///a%20b", address: "/a b", dir: "/a b"},
		"./a:b":                          {name: "./a:b", address: base + "/a:b", dir: base + "/a:b"},
		"../x":                           {name: "../x", address: filepath.Dir(base) + "/x", dir: filepath.Dir(base) + "/x"},
		".":                              {name: ".", address: base, dir: base},
	} {
		got, err := locate(repository, base)
		if err != nil || got.key == "" {
			t.Errorf("%q gives key %q, %v", repository, got.key, err)
		}
		got.key = ""
		if got != want {
			t.Errorf("%q gives %+v, want %+v", repository, got, want)
		}
	}
	for _, pair := range [][2]string{{"https://ann:pw@host/a", "https://host/a"}, {"file:///a", "/a"}, {"/a/", "/a"}} {
		a, errA := locate(pair[0], base)
		b, errB := locate(pair[1], base)
		if errA != nil || errB != nil || a.key != b.key {
			t.Errorf("%q and %q have two clones", pair[0], pair[1])
		}
	}
}

func TestRefsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{
		"-", "--upload-pack=x", "-main", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "a\nb", "a\x00", "a\x7f", "\xff",
		"@", "a@{1}", "a.", "a.lock", "a.lock/b", ".a", "a/.b", "/a", "a/", "a//b", "+main", strings.Repeat("a", 1001),
	} {
		err := ValidateRef(ref)
		if ref == "+main" { // git has such branches
			must(t, err)
			continue
		}
		refused(t, err, pipeline.CodeInvalid)
		s, j := newSource(filepath.Join(t.TempDir(), "cache"))
		_, err = s.Snapshot(t.Context(), Query{Repository: "https://host/x", Ref: ref})
		refused(t, err, pipeline.CodeInvalid)
		if j.String() != "" {
			t.Errorf("git ran for %q: %s", ref, j)
		}
	}
	for _, ref := range []string{"", "HEAD", "main", "feature/x", "v1.2", "refs/pull/7/head", "a@b", "ä", strings.Repeat("a", 40)} {
		must(t, ValidateRef(ref))
	}
}

func TestGlobs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern string
		yes, no string
	}{
		{"*.md", "a.md docs/a.md a/b/c.md .md", "a.MD a.md/x a.mdx"},
		{"/*.md", "a.md", "docs/a.md"},
		{"docs/**", "docs/a docs/a/b", "docs2/a x/docs/a Docs/a"},
		{"docs/*", "docs/a", "docs/a/b"},
		{"docs/", "docs/a docs/a/b x/docs/a", "docs x/docs"},
		{"docs", "docs docs/a/b x/docs x/docs/a", "docs2 xdocs/a"},
		{"/docs", "docs docs/a", "x/docs x/docs/a"},
		{"db/seed", "db/seed db/seed/a", "db/seeds x/db/seed"},
		{"db/seed/", "db/seed/a", "db/seed"},
		{"**/test/**", "test/a x/test/a/b", "tests/a"},
		{"{a,b/c}/*.go", "a/x.go b/c/x.go", "b/x.go"},
		{"[a-c]?", "ab x/cz", "a dz"},
		{"**", "a a/b", ""},
		{`\*`, "*", "a"},
		{"app/[id]", "app/[id] app/[id]/page.tsx app/i app/d", "app/id app/i/x"},
		{"app/[id]/**", "app/[id]/a app/[id]/a/b app/i/a", "app/[id]x/a app/x/a"},
		{"[...slug].ts", "[...slug].ts app/[...slug].ts s.ts", "x.ts"},
		{`app/\[id\]/*`, "app/[id]/a", "app/i/a"},
	} {
		must(t, ValidateGlob(test.pattern))
		g := compile([]string{test.pattern})
		for path := range strings.FieldsSeq(test.yes) {
			if !g.match(path) {
				t.Errorf("%q does not match %q", test.pattern, path)
			}
		}
		for path := range strings.FieldsSeq(test.no) {
			if g.match(path) {
				t.Errorf("%q matches %q", test.pattern, path)
			}
		}
	}
	for _, pattern := range []string{"", "/", "//", "!a", "a//b", "./a", "../a", "a/../b", "a/..", "[", "{a", "a\\", "a\nb", "\xff", strings.Repeat("a", 2000), strings.Repeat("{a,b}", 7)} {
		refused(t, ValidateGlob(pattern), pipeline.CodeInvalid)
		refused(t, Query{Repository: "x", Paths: pipeline.Paths{Data: []string{pattern}}}.Validate(), pipeline.CodeInvalid)
	}
}

func TestTheFirstComponentWins(t *testing.T) {
	t.Parallel()
	all := []string{"**"}
	q := pipeline.Paths{Ignore: all, Infrastructure: all, Configuration: all, Data: all}
	for _, want := range []component{ignored, infrastructure, configuration, data, application} {
		if got := newClassifier(q).of("a/b"); got != want {
			t.Errorf("component is %d, want %d", got, want)
		}
		switch want {
		case ignored:
			q.Ignore = nil
		case infrastructure:
			q.Infrastructure = nil
		case configuration:
			q.Configuration = nil
		case data:
			q.Data = nil
		}
	}
}

func TestGitThatIsMissingOrOld(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	s, _ := newSource(t.TempDir())
	_, err := s.Snapshot(t.Context(), Query{Repository: "https://host/x"})
	refused(t, err, pipeline.CodeInvalid, "git", "2.20")
	must(t, os.WriteFile(filepath.Join(bin, "git"), []byte("#!/bin/sh\necho git version 2.19.9\n"), 0o755))
	s, _ = newSource(t.TempDir())
	_, err = s.Snapshot(t.Context(), Query{Repository: "https://host/x"})
	refused(t, err, pipeline.CodeInvalid, "2.19", "2.20")
}

// A plan may be started by a hook, with git's variables for another repository.
func TestGitsOwnVariablesAreLeftOut(t *testing.T) {
	r := newRepo(t)
	want := r.commit("one", map[string]string{"a": "1"})
	for name := range strings.FieldsSeq(r.git("rev-parse", "--local-env-vars")) {
		t.Setenv(name, "/nowhere")
	}
	t.Setenv("GIT_CONFIG_COUNT", "1") // what the user has configured counts
	t.Setenv("GIT_CONFIG_KEY_0", "url."+r.dir+".insteadOf")
	t.Setenv("GIT_CONFIG_VALUE_0", "https://elsewhere/")
	s, j := newSource(t.TempDir())
	snap, err := s.Snapshot(context.Background(), Query{Repository: "https://elsewhere/"})
	if err != nil || snap.Commit != want {
		t.Errorf("%+v, %v\n%s", snap, err, j)
	}
}

func FuzzReadTree(f *testing.F) {
	id := strings.Repeat("0a", 20)
	f.Add([]byte("100644 blob " + id + "\ta b\x00160000 commit " + id + "\tlib\x00"))
	f.Add([]byte("120000 blob " + id + id[:24] + "\t../x\x00"))
	f.Add([]byte("100644 blob " + id + "\t.git/x\x00"))
	f.Add([]byte("100644 blob x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var again bytes.Buffer
		err := readTree(bytes.NewReader(text), func(e entry) error {
			for part := range strings.SplitSeq(e.path, "/") {
				if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") {
					t.Errorf("path %q is given out", e.path)
				}
			}
			kind := "blob"
			if bytes.HasPrefix(text[again.Len():], []byte(e.mode+" commit ")) {
				kind = "commit"
			}
			again.WriteString(e.mode + " " + kind + " " + e.id + "\t" + e.path + "\x00")
			return nil
		})
		if !bytes.HasPrefix(text, again.Bytes()) || err == nil && again.Len() != len(text) {
			t.Errorf("%q is read as %q", text, again.String())
		}
	})
}

func FuzzGlob(f *testing.F) {
	f.Add("docs/**", "docs/a/b")
	f.Add("*.md", "x/y.md")
	f.Add("{a,b}/[^x]?", "a/bc")
	f.Add("/docs/", "docs/x")
	f.Add("**/**/*a*b*c*", "aaaa/bbbb/cccc")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > 64 || len(path) > 256 || ValidateGlob(pattern) != nil || pathFault(path) != "" {
			return
		}
		g := compile([]string{pattern})
		for _, compiled := range g {
			if !doublestar.ValidatePattern(compiled) {
				t.Errorf("%q compiles to %q, which is no pattern", pattern, compiled)
			}
		}
		matched := g.match(path)
		if !strings.ContainsAny(pattern, `*?[{\`) {
			whole := strings.Trim(pattern, "/")
			if rooted := strings.Contains(strings.TrimSuffix(pattern, "/"), "/"); rooted {
				want := path == whole && !strings.HasSuffix(pattern, "/") || strings.HasPrefix(path, whole+"/")
				if matched != want {
					t.Errorf("%q matches %q: %v, want %v", pattern, path, matched, want)
				}
			}
		}
		if c := newClassifier(pipeline.Paths{Ignore: []string{pattern}}).of(path); (c == ignored) != matched {
			t.Errorf("%q makes %q component %d", pattern, path, c)
		}
	})
}

func FuzzParseLog(f *testing.F) {
	id := strings.Repeat("0a", 20)
	f.Add(id + "\x00Ann\x00ann@example.com\x00Bo\x00bo@example.com\x001700000000\x00first\n\nbody\n\x00\n")
	f.Add(id + "\x00\x00\x00\x00\x00-1\x00\x00")
	f.Add(id + "\x00\x1b[31m\xff\x00<>\x00\xff\x00\x1b\x0099999999999999999999\x00\r\n\x07x")
	f.Fuzz(func(t *testing.T, text string) {
		revision, err := parseLog(text)
		if err != nil {
			return
		}
		if !validCommit(revision.Commit) || unprintable(revision.Author) || unprintable(revision.Committer) || unprintable(revision.Message) {
			t.Errorf("%q gives %+v", text, revision)
		}
		if _, err := json.Marshal(revision); err != nil {
			t.Errorf("%q gives what can't be recorded: %v", text, err)
		}
	})
}

func FuzzRepository(f *testing.F) {
	for _, repository := range []string{"https://a:b@host/x", "ssh://-o=x/y", "u@h:p", "ext::x", "./a", "file:///a%20b", "https://[::1]/x"} {
		f.Add(repository)
	}
	f.Fuzz(func(t *testing.T, repository string) {
		l, err := locate(repository, "/base")
		if err != nil {
			return
		}
		if strings.HasPrefix(l.address, "-") || unprintable(l.address) || transport.MatchString(l.address) || l.key == "" {
			t.Errorf("%q gives %+v", repository, l)
		}
		if l.password != "" && l.password != l.username && strings.Contains(l.address, "@") && strings.Contains(l.address, ":"+l.password+"@") {
			t.Errorf("%q gives the address %q", repository, l.address)
		}
	})
}
