// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package watch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// Terraform is what a watcher needs of it.
type Terraform interface {
	// State reads what the last apply left. It initialises the directory if need be.
	State(ctx context.Context) (*State, error)
	// Plan reports whether there are changes.
	Plan(ctx context.Context) (bool, error)
	Apply(ctx context.Context) error
	// Summary is the line that sums up the last plan or apply; empty for none.
	Summary() string
}

// State is the part of Terraform's state that a watcher looks at.
type State struct {
	Sources      []Source
	Pipelines    []string // names, with the namespaces
	Environments []Environment
	qualified    map[string]string // names of pipelines with their namespaces, by what the configuration calls them
	resources    int
}

// Empty reports whether nothing has been applied yet.
func (s *State) Empty() bool { return s.resources == 0 }

// Source is a penstock_source as the last apply saw it.
type Source struct {
	Address    string
	Query      source.Query
	Components pipeline.Components
}

// Environment is a penstock_self_service_env as the last apply left it.
type Environment struct {
	Pipeline, Name string
	Status         pipeline.EnvironmentStatus
}

// lockTimeout is how long a plan or an apply waits for another one of the same
// configuration, by a person, to give up Terraform's lock.
const lockTimeout = "10m"

// cancelGrace is how long a cancelled Terraform has for its clean-up: that of a run
// may take two minutes, and several may be under way.
const cancelGrace = 10 * time.Minute

// CLI is Terraform or OpenTofu, as a program.
type CLI struct {
	Vars     []string // NAME=VALUE
	VarFiles []string

	tf   *tfexec.Terraform
	dir  string
	said *summary
}

// NewCLI finds the program, which is terraform or else tofu where path is empty. What
// it prints goes to out, too.
func NewCLI(dir, path string, out io.Writer) (*CLI, error) {
	const op = "find Terraform"
	if path == "" {
		for _, name := range []string{"terraform", "tofu"} {
			if found, err := exec.LookPath(name); err == nil {
				path = found
				break
			}
		}
	}
	if path == "" {
		return nil, pipeline.Errorf(pipeline.CodeFailed, op, "there is neither terraform nor tofu on PATH").WithHint("Install one of them, or name it with --terraform.")
	}
	if name := os.Getenv("TF_WORKSPACE"); name != "" {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "TF_WORKSPACE is %q, which can't be passed on", name).
			WithHint("Unset it, and select the workspace with `terraform workspace select %s`.", name)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "%w", err)
	}
	tf, err := tfexec.NewTerraform(dir, path)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "%w", err).WithHint("Name the directory of a Terraform configuration.")
	}
	if !configured(dir) {
		return nil, pipeline.Errorf(pipeline.CodeFailed, "find configuration", "%s has no Terraform configuration: there is no .tf file in it", dir).
			WithHint("Name the directory that has one, or write a first one with `penstock init`.")
	}
	c := &CLI{tf: tf, dir: dir, said: &summary{out: out}}
	tf.SetStdout(c.said)
	if out != nil {
		tf.SetStderr(out)
	}
	_ = tf.SetWaitDelay(cancelGrace) // not on Windows, which has no signal to cancel with
	return c, nil
}

// configured reports whether a directory has a configuration.
func configured(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		name := strings.TrimSuffix(e.Name(), ".json")
		return !e.IsDir() && slices.Contains([]string{".tf", ".tofu"}, filepath.Ext(name))
	})
}

// Summary implements Terraform.
func (c *CLI) Summary() string { return c.said.line() }

// State implements Terraform.
func (c *CLI) State(ctx context.Context) (*State, error) {
	data := os.Getenv("TF_DATA_DIR")
	if data == "" {
		data = ".terraform"
	}
	if !filepath.IsAbs(data) {
		data = filepath.Join(c.dir, data)
	}
	if _, err := os.Stat(data); err != nil {
		if err := c.tf.Init(ctx); err != nil {
			return nil, failed(ctx, "initialise configuration", err)
		}
	}
	c.said.mute(true) // the state may hold what must not be shown
	defer c.said.mute(false)
	state, err := c.tf.Show(ctx)
	if err != nil {
		return nil, failed(ctx, "read state", err)
	}
	s := &State{qualified: map[string]string{}}
	if state.Values != nil && state.Values.RootModule != nil {
		if err := s.read(state.Values.RootModule); err != nil {
			return nil, err
		}
	}
	for i, e := range s.Environments { // of another configuration's pipeline the name is as it is
		s.Environments[i].Pipeline = cmp.Or(s.qualified[e.Pipeline], e.Pipeline)
	}
	return s, nil
}

