// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package forge knows where a repository's host shows commits, comparisons, pull requests and
// issues. It asks nobody: a Forge is made from the repository's address alone.
//
//	f := forge.Of("git@github.com:acme/shop.git", "")
//	f.Commit("0a1b2c3d…")             // https://github.com/acme/shop/commit/0a1b2c3d…
//	f.Text("Mend the cart (#4711)")   // "#4711" is a link to the issue or pull request
//
// What it returns is safe to put into a page: an address is http or https, has no user and no
// password, and consists of printable ASCII. Of an address that is not such it makes no link.
package forge

import (
	"net/url"
	"regexp"
	"strings"
)

// Forge is where the pages of a repository are. The zero Forge has none: all of its addresses
// are empty.
type Forge struct {
	base string // address of the repository's pages, without a slash at the end
	kind kind
}

// kind is what is behind the address of a repository's pages.
type kind struct {
	commit, compare, issue, pull string // %c, %a, %b and %n stand for the commit, two commits, and a number
	bang                         bool   // "!12" is a merge request
}

// Gitea and Forgejo have the same addresses as GitHub. An issue's address leads to the pull
// request of that number there.
var (
	github    = kind{commit: "/commit/%c", compare: "/compare/%a...%b", issue: "/issues/%n", pull: "/pull/%n"}
	gitea     = kind{commit: "/commit/%c", compare: "/compare/%a...%b", issue: "/issues/%n", pull: "/pulls/%n"}
	gitlab    = kind{commit: "/-/commit/%c", compare: "/-/compare/%a...%b", issue: "/-/issues/%n", pull: "/-/merge_requests/%n", bang: true}
	bitbucket = kind{commit: "/commits/%c", compare: "/branches/compare/%b%0D%a", issue: "/issues/%n", pull: "/pull-requests/%n"}
)

// hosts are the words in a host's name that say which forge it is.
var hosts = []struct {
	word string
	kind kind
}{
	{"github", github}, {"gitlab", gitlab}, {"bitbucket", bitbucket}, {"gitea", gitea}, {"forgejo", gitea}, {"codeberg", gitea},
}

// commitMark stands in an address that somebody gave for the ID of a commit.
const commitMark = "{commit}"

// Of returns where the pages of a repository are. web is what the configuration says of
// that, or empty: the address of the repository's pages, or that of a commit with {commit}
// for its ID. Without it, the repository's own address must be on a host that is known.
func Of(repository, web string) Forge {
	if web != "" {
		return of(web, &github)
	}
	return of(address(repository), nil)
}

// CheckWeb reports what is wrong with the address that somebody gives for a repository's
// pages; empty for nothing.
func CheckWeb(web string) string {
	switch u, ok := page(web); {
	case !ok && u != nil && u.User != nil:
		return "it has a user or a password, which every page would show"
	case !ok:
		return "it is not an http or https address of printable ASCII"
	}
	return ""
}

// of returns the forge with pages at an address. If its host says no kind, it is of the other
// one.
func of(web string, other *kind) Forge {
	u, ok := page(web)
	if !ok {
		return Forge{}
	}
	base := strings.TrimRight(web, "/")
	if at := strings.Index(base, commitMark); at >= 0 {
		return Forge{kind: kind{commit: strings.ReplaceAll(strings.ReplaceAll(base, "%", "%%"), commitMark, "%c")}}
	}
	if repository, ok := strings.CutSuffix(base, "/-"); ok { // as GitLab has it on any host
		return Forge{base: repository, kind: gitlab}
	}
	for _, h := range hosts {
		for label := range strings.SplitSeq(u.Hostname(), ".") {
			if strings.HasPrefix(label, h.word) {
				return Forge{base: base, kind: h.kind}
			}
		}
	}
	if other == nil {
		return Forge{}
	}
	return Forge{base: base, kind: *other}
}

var (
	hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	plain    = regexp.MustCompile(`^[A-Za-z0-9._~/:?&=%{}+,;@-]+$`)
	pathName = regexp.MustCompile(`^/[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)+$`)
)

// page reads an address, and reports whether a page may link to it. The URL is nil if it is
// none.
func page(address string) (*url.URL, bool) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, false
	}
	ok := (u.Scheme == "https" || u.Scheme == "http") && u.User == nil && u.Opaque == "" && u.Fragment == "" &&
		hostName.MatchString(u.Hostname()) && plain.MatchString(address)
	return u, ok
}

// address returns the address of the pages of a repository, from that of the repository
// itself; empty if it can't be told.
func address(repository string) string {
	if user, rest, ok := strings.Cut(repository, "@"); ok && !strings.ContainsAny(user, ":/") && !strings.Contains(repository, "://") {
		host, path, ok := strings.Cut(rest, ":") // git@github.com:acme/shop.git
		if !ok {
			return ""
		}
		return joined("https", host, "/"+strings.TrimPrefix(path, "/"))
	}
	u, err := url.Parse(repository)
	if err != nil {
		return ""
	}
	switch u.Scheme {
	case "ssh": // its port is not the one of the pages
		return joined("https", u.Hostname(), u.Path)
	case "https", "http":
		if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return ""
		}
		return joined(u.Scheme, u.Host, u.Path)
	}
	return ""
}

func joined(scheme, host, path string) string {
	path = strings.TrimSuffix(strings.TrimRight(path, "/"), ".git")
	if !pathName.MatchString(path) || strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") {
		return ""
	}
	return scheme + "://" + strings.ToLower(host) + path
}

var commitID = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

// Commit returns the address of a commit; empty if there is none.
func (f Forge) Commit(id string) string {
	if !commitID.MatchString(id) {
		return ""
	}
	return f.at(f.kind.commit, "%c", id)
}

// Compare returns the address of the page that shows what a commit has and another, earlier
// one has not; empty if there is none.
func (f Forge) Compare(from, to string) string {
	if !commitID.MatchString(from) || !commitID.MatchString(to) || from == to {
		return ""
	}
	return f.at(f.kind.compare, "%a", from, "%b", to)
}

// at fills in a template.
func (f Forge) at(template string, pairs ...string) string {
	if template == "" {
		return ""
	}
	return f.base + strings.NewReplacer(append(pairs, "%%", "%")...).Replace(template)
}

// Piece is a part of a text. URL is where it leads; empty for nowhere.
type Piece struct {
	Text, URL string
}

// mentions are the ways in which a message names an issue or a pull request: #4711, "pull
// request #12", and on GitLab !12. The mark does not follow a letter, a digit, or what
// belongs to an address.
var mentions = regexp.MustCompile(`(?:^|[^0-9A-Za-z_&/#!])((?i:pull request |merge request )?[#!][1-9][0-9]{0,9})\b`)

// Text returns a line of a message in pieces. Together they are the line.
func (f Forge) Text(line string) (all []Piece) {
	at := 0
	for _, m := range mentions.FindAllStringSubmatchIndex(line, -1) {
		mention := line[m[2]:m[3]]
		mark := strings.IndexAny(mention, "#!")
		template, n := f.kind.issue, mention[mark+1:]
		switch {
		case mention[mark] == '!' && !f.kind.bang:
			continue
		case mention[mark] == '!', mark > 0:
			template = f.kind.pull
		}
		to := f.at(template, "%n", n)
		if to == "" {
			continue
		}
		if m[2] > at {
			all = append(all, Piece{Text: line[at:m[2]]})
		}
		all, at = append(all, Piece{mention, to}), m[3]
	}
	if at < len(line) {
		all = append(all, Piece{Text: line[at:]})
	}
	return all
}
