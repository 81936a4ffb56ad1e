// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package forge_test

import (
	"html"
	"net/url"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/present/forge"
)

const (
	older = "0123456789abcdef0123456789abcdef01234567"
	newer = "89abcdef0123456789abcdef0123456789abcdef"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ repository, web, commit, compare, text string }{
		{"https://github.com/acme/shop", "", "https://github.com/acme/shop/commit/" + older, "https://github.com/acme/shop/compare/" + older + "..." + newer, "https://github.com/acme/shop/issues/7"},
		{"https://github.com/acme/shop.git", "", "https://github.com/acme/shop/commit/" + older, "", ""},
		{"git@github.com:acme/shop.git", "", "https://github.com/acme/shop/commit/" + older, "", ""},
		{"ssh://git@github.com:22/acme/shop.git", "", "https://github.com/acme/shop/commit/" + older, "", ""},
		{"git@github.acme.example:acme/shop.git", "", "https://github.acme.example/acme/shop/commit/" + older, "", ""},
		{"https://gitlab.com/acme/web/shop.git", "", "https://gitlab.com/acme/web/shop/-/commit/" + older, "https://gitlab.com/acme/web/shop/-/compare/" + older + "..." + newer, "https://gitlab.com/acme/web/shop/-/issues/7"},
		{"git@gitlab.com:acme/shop.git", "", "https://gitlab.com/acme/shop/-/commit/" + older, "", ""},
		{"ssh://git@gitlab.acme.example:2222/acme/shop.git", "", "https://gitlab.acme.example/acme/shop/-/commit/" + older, "", ""},
		{"https://bitbucket.org/acme/shop", "", "https://bitbucket.org/acme/shop/commits/" + older, "https://bitbucket.org/acme/shop/branches/compare/" + newer + "%0D" + older, "https://bitbucket.org/acme/shop/issues/7"},
		{"git@bitbucket.org:acme/shop.git", "", "https://bitbucket.org/acme/shop/commits/" + older, "", ""},
		{"https://gitea.com/acme/shop.git", "", "https://gitea.com/acme/shop/commit/" + older, "https://gitea.com/acme/shop/compare/" + older + "..." + newer, "https://gitea.com/acme/shop/issues/7"},
		{"http://gitea.local:3000/acme/shop.git", "", "http://gitea.local:3000/acme/shop/commit/" + older, "", ""},
		{"git@codeberg.org:acme/shop.git", "", "https://codeberg.org/acme/shop/commit/" + older, "", ""},
		{"/srv/git/shop.git", "https://code.acme.example/acme/shop/", "https://code.acme.example/acme/shop/commit/" + older, "https://code.acme.example/acme/shop/compare/" + older + "..." + newer, "https://code.acme.example/acme/shop/issues/7"},
		{"/srv/git/shop.git", "https://code.acme.example/acme/shop/-", "https://code.acme.example/acme/shop/-/commit/" + older, "https://code.acme.example/acme/shop/-/compare/" + older + "..." + newer, "https://code.acme.example/acme/shop/-/issues/7"},
		{"/srv/git/shop.git", "https://git.acme.example/shop/commit/?a=%41&id={commit}", "https://git.acme.example/shop/commit/?a=%41&id=" + older, "", ""},
		{"https://git.acme.example/shop.git", "", "", "", ""},
		{"/srv/git/shop.git", "", "", "", ""},
		{"./shop", "", "", "", ""},
		{"", "", "", "", ""},
	} {
		f := forge.Of(c.repository, c.web)
		if got := f.Commit(older); got != c.commit {
			t.Errorf("%s, %q: the commit is at %q, want %q", c.repository, c.web, got, c.commit)
		}
		if got := f.Compare(older, newer); c.compare != "" && got != c.compare {
			t.Errorf("%s, %q: the comparison is at %q, want %q", c.repository, c.web, got, c.compare)
		}
		if got := f.Text("see #7"); c.text != "" && (len(got) != 2 || got[1].URL != c.text || got[1].Text != "#7") {
			t.Errorf("%s, %q: the issue is at %q, want %q", c.repository, c.web, got, c.text)
		}
	}
}

