// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package app is the composition root: it turns a configuration into a ledger, a
// platform and an engine that work together. The provider and the CLI both open
// one and use nothing else of the adapters.
//
//	a, err := app.Open(ctx, app.Options{DataDir: ".penstock"})
//	if err != nil {
//		return err
//	}
//	defer a.Close(ctx)
//	state, err := a.Engine.State(ctx, "shop")
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/artifact"
	"github.com/penstock-io/terraform-provider-penstock/internal/audit"
	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/module"
	"github.com/penstock-io/terraform-provider-penstock/internal/notice"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
	"github.com/penstock-io/terraform-provider-penstock/internal/step"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// DataDirName is the data directory's name in a Terraform root module.
const DataDirName = ".penstock"

// DataDirVariable names the environment variable that says where the data directory is.
const DataDirVariable = "PENSTOCK_DATA_DIR"

// Options configure an App.
type Options struct {
	DataDir string // made if it does not exist; one that exists is empty or has been used before
	AWS     *AWS   // nil: everything is in the data directory
	Logger  hclog.Logger
	// Instances reports on environments by what their instances are, and asks no load balancer
	// which of them are healthy: a plan needs no more, and makes few requests.
	Instances bool
}

// App is one opened data directory with everything that works on it.
type App struct {
	Engine *engine.Engine
	Source *source.Source
	Dir    string // absolute
	Owner  string // names the configuration that this process works for
	// Identity names the ledger, and Place says in words where it is: what Terraform's state
	// has of the one is nothing that another could know of.
	Identity, Place string

	ledger   pipeline.Ledger
	archives pipeline.Archives
	worker   pipeline.Worker // nil where there is none
	runner   *step.Runner
	holder   pipeline.Holder
	person   pipeline.Person
	stack    *bootstrap.Resources // nil on the local platform
	targets  *targets             // nil on the local platform
	audit    *audit.Audit         // of it; nil for none
	ends     *ends                // nil where no build of AWS applies the configuration
	skew     time.Duration        // by which AWS's clock is ahead
	lock     *dirLock
	place    *workplace.Place // where steps, bakes and instances work
	logger   hclog.Logger
	notifier *notifier
	topics   notice.Publisher // nil where there is no SNS
	buses    notice.Publisher // nil where there is no EventBridge
}

// Open opens the data directory. Errors are CodeInvalid for a directory that can't
// be used, as it is another user's or holds other files, and CodeCorrupt for a ledger
// that can't be read. The caller must Close.
func Open(ctx context.Context, o Options) (*App, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, "open data directory", "%q: %w", o.DataDir, err)
	}
	lock, err := lockDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	place, err := workplace.Open(dir)
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	a := &App{Dir: dir, Owner: owner(workingDir()), holder: holder(), person: localPerson(), lock: lock, place: place}
	open := openLocal
	if o.AWS != nil {
		open = openAWS
	}
	record, config, err := open(ctx, a, o)
	if err != nil {
		return nil, errors.Join(err, place.Release(), lock.release())
	}
	a.ledger = record
	a.logger = o.Logger
	a.Source = a.NewSource("")
	config.Ledger, config.Sources, config.Holder, config.Person = record, a.Source, a.holder, a.person
	config.Dead = deadOn(a.holder.Host)
	a.runner = step.NewRunner(step.Options{Logger: o.Logger.Named("step"), Worker: a.worker})
	config.Runner = a.runner
	config.WorkDir, config.Logger = filepath.Join(place.Dir, "runs"), o.Logger.Named("engine")
	config.Surroundings = place.Surroundings()
	config.Export = func(ctx context.Context, w io.Writer, name string) error { return ledger.Dump(ctx, record, w, name) }
	a.notifier = newNotifier(a, notice.New(notice.Options{
		Ledger: record, Holder: config.Holder, Topics: a.topics, Buses: a.buses, Logger: o.Logger.Named("notice"),
	}))
	config.Appended = func(name string) { a.notifier.wake(name, false) }
	switch {
	case a.stack == nil:
		config.Environment = a.keepTimes
	case a.ends != nil:
		config.Environment = a.ends.keep
	}
	a.archives = config.Archives
	a.Engine = engine.New(config)
	return a, nil
}

