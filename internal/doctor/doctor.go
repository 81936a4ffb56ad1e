// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package doctor looks for what keeps pipelines from working, and says what to do about
// it. It changes nothing.
//
//	findings := doctor.Examine(ctx, doctor.Options{Open: open})
package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// Status says how bad a finding is.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Warning Status = "warning" // it works, but look at it
	Problem Status = "problem" // something will not work
	Unknown Status = "unknown" // it could not be asked
)

// Finding is what one check found.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"` // ok, warning, problem, or unknown where AWS could not be asked
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// Options say what to examine.
type Options struct {
	// Open opens what the command would; its error is a finding.
	Open func(context.Context) (*app.App, error)
	Deep bool // verify the whole ledger
	AWS  bool // ask AWS itself
	Now  func() time.Time
}

// checker makes the checks, one after another, and collects what they find.
type checker struct {
	Options
	app      *app.App
	states   map[string]*pipeline.State
	findings []Finding
}

// Examine makes all checks, and returns what they found in the order of the checks.
func Examine(ctx context.Context, o Options) []Finding {
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &checker{Options: o}
	p.git(ctx)
	p.terraform(ctx)
	if !p.open(ctx) {
		return p.findings
	}
	defer func() { _ = p.app.Close(context.WithoutCancel(ctx)) }()
	p.directory()
	p.workplace()
	p.rights(ctx)
	if p.AWS {
		p.aws(ctx)
	}
	if !p.ledger(ctx) {
		return p.findings
	}
	p.shared()
	if p.AWS {
		p.targets(ctx)
		p.architectures(ctx)
	}
	p.clock(ctx)
	p.leases(ctx)
	p.stages()
	p.runs(ctx)
	p.environments()
	p.notices()
	p.orphans(ctx)
	return p.findings
}

func (p *checker) found(check string, status Status, remedy, format string, args ...any) {
	p.findings = append(p.findings, Finding{Check: check, Status: status, Text: fmt.Sprintf(format, args...), Remedy: remedy})
}

// failed is a problem with its own remedy.
func (p *checker) failed(check string, err error) {
	p.found(check, Problem, reason.Hint(err), "%v", err)
}

// workplace says where steps work, and whether they find something of the user's there.
func (p *checker) workplace() {
	dir, above := p.app.WorkDir()
	if above == "" {
		p.found("work directory", OK, "", "steps work in %s, and none of your files lie above it", dir)
		return
	}
	p.found("work directory", Warning, "Remove it, or set PENSTOCK_WORK_DIR to a directory that is not below it.", "%s", above)
}

// oldestGit is what reading repositories takes.
const oldestGitMajor, oldestGitMinor = 2, 20

// oldestTerraform is what the provider takes, and writeOnly what secrets take.
const oldestTerraformMinor, writeOnlyMinor = 8, 11

var version = regexp.MustCompile(`(\d+)\.(\d+)(?:\.\d+)?`)

func (p *checker) git(ctx context.Context) {
	major, minor, text, err := versionOf(ctx, "git", "--version")
	switch {
	case err != nil:
		p.found("git", Problem, "Install git 2.20 or later.", "git: %v", err)
	case major < oldestGitMajor || major == oldestGitMajor && minor < oldestGitMinor:
		p.found("git", Problem, "Install git 2.20 or later.", "git is version %s", text)
	default:
		p.found("git", OK, "", "git %s", text)
	}
}

func (p *checker) terraform(ctx context.Context) {
	const remedy = "Install Terraform or OpenTofu 1.8 or later."
	for _, name := range []string{"terraform", "tofu"} {
		major, minor, text, err := versionOf(ctx, name, "version")
		switch {
		case errors.Is(err, exec.ErrNotFound):
			continue
		case err != nil:
			p.found("terraform", Problem, remedy, "%s: %v", name, err)
		case major == 1 && minor < oldestTerraformMinor || major < 1:
			p.found("terraform", Problem, remedy, "%s is version %s", name, text)
		case major == 1 && minor < writeOnlyMinor:
			p.found("terraform", Warning, "For secrets that stay out of the state (env_wo), install 1.11 or later.", "%s is version %s", name, text)
		default:
			p.found("terraform", OK, "", "%s %s", name, text)
		}
		return
	}
	p.found("terraform", Problem, remedy, "there is neither terraform nor tofu on PATH")
}

// versionOf returns the version that a program says it has.
func versionOf(ctx context.Context, name string, args ...string) (major, minor int, text string, err error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return 0, 0, "", exec.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	found := version.FindStringSubmatch(string(out))
	if err != nil || found == nil {
		return 0, 0, "", fmt.Errorf("it does not print its version: %s", pipeline.FirstLine(string(out)))
	}
	major, _ = strconv.Atoi(found[1])
	minor, _ = strconv.Atoi(found[2])
	return major, minor, found[0], nil
}

