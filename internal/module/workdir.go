// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/artifact"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// workdir is the directory of an environment on this machine in which Terraform changes it:
//
//	lock            held by whoever works there, and by the guard of their Terraform
//	journal.json    while the state may be newer here than in the store
//	state/          terraform.tfstate, and what Terraform makes beside it
//	tree/           the package, unpacked: with its digest in tree.digest
//	*.tfvars.json   values of variables, while Terraform needs them
//	plan            to be applied
//	log, errors     what Terraform printed last
type workdir struct {
	dir  string
	lock *os.File
}

// journal says that a state here may have what the store has not.
type journal struct {
	Writer string `json:"writer"` // of the changes of the site since
	Base   string `json:"base"`   // digest of the state before
}

func (w *workdir) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}
func (w *workdir) journal() string { return w.path("journal.json") }
func (w *workdir) state() string   { return w.path("state", "terraform.tfstate") }
func (w *workdir) tree() string    { return w.path("tree") }
func (w *workdir) inputs() string  { return w.path("inputs.tfvars.json") }

// ephemeral has the values that an apply needs once more.
func (w *workdir) ephemeral() string { return w.path("ephemeral.tfvars.json") }

// openWorkdir takes the directory of an environment for this process, once whoever works
// there has ended: a Terraform too, whose Penstock was killed.
func (m *Modules) openWorkdir(ctx context.Context, environment string, log *runlog.Log) (*workdir, error) {
	const op = "take working directory of module"
	w := &workdir{dir: filepath.Join(m.config.Dir, escape(environment))}
	patient, cancel := context.WithTimeout(ctx, m.config.LockWait)
	defer cancel()
	note := time.AfterFunc(noteAfter, func() {
		log.Note("another process has locked %s: wait for up to %s until it ends", w.path("lock"), m.config.LockWait)
	})
	defer note.Stop()
	for w.lock == nil {
		file, err := lockFile(patient, w.path("lock"), "the module of environment "+environment)
		switch {
		case errors.Is(err, fs.ErrNotExist): // whoever destroyed the environment has removed the directory
		case err != nil:
			return nil, err
		case isAt(file, w.path("lock")):
			w.lock = file
			continue
		default:
			_ = file.Close()
		}
		if err := os.MkdirAll(w.dir, 0o700); err != nil {
			return nil, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
		}
	}
	if err := w.awaitStray(patient, log); err != nil {
		w.close()
		return nil, err
	}
	endPlugins(w.dir)
	return w, nil
}

// noteAfter is how long a change waits for another one before its log says so.
const noteAfter = 2 * time.Second

// isAt reports whether an open file is the one that has a name.
func isAt(file *os.File, name string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(name)
	return err == nil && os.SameFile(open, named)
}

// close gives the directory up, without what has secrets and is not needed any more.
func (w *workdir) close() {
	for _, name := range []string{w.path("plan"), w.inputs(), w.ephemeral()} {
		_ = os.Remove(name)
	}
	_ = w.lock.Close()
}

// erase removes the directory, the lock last: whoever waits for it sees that it is gone.
func (w *workdir) erase() error {
	entries, err := os.ReadDir(w.dir)
	for _, e := range entries {
		if name := w.path(e.Name()); name != w.path("lock") {
			err = errors.Join(err, os.RemoveAll(name))
		}
	}
	if err != nil {
		return err
	}
	err = os.Remove(w.path("lock"))
	_ = os.Remove(w.dir) // unless somebody has begun anew
	return err
}