// openLocal opens what is in the data directory.
func openLocal(ctx context.Context, a *App, o Options) (pipeline.Ledger, engine.Config, error) {
	record, err := ledger.Open(ctx, filepath.Join(a.Dir, ledgerFile), ledger.Options{Dead: deadOn(a.holder.Host)})
	if err != nil {
		return nil, engine.Config{}, err
	}
	if err := a.identify(ctx, record); err != nil {
		return nil, engine.Config{}, errors.Join(err, record.Close())
	}
	here := local.Options{Dir: a.Dir, Work: a.place.Dir, Logger: o.Logger.Named("local")}
	return record, engine.Config{
		Targets:   localTargets{here},
		Archives:  artifact.NewArchives(filepath.Join(a.Dir, archiveDir)),
		Platform:  local.New(here),
		Modules:   a.modules(module.NewDirStore(filepath.Join(a.Dir, modulesDir)), o),
		Artifacts: artifact.NewStore(filepath.Join(a.Dir, "artifacts")),
		Logs:      artifact.NewLogs(filepath.Join(a.Dir, "logs")),
	}, nil
}

// modules returns what applies modules, with their states in a store.
func (a *App) modules(store module.Store, o Options) pipeline.Modules {
	var environ func(context.Context, pipeline.Target) (map[string]string, error)
	if a.targets != nil {
		environ = a.targets.environ
	}
	var providers string // below Dir, where there is no home
	if cache, err := os.UserCacheDir(); err == nil {
		providers = filepath.Join(cache, "penstock", "providers")
	}
	return module.New(module.Config{Dir: filepath.Join(a.place.Dir, "modules"), Store: store, CacheDir: providers, Environ: environ, Logger: o.Logger.Named("module")})
}

// NewSource returns a Source that has not asked any repository yet. Relative repositories
// are relative to base, which is the working directory if it is empty.
func (a *App) NewSource(base string) *source.Source {
	return source.New(source.Options{Dir: filepath.Join(a.Dir, "cache"), Base: base, Logger: a.logger.Named("source")})
}

// WorkDir is the directory in which steps, bakes and instances work, outside of any
// repository. Surroundings says what of somebody's they may find above it all the same;
// empty for nothing.
func (a *App) WorkDir() (dir, surroundings string) { return a.place.Dir, a.place.Surroundings() }

// Where says in words where the pipelines are.
func (a *App) Where() string {
	if a.stack == nil {
		return "data directory " + a.Dir
	}
	return fmt.Sprintf("stack %q on AWS", a.stack.Stack)
}

// OnAWS reports whether the pipelines are on AWS.
func (a *App) OnAWS() bool { return a.stack != nil }

// AskAWS asks AWS itself whether what the stack needs is there; nothing for pipelines that are
// not on AWS.
func (a *App) AskAWS(ctx context.Context) []audit.Answer {
	if a.audit == nil {
		return nil
	}
	return a.audit.Ask(ctx)
}

// Person is who this process works for.
func (a *App) Person() pipeline.Person { return a.person }

// Outdated says that the stack on AWS is of another version than this program brings,
// and what to do; empty where it is not.
func (a *App) Outdated() (text string, remedy pipeline.Advice) {
	if a.stack == nil || a.stack.TemplateVersion == bootstrap.TemplateVersion {
		return "", remedy
	}
	return fmt.Sprintf("it has version %d of the template, but this program has version %d", a.stack.TemplateVersion, bootstrap.TemplateVersion),
		pipeline.Advice{Verb: pipeline.VerbUpdateStack, Stack: a.stack.Stack}
}

// Skew is by how much AWS's clock is ahead of this machine's; 0 on the local platform.
func (a *App) Skew() time.Duration { return a.skew }

