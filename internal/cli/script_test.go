// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite" // the driver of the scripts' sqlite

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/cli"
	"github.com/penstock-io/terraform-provider-penstock/internal/docstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/supervisor"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

// The scripts have three programs: penstock; apply, which does to the pipeline of the
// script what Terraform would; and sqlite FILE STATEMENT.
func TestMain(m *testing.M) {
	lab.ServeFiles()
	process.Guard()
	supervisor.Main()
	testscript.Main(tests{m}, map[string]func(){
		"penstock": penstock,
		"apply":    func() { exit(apply(context.Background(), os.Args[1:])) },
		"sqlite":   func() { exit(sqlite(os.Args[1], os.Args[2])) },
	})
}

// tests are those of the package, with a directory for workplaces that goes with them.
type tests struct{ *testing.M }

func (t tests) Run() int { return workplacetest.Main(t.M.Run) }

// penstock is what main makes of the command line.
func penstock() {
	streams, signals := cli.System(), make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	streams.Signals = signals
	var printed bytes.Buffer
	out := streams.Out
	streams.Out = &printed
	if cli.WantsJSON(os.Args[1:]) {
		streams.Out = io.MultiWriter(out, &printed)
	} else {
		streams.Out = out
	}
	code := cli.Main(context.Background(), os.Args[1:], streams, "1.2.3")
	command, err := cli.CheckJSON(os.Args[1:], printed.Bytes())
	if seen := os.Getenv(seenVariable); err == nil && command != "" && code == 0 {
		err = os.WriteFile(filepath.Join(seen, strings.ReplaceAll(command, " ", "_")), nil, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "what it printed is not by its schema:", err)
		os.Exit(99)
	}
	os.Exit(code)
}

// seenVariable names a directory with a file for each command that printed JSON.
const seenVariable = "PENSTOCK_TEST_SEEN"

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func sqlite(file, statement string) error {
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return err
	}
	_, err = db.Exec(statement)
	return errors.Join(err, db.Close())
}

// apply moves the pipeline shop, or another one, made from the repository repo, one step further:
//
//	apply [-pipeline NAME] [-pin BUILD] [-service] [-slow] [-until FILE] [-forge] [-authorize JSON] [-max-ttl TIME] [-notify COMMAND|$URL] [-history TIME] [-destroy]
//
// Its stages are commit, exploratory, and production, which moves by hand. With
// -service production has an environment, else it has none; with -slow it takes a
// minute to start, with -forge its commands print what only Penstock should, and production
// has a step.
func apply(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("apply", flag.ContinueOnError)
	name := flags.String("pipeline", "shop", "the pipeline's name")
	pin := flags.String("pin", "", "the build of production")
	service := flags.Bool("service", false, "production has an environment")
	slow := flags.Bool("slow", false, "the service takes a minute to start")
	forge := flags.Bool("forge", false, "the service's commands print what only Penstock should")
	authorize := flags.String("authorize", "", "who may do what, as in the ledger")
	longest := flags.Duration("max-ttl", 0, "how long self-service environments may live")
	notify := flags.String("notify", "", "a command that gets notices, or $ and the variable of a URL")
	history := flags.Duration("history", 0, "how long the history is kept after the end")
	until := flags.String("until", "", "a file: commit waits until it is there")
	lost := flags.Bool("lost", false, "only record an environment at a place that can't be reached")
	destroy := flags.Bool("destroy", false, "remove the pipeline")
	if err := flags.Parse(args); err != nil {
		return err
	}
	a, err := app.Open(ctx, app.Options{DataDir: app.DataDirName})
	if err != nil {
		return err
	}
	defer func() {
		if closed := a.Close(ctx); err == nil {
			err = closed
		}
	}()
	if *destroy {
		return a.Engine.Pipelines.Remove(ctx, *name, "", true)
	}
	if *lost {
		return lose(ctx, a.Dir, *name)
	}
	p := pipeline.Pipeline{Name: *name, Owner: a.Owner, Scale: pipeline.Scale{Instances: 1}}
	production := pipeline.Stage{Type: pipeline.TypeCustom, Trigger: pipeline.TriggerManual}
	if *service {
		p.Service = pipeline.Service{Install: `tar -xzf "$PENSTOCK_ARTIFACT"`, Start: lab.Files()}
		if *slow {
			p.Service.Start = "sleep 60; " + p.Service.Start
		}
		production = pipeline.Stage{Type: pipeline.TypeProduction}
	}
	if *forge {
		lie := `printf '== step "unit tests": forged\n== step "unit tests" passed in 1s\n\033[31mred\033[0m \342\200\256 txt \342\200\217\n'`
		p.Service.Install += " && " + lie
		p.Service.Migrate = lie
		p.Service.Start = lie + "; " + p.Service.Start
		production.Steps = []pipeline.Step{{Name: "before", Command: lie}, {Name: "unit tests", Command: "echo genuine"}, {Name: "afterwards", Command: "echo over"}}
	}
	p.SelfService.MaxTTL, p.RetainHistory = *longest, *history
	if *notify != "" {
		p.Notify = []pipeline.NotifyTarget{{Command: *notify}}
		if strings.HasPrefix(*notify, "$") {
			p.Notify = []pipeline.NotifyTarget{{Webhook: *notify}}
		}
	}
	if *authorize != "" {
		if err := json.Unmarshal([]byte(*authorize), &p.Authorization); err != nil {
			return err
		}
	}
	production.Name, production.After, production.Pin = "production", []string{"exploratory"}, *pin
	if _, err := a.Engine.Pipelines.Create(ctx, p); err != nil { // what is there already is changed
		return err
	}
	snapshot, err := a.Source.Snapshot(ctx, source.Query{Repository: "repo", Ref: "main", Paths: pipeline.Paths{Ignore: []string{"*.md"}, Data: []string{"db/**"}}})
	if err != nil {
		return err
	}
	steps := []pipeline.Step{
		{Name: "build", Command: "tar -czf dist.tar.gz version"},
		{Name: "unit tests", Command: "cat version; ! grep -q bad version"},
	}
	if *until != "" {
		steps = append(steps, pipeline.Step{Name: "wait", Command: fmt.Sprintf("echo it waits; until test -e '%s'; do sleep 0.1; done", *until)})
	}
	for _, s := range []pipeline.Stage{
		{Type: pipeline.TypeCommit, Source: &snapshot.Source, Artifact: "dist.tar.gz", Steps: steps},
		{Type: pipeline.TypeExploratory, After: []string{"commit"}},
		production,
	} {
		s.Pipeline, s.Owner = *name, a.Owner
		if _, err := a.Engine.Stages.Advance(ctx, run.AdvanceRequest{Stage: s.WithDefaults(nil, nil)}); err != nil {
			return err
		}
	}
	return nil
}

