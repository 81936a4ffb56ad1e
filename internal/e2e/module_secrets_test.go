// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// secretModule has a variable that everybody may see, and one that nobody may.
const secretModule = `
resource "terraform_data" "token" {
  input = "<TOKEN>"
}
output "env" {
  value = { QUEUE = "the-queue" }
}
output "secret_env" {
  sensitive = true
  value     = { TOKEN = terraform_data.token.output }
}
`

// TestModuleSecrets follows a secret that a module makes to all places where it could turn up:
// the service, its hooks and the steps have it, and nobody sees it. What is beside it in env,
// people do see.
func TestModuleSecrets(t *testing.T) {
	t.Parallel()
	token := "t0ken-" + rand.Text()
	has := `test \"$QUEUE\" = the-queue; test \"$(printf %s \"$TOKEN\" | sha256sum)\" = \"` + sum(token) + `  -\"; echo \"$QUEUE is opened with $TOKEN\"`
	s := newSite(t, strings.NewReplacer(
		`keep = 3`, `keep = 3
  module = { directory = "environment" }`,
		`ref            = "main"`, `ref            = "main"
  module         = ["environment/**"]`,
		`start        = "`, `start        = "`+has+`; `,
		`migrate      = "`, `migrate      = "`+has+`; `,
		`steps    = [{ name = "answers", http = { path = "/" } }]`, `steps    = [{ name = "opens", command = "`+has+`" }]`,
	).Replace(faultConfig()))
	module := filepath.Join(s.repo, "environment")
	s.must(os.Mkdir(module, 0o755))
	main := filepath.Join(module, "main.tf")
	text := strings.ReplaceAll(secretModule, "<TOKEN>", token)
	s.write(main, strings.Replace(text, "QUEUE =", "TOKEN = \"public\", QUEUE =", 1))
	s.commit("1")
	s.refused(s.dir, []string{"apply", "-auto-approve"}, `output "secret_env" has "TOKEN", and so has the output "env"`)
	s.write(main, strings.Replace(text, "sensitive = true", "sensitive = false", 1))
	s.commit("1")
	s.refused(s.dir, []string{"apply", "-auto-approve"}, `output "secret_env" is not sensitive`)
	s.write(main, text)
	s.commit("2")
	seen := s.apply()
	if got := s.answer(s.output("production")); got != "2" {
		t.Errorf("production answers %q", got)
	}
	s.commit("3")
	_, planned := s.planned()
	seen += planned + s.apply()
	for _, args := range [][]string{
		{"status", "--json"}, {"builds", "--json"}, {"runs", "--json"}, {"env", "list", "--json"}, {"env", "launch", "p", "alice"}, {"env", "show", "p", "alice", "--json"}, {"logs", "p", "production"},
		{"logs", "p", "acceptance"}, {"ledger", "export", "p"},
	} {
		seen += s.penstock(args...)
	}
	paths := []string{"/", "/p/p", "/p/p/environments", "/p/p/runs", "/p/p/history", "/p/p/history.json"}
	var runs, builds []struct{ ID, Build string }
	s.must(json.Unmarshal([]byte(s.penstock("runs", "p", "--json")), &runs), json.Unmarshal([]byte(s.penstock("builds", "p", "--json")), &builds))
	for _, r := range runs {
		if r.Build == builds[0].ID {
			paths = append(paths, "/p/p/runs/"+r.ID, "/p/p/runs/"+r.ID+"/log")
		}
	}
	seen += s.penstock("evidence", "reject", "p", "acceptance", builds[0].ID, "--json") + s.penstock("diff", "p", builds[1].ID, builds[0].ID, "--json") + s.pages(paths...)
	if !strings.Contains(seen, "the-queue is opened with ***") {
		t.Errorf("no log shows that the secret was there:\n%s", seen)
	}
	if strings.Contains(seen, token) {
		t.Errorf("people see the secret:\n%s", seen)
	}
	// The state of the module has it, and the source of this one. Nobody else may read the state.
	s.wantSecret(token, filepath.Join(".penstock", "modules", "stages"), filepath.Join(".penstock", "modules", "environments"), filepath.Join(s.places()[0], "modules"), s.repo)
	s.penstock("env", "destroy", "p", "alice", "--yes")
	s.destroy()
}

// pages starts a board, and returns its pages.
func (s *site) pages(paths ...string) string {
	s.t.Helper()
	cmd := s.command(s.dir, binary, "serve", "--listen", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	s.must(err)
	cmd.Stderr = os.Stderr
	s.must(cmd.Start())
	defer func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	s.must(err)
	base, key, _ := strings.Cut(strings.TrimSpace(line), "/sign-in?token=")
	base = base[strings.Index(base, "http"):]
	jar, err := cookiejar.New(nil)
	s.must(err)
	client := &http.Client{Jar: jar}
	answer, err := client.PostForm(base+"/sign-in", url.Values{"token": {key}})
	s.must(err)
	s.must(answer.Body.Close())
	var all bytes.Buffer
	for _, path := range paths {
		answer, err := client.Get(base + path)
		s.must(err)
		if answer.StatusCode != http.StatusOK {
			s.t.Errorf("%s is answered %s", path, answer.Status)
		}
		_, err = all.ReadFrom(answer.Body)
		s.must(err, answer.Body.Close())
	}
	return all.String()
}

// wantSecret asserts that a secret is in no file of the site but in those below some paths.
func (s *site) wantSecret(secret string, below ...string) {
	s.t.Helper()
	found := false
	s.must(filepath.WalkDir(s.root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(data, []byte(secret)) {
			return err
		}
		for _, at := range below {
			if strings.Contains(name, at) {
				found = true
				at, err := e.Info()
				if err == nil && !strings.HasPrefix(name, s.repo) && at.Mode().Perm()&0o077 != 0 && readable(filepath.Dir(name), s.root) {
					s.t.Errorf("everybody may read the secret in %s", name)
				}
				return err
			}
		}
		s.t.Errorf("the secret is in %s", name)
		return nil
	}))
	if !found {
		s.t.Errorf("the secret is in no file at all")
	}
}

// readable reports whether everybody on the machine gets to a directory from the root.
func readable(dir, root string) bool {
	for ; dir != root; dir = filepath.Dir(dir) {
		if at, err := os.Stat(dir); err == nil && at.Mode().Perm()&0o001 == 0 {
			return false
		}
	}
	return true
}

// sum is what sha256sum says of a text.
func sum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
