// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// terraform runs Terraform in a working directory that is prepared for one package and its
// inputs.
type terraform struct {
	m         *Modules
	w         *workdir
	program   program
	dir       string // of the module
	shown     string // what the module is called
	inputs    *inputs
	ephemeral bool              // there are values that an apply needs once more
	env       map[string]string // where the environment is; see Config.Environ
	log       *runlog.Log
	redactor  *pipeline.Redactor
}

// overrideName is the file that makes Terraform keep its state in the working directory,
// whatever backend the module has.
const overrideName = "penstock_override.tf.json"

// localBackend returns the configuration of a state in a file.
func localBackend(state string) ([]byte, error) {
	return json.Marshal(map[string]any{"terraform": map[string]any{"backend": map[string]any{"local": map[string]any{"path": state}}}})
}

// of names the module in what is done with it.
func (t *terraform) of(op string) string { return fmt.Sprintf("%s %q", op, t.shown) }

// prepare unpacks a package, checks the inputs and installs the providers.
func (m *Modules) prepare(ctx context.Context, w *workdir, in *inputs, content func() ([]byte, error), log *runlog.Log) (*terraform, error) {
	const op = "prepare module"
	p, err := m.program(ctx, in.Program)
	if err != nil {
		return nil, err
	}
	of, err := m.unpack(ctx, w, in.Package, content)
	if err != nil {
		return nil, err
	}
	t := &terraform{m: m, w: w, program: p, dir: filepath.Join(w.tree(), filepath.FromSlash(of.Directory)), shown: of.Name, inputs: in, log: log, redactor: pipeline.NewRedactor(in.secrets()...)}
	if in.Target != nil && m.config.Environ != nil {
		if t.env, err = m.config.Environ(ctx, *in.Target); err != nil {
			return nil, err
		}
	}
	c, err := readConfiguration(t.dir, of.Name)
	if err != nil {
		return nil, err
	}
	all, ephemeral, err := in.values(c, of.Name)
	if err != nil {
		return nil, err
	}
	t.ephemeral = len(ephemeral) > 0
	for name, values := range map[string]map[string]json.RawMessage{w.inputs(): all, w.ephemeral(): ephemeral} {
		doc, err := json.Marshal(values)
		if err == nil {
			err = writeFile(name, doc)
		}
		if err != nil {
			return nil, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
		}
	}
	return t, t.init(ctx)
}

// init installs the providers, unless they are.
func (t *terraform) init(ctx context.Context) error {
	op := t.of("initialise module")
	override, err := localBackend(t.w.state())
	if err != nil {
		return err
	}
	stamp, wanted := t.w.path("tree.init"), t.program.path+"\n"+t.inputs.Package+"\n"+string(override)
	if have, err := os.ReadFile(stamp); err == nil && string(have) == wanted && t.installed() {
		return nil
	}
	if err := errors.Join(removeFile(stamp), writeFile(filepath.Join(t.dir, overrideName), override)); err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	args := []string{"init", "-input=false", "-no-color", "-get=false"}
	if t.locked() {
		args = append(args, "-lockfile=readonly")
	}
	err = t.m.caching(ctx, func(cache string) error {
		if cache != "" { // what is there needs no registry
			if t.m.start(ctx, command{program: t.program.path, args: append(args, "-plugin-dir="+cache), dir: t.dir, env: t.env, lock: t.w.lock}) == nil {
				return nil
			}
		}
		var said kept
		err := t.m.start(ctx, command{program: t.program.path, args: args, dir: t.dir, env: t.env, stdout: io.Discard, stderr: &said, lock: t.w.lock})
		if err == nil || ctx.Err() != nil {
			return err
		}
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w%s", err, tail(unframed(said.String())))
	})
	if ctx.Err() != nil {
		return ended(ctx, op, "")
	}
	if err != nil {
		return err
	}
	return writeFile(stamp, []byte(wanted))
}

// locked reports whether the package has the versions of all providers. It lacks those of
// resources that only an earlier build had, and that are to be destroyed.
func (t *terraform) locked() bool {
	lock, err := os.ReadFile(filepath.Join(t.dir, lockName))
	if err != nil {
		return false
	}
	data, _ := os.ReadFile(t.w.state())
	state, _ := readState(data)
	for _, r := range state.Resources {
		if address := r.provider(); address != "" && !bytes.Contains(lock, []byte(strconv.Quote(address))) {
			return false
		}
	}
	return true
}

