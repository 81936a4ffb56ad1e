// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/plot"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static
var staticFiles embed.FS

// view is what every page is made from.
type view struct {
	Title    string
	Pipeline string // empty on pages of none
	Tab      string // of the pipeline's pages, the one that is open
	Live     string // the stream that says when to ask for the page again; empty for none
	Body     any

	// set by show
	Person, Where, Version, Flash string
}

// pages are the templates, and what they need.
type pages struct {
	byName map[string]*template.Template
	files  map[string]string // addresses of static files, with a digest, by name
	now    func() time.Time
}

func newPages(now func() time.Time) *pages {
	p := &pages{byName: map[string]*template.Template{}, files: map[string]string{}, now: now}
	static, err := fs.Sub(staticFiles, "static")
	must(err)
	must(fs.WalkDir(static, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(static, name)
		sum := sha256.Sum256(data)
		p.files[name] = "/static/" + name + "?v=" + hex.EncodeToString(sum[:6])
		return err
	}))
	sum := sha256.Sum256([]byte(plot.Style()))
	p.files["plot.css"] = "/static/plot.css?v=" + hex.EncodeToString(sum[:6])
	files, err := fs.Glob(templateFiles, "templates/*.html")
	must(err)
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		p.byName[name] = template.Must(template.New("layout.html").Funcs(p.functions()).
			ParseFS(templateFiles, "templates/layout.html", "templates/parts.html", file))
	}
	return p
}

// must is for what is in the program and can't fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (p *pages) functions() template.FuncMap {
	return template.FuncMap{
		"static": func(name string) (string, error) {
			if at, ok := p.files[name]; ok {
				return at, nil
			}
			return "", fmt.Errorf("there is no static file %q", name)
		},
		"short":  func(commit string) string { return commit[:min(len(commit), 10)] },
		"digest": func(s string) string { _, hex, _ := strings.Cut(s, ":"); return hex[:min(len(hex), 16)] },
		"ago":    func(t time.Time) string { return span(p.now().Sub(t)) + " ago" },
		"until":  func(t time.Time) string { return span(t.Sub(p.now())) },
		"since":  func(t time.Time) string { return span(p.now().Sub(t)) },
		"span":   span,
		"count":  count,
		"stamp":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"plain":  plain,
		"first":  func(s string) string { return plain(pipeline.FirstLine(s)) },
		"size":   size,
		"query": func(pairs ...string) template.URL {
			q := url.Values{}
			for i := 0; i+1 < len(pairs); i += 2 {
				if pairs[i+1] != "" {
					q.Set(pairs[i], pairs[i+1])
				}
			}
			return template.URL(q.Encode()) // encoded already
		},
		"web":      web,
		"percent":  func(f float64) string { return fmt.Sprintf("%.2f %%", 100*f) },
		"took":     took,
		"join":     strings.Join,
		"lines":    lines,
		"dict":     dict,
		"author":   author,
		"unbroken": unbroken,
		"times":    func(a, b float64) float64 { return a * b },
	}
}

// web reports whether an address is one that a browser may be sent to.
func web(address string) bool {
	return strings.HasPrefix(address, "http://") || strings.HasPrefix(address, "https://")
}

// show sends a page.
func (b *Board) show(w http.ResponseWriter, s *session, status int, name string, v view) {
	v.Where, v.Version = b.Where, b.Version
	if s != nil {
		v.Person = s.person.Name
		v.Flash = s.said()
	}
	var page bytes.Buffer
	if err := b.pages.byName[name].Execute(&page, v); err != nil {
		b.Logger.Error("make page", "page", name, "error", err)
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes())
}

// static serves the files that pages need. Their addresses have a digest, so that a
// browser keeps them.
func (p *pages) static() http.Handler {
	files, err := fs.Sub(staticFiles, "static")
	must(err)
	serve := http.StripPrefix("/static/", http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		if r.URL.Path == "/static/plot.css" {
			w.Header().Set("Content-Type", "text/css; charset=utf-8")
			_, _ = w.Write([]byte(plot.Style()))
			return
		}
		serve.ServeHTTP(w, r)
	})
}

// span says a duration in its largest unit, and in the next where that is worth saying.
func span(d time.Duration) string {
	d = max(d.Round(time.Second), 0)
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units[:len(units)-1] {
		n, rest := d/u.size, d%u.size/units[i+1].size
		switch {
		case n == 0:
		case n < 10 && rest > 0:
			return fmt.Sprintf("%d%s %d%s", n, u.name, rest, units[i+1].name)
		default:
			return fmt.Sprintf("%d%s", n, u.name)
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// took says how long something short took: a step, or an answer.
func took(d time.Duration) string {
	if d < time.Minute {
		return plot.Seconds(d.Seconds())
	}
	return span(d)
}

// count says how many there are of something.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// size says a number of bytes.
func size(n int64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if n < 10*1024 || unit == "GiB" {
			return fmt.Sprintf("%d %s", n, unit)
		}
		n /= 1024
	}
	return ""
}

// dict makes what a template is called with.
func dict(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return m
}

// author gives the name of who wrote a commit, without the address.
func author(s string) string {
	name, _, _ := strings.Cut(plain(s), "<")
	if name = strings.TrimSpace(name); name == "" {
		return plain(s)
	}
	return name
}

var buildIDs = regexp.MustCompile(`b-[0-9a-f]{10}`)

// unbroken marks the IDs of builds in a text, so that they are not broken at the hyphen.
func unbroken(s string) template.HTML {
	return template.HTML(buildIDs.ReplaceAllString(template.HTMLEscapeString(plain(s)), `<span class="id">$0</span>`)) // escaped before
}

// lines is plain for text of several lines.
func lines(s string) string {
	var list []string
	for line := range strings.SplitSeq(s, "\n") {
		list = append(list, plain(line))
	}
	return strings.Join(list, "\n")
}

// plain gives text without control characters and what turns its direction. Templates
// escape the rest.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