// lose records an environment of production at a place of AWS, which nothing here can reach.
func lose(ctx context.Context, dir, name string) error {
	record, err := ledger.Open(ctx, filepath.Join(dir, "ledger.db"), ledger.Options{})
	if err != nil {
		return err
	}
	at := pipeline.Target{Name: "us", Region: "us-east-1"}
	_, err = record.Append(ctx, pipeline.Batch{Pipeline: name, Events: []pipeline.Event{{Kind: pipeline.EnvironmentChanged, Actor: "ada", Facts: pipeline.Facts{
		Environment: &pipeline.Environment{ID: "e-lost", Pipeline: name, Name: "production@us", Stage: "production@us", Purpose: pipeline.ForStage, Status: pipeline.EnvRunning, Target: at},
	}}}})
	return errors.Join(err, record.Close())
}

func TestScripts(t *testing.T) {
	seen := t.TempDir()
	t.Cleanup(func() { // when all scripts have ended
		if t.Failed() || flag.Lookup("test.run").Value.String() != "" {
			return
		}
		for _, command := range cli.PrintingJSON() {
			if _, err := os.Stat(filepath.Join(seen, strings.ReplaceAll(command, " ", "_"))); err != nil {
				t.Errorf("no script has `penstock %s --json` print something", command)
			}
		}
	})
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv(workplacetest.Variable, os.Getenv(workplacetest.Variable))
			e.Setenv(seenVariable, seen)
			e.Setenv("GIT_AUTHOR_NAME", "Ada")
			e.Setenv("GIT_AUTHOR_EMAIL", "ada@example.com")
			e.Setenv("GIT_COMMITTER_NAME", "Ada")
			e.Setenv("GIT_COMMITTER_EMAIL", "ada@example.com")
			e.Setenv("GIT_CONFIG_NOSYSTEM", "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "capture": capture, "anchor": anchor, "keys": keys, "documented": documented},
	})
}

// status runs penstock and expects an exit status: status 3 penstock promote …
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM [ARGUMENT…]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s ended with status %s, not %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// documented asserts that a guide shows what the last command printed, and how it was typed:
// documented GUIDE COMMAND TEXT, with a text of the block.
func documented(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: documented GUIDE COMMAND TEXT")
	}
	ts.Check(docstest.Check("docs/guides/"+args[0], args[2], "$ "+args[1]+"\n"+ts.ReadFile("stdout")+ts.ReadFile("stderr")))
}

// capture sets a variable to the first match of a pattern in the last output:
// capture NAME PREFIX takes the word that begins with PREFIX.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME PREFIX")
	}
	for _, word := range strings.FieldsFunc(ts.ReadFile("stdout"), func(r rune) bool { return strings.ContainsRune(" \t\n\",:", r) }) {
		if strings.HasPrefix(word, args[1]) {
			ts.Setenv(args[0], word)
			return
		}
	}
	ts.Fatalf("no word begins with %s", args[1])
}

// anchor sets a variable to the anchor in a file that has what `penstock ledger head` printed:
// anchor NAME FILE.
func anchor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: anchor NAME FILE")
	}
	fields := strings.Fields(ts.ReadFile(args[1]))
	if len(fields) != 2 {
		ts.Fatalf("%s has %d words", args[1], len(fields))
	}
	ts.Setenv(args[0], fields[1])
}

// keys makes a key and its public key, in PEM: keys FILE PUBLIC-FILE.
func keys(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keys FILE PUBLIC-FILE")
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	der, err = x509.MarshalPKIXPublicKey(public)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
}
