// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/develop"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// localDataDir is where a service runs whose pipeline is not on the local platform.
const localDataDir = ".penstock-dev"

type localOptions struct {
	*factory
	pipeline, dir                  string
	build, artifact, start, health string
	tests, once, keep, verbose     bool
	ttl                            time.Duration
}

func newBootstrapLocal(f *factory, runF func(context.Context, *localOptions) error) *cobra.Command {
	o := &localOptions{factory: f}
	if runF == nil {
		runF = runBootstrapLocal
	}
	c := &cobra.Command{
		Use:   "local [PIPELINE] [DIR]",
		Short: "Run the service from the working tree, and replace it on every change",
		Long: "Run a pipeline's service from the working tree in DIR (default: this directory), with uncommitted changes. The\n" +
			"steps of the pipeline's commit stage build it, and it runs on this machine. On every change it is built again\n" +
			"and replaced without a failed request. If that fails, the previous instance stays. An interrupt ends it.\n\n" +
			"The service and the steps come from the pipeline. If the pipeline is on AWS, the service still runs here, with\n" +
			"its data in " + localDataDir + ". Without a pipeline, say how to build and start it with --build, --artifact\n" +
			"and --start, or write a pipeline with `penstock init`.",
		Args: args(0, 2),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline, o.dir = arg(given, 0), arg(given, 1)
			if o.dir == "" {
				o.dir = "."
			}
			if o.start == "" && o.build+o.artifact+o.health != "" {
				return &usageError{errors.New("--build, --artifact and --health go with --start")}
			}
			return runF(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.build, "build", "", "how to build the service, if there is no pipeline")
	c.Flags().StringVar(&o.artifact, "artifact", "", "the file that the build produces: a gzipped tar, which is unpacked where the service starts")
	c.Flags().StringVar(&o.start, "start", "", "how to start the service, if there is no pipeline; it has to listen on $PORT")
	c.Flags().StringVar(&o.health, "health", "", "a path at which the service reports that it is healthy")
	c.Flags().BoolVar(&o.tests, "tests", false, "run all steps of the commit stage, not only those up to the artifact")
	c.Flags().BoolVar(&o.once, "once", false, "build and launch once, and leave it running")
	c.Flags().BoolVar(&o.keep, "keep", false, "leave it running after an interrupt")
	c.Flags().BoolVar(&o.verbose, "verbose", false, "print what the steps print")
	c.Flags().DurationVar(&o.ttl, "ttl", 12*time.Hour, "how long it lives at most after the last change")
	return c
}

// localBuild is what a service is built from.
type localBuild struct {
	pipeline pipeline.Pipeline
	commit   pipeline.Stage
}

func runBootstrapLocal(ctx context.Context, o *localOptions) error {
	tightenMemory()
	if o.start != "" {
		return o.run(ctx, o.fromFlags(), "")
	}
	a, err := o.openIn(ctx, o.dir)
	if pipeline.IsNotFound(err) {
		return pipeline.Errorf(pipeline.CodeNotFound, "run service", "there is no pipeline here to take the service from").
			WithHint("Write one with `penstock init` and apply it, or pass --build, --artifact and --start.")
	}
	if err != nil {
		return err
	}
	found, err := o.fromPipeline(ctx, a)
	local := a.Dir
	if a.OnAWS() {
		local = ""
	}
	if err := errors.Join(err, a.Close(ctx)); err != nil {
		return err
	}
	return o.run(ctx, found, local)
}

// fromFlags returns the local build that the flags describe.
func (o *localOptions) fromFlags() localBuild {
	r := localBuild{pipeline: pipeline.Pipeline{Name: o.pipeline, Service: pipeline.Service{Start: o.start}}, commit: pipeline.Stage{Artifact: o.artifact}}
	if r.pipeline.Name == "" {
		r.pipeline.Name = "local"
	}
	if o.build != "" {
		r.commit.Steps = []pipeline.Step{{Name: "build", Command: o.build}}
	}
	if o.artifact != "" {
		r.pipeline.Service.Install = `tar -xzf "$PENSTOCK_ARTIFACT"`
	}
	if o.health != "" {
		r.pipeline.Service.HealthCheck = &pipeline.HealthCheck{Path: o.health}
	}
	return r
}

// fromPipeline returns the local build of the named pipeline in the ledger, or of the only one.
func (o *localOptions) fromPipeline(ctx context.Context, a *app.App) (localBuild, error) {
	const op = "run service"
	states, err := selectPipelines(ctx, a, o.pipeline)
	if err != nil {
		return localBuild{}, err
	}
	if len(states) != 1 {
		return localBuild{}, pipeline.Errorf(pipeline.CodeInvalid, op, "there are %d pipelines", len(states)).WithHint("Name one; `penstock status` lists them.")
	}
	for _, st := range states {
		for _, s := range st.StagesInOrder() {
			if s.Type == pipeline.TypeCommit {
				return localBuild{st.Pipeline, s}, nil
			}
		}
		return localBuild{}, pipeline.Errorf(pipeline.CodeInvalid, op, "pipeline %q has no commit stage to build the service", st.Pipeline.Name).
			WithHint("Pass --build, --artifact and --start.")
	}
	return localBuild{}, nil
}

// run runs the local build in a data directory; with "" in one of its own.
func (o *localOptions) run(ctx context.Context, r localBuild, dataDir string) error {
	own := dataDir == ""
	if own {
		dataDir = filepath.Join(o.dir, localDataDir)
		r.commit.BaseImage = "" // it is not here
		r.pipeline.Owner, r.pipeline.Authorization, r.pipeline.Notify = develop.Configured, nil, nil
	}
	a, err := app.Open(ctx, app.Options{DataDir: dataDir})
	if err != nil {
		return err
	}
	err = func() error {
		if own {
			if err := define(ctx, a, r.pipeline); err != nil {
				return err
			}
		}
		log := io.Discard
		if o.verbose {
			log = o.Err
		}
		dir, err := r.whole(o.dir)
		if err != nil {
			return err
		}
		work, _ := a.WorkDir()
		if !o.keep {
			defer o.atWork()()
		}
		err = develop.Run(ctx, o.finishing("Ending the service. Interrupt again to end at once."), develop.Options{
			Environments: a.Engine.Environments, Runner: a.Runner(), Sources: a.Source, Pipeline: r.pipeline.Name, Name: "local", Dir: dir, Work: filepath.Join(work, "develop"),
			Steps: r.commit.Steps, Artifact: r.commit.Artifact, Image: r.commit.BaseImage, TTL: o.ttl,
			Tests: o.tests, Once: o.once, Keep: o.keep, Say: o.say, Log: log,
		})
		if own && !o.once && !o.keep {
			return errors.Join(err, a.Engine.Pipelines.Remove(context.WithoutCancel(ctx), r.pipeline.Name, "", true))
		}
		return err
	}()
	if err == nil && o.once {
		err = o.shown(ctx, a, r.pipeline.Name)
	}
	return errors.Join(err, a.Close(context.WithoutCancel(ctx)))
}

// whole extends the local build from a directory to the whole repository: a
// service may need what lies beside it. It returns where the repository's tree is, of which
// dir is the root or that directory.
func (r *localBuild) whole(dir string) (string, error) {
	within := r.commit.Source.Directory()
	if within == "" {
		return dir, nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", pipeline.Errorf(pipeline.CodeFailed, "run service", "%w", err)
	}
	if root, inside := strings.CutSuffix(abs, string(filepath.Separator)+filepath.FromSlash(within)); inside {
		dir = root
	}
	r.commit.Steps = slices.Clone(r.commit.Steps)
	for i, step := range r.commit.Steps {
		r.commit.Steps[i] = step.Within(within)
	}
	if r.commit.Artifact != "" {
		r.commit.Artifact = path.Join(within, r.commit.Artifact)
	}
	return dir, nil
}

// define makes the pipeline of a data directory of one's own, or changes the one that is
// there.
func define(ctx context.Context, a *app.App, p pipeline.Pipeline) error {
	st, err := a.Engine.State(ctx, p.Name)
	if err != nil {
		return err
	}
	if st.Exists() && st.Pipeline.Owner == develop.Configured {
		p.ID = ""
		_, err = a.Engine.Pipelines.Update(ctx, p)
		return err
	}
	if _, err = a.Engine.Pipelines.Create(ctx, p); err != nil {
		return err
	}
	return a.Engine.Creations.Finish(ctx) // it is no configuration's
}

// shown prints where the environment answers.
func (o *localOptions) shown(ctx context.Context, a *app.App, pipelineName string) error {
	st, err := a.Engine.State(ctx, pipelineName)
	if err != nil {
		return err
	}
	env, _ := st.PersonEnvironment("local")
	return o.printDone(nil, environmentRow(st, env), "%s", env.Endpoint)
}

// say prints a line for each thing that happens.
func (o *localOptions) say(format string, args ...any) {
	if !o.json {
		fmt.Fprintf(o.Err, "%s %s\n", pipeline.Clock(o.now()), present.Line(fmt.Sprintf(format, args...)))
	}
}
