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
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/draw"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static
var staticFiles embed.FS

// sharedTemplates are those that pages are made with; each other one is a page.
var sharedTemplates = []string{"layout", "parts", "map"}

// view is what every page is made from.
type view struct {
	Title    string
	Pipeline string // empty on pages of none
	Tab      string // of the pipeline's pages, the one that is open
	Live     *live  // nil for a page that does not change by itself
	Body     any
	State    *pipeline.State // of the pipeline, for links; nil on pages without any

	// set by show
	Person, Where, Version, Flash string
}

// pages are the templates, and what they need.
type pages struct {
	byName map[string]*template.Template
	files  map[string]string // addresses of static files, with a digest, by name
	now    func() time.Time
	names  []string // of the board's host
}

func newPages(now func() time.Time, hosts []string) *pages {
	p := &pages{byName: map[string]*template.Template{}, files: map[string]string{}, now: now}
	for _, host := range hosts {
		p.names = append(p.names, hostname("http://"+host))
	}
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
	sum := sha256.Sum256([]byte(draw.PlotStyle()))
	p.files["plot.css"] = "/static/plot.css?v=" + hex.EncodeToString(sum[:6])
	var shared []string
	for _, name := range sharedTemplates {
		shared = append(shared, "templates/"+name+".html")
	}
	files, err := fs.Glob(templateFiles, "templates/*.html")
	must(err)
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if slices.Contains(sharedTemplates, name) {
			continue
		}
		p.byName[name] = template.Must(template.New("layout.html").Funcs(p.functions()).
			ParseFS(templateFiles, append(shared, file)...))
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
		"short":  present.Commit,
		"digest": present.Digest,
		"ago":    func(t time.Time) string { return present.Ago(p.now(), t) },
		"until":  func(t time.Time) string { return present.Age(t.Sub(p.now())) },
		"since":  func(t time.Time) string { return present.Age(p.now().Sub(t)) },
		"past":   func(t time.Time) bool { return !p.now().Before(t) },
		"span":   present.Duration,
		"count":  present.Count,
		"stamp":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"plain":  present.Line,
		"cause":  cause,
		"first":  func(s string) string { return present.Line(pipeline.FirstLine(s)) },
		"size":   present.Size,
		"query": func(pairs ...string) template.URL {
			q := url.Values{}
			for i := 0; i+1 < len(pairs); i += 2 {
				if pairs[i+1] != "" {
					q.Set(pairs[i], pairs[i+1])
				}
			}
			return template.URL(q.Encode()) // encoded already
		},
		"web":       p.web,
		"percent":   func(f float64) string { return fmt.Sprintf("%.2f %%", 100*f) },
		"took":      present.Duration,
		"row":       inRow,
		"join":      strings.Join,
		"lines":     present.Text,
		"dict":      dict,
		"author":    author,
		"brief":     ask.Brief,
		"change":    ask.Change,
		"tests":     ask.Tests,
		"load":      ask.Load,
		"changed":   ask.Changed,
		"act":       ask.Act,
		"drifted":   reason.Drifted,
		"targetof":  func(stage string) string { _, target := pipeline.CutTarget(stage); return target },
		"unlisted":  ask.Unlisted,
		"refusal":   ask.Refusal,
		"replan":    ask.Replan,
		"foresight": func(i report.Infrastructure) string { return present.Line(ask.Infrastructure(i, p.now())) },
		"gated":     func(g report.Gated) string { return present.Line(ask.Gated(g, p.now())) },
		"gate":      func(e pipeline.Elsewhere) string { return present.Line(ask.Elsewhere(e)) },
		"published": func(c report.Published) string { return present.Line(ask.Published(c, p.now())) },
		"held":      func(h report.Held) string { return present.Line(ask.Held(h, p.now())) },
		"marked":    ask.Mark,
		"unbroken":  unbroken,
		"prose":     prose,
		"mark":      func(c interface{ mark() present.Mark }) present.Mark { return c.mark() },
		"legend":    legend,
		"tones":     func() any { return draw.Tones },
		"times":     func(a, b float64) float64 { return a * b },
	}
}

// web reports whether an address is one that a browser may be sent to.
func web(address string) bool {
	return strings.HasPrefix(address, "http://") || strings.HasPrefix(address, "https://")
}

// web reports whether a page may link to an address: to none of the board's own host name. The
// cookies of the board would go to another port of that, to whatever listens there.
func (p *pages) web(address string) bool {
	return web(address) && hostname(address) != "" && !slices.Contains(p.names, hostname(address))
}

// hostname returns the name of an address's host, in small letters; empty for none.
func hostname(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}

// show sends a page.
func (b *core) show(w http.ResponseWriter, s *session, status int, name string, v view) {
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

// static serves the files that pages need, and none else. Their addresses have a digest, so
// that a browser keeps them.
func (p *pages) static(none http.Handler) http.Handler {
	files, err := fs.Sub(staticFiles, "static")
	must(err)
	serve := http.StripPrefix("/static/", http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, known := p.files[strings.TrimPrefix(r.URL.Path, "/static/")]; !known {
			none.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		if r.URL.Path == "/static/plot.css" {
			w.Header().Set("Content-Type", "text/css; charset=utf-8")
			_, _ = w.Write([]byte(draw.PlotStyle()))
			return
		}
		serve.ServeHTTP(w, r)
	})
}

// dict makes what a template is called with.
func dict(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return m
}

// author returns the name of who wrote a commit, without the address.
func author(s string) string {
	name, _, _ := strings.Cut(present.Line(s), "<")
	if name = strings.TrimSpace(name); name == "" {
		return present.Line(s)
	}
	return name
}

var buildIDs = regexp.MustCompile(`b-[0-9a-f]{10}`)

// unbroken marks the IDs of builds in a text, so that they are not broken at the hyphen.
func unbroken(s string) template.HTML {
	return template.HTML(buildIDs.ReplaceAllString(template.HTMLEscapeString(present.Line(s)), `<span class="id">$0</span>`)) // escaped before
}

var quoted = regexp.MustCompile("`([^`]+)`")

// prose marks the commands in a sentence, which are between backquotes.
func prose(s string) template.HTML {
	return template.HTML(quoted.ReplaceAllString(template.HTMLEscapeString(present.Line(s)), "<code>$1</code>")) // escaped before
}

// legend explains the marks of builds at stages.
func legend() string {
	return present.Legend("passed", "failed", "rejected", "waiting", "superseded", "overridden", "running", "")
}