func (p *checker) open(ctx context.Context) bool {
	a, err := p.Open(ctx)
	switch {
	case pipeline.IsNotFound(err):
		p.found("place", Warning, reason.Hint(err), "%v", err)
	case err != nil:
		p.failed("place", err)
	default:
		p.app = a
		p.found("place", OK, "", "%s, as %s", a.Where(), a.Person().Name)
		if text, how := a.Outdated(); text != "" {
			p.found("stack", Warning, reason.Advice(how), "%s", text)
		}
	}
	return err == nil
}

// leastFree is the room on a disk below which a bake or a build is likely to fail.
const leastFree = 1 << 30

func (p *checker) directory() {
	dir := p.app.Dir
	probe, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		p.found("directory", Problem, "Give yourself the right to write there, or choose another data directory.", "%v", err)
		return
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	if free, ok := freeBytes(dir); ok && free < leastFree {
		p.found("directory", Warning, reason.Advice(pipeline.Advice{Verb: pipeline.VerbCollect}), "the disk of %s has %d MiB free", dir, free>>20)
		return
	}
	p.found("directory", OK, "", "%s", filepath.Clean(dir))
}

func (p *checker) ledger(ctx context.Context) bool {
	states, err := p.app.Engine.States(ctx)
	if err != nil {
		p.failed("ledger", err)
		return false
	}
	p.states = states
	if p.Deep {
		n, err := p.app.Verify(ctx, "")
		if err != nil {
			p.failed("ledger", err)
			return false
		}
		p.found("ledger", OK, "", "%s; %s, the chain is whole", present.Count(len(states), "pipeline"), present.Count(int(n), "event"))
		return true
	}
	p.found("ledger", OK, "", "%s", present.Count(len(states), "pipeline"))
	return true
}

// rights says what AWS lets the caller do. Nobody needs all of it.
func (p *checker) rights(ctx context.Context) {
	if !p.app.OnAWS() {
		return
	}
	r, err := p.app.Rights(ctx)
	switch {
	case err != nil:
		p.failed("rights", err)
	case r.Record && r.Decide:
		p.found("rights", OK, "", "you may run stages, launch environments and promote, and approve and reject")
	case r.Record:
		p.found("rights", OK, "", "you may run stages or launch environments, and promote; to approve or reject, you need the approver role")
	case r.Decide:
		p.found("rights", OK, "", "you may approve and reject; to run stages and promote, you need the deployer role; to launch environments, the launcher role")
	default:
		p.found("rights", Warning, "Assume one of the roles that `penstock bootstrap` created: deployer, launcher or approver.",
			"you may read, but not write")
	}
}

// skew is how far clocks may be apart before it matters to leases and times to live.
const skew = time.Minute

func (p *checker) clock(ctx context.Context) {
	if d := p.app.Skew(); d.Abs() > skew {
		p.found("clock", Problem, "Set this machine's clock by NTP.", "this machine's clock differs from AWS's by %s", present.Age(d.Abs()))
		return
	}
	for name := range p.states {
		last, err := p.app.Engine.Reports.LastEvent(ctx, name)
		if err != nil {
			p.failed("clock", err)
			return
		}
		if ahead := last.Time.Sub(p.Now()); ahead > skew {
			p.found("clock", Problem, "Set the clock of this machine, or of the machine that wrote the event, by NTP.",
				"the last event of pipeline %q is %s ahead of this machine's clock", name, present.Age(ahead))
			return
		}
	}
	p.found("clock", OK, "", "no event is in the future")
}

// longPaused is how long most runs take at most.
const longPaused = 6 * time.Hour

func (p *checker) leases(ctx context.Context) {
	leases, err := p.app.Engine.Reports.Leases(ctx)
	if err != nil {
		p.failed("leases", err)
		return
	}
	count := 0
	for _, l := range leases {
		h := l.Holder
		switch age := p.Now().Sub(h.Since); {
		case p.Now().After(l.Expires):
			p.found("leases", Warning, "The stage's next run takes over and cleans up. After an hour any other run, or `penstock gc`, gives it up.", "%s on %s, which held %s for the %s, is gone, or has not renewed it in time", h.Actor, h.Host, l.Key, h.Purpose)
		case age > longPaused && pipeline.ParseLeaseKey(l.Key).Kind != pipeline.LeaseWatch:
			p.found("leases", Warning, fmt.Sprintf("Check whether process %d on %s is still working.", h.PID, h.Host), "%s on %s holds %s for %s (%s)", h.Actor, h.Host, l.Key, present.Age(age), h.Purpose)
		default:
			count++
		}
	}
	p.found("leases", OK, "", "%d active", count)
}

