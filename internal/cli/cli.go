// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package cli is the command face of Penstock: it parses arguments, calls the
// engine, and prints. It decides nothing that the engine doesn't.
//
// Each command has an options struct, a constructor that fills it from flags, and
// a run function that a test can replace:
//
//	os.Exit(cli.Main(ctx, os.Args[1:], cli.System(), version))
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// Streams are the command's standard streams, and the signals that ask it to end.
type Streams struct {
	In      io.Reader
	Out     io.Writer // data
	Err     io.Writer // talk
	Signals <-chan os.Signal
}

// System returns the process's own streams.
func System() Streams { return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// The exit statuses. Every help text shows them.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2
	exitRefused    = 3
	exitNotAllowed = 4
	exitNotFound   = 5
	exitWaiting    = 6
	exitCancelled  = 130
)

const exitHelp = `Exit status:
  0 done   1 failed   2 usage or invalid input   3 refused by a gate
  4 not allowed   5 not found   6 another run is under way   130 cancelled`

// codeOf returns an error's code: a wrong command line and a cancelled wait have one, too.
func codeOf(err error) pipeline.Code {
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		return pipeline.CodeInvalid
	case errors.Is(err, context.Canceled):
		return pipeline.CodeCancelled
	}
	return pipeline.CodeOf(err)
}

// exitStatus renders an error's code as an exit status: the one table.
func exitStatus(err error) int {
	var ended commandStatus
	if errors.As(err, &ended) {
		return int(ended)
	}
	switch codeOf(err) {
	case "":
		return exitDone
	case pipeline.CodeInvalid:
		return exitUsage
	case pipeline.CodeRefused:
		return exitRefused
	case pipeline.CodeNotAllowed:
		return exitNotAllowed
	case pipeline.CodeNotFound:
		return exitNotFound
	case pipeline.CodeLocked:
		return exitWaiting
	case pipeline.CodeCancelled:
		return exitCancelled
	default:
		return exitFailed
	}
}

// usageError is a wrong command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func wrongFlag(_ *cobra.Command, err error) error { return &usageError{err} }

// factory returns commands what they have in common.
type factory struct {
	Streams
	version string
	dataDir string
	aws     app.AWS // what flags say of it
	context string  // that a flag names
	json    bool
	now     func() time.Time
	// terminal tells whether somebody can be asked; nil looks at In.
	terminal func() bool
	stop     stopper
	opened   *app.App // that tests have opened; nil opens what the command line says
	begun    bool     // the command line was understood, and its command runs
}

// Main runs the command line and gives the exit status. The first signal cancels the
// command, or lets one that asked for that finish what it has in hand; another one
// ends it at once, where the command had been cancelled.
func Main(ctx context.Context, args []string, s Streams, version string) int {
	f := &factory{Streams: s, version: version, now: time.Now}
	root := newRoot(f)
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- f.execute(ctx, root, args) }()
	for {
		select {
		case err := <-ended:
			if err != nil && !silent(err) && !f.quiet(err) {
				f.complain(err)
			}
			return exitStatus(err)
		case <-s.Signals:
			if !f.interrupted(cancel) {
				return exitCancelled
			}
		}
	}
}

// quiet reports whether an error only says that the command was interrupted, to the person who
// did that. Programs get their JSON.
func (f *factory) quiet(err error) bool {
	return !f.json && codeOf(err) == pipeline.CodeCancelled && f.interruptedForNothing()
}

// execute runs the command line. What fails before a command has begun is a wrong command
// line, of which all flags may not have been read yet.
func (f *factory) execute(ctx context.Context, root *cobra.Command, args []string) error {
	root.PersistentPreRun = func(*cobra.Command, []string) { f.begun = true }
	err := root.ExecuteContext(ctx)
	if err == nil || f.begun {
		return err
	}
	f.json = f.json || wantsJSON(args)
	if codeOf(err) == pipeline.CodeInternal {
		err = &usageError{err}
	}
	return err
}

// wantsJSON looks for --json in a command line that was not understood.
func wantsJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.ContainsFunc(args, func(arg string) bool {
		wanted, err := strconv.ParseBool(strings.TrimPrefix(arg, "--json="))
		return arg == "--json" || strings.HasPrefix(arg, "--json=") && err == nil && wanted
	})
}

