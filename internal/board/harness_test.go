// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"cmp"
	"context"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/board"
	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
	"github.com/penstock-io/terraform-provider-penstock/internal/module/moduletest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/supervisor"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

func TestMain(m *testing.M) {
	moduletest.Serve()
	lab.ServeFiles()
	process.Guard()
	supervisor.Main()
	os.Exit(workplacetest.Main(m.Run))
}

// bed is a pipeline on the local platform with its board.
type bed struct {
	*testing.T
	app       *app.App
	repo      string
	authorize *pipeline.Authorization
	pin       string // of production
	module    *pipeline.Module
	hooks     pipeline.Service // that work on the data; nothing else of it counts
	slow      string           // a command of the commit stage's, before the others
	secure    bool             // the board is served with TLS and HTTP/2
	hostname  string           // of the board; empty means localhost
	listener  net.Listener     // of the next board; nil means any
	server    *httptest.Server
	page      *board.Board
	token     *board.Token
	client    *http.Client // of a browser that has signed in
}

// newBed makes a pipeline that has seen no apply yet.
func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{T: t, repo: filepath.Join(t.TempDir(), "repo")}
	a, err := app.Open(t.Context(), app.Options{DataDir: filepath.Join(t.TempDir(), "data")})
	b.must(err)
	b.app = a
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_ = a.Engine.Pipelines.Remove(ctx, "shop", "", true)
		if err := a.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	b.git("init", "-q", "-b", "main", b.repo)
	b.commit("1", "Begin")
	return b
}

func (b *bed) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%v (%s)", err, reason.Hint(err))
	}
}

func (b *bed) git(args ...string) {
	b.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		cmd.Env = append(cmd.Env, "GIT_"+who+"_NAME=Ada", "GIT_"+who+"_EMAIL=ada@example.com")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// commit makes a version of the service; "bad" fails its tests.
func (b *bed) commit(version, message string) {
	b.Helper()
	b.must(os.WriteFile(filepath.Join(b.repo, "version"), []byte(version+"\n"), 0o600))
	b.git("-C", b.repo, "add", "-A")
	b.git("-C", b.repo, "commit", "-q", "-m", message)
}

// unitTests are two tests, of which one fails for a version that is bad.
const unitTests = `cat version
failure=; ! grep -q bad version || failure='<failure message="it answers with nothing"/>'
printf '<testsuite><testcase name="starts"/><testcase name="answers">%s</testcase></testsuite>' "$failure" > junit.xml
[ -z "$failure" ]`

// apply does what an apply of the configuration would.
func (b *bed) apply() {
	b.Helper()
	b.must(b.tryApply())
}

func (b *bed) tryApply() error {
	ctx, e := b.Context(), b.app.Engine
	p := pipeline.Pipeline{
		Name: "shop", Owner: b.app.Owner, Scale: pipeline.Scale{Instances: 1}, Authorization: b.authorize, Module: b.module,
		Service: pipeline.Service{Install: `tar -xzf "$PENSTOCK_ARTIFACT"`, Start: lab.Files()},
	}
	p.Service.Backup, p.Service.Migrate, p.Service.Finish, p.Service.FinishAfter = b.hooks.Backup, b.hooks.Migrate, b.hooks.Finish, b.hooks.FinishAfter
	if _, err := e.Pipelines.Create(ctx, p); err != nil {
		return err
	}
	snapshot, err := b.app.NewSource("").Snapshot(ctx, source.Query{Repository: b.repo, Ref: "main", Paths: pipeline.Paths{Configuration: []string{"config/**"}}})
	if err != nil {
		return err
	}
	steps := []pipeline.Step{
		{Name: "build", Command: "tar -czf dist.tar.gz version"}, {Name: "unit tests", Command: unitTests, Report: "junit.xml"},
	}
	if b.slow != "" {
		steps = append([]pipeline.Step{{Name: "slow", Command: b.slow}}, steps...)
	}
	load := pipeline.Load{Rate: 20, Duration: 500 * time.Millisecond, Path: "/version", P99: 5 * time.Second}
	peak := load
	peak.Rate = 40
	for _, s := range []pipeline.Stage{
		{Type: pipeline.TypeCommit, Source: &snapshot.Source, Artifact: "dist.tar.gz", Steps: steps},
		{Type: pipeline.TypeAcceptance, After: []string{"commit"}, Steps: []pipeline.Step{{Name: "answers", HTTP: &pipeline.HTTPCheck{Path: "/version"}}}},
		{Type: pipeline.TypeExploratory, After: []string{"acceptance"}},
		{Type: pipeline.TypeCapacity, After: []string{"acceptance"}, Steps: []pipeline.Step{{Name: "expected", Load: &load}, {Name: "peak", Load: &peak}}},
		{Type: pipeline.TypeProduction, After: []string{"exploratory", "capacity"}, Pin: b.pin},
	} {
		s.Pipeline, s.Owner = "shop", b.app.Owner
		if _, err := e.Stages.Advance(ctx, run.AdvanceRequest{Stage: s.WithDefaults(nil, nil)}); err != nil {
			return err
		}
	}
	return nil
}

// state returns where the pipeline is.
func (b *bed) state() *pipeline.State {
	b.Helper()
	st, err := b.app.Engine.State(b.Context(), "shop")
	b.must(err)
	return st
}

// named returns how a sentence names a build.
func (b *bed) named(build string) string {
	return fmt.Sprintf("#%d (%s)", b.state().Builds[build].Number, build)
}

// newest returns the newest build.
func (b *bed) newest() string { return b.state().BuildsNewestFirst()[0].ID }

// serve starts the board. With access nil it is that of one person, who has signed in.
func (b *bed) serve(access board.Access, change ...func(*board.Options)) {
	b.Helper()
	b.server = httptest.NewUnstartedServer(nil)
	if b.listener != nil {
		_ = b.server.Listener.Close()
		b.server.Listener, b.listener = b.listener, nil
	}
	host := b.server.Listener.Addr().String()
	if !b.secure { // as the command does; the certificate of tests is for the number
		host = strings.Replace(host, "127.0.0.1", cmp.Or(b.hostname, "localhost"), 1)
	}
	o := board.Options{
		Engine: b.app.Engine, Access: access, Hosts: []string{host}, Where: b.app.Where(), Version: "test",
		Interval: 50 * time.Millisecond,
	}
	if access == nil {
		b.token = board.NewToken(b.app.Person())
		o.Access = b.token
	}
	for _, c := range change {
		c(&o)
	}
	page, server := board.New(o), b.server
	b.page, server.Config.Handler = page, page
	if b.secure {
		server.EnableHTTP2 = true
		server.StartTLS()
	} else {
		server.Start()
		server.URL = "http://" + host
	}
	b.Cleanup(func() {
		page.Close()
		server.CloseClientConnections()
		server.Close()
	})
	b.client = b.browser()
	if access == nil {
		b.signIn(b.client, b.token.Path(), "")
	}
}

// signIn signs a browser in by a printed address. With a key it is one with JavaScript, which
// has to send the key with each form.
func (b *bed) signIn(c *http.Client, path, key string) {
	b.Helper()
	values := form(b.want(c, http.MethodGet, path, nil, http.StatusOK, "Sign in as"))
	values.Set("key", key)
	b.want(c, http.MethodPost, "/sign-in", values, http.StatusOK, "Pipelines")
}

// as returns a browser behind a proxy that has signed somebody in, for a board with behind.
func (b *bed) as(name string) *http.Client {
	b.Helper()
	c := b.browser()
	c.Transport = named(name)
	return c
}

// behind is the access of a board behind a proxy on this machine.
var behind = &board.Proxy{Header: "X-User", Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

// named sends requests as a proxy does for somebody.
type named string

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-User", string(n))
	return http.DefaultTransport.RoundTrip(r)
}

// browser returns a browser that has not been here.
func (b *bed) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	b.must(err)
	c := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	if b.secure {
		c.Transport = b.server.Client().Transport
	}
	return c
}