// awaitStray waits for a Terraform that goes on without a guard: it holds the lock of the
// state. If it is one that Penstock started, it is asked to end, once.
func (w *workdir) awaitStray(ctx context.Context, log *runlog.Log) error {
	asked, pid := 0, 0
	busy := errors.New("it works on the state")
	err := poll.Until(ctx, poll.Schedule{First: 50 * time.Millisecond, Max: time.Second, Factor: 1.5, What: "a Terraform that was left behind"}, func(context.Context) (poll.Probe, error) {
		if pid = lockHolder(w.state()); pid == 0 {
			return poll.Probe{Done: true}, nil
		}
		if asked != pid && leadsSession(pid) {
			log.Note("Terraform (process %d) still works on this module for a Penstock that was killed: it is asked to end", pid)
			interrupt(pid)
			asked = pid
		}
		return poll.Probe{}, poll.Retryable(busy)
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return pipeline.Errorf(pipeline.CodeCancelled, "lock state of module", "%w", err)
	}
	return pipeline.Errorf(pipeline.CodeLocked, "lock state of module", "process %d has locked %s: %w", pid, w.state(), err).
		WithHint("Wait until the process ends, or end it, and try again.")
}

// begin notes that Terraform may change the state from now on, and gives it the stored one.
func (w *workdir) begin(site *keptSite) error {
	doc, err := json.Marshal(journal{site.writer, digestOf(site.State)})
	if err != nil {
		return err
	}
	if err := os.RemoveAll(w.path("state")); err != nil {
		return err
	}
	for _, name := range w.errored() {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(w.path("state"), 0o700); err != nil {
		return err
	}
	if len(site.State) > 0 {
		if err := writeFile(w.state(), site.State); err != nil {
			return err
		}
	}
	return writeFile(w.journal(), doc)
}

// errored lists the states that Terraform wrote where it could not write its own.
func (w *workdir) errored() []string {
	var found []string
	_ = filepath.WalkDir(w.tree(), func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && e.Name() == "errored.tfstate" {
			found = append(found, name)
		}
		return nil
	})
	return found
}

// newest returns the newest whole state here; nil for none. One that a killed Terraform wrote
// in part is none.
func (w *workdir) newest() []byte {
	var best []byte
	for _, name := range append([]string{w.state()}, w.errored()...) {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if s, ok := readState(data); ok && (best == nil || s.newer(best)) {
			best = data
		}
	}
	return best
}

// recover brings a state that an earlier change left here into the site. If others have
// changed the site since, it is kept beside, and the log says what only it knows of.
func (w *workdir) recover(ctx context.Context, site *keptSite, now time.Time, log *runlog.Log) error {
	doc, err := os.ReadFile(w.journal())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var j journal
	if err == nil {
		err = json.Unmarshal(doc, &j)
	}
	if err != nil {
		return pipeline.Errorf(pipeline.CodeCorrupt, "recover state of module", "%s: %w", w.journal(), err)
	}
	local := w.newest()
	l, ok := readState(local)
	switch {
	case !ok:
		if err := w.keepDamaged(now, log); err != nil {
			return err
		}
	case bytes.Equal(local, site.State):
	case j.Writer != site.Writer && j.Base != digestOf(site.State):
		if err := w.setAside(l, local, site, now, log); err != nil {
			return err
		}
	case l.newer(site.State):
		log.Note("the state of an apply that was killed is taken over, with %d resources", len(l.resources()))
		site.State = local
		if err := site.save(ctx, "recover state of module"); err != nil {
			return err
		}
	}
	return os.Remove(w.journal())
}

// keepDamaged keeps a state of which a killed Terraform has written a part. What the store has
// is at most as old as the pause between two looks at the state.
func (w *workdir) keepDamaged(now time.Time, log *runlog.Log) error {
	part, err := os.ReadFile(w.state())
	if err != nil || len(part) == 0 {
		return nil
	}
	name := w.path(fmt.Sprintf("damaged-%s.tfstate", now.UTC().Format(stampForm)))
	log.Note("warning: the state that a killed Terraform left is damaged, and the one before it is taken. It is kept in %s", name)
	return writeFile(name, part)
}

const stampForm = "20060102T150405Z"

// setAside keeps a state that can't be taken over.
func (w *workdir) setAside(l tfstate, local []byte, site *keptSite, now time.Time, log *runlog.Log) error {
	present, _ := readState(site.State)
	only := lacking(l, present)
	if len(only) == 0 {
		return nil
	}
	name := w.path(fmt.Sprintf("displaced-%s.tfstate", now.UTC().Format(stampForm)))
	if err := writeFile(name, local); err != nil {
		return err
	}
	log.Note("warning: a change that another one displaced has left resources that the environment's state does not know: %v. They are in %s: remove them by hand, or import them", only, name)
	return nil
}

// unpack makes tree the package with a digest, and returns the directory of the module in it,
// and what the module is called. One that is there is kept, with what Terraform installed.
func (m *Modules) unpack(ctx context.Context, w *workdir, digest string, content func() ([]byte, error)) (manifest, error) {
	const op = "unpack module"
	stamp := w.path("tree.digest")
	if have, err := os.ReadFile(stamp); err != nil || string(have) != digest {
		data, err := content()
		if err != nil {
			return manifest{}, err
		}
		if err := errors.Join(removeFile(stamp), os.RemoveAll(w.tree())); err != nil {
			return manifest{}, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
		}
		if err := artifact.Unpack(ctx, bytes.NewReader(data), w.tree(), artifact.MaxBytes(maxUnpacked)); err != nil {
			return manifest{}, pipeline.During(op, err)
		}
		if err := writeFile(stamp, []byte(digest)); err != nil {
			return manifest{}, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
		}
	}
	return readManifest(w.tree())
}

// removeFile removes a file that may not be there.
func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func sorted(all []string) []string {
	slices.Sort(all)
	return all
}