func newRoot(f *factory) *cobra.Command {
	root := &cobra.Command{
		Use:   "penstock",
		Short: "See and steer deployment pipelines that Terraform applies",
		Long: "See and steer deployment pipelines that Terraform applies.\n\n" +
			"Terraform defines the pipelines and moves them. This command shows where builds are, and records the decisions\n" +
			"of people.\n\n" + exitHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	version := root.Flags().Bool("version", false, "print the version")
	root.RunE = func(c *cobra.Command, _ []string) error {
		if *version {
			return f.tellVersion()
		}
		return c.Help()
	}
	f.places(root.PersistentFlags())
	root.PersistentFlags().BoolVar(&f.json, "json", false, "print JSON")
	root.SetFlagErrorFunc(wrongFlag)
	root.AddCommand(
		newInit(f, nil), newStatus(f, nil), newBuilds(f, nil), newRuns(f, nil), newHistory(f, nil), newLogs(f, nil),
		newDecide(f, decision.Approve, nil), newDecide(f, decision.Reject, nil), newPromote(f, nil), newRollback(f, nil), newEvidence(f, nil),
		newOverride(f, nil), newPause(f, nil), newResume(f, nil), newRetry(f, nil),
		newEnv(f), newTry(f, nil), newWatch(f, nil), newServe(f, nil), newNotify(f, nil), newDiff(f, nil), newMetrics(f, nil), newGraph(f, nil), newImages(f, nil), newGC(f, nil), newLedger(f), newBootstrap(f, nil), newLoad(f), newNote(f), newDoctor(f, nil), newContext(f, nil), newInstall(f, nil), newSchema(f, nil), newVersion(f),
	)
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil { // cobra's own takes any word for its help
		c.Args, c.RunE = args(0, 0), func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	root.InitDefaultHelpCmd()
	if c, _, err := root.Find([]string{"help"}); err == nil { // and this one says with status 0 what it does not know
		c.Args = aCommand
	}
	explain(root.Commands())
	f.complete(root)
	return root
}

// explain adds the exit statuses to the help of commands and of those below them.
func explain(commands []*cobra.Command) {
	for _, c := range commands {
		c.Long = strings.TrimSpace(c.Long) + "\n\n" + exitHelp
		explain(c.Commands())
	}
}

// failure is the JSON shape of an error.
type failure struct {
	Error problem `json:"error"` // what went wrong
}

type problem struct {
	Code    pipeline.Code `json:"code"`    // invalid, not_found, conflict, locked, lease_lost, refused, not_allowed, failed, corrupt, cancelled or internal
	Message string        `json:"message"` // what could not be done, and why
	Hint    string        `json:"hint"`    // what to do; may be empty
}

// complain prints an error with its remedy.
func (f *factory) complain(err error) {
	if f.json {
		_ = f.printJSON(failure{problem{codeOf(err), err.Error(), reason.Hint(err)}})
		return
	}
	fmt.Fprintf(f.Err, "penstock: %s\n", present.Text(err.Error()))
	if hint := reason.Hint(err); hint != "" {
		fmt.Fprintln(f.Err, present.Text(hint))
	}
}

// args checks the number of arguments, and names the one that is missing or too many.
func args(low, high int) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		command := strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
		switch n := len(given); {
		case n < low:
			required := slices.DeleteFunc(strings.Fields(c.Use)[1:], func(word string) bool { return strings.HasPrefix(word, "[") })
			return &usageError{fmt.Errorf("cannot %s: %s required; usage: %s", command, required[n], c.UseLine())}
		case n > high:
			return &usageError{fmt.Errorf("cannot %s: %q is one argument too many; usage: %s", command, given[high], c.UseLine())}
		}
		return nil
	}
}

// aCommand checks that the arguments are the words of a command.
func aCommand(c *cobra.Command, given []string) error {
	if _, rest, err := c.Root().Find(given); err != nil || len(rest) > 0 {
		return &usageError{fmt.Errorf("there is no command %q; `penstock help` lists them", strings.Join(given, " "))}
	}
	return nil
}

func arg(given []string, i int) string {
	if i < len(given) {
		return given[i]
	}
	return ""
}

// tightenMemory returns memory back early, as Go does by itself: for commands that stay,
// where the short ones are in a hurry.
func tightenMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(100)
	}
}