// Rights are what the place lets the caller write, whatever a pipeline says.
type Rights struct {
	Record bool // history: run stages, launch environments, promote, override, pause
	Decide bool // approve, reject
}

// Rights asks the place. On the local platform whoever can open it may do both.
func (a *App) Rights(ctx context.Context) (r Rights, err error) {
	table, ok := a.ledger.(*ledger.Dynamo)
	if !ok {
		return Rights{Record: true, Decide: true}, nil
	}
	if r.Record, err = table.MayRecord(ctx); err != nil {
		return r, err
	}
	r.Decide, err = table.MayDecide(ctx)
	return r, err
}

// Verify checks the hash chain of a pipeline's history, or of every history with "".
// It returns the number of events.
func (a *App) Verify(ctx context.Context, name string) (int64, error) {
	return a.ledger.Verify(ctx, name)
}

// Archives lists the histories of removed pipelines that are kept, the newest first.
func (a *App) Archives(ctx context.Context) ([]pipeline.Archive, error) {
	return a.archives.List(ctx)
}

// OpenArchive reads a kept history, as Export wrote it.
func (a *App) OpenArchive(ctx context.Context, of pipeline.Archive) (io.ReadCloser, error) {
	return a.archives.Open(ctx, of)
}

// VerifyExport checks the hash chains of what Export wrote, and returns the number of
// events; CodeCorrupt names the first that is wrong.
func VerifyExport(r io.Reader) (int64, error) { return ledger.VerifyExport(r) }

// Export writes the history of pipelines, of all where none is named.
func (a *App) Export(ctx context.Context, w io.Writer, name string) error {
	names := []string{name}
	if name == "" {
		var err error
		if names, err = a.ledger.Pipelines(ctx); err != nil {
			return err
		}
	}
	return ledger.Export(ctx, a.ledger, w, names...)
}

// Import reads what Export wrote.
func (a *App) Import(ctx context.Context, r io.Reader) ([]ledger.Imported, error) {
	return ledger.Import(ctx, a.ledger, r)
}

// MakeLoad makes this machine's share of a load, which is read from in, and writes
// what it measured to out. The machines of a runner that is not local do it.
func MakeLoad(ctx context.Context, in io.Reader, out, progress io.Writer) error {
	return step.MakeShare(ctx, os.Getenv(pipeline.StartVariable), in, out, progress)
}

// Runner runs steps, as stages do.
func (a *App) Runner() *step.Runner { return a.runner }

// Logger is where this process logs what concerns only its maintainers.
func (a *App) Logger() hclog.Logger { return a.logger }

// Close closes the ledger. A data directory that Penstock made, that holds no pipeline,
// and that nobody else has open, is removed: a plan that was never applied, or a
// destroyed pipeline, leaves nothing behind.
func (a *App) Close(ctx context.Context) error {
	a.Engine.Close(ctx)
	a.notifier.close()
	names, err := a.ledger.Pipelines(ctx)
	err = errors.Join(err, a.ledger.Close())
	if a.targets != nil {
		err = errors.Join(err, a.targets.lender.close())
	}
	if err == nil && len(names) == 0 && a.lock.alone() {
		err = removeDataDir(a.Dir, a.place)
	}
	return errors.Join(err, a.place.Release(), a.lock.release())
}

// holder says who this process is, to whoever waits for its leases.
func holder() pipeline.Holder {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	self := process.Self()
	return pipeline.Holder{Process: pipeline.Process{Host: host, PID: self.PID, Started: self.Started, Scope: self.Scope}}
}

// deadOn reports whether a process has certainly ended: it ran on the given host,
// which is this one, under this boot and PID namespace, and is gone. Any other
// process is unknown here: containers and virtual machines can share a host's name.
func deadOn(host string) func(pipeline.Process) bool {
	return func(p pipeline.Process) bool {
		return p.Host == host && process.Identity{PID: p.PID, Started: p.Started, Scope: p.Scope}.Gone()
	}
}