// No address that could run something, name somebody's password or lead elsewhere than it
// looks becomes a link.
func TestHostileAddresses(t *testing.T) {
	t.Parallel()
	for _, hostile := range []string{
		"javascript:alert(1)", "javascript://github.com/acme/shop", "data:text/html,github.com/a/b", "https://user:secret@github.com/acme/shop",
		"https://github.com@evil.example/acme/shop", "https://token@github.com/acme/shop.git", "https://github.com/acme/shop\n", "https://github.com/a\x1b]8;;/b",
		"https://github.com/acme/../../evil", "https://github.com/acme/shop?x=\"onclick=", "https://github.com/acme/shop\"><script>", "//github.com/acme/shop",
		"file:///github.com/acme/shop", "https://github.com/acme/sh op", "https://github.com\\@evil.example/a/b", "git@github.com:acme/shop\";x", "https://github.com/acme/shop#{commit}",
		"ext::sh -c github.com/a/b", "https://gïthub.com/acme/shop", "https://github.com/%0d%0aacme/shop", "ftp://github.com/acme/shop", "https:///github.com/acme",
	} {
		if at := forge.Of(hostile, "").Commit(older); strings.Contains(at, "secret") || strings.Contains(at, "token") || at != "" && !strings.HasPrefix(at, "https://github.com/") {
			t.Errorf("repository %q has a link to %q", hostile, at)
		}
		if at := forge.Of("https://github.com/acme/shop", hostile).Commit(older); at != "" && !harmless(at) {
			t.Errorf("web %q has a link to %q", hostile, at)
		}
	}
	for _, id := range []string{"", "HEAD", "../../evil", "0123456\n", "0123456\"", strings.Repeat("a", 65)} {
		f := forge.Of("https://github.com/acme/shop", "")
		if f.Commit(id) != "" || f.Compare(id, newer) != "" {
			t.Errorf("commit %q has a link", id)
		}
	}
}

func harmless(at string) bool {
	u, err := url.Parse(at)
	return err == nil && u.User == nil && (u.Scheme == "https" || u.Scheme == "http") && html.EscapeString(strings.ReplaceAll(at, "&", "")) == strings.ReplaceAll(at, "&", "")
}

func TestCheckWeb(t *testing.T) {
	t.Parallel()
	for web, ok := range map[string]bool{
		"https://git.acme.example/shop": true, "http://localhost:3000/acme/shop": true, "https://git.acme.example/shop/commit/?id={commit}": true,
		"javascript:alert(1)": false, "https://ann:secret@git.acme.example/shop": false, "git.acme.example/shop": false, "https://git.acme.example/a b": false,
	} {
		if got := forge.CheckWeb(web); (got == "") != ok {
			t.Errorf("%s: %q", web, got)
		}
		if (forge.Of("", web).Commit(older) != "") != ok {
			t.Errorf("%s: the link is %q", web, forge.Of("", web).Commit(older))
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	github, gitlab := forge.Of("https://github.com/acme/shop", ""), forge.Of("https://gitlab.com/acme/shop", "")
	bitbucket := forge.Of("https://bitbucket.org/acme/shop", "")
	for _, c := range []struct {
		of         forge.Forge
		line, want string // links in brackets
	}{
		{github, "Mend the cart (#4711)", "Mend the cart ([#4711 /issues/4711])"},
		{github, "#1, #2 and #3", "[#1 /issues/1], [#2 /issues/2] and [#3 /issues/3]"},
		{github, "Merge pull request #12 from acme/x", "Merge [pull request #12 /pull/12] from acme/x"},
		{github, "See !12, a#5, &#39; #0, #12a, C# 7, https://x/#4", "See !12, a#5, &#39; #0, #12a, C# 7, https://x/#4"},
		{gitlab, "See merge request !12 (#4)", "See [merge request !12 /-/merge_requests/12] ([#4 /-/issues/4])"},
		{bitbucket, "Merged in x (pull request #9)", "Merged in x ([pull request #9 /pull-requests/9])"},
		{forge.Forge{}, "Mend #4711", "Mend #4711"},
		{github, "", ""},
	} {
		var got, plain strings.Builder
		for _, p := range c.of.Text(c.line) {
			plain.WriteString(p.Text)
			if p.URL == "" {
				got.WriteString(p.Text)
				continue
			}
			got.WriteString("[" + p.Text + " " + p.URL[strings.Index(p.URL, "shop")+4:] + "]")
		}
		if got.String() != c.want || plain.String() != c.line {
			t.Errorf("%q has the pieces %q, want %q", c.line, got.String(), c.want)
		}
	}
}
