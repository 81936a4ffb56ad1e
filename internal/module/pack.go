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
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/artifact"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

const (
	// maxPackage bounds a package, which is kept with each environment; maxUnpacked what is in
	// it. Configuration is small; what else a module has to bring is better in the artifact.
	maxPackage  = 64 << 20
	maxUnpacked = 512 << 20

	dataDir      = ".terraform" // where Terraform installs modules and providers
	lockName     = ".terraform.lock.hcl"
	manifestName = ".penstock-module.json"
)

// manifest says what is in a package: it is in its root.
type manifest struct {
	Directory string `json:"directory"` // of the module, in the package; "." for its root
	Name      string `json:"name"`      // what people call the module: its directory or source
}

func readManifest(tree string) (manifest, error) {
	var of manifest
	doc, err := os.ReadFile(filepath.Join(tree, manifestName))
	if err == nil {
		err = json.Unmarshal(doc, &of)
	}
	if err == nil && !filepath.IsLocal(filepath.FromSlash(of.Directory)) {
		err = fmt.Errorf("it names %q", of.Directory)
	}
	if err != nil {
		return of, pipeline.Errorf(pipeline.CodeCorrupt, "read package of module", "it is no package of a module: %w", err)
	}
	return of, nil
}

// readPackage reads a package whole.
func readPackage(name string) ([]byte, error) {
	const op = "read package of module"
	file, err := regular.Open(name)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxPackage+1))
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	if len(data) > maxPackage {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "it has more than %d MiB", maxPackage>>20)
	}
	return data, nil
}

const opPack = "pack module"

// Pack implements pipeline.Modules.
func (m *Modules) Pack(ctx context.Context, r pipeline.PackRequest) (instead bool, err error) {
	if err := m.Check(r.Module); err != nil {
		return false, err
	}
	log := runlog.New(r.Log, runlog.Options{Room: logRoom})
	defer func() { _ = log.Finish() }()
	p, err := m.program(ctx, r.Module.Program)
	if err != nil {
		return false, err
	}
	w, err := m.scratch(ctx)
	if err != nil {
		return false, pipeline.Errorf(pipeline.CodeFailed, opPack, "%w", err)
	}
	defer w.remove()
	k := &packer{m: m, w: w, program: p, log: log, name: r.Module.Source}
	if r.Module.Directory != "" {
		k.name = r.Module.Directory
		err = k.copyModule(r.Checkout, path.Join(filepath.ToSlash(r.Within), r.Module.Directory))
	} else {
		err = k.download(ctx, r.Module)
	}
	if err == nil {
		err = k.install(ctx)
	}
	if err == nil {
		err = k.validate(ctx)
	}
	if err == nil {
		err = k.write(ctx, r.Out)
	}
	if err == nil {
		var c configuration
		c, err = readConfiguration(k.dir(), k.name)
		_, instead = c.outputs["endpoint"]
		if sensitive, has := c.outputs[secretEnv]; has && !sensitive {
			err = wrongOutput(opPack, secretEnv, errNotSensitive)
		}
	}
	if ctx.Err() != nil {
		return false, ended(ctx, opPack, "")
	}
	if err != nil && pipeline.CodeOf(err) == pipeline.CodeInternal {
		return false, pipeline.Errorf(pipeline.CodeFailed, opPack, "%w", err)
	}
	return instead, err
}

// packer makes one package, in the tree of a scratch directory.
type packer struct {
	m         *Modules
	w         *workdir
	program   program
	log       *runlog.Log
	name      string // what the module is called
	directory string // of the module in the package
}

func (k *packer) dir() string { return filepath.Join(k.w.tree(), filepath.FromSlash(k.directory)) }

// copyModule copies the module in a directory of a checkout, and the local modules that it
// refers to, in the layout that they have there.
func (k *packer) copyModule(checkout, directory string) error {
	found := map[string]bool{}
	if err := k.find(checkout, directory, found); err != nil {
		return err
	}
	common := directory
	for dir := range found {
		for common != "." && dir != common && !strings.HasPrefix(dir, common+"/") {
			common = path.Dir(common)
		}
	}
	for dir := range found {
		inner := slices.ContainsFunc(slices.Collect(maps.Keys(found)), func(other string) bool {
			return other != dir && (other == "." || strings.HasPrefix(dir, other+"/"))
		})
		if inner { // copied with the other
			continue
		}
		to := below(common, dir)
		from, err := inside(checkout, dir)
		if err != nil {
			return err
		}
		if err := copyTree(from, dir, filepath.Join(k.w.tree(), filepath.FromSlash(to))); err != nil {
			return err
		}
	}
	k.directory = below(common, directory)
	return nil
}

// inside returns where a directory of a checkout is, if a link does not lead out of that.
func inside(checkout, dir string) (string, error) {
	root, err := filepath.EvalSymlinks(checkout)
	if err != nil {
		return "", err
	}
	at, err := filepath.EvalSymlinks(filepath.Join(root, filepath.FromSlash(dir)))
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(root, at); err != nil || !filepath.IsLocal(rel) {
		return "", pipeline.Errorf(pipeline.CodeInvalid, opPack, "directory %q is a link to %s, which is outside of the checkout", dir, at).WithHint("Put the module itself there.")
	}
	return at, nil
}