// send sends a request, and returns the status and the page. Like a browser it goes on by
// itself where a page does.
func (b *bed) send(c *http.Client, method, path string, values url.Values, header ...string) (int, string) {
	b.Helper()
	resp, page := b.request(c, method, b.server.URL+path, values, header...)
	if strings.Contains(page, "data-auto") {
		resp, page = b.request(c, http.MethodPost, b.server.URL+"/sign-in", form(page))
	}
	if _, to, ok := strings.Cut(resp.Header.Get("Refresh"), "; url="); ok {
		resp, page = b.request(c, http.MethodGet, to, nil)
	}
	return resp.StatusCode, page
}

// request sends one request.
func (b *bed) request(c *http.Client, method, at string, form url.Values, header ...string) (*http.Response, string) {
	b.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.Context(), method, at, body)
	b.must(err)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	resp, err := c.Do(r)
	b.must(err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	b.must(err)
	return resp, string(page)
}

// want sends a request and expects a status and texts in the answer.
func (b *bed) want(c *http.Client, method, path string, form url.Values, status int, texts ...string) string {
	b.Helper()
	got, page := b.send(c, method, path, form)
	if got != status {
		b.Fatalf("%s %s answers %d, not %d:\n%s", method, path, got, status, words(page))
	}
	for _, text := range texts {
		if !strings.Contains(html.UnescapeString(page), text) {
			b.Fatalf("%s %s does not say %q:\n%s", method, path, text, words(page))
		}
	}
	return page
}

var tags = regexp.MustCompile(`(?s)<head>.*</head>|<[^>]*>`)

// words returns what a page says.
func words(page string) string {
	return strings.Join(strings.Fields(html.UnescapeString(tags.ReplaceAllString(page, " "))), " ")
}

// get returns a page to who has signed in.
func (b *bed) get(path string, texts ...string) string {
	b.Helper()
	return b.want(b.client, http.MethodGet, path, nil, http.StatusOK, texts...)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)

// form reads the form of a page that asks.
func form(page string) url.Values {
	values := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(page, -1) {
		values.Set(m[1], html.UnescapeString(m[2]))
	}
	return values
}

// press opens the page that asks, and sends its form.
func (b *bed) press(c *http.Client, action string, q url.Values, fill url.Values, status int, texts ...string) {
	b.Helper()
	page := b.want(c, http.MethodGet, "/p/shop/do/"+action+"?"+q.Encode(), nil, http.StatusOK)
	values := form(page)
	for name, v := range fill {
		values[name] = v
	}
	b.want(c, http.MethodPost, "/p/shop/do/"+action, values, status, texts...)
}

// await waits until something is so.
func (b *bed) await(what string, ok func() bool) {
	b.Helper()
	b.must(poll.Until(b.Context(), poll.Schedule{First: 10 * time.Millisecond, Max: 200 * time.Millisecond, Factor: 1.5, Limit: time.Minute, What: what},
		func(ctx context.Context) (poll.Probe, error) { return poll.Probe{Done: ok()}, nil }))
}

// outcome returns how a build fared at a stage.
func (b *bed) outcome(stage, build string) pipeline.Outcome {
	st := b.state()
	return st.Outcome(st.Stages[stage], build)
}

func stageBuild(stage, build string) url.Values {
	return url.Values{"stage": {stage}, "build": {build}}
}