// installed reports whether the providers are still where they were: the cache may have been
// emptied.
func (t *terraform) installed() bool {
	complete := true
	_ = filepath.WalkDir(filepath.Join(t.dir, dataDir, "providers"), func(name string, _ fs.DirEntry, err error) error {
		if err == nil {
			_, err = os.Stat(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) || err != nil && filepath.Base(name) != "providers" {
			complete = false
		}
		return nil
	})
	return complete
}

// planned is what a plan says.
type planned struct {
	any            bool // there is something to apply, if only an output
	changes, drift []pipeline.ModuleChange
}

// plan makes a plan in the working directory, and reads it.
func (t *terraform) plan(ctx context.Context, op string, options ...string) (planned, error) {
	op = t.of(op)
	f := newFollower(t.log, t.shown, t.m.config.Now)
	var said kept
	args := append([]string{"plan", "-json", "-input=false", "-detailed-exitcode", "-out=" + t.w.path("plan"), "-var-file=" + t.w.inputs()}, options...)
	err := t.m.start(ctx, command{program: t.program.path, args: args, dir: t.dir, env: t.env, stdout: &lines{each: f.line}, stderr: &said, lock: t.w.lock})
	if ctx.Err() != nil {
		return planned{}, ended(ctx, op, f.busy())
	}
	code, ok := exitCode(err)
	if !ok || code != 0 && code != 2 {
		return planned{}, t.failed(op, f, err, said.String())
	}
	byAddress := func(a, b pipeline.ModuleChange) int { return cmp.Compare(a.Address, b.Address) }
	slices.SortFunc(f.changes, byAddress)
	slices.SortFunc(f.drift, byAddress)
	p := planned{any: code == 2, changes: f.changes, drift: f.drift}
	losing := false
	for i, c := range p.changes {
		if c.Action == pipeline.ModuleReplace || c.Action == pipeline.ModuleDestroy {
			losing = true
			p.changes[i].Stateful = keepsData(c.Type, c.Address, t.inputs.Stateful)
		}
	}
	if losing {
		if err := t.explain(ctx, op, p.changes); err != nil {
			return planned{}, err
		}
	}
	return p, nil
}

// explain fills in why resources are replaced or destroyed.
func (t *terraform) explain(ctx context.Context, op string, changes []pipeline.ModuleChange) error {
	var doc bytes.Buffer
	var said kept
	err := t.m.start(ctx, command{program: t.program.path, args: []string{"show", "-json", t.w.path("plan")}, dir: t.dir, env: t.env, stdout: &doc, stderr: &said, lock: t.w.lock})
	if ctx.Err() != nil {
		return ended(ctx, op, "")
	}
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "read plan: %w%s", err, tail(unframed(said.String())))
	}
	var plan tfjson.Plan
	if err := json.Unmarshal(doc.Bytes(), &plan); err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "read plan: %w", err)
	}
	reasons(changes, &plan)
	return nil
}

func (t *terraform) failed(op string, f *follower, err error, said string) error {
	failure := f.failed(op, err, unframed(said))
	var e *pipeline.Error
	if errors.As(failure, &e) {
		e.Err = errors.New(t.redactor.Text(e.Err.Error()))
	}
	return failure
}

// applyArgs are the arguments that apply the plan.
func (t *terraform) applyArgs() []string {
	args := []string{"apply", "-json", "-input=false"}
	if t.ephemeral {
		args = append(args, "-var-file="+t.w.ephemeral())
	}
	return append(args, t.w.path("plan"))
}

func (t *terraform) destroyArgs() []string {
	return []string{"apply", "-destroy", "-auto-approve", "-json", "-input=false", "-var-file=" + t.w.inputs()}
}

// change runs a command that changes resources. It is never killed while it may lose one, so
// its output goes into a file: a pipe would break with this process.
func (t *terraform) change(ctx context.Context, op string, args ...string) error {
	op = t.of(op)
	out, err := os.OpenFile(t.w.path("log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	defer func() { _ = out.Close() }()
	errs, err := os.OpenFile(t.w.path("errors"), os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	defer func() { _ = errs.Close() }()
	f := newFollower(t.log, t.shown, t.m.config.Now)
	f.planSaid = args[len(args)-1] == t.w.path("plan")
	done, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		tailFile(out.Name(), &lines{each: f.line}, done)
	}()
	busy := make(chan string, 1)
	context.AfterFunc(ctx, func() { busy <- f.busy() })
	err = t.m.start(ctx, command{program: t.program.path, args: args, dir: t.dir, env: t.env, stdout: out, stderr: errs, gentle: true, lock: t.w.lock})
	close(done)
	<-read
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ended(ctx, op, <-busy)
	}
	said, _ := io.ReadAll(io.NewSectionReader(errs, 0, 64<<10))
	return t.failed(op, f, err, string(said))
}

// tailEvery is how often a file is looked at for more.
const tailEvery = 50 * time.Millisecond

// tailFile copies what is appended to a file until done, and then the rest. What is read
// takes no room on the disk any more, where the file system can do that.
func tailFile(name string, to io.Writer, done <-chan struct{}) {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for at, freed, ended := int64(0), int64(0), false; ; {
		n, _ := io.Copy(to, io.LimitReader(file, holeSize))
		at += n
		if at-freed >= holeSize {
			punch(file, freed, at-freed)
			freed = at
		}
		if n == holeSize {
			continue
		}
		if ended {
			return
		}
		select {
		case <-done:
			ended = true
		case <-tick.C:
		}
	}
}

// holeSize is how much of a file is given back to the disk at once.
const holeSize = 4 << 20