// below returns a directory relative to one above it.
func below(above, dir string) string {
	if above == "." {
		return dir
	}
	return cmp.Or(strings.TrimPrefix(strings.TrimPrefix(dir, above), "/"), ".")
}

// find finds the directories of a module and of the local ones that it refers to.
func (k *packer) find(checkout, directory string, found map[string]bool) error {
	if found[directory] {
		return nil
	}
	found[directory] = true
	dir := filepath.Join(checkout, filepath.FromSlash(directory))
	if !hasConfiguration(dir) {
		return pipeline.Errorf(pipeline.CodeInvalid, opPack, "directory %q has no Terraform configuration: there is no .tf file in it", directory).
			WithHint("Name the directory of the source that has the module.")
	}
	c, err := readConfiguration(dir, directory)
	if err != nil {
		return err
	}
	for name, source := range c.providers {
		if strings.HasSuffix(source, "penstock-io/penstock") {
			return pipeline.Errorf(pipeline.CodeInvalid, opPack, "module %q requires the provider %q (%s), and a module of an environment can't have pipelines of its own", directory, name, source).
				WithHint("Leave the pipeline in the configuration that has this module.")
		}
	}
	if c.encrypts {
		return pipeline.Errorf(pipeline.CodeInvalid, opPack, "module %q encrypts its state, and Penstock has to read it", directory).
			WithHint("Remove the block: the store of states is encrypted, where the platform can do that.")
	}
	if c.backend != "" && len(found) == 1 {
		k.log.Note("the module's %s block does not count: Penstock keeps a state for each environment", c.backend)
	}
	for _, call := range c.calls {
		if !call.local() {
			continue
		}
		to := path.Join(directory, call.source)
		if to == ".." || strings.HasPrefix(to, "../") {
			return pipeline.Errorf(pipeline.CodeInvalid, opPack, "%s: module %q is outside of the checkout", place(dir, directory, call.at), call.source).
				WithHint("Move it into the repository, or refer to it by an address that Terraform can download.")
		}
		if err := k.find(checkout, to, found); err != nil {
			return err
		}
	}
	return nil
}

// leftOut reports whether a file is no part of a module: what Terraform makes, and git's own.
func leftOut(name string) bool {
	return name == ".git" || name == dataDir || name == manifestName || name == "crash.log" || name == overrideName ||
		strings.HasSuffix(name, ".tfstate") || strings.HasSuffix(name, ".tfstate.backup") || strings.HasSuffix(name, ".tfstate.lock.info") ||
		strings.HasSuffix(name, ".tfplan")
}

// copyTree copies what is in a directory, but for what is left out. Links stay links. shown is
// what the directory is called.
func copyTree(from, shown, to string) error {
	return filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		dest := filepath.Join(to, rel)
		switch {
		case rel != "." && leftOut(e.Name()):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			return os.MkdirAll(dest, 0o755)
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			if filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(rel), target)) {
				return pipeline.Errorf(pipeline.CodeInvalid, opPack, "%q is a link to %q, which is outside of the module", path.Join(shown, filepath.ToSlash(rel)), target).
					WithHint("Put the file itself there.")
			}
			return os.Symlink(target, dest)
		}
		return copyFile(name, dest)
	})
}

func copyFile(from, to string) (err error) {
	in, err := regular.Open(from)
	if err != nil {
		if kind, ok := errors.AsType[*regular.KindError](err); ok {
			return pipeline.Errorf(pipeline.CodeInvalid, opPack, "%w, which a package can't hold", kind)
		}
		return err
	}
	defer func() { _ = in.Close() }()
	mode := fs.FileMode(0o644)
	if info, err := in.Stat(); err == nil && info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(mode))
}

// run runs Terraform in the tree.
func (k *packer) run(ctx context.Context, dir string, stdout io.Writer, args ...string) error {
	var said kept
	err := k.m.start(ctx, command{program: k.program.path, args: args, dir: dir, stdout: stdout, stderr: &said})
	if err == nil || ctx.Err() != nil {
		return err
	}
	return pipeline.Errorf(pipeline.CodeInvalid, opPack, "module %q: %s: %w%s", k.name, args[0], err, tail(unframed(said.String())))
}

// download copies a module from its address. The modules that it refers to come by install.
func (k *packer) download(ctx context.Context, of pipeline.Module) error {
	dir := k.w.path("get")
	call := map[string]any{"source": of.Source}
	if of.Version != "" {
		call["version"] = of.Version
	}
	doc, err := json.Marshal(map[string]any{"module": map[string]any{"module": call}})
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, "main.tf.json"), doc); err != nil {
		return err
	}
	if err := k.run(ctx, dir, nil, "get", "-no-color"); err != nil {
		return err
	}
	installed, err := readInstalled(dir)
	if err != nil {
		return err
	}
	for _, i := range installed {
		if i.Key != "module" {
			continue
		}
		base := path.Join(dataDir, "modules", "module")
		if i.Dir != base && !strings.HasPrefix(i.Dir, base+"/") {
			return pipeline.Errorf(pipeline.CodeInvalid, opPack, "module %q is a directory of this machine", of.Source).WithHint("Name it as the module's directory, relative to the source.")
		}
		return k.copyModule(filepath.Join(dir, filepath.FromSlash(base)), below(base, i.Dir))
	}
	return pipeline.Errorf(pipeline.CodeFailed, opPack, "module %q was not downloaded", of.Source)
}