// stages looks for stages that no apply would take as they are recorded: those that no
// build can reach, above all.
func (p *checker) stages() {
	count := 0
	for _, name := range slices.Sorted(maps.Keys(p.states)) {
		st := p.states[name]
		for _, s := range st.StagesInOrder() {
			if err := pipeline.CheckStage(st, s); err != nil {
				p.found("stages", Problem, reason.Hint(err), "pipeline %q: %v", name, err)
				continue
			}
			count++
		}
	}
	p.found("stages", OK, "", "builds can reach %d", count)
}

func (p *checker) runs(ctx context.Context) {
	for name, st := range p.states {
		plan := gate.Now(st)
		for _, s := range st.StagesInOrder() {
			at, err := p.app.Engine.Reports.Progress(ctx, st, s.Name)
			switch {
			case err != nil:
				p.failed("runs", err)
			case at != nil && at.Dead:
				p.found("runs", Warning, "The next apply cleans up and runs the stage again.", "the process of run %s of stage %q of pipeline %q is gone, or does not renew its lease", at.Run.ID, s.Name, name)
			}
			if err := plan.Stage(s.Name).Err(); err != nil {
				p.found("pins", Problem, reason.Hint(err), "%v", err)
			}
		}
	}
}

func (p *checker) environments() {
	count := 0
	for name, st := range p.states {
		for _, env := range st.Environments {
			what := fmt.Sprintf("%s of pipeline %q", env.Describe(), name)
			switch env.Status {
			case pipeline.EnvGone:
				p.found("environments", Problem, "The next apply restores a stage's environment; launch your own again with `penstock env launch`.", "%s is gone", what)
			case pipeline.EnvDegraded:
				p.found("environments", Warning, "Read its log with `penstock env logs`.", "%s is degraded: %s", what, pipeline.FirstLine(env.Reason))
			case pipeline.EnvKept:
				p.found("environments", Warning, "Inspect it. "+reason.Advice(pipeline.Advice{Verb: pipeline.VerbEndKept}), "%s is kept after a failure", what)
			case pipeline.EnvEnding:
				if env.Reason == "" { // somebody is at it, or it is listed among the orphans
					break
				}
				remedy := "The next apply tries again."
				if !env.Target.Home() {
					remedy += " " + reason.Advice(pipeline.Advice{Verb: pipeline.VerbForget, Pipeline: name, Environment: env.ID})
				}
				p.found("environments", Problem, remedy, "%s can't be ended: %s", what, pipeline.FirstLine(env.Reason))
			default:
				count++
			}
		}
	}
	p.found("environments", OK, "", "%d are healthy", count)
}

func (p *checker) notices() {
	for name, st := range p.states {
		for _, t := range st.Pipeline.Targets() {
			if err := p.app.CanNotify(t); err != nil {
				p.found("notices", Warning, "Set it where Terraform, `penstock watch` or `penstock serve` runs: a process that has it notifies the target.", "%s of pipeline %q: %v", t.Describe(), name, err)
			}
			if d := st.Deliveries[t.Key()]; d.Error != "" {
				p.found("notices", Warning, fmt.Sprintf("See `penstock notify %s`; `penstock notify %s --test` tries it.", name, name), "%s of pipeline %q: %s", t.Describe(), name, d.Error)
			}
		}
	}
}

func (p *checker) orphans(ctx context.Context) {
	g, err := p.app.Engine.Collector.Collect(ctx, collect.Request{DryRun: true})
	if err != nil {
		p.failed("orphans", err)
		return
	}
	var parts []string
	for _, part := range []struct {
		noun string
		ids  []string
	}{{"environments", g.Environments}, {"images", g.Images}, {"bakes", g.Bakes}, {"artifacts", g.Artifacts}, {"work directories", g.WorkDirs}, {"builds", g.Builds}} {
		if len(part.ids) > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", len(part.ids), part.noun))
		}
	}
	if len(parts) > 0 {
		p.found("orphans", Warning, "List them with `penstock gc --dry-run`, and remove them with `penstock gc`.", "nothing needs %s", strings.Join(parts, ", "))
		return
	}
	p.found("orphans", OK, "", "there is nothing to remove")
}

// Healthy reports whether no finding is a problem.
func Healthy(findings []Finding) bool {
	return !slices.ContainsFunc(findings, func(f Finding) bool { return f.Status == Problem })
}