// Plan implements Terraform.
func (c *CLI) Plan(ctx context.Context) (bool, error) {
	c.said.reset()
	options := []tfexec.PlanOption{tfexec.LockTimeout(lockTimeout)}
	for _, v := range c.Vars {
		options = append(options, tfexec.Var(v))
	}
	for _, f := range c.VarFiles {
		options = append(options, tfexec.VarFile(f))
	}
	changes, err := c.tf.Plan(ctx, options...)
	return changes, failed(ctx, "plan", err)
}

// Apply implements Terraform.
func (c *CLI) Apply(ctx context.Context) error {
	c.said.reset()
	options := []tfexec.ApplyOption{tfexec.LockTimeout(lockTimeout)}
	for _, v := range c.Vars {
		options = append(options, tfexec.Var(v))
	}
	for _, f := range c.VarFiles {
		options = append(options, tfexec.VarFile(f))
	}
	return failed(ctx, "apply", c.tf.Apply(ctx, options...))
}

// failed returns Terraform's error with the lines that matter, or the reason that the
// context ended for.
func failed(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return &pipeline.Error{Code: pipeline.CodeCancelled, Op: op, Err: context.Cause(ctx)}
	}
	return pipeline.Errorf(pipeline.CodeFailed, op, "%s", unframed(err.Error()))
}

// longest is how much of what Terraform said an error keeps: the last of it.
const longest = 4000

var frame = regexp.MustCompile(`(?m)^[│╷╵]?[ \t]*`)

// unframed takes the frames off Terraform's errors, and makes them printable.
func unframed(text string) string {
	text = strings.TrimSpace(regexp.MustCompile(`\n{3,}`).ReplaceAllString(frame.ReplaceAllString(present.Text(text), ""), "\n\n"))
	if len(text) > longest {
		text = "…" + strings.ToValidUTF8(text[len(text)-longest:], "")
	}
	return text
}

// read takes from a module, and those in it, what a watcher looks at.
func (s *State) read(m *tfjson.StateModule) error {
	for _, r := range m.Resources {
		s.resources++
		switch {
		case r.Mode == tfjson.DataResourceMode && r.Type == "penstock_source":
			found, err := readSource(r)
			if err != nil {
				return err
			}
			s.Sources = append(s.Sources, found)
		case r.Mode == tfjson.ManagedResourceMode && r.Type == "penstock_pipeline":
			name := text(r.AttributeValues["qualified_name"])
			s.Pipelines = append(s.Pipelines, name)
			s.qualified[text(r.AttributeValues["name"])] = name
		case r.Mode == tfjson.ManagedResourceMode && r.Type == "penstock_self_service_env":
			s.Environments = append(s.Environments, Environment{
				Pipeline: text(r.AttributeValues["pipeline"]), Name: text(r.AttributeValues["name"]),
				Status: pipeline.EnvironmentStatus(text(r.AttributeValues["status"])),
			})
		}
	}
	for _, child := range m.ChildModules {
		if err := s.read(child); err != nil {
			return err
		}
	}
	return nil
}

// readSource reads the attributes of a penstock_source, which are called as the fields are in
// JSON.
func readSource(r *tfjson.StateResource) (Source, error) {
	var v struct {
		Repository string `json:"repository"`
		Ref        string `json:"ref"`
		pipeline.Paths
		Components pipeline.Components `json:"components"`
	}
	doc, err := json.Marshal(r.AttributeValues)
	if err == nil {
		err = json.Unmarshal(doc, &v)
	}
	if err != nil {
		return Source{}, pipeline.Errorf(pipeline.CodeFailed, "read state", "%s: %w", r.Address, err)
	}
	return Source{Address: r.Address, Query: source.Query{Repository: v.Repository, Ref: v.Ref, Paths: v.Paths}, Components: v.Components}, nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// summary passes on what Terraform prints, and keeps the line that sums it up.
type summary struct {
	out io.Writer // may be nil

	mu    sync.Mutex
	muted bool
	rest  []byte
	found string
}

var sums = regexp.MustCompile(`^(Apply complete!|Plan:|No changes\.|Destroy complete!)`)

// Write implements io.Writer.
func (s *summary) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.muted {
		return len(p), nil
	}
	for s.rest = append(s.rest, p...); ; {
		line, rest, whole := bytes.Cut(s.rest, []byte("\n"))
		if !whole {
			break
		}
		if sums.Match(line) {
			s.found = string(line)
		}
		s.rest = append([]byte(nil), rest...)
	}
	if s.out == nil {
		return len(p), nil
	}
	n, err := s.out.Write(p)
	if err != nil {
		return n, fmt.Errorf("pass on Terraform's output: %w", err)
	}
	return n, nil
}

func (s *summary) mute(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.muted = on
}

func (s *summary) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest, s.found = nil, ""
}

func (s *summary) line() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.found
}