// installedModule is an entry of Terraform's list of the modules that it has installed.
type installedModule struct {
	Key string `json:"Key"`
	Dir string `json:"Dir"`
}

func readInstalled(dir string) ([]installedModule, error) {
	var list struct {
		Modules []installedModule `json:"Modules"`
	}
	doc, err := os.ReadFile(filepath.Join(dir, dataDir, "modules", "modules.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(doc, &list)
	}
	return list.Modules, err
}

// install downloads what the module refers to: modules, which are packed, and providers,
// whose versions are. A lock file that the module has counts.
func (k *packer) install(ctx context.Context) error {
	override, err := localBackend(k.w.state())
	if err == nil {
		err = writeFile(filepath.Join(k.dir(), overrideName), override)
	}
	if err != nil {
		return err
	}
	args := []string{"init", "-input=false", "-no-color", "-backend=false"}
	_, locked := os.Stat(filepath.Join(k.dir(), lockName))
	if locked == nil {
		args = append(args, "-lockfile=readonly")
	}
	err = k.m.caching(ctx, func(string) error { return k.run(ctx, k.dir(), nil, args...) })
	var e *pipeline.Error
	if errors.As(err, &e) && locked == nil {
		e.Hint = "The lock file that is committed with the module counts. If it does not fit any more, let Terraform initialise the module again, and commit what that changes."
	}
	return err
}

// validate reports the first error of the configuration.
func (k *packer) validate(ctx context.Context) error {
	var doc bytes.Buffer
	err := k.run(ctx, k.dir(), &doc, "validate", "-json", "-no-color")
	var said struct {
		Diagnostics []diagnostic `json:"diagnostics"`
	}
	if json.Unmarshal(doc.Bytes(), &said) != nil {
		return err
	}
	shown := k.name
	for _, d := range said.Diagnostics {
		if d.Severity == "error" {
			return d.hint(pipeline.Errorf(pipeline.CodeInvalid, opPack, "%s", d.text(shown)))
		}
		k.log.Note("warning: %s", d.text(shown))
	}
	return err
}

// write writes the package.
func (k *packer) write(ctx context.Context, out string) error {
	for _, name := range []string{filepath.Join(k.dir(), dataDir, "providers"), filepath.Join(k.dir(), overrideName), filepath.Join(k.dir(), dataDir, "terraform.tfstate")} {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	if err := k.strip(); err != nil {
		return err
	}
	doc, err := json.Marshal(manifest{k.directory, k.name})
	if err == nil {
		err = writeFile(filepath.Join(k.w.tree(), manifestName), doc)
	}
	if err != nil {
		return err
	}
	if err := os.Chmod(k.w.tree(), 0o755); err != nil {
		return err
	}
	var packed bytes.Buffer
	if err := artifact.Pack(ctx, k.w.tree(), &packed); err != nil {
		return err
	}
	if packed.Len() > maxPackage {
		return pipeline.Errorf(pipeline.CodeInvalid, opPack, "module %q takes %d MiB packed, and at most %d are allowed", k.name, packed.Len()>>20, maxPackage>>20).
			WithHint("Keep only configuration in its directory: the build's artifact may be larger.")
	}
	return writeFile(out, packed.Bytes())
}

// strip removes what downloading left beside the modules, and sets all permissions alike.
func (k *packer) strip() error {
	modules := filepath.Join(k.dir(), dataDir, "modules")
	var git []string
	err := filepath.WalkDir(modules, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == ".git" {
			git = append(git, name)
			if e.IsDir() {
				return fs.SkipDir
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	for _, name := range git {
		err = errors.Join(err, os.RemoveAll(name))
	}
	return errors.Join(err, filepath.WalkDir(k.w.tree(), func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return os.Chmod(name, 0o755)
		case e.Type().IsRegular() && !e.Type().IsDir():
			info, err := e.Info()
			if err != nil {
				return err
			}
			return os.Chmod(name, 0o644|info.Mode()&0o100|(info.Mode()&0o100)>>3|(info.Mode()&0o100)>>6)
		}
		return nil
	}))
}

var frame = regexp.MustCompile(`(?m)^[│╷╵]?[ \t]*`)

// unframed takes the frames off Terraform's errors.
func unframed(text string) string {
	return strings.TrimSpace(regexp.MustCompile(`\n{2,}`).ReplaceAllString(frame.ReplaceAllString(text, ""), "\n"))
}

// joinShown returns a file of a module as people know it.
func joinShown(shown, name string) string {
	if strings.Contains(shown, "://") || strings.Contains(shown, "::") {
		return name + " of " + shown
	}
	return path.Join(shown, filepath.ToSlash(name))
}
