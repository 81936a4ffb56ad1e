// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// RunStatus is the status of a run.
type RunStatus string

// The statuses of a run. Passed and failed are results for the build; a cancelled or
// displaced run says nothing about it.
const (
	RunRunning   RunStatus = "running"
	RunPassed    RunStatus = "passed"
	RunFailed    RunStatus = "failed"
	RunCancelled RunStatus = "cancelled" // by a person, or found dead by a later run
	// RunDisplaced is a run whose process did not renew its lease in time, so that another
	// took over. Its process may still be running, but without any effect.
	RunDisplaced RunStatus = "displaced"
)

// RunStatuses are all statuses of a run.
var RunStatuses = []RunStatus{RunRunning, RunPassed, RunFailed, RunCancelled, RunDisplaced}

// Final reports whether the run has ended.
func (s RunStatus) Final() bool { return s != RunRunning }

// HasResult reports whether the status is a result for the build.
func (s RunStatus) HasResult() bool { return s == RunPassed || s == RunFailed }

// Phase is the part of a run that is under way. The order is that of a run.
type Phase string

// The phases.
const (
	PhaseCheckout    Phase = "checkout"
	PhaseModule      Phase = "module"      // the environment's infrastructure is applied
	PhaseTargets     Phase = "targets"     // the build goes to the stage's targets, wave by wave
	PhaseEnvironment Phase = "environment" // includes install and the hooks for the data
	PhaseSteps       Phase = "steps"
	PhaseArtifact    Phase = "artifact"
	PhaseBake        Phase = "bake"
	PhaseShift       Phase = "shift" // traffic goes to the new fleet
	PhaseTearDown    Phase = "tear-down"
	PhaseDone        Phase = "done"
)

// Run is one execution of a stage for a build, or of a bake.
type Run struct {
	ID          string         `json:"id"` // "r-" + time-ordered; sorts by start
	Pipeline    string         `json:"pipeline"`
	Stage       string         `json:"stage"` // the stage's name; image/NAME for a bake
	Kind        RunKind        `json:"kind"`
	Build       string         `json:"build,omitempty"` // empty for bootstrap and bakes
	Digest      string         `json:"digest"`          // definition digest
	Inputs      Inputs         `json:"inputs"`
	Status      RunStatus      `json:"status"` // running, passed, failed, cancelled or displaced
	Phase       Phase          `json:"phase"`
	Why         string         `json:"why,omitempty"`                                 // why it ran, in words
	Promotion   int64          `json:"promotion,omitempty" shape:"promotion_version"` // version of the newest promotion that the run consumes
	Elsewhere   []Elsewhere    `json:"after_elsewhere,omitempty"`                     // what the stage's gates elsewhere said when the run began
	Environment string         `json:"environment,omitempty"`                         // environment ID
	Fleet       string         `json:"fleet,omitempty"`                               // the fleet that the run brought up there
	Image       string         `json:"image,omitempty"`                               // image that the run baked
	Artifact    *Artifact      `json:"artifact,omitempty"`                            // artifact that the run stored
	Module      *ModulePackage `json:"module,omitempty" shape:"module_package"`       // module that the run stored
	Changed     *ModuleRun     `json:"infrastructure,omitempty" shape:"module_run"`   // what the module did to the environment's infrastructure
	Steps       []StepResult   `json:"steps,omitempty"`
	Hooks       []HookResult   `json:"hooks,omitempty"`    // of the service, that worked on the data
	Backup      string         `json:"backup,omitempty"`   // name of the one that service.backup took
	Restored    string         `json:"restored,omitempty"` // name of the backup that service.restore restored
	// UnderWay is the step that has begun and has no result yet. On a run that has ended, it
	// is the step in which its process died.
	UnderWay  *StepUnderWay `json:"under_way,omitempty"`
	Error     string        `json:"error,omitempty"`
	Actor     string        `json:"actor"`
	Process   Process       `json:"process,omitzero"`   // that runs it
	Committed time.Time     `json:"committed,omitzero"` // when the build's commit was made
	Order     int64         `json:"order,omitempty"`    // of the build, when the run began
	Ready     time.Time     `json:"ready,omitzero"`     // of the build's first run there: since when it could enter, if that is known
	StartedAt time.Time     `json:"started_at"`
	EndedAt   time.Time     `json:"ended_at,omitzero"`
}

var runID = regexp.MustCompile(`^r-[0-9a-z][0-9a-z-]{0,62}$`)

// checkRunID refuses, with CodeCorrupt, a run whose ID is malformed: it names files, so it
// must not lead anywhere else.
func checkRunID(id string) error {
	if runID.MatchString(id) {
		return nil
	}
	return Errorf(CodeCorrupt, "read run", "%q is not the ID of a run", id).
		WithAdvice(Advice{Verb: VerbVerifyLedger})
}

// RunKind says what a run executes.
type RunKind string

// The kinds of run.
const (
	KindStage RunKind = "stage"
	KindBake  RunKind = "bake"
)

// Inputs are what a run consumed beside the build's source.
type Inputs struct {
	Artifact string `json:"artifact,omitempty"` // digest
	Image    string `json:"image,omitempty"`
	Module   string `json:"module,omitempty" shape:"module_digest"` // digest of the module
}

// StepResult is the outcome of one step.
type StepResult struct {
	Name      string        `json:"name"`
	Status    RunStatus     `json:"status"` // passed, failed or cancelled
	StartedAt time.Time     `json:"started_at"`
	Duration  time.Duration `json:"duration"`
	Attempts  int           `json:"attempts"`
	ExitCode  int           `json:"exit_code,omitempty"`
	Error     string        `json:"error,omitempty"`
	Tests     *TestCounts   `json:"tests,omitempty"`
	Load      *LoadReport   `json:"load,omitempty"`
	Log       *LogPart      `json:"log,omitempty" shape:"log_part"` // the step's part of the log of its run
}

// TestCounts is what a JUnit report adds up to.
type TestCounts struct {
	Total    int           `json:"total"`
	Failed   int           `json:"failed"` // failures and errors
	Skipped  int           `json:"skipped"`
	Duration time.Duration `json:"duration"`
	Failures []TestFailure `json:"failures,omitempty" shape:"failed_tests"` // the first few
}

// TestFailure names one failed test.
type TestFailure struct {
	Name    string `json:"name"`
	Message string `json:"message,omitempty"`
}

// LoadReport is what a load profile measured.
type LoadReport struct {
	Requests   int64            `json:"requests"`
	Errors     int64            `json:"errors"`
	Rate       float64          `json:"rate"`       // requests per second that were sent
	Throughput float64          `json:"throughput"` // successful requests per second
	Duration   time.Duration    `json:"duration"`
	ErrorRate  float64          `json:"error_rate"`
	Mean       time.Duration    `json:"mean"`
	P50        time.Duration    `json:"p50"`
	P95        time.Duration    `json:"p95"`
	P99        time.Duration    `json:"p99"`
	Max        time.Duration    `json:"max"`
	Histogram  []LatencyBucket  `json:"histogram"`
	Statuses   map[string]int64 `json:"statuses,omitempty"` // by HTTP status, "0" for no answer
	Faults     []string         `json:"faults,omitempty"`   // distinct error texts, the first few
	Every      time.Duration    `json:"every,omitempty"`    // the time that a point of the series stands for
	Series     []LoadPoint      `json:"series,omitempty"`   // how it went over time; at most 60
	Ramp       *LoadRamp        `json:"ramp,omitempty"`     // that led up to the rate; nil for none
	Limits     *LoadLimits      `json:"limits,omitempty"`   // the thresholds that it had to meet
}

// LoadRamp is what was sent before a load, and counts for none of its figures.
type LoadRamp struct {
	Duration time.Duration `json:"duration"`
	Requests int64         `json:"requests"`
	Errors   int64         `json:"errors"`
}

// LoadPoint is part of a load's time: the results of the requests that were sent in it.
type LoadPoint struct {
	Requests int64         `json:"requests"`
	Errors   int64         `json:"errors,omitempty"`
	P50      time.Duration `json:"p50,omitempty"`
	P95      time.Duration `json:"p95,omitempty"`
	P99      time.Duration `json:"p99,omitempty"`
}

// LoadLimits are the rate that was asked for, and the thresholds of the profile. Zero means
// no threshold, except for ErrorRate.
type LoadLimits struct {
	Rate          float64       `json:"rate"`
	P50           time.Duration `json:"p50,omitempty"`
	P95           time.Duration `json:"p95,omitempty"`
	P99           time.Duration `json:"p99,omitempty"`
	Max           time.Duration `json:"max,omitempty"`
	ErrorRate     float64       `json:"error_rate"`
	MinThroughput float64       `json:"min_throughput,omitempty"`
}

// LatencyBucket counts the answers that took at most UpTo, and longer than the
// bucket before.
type LatencyBucket struct {
	UpTo  time.Duration `json:"up_to"`
	Count int64         `json:"count"`
}

// imageRuns is the prefix of the names under which the bakes of images are listed beside
// stages.
const imageRuns = "image/"

// ImageRun returns the name under which the bakes of an image are in the list of runs.
func ImageRun(image string) string { return imageRuns + image }

// IsImageRun reports whether a name is one that ImageRun returns. No stage has such a name.
func IsImageRun(name string) bool { return strings.HasPrefix(name, imageRuns) }

// ImageOfRun returns the image of a name that ImageRun returned; false for any other name.
func ImageOfRun(name string) (image string, ok bool) { return strings.CutPrefix(name, imageRuns) }

// RunSummary is the part of a run that gates and listings need.
type RunSummary struct {
	ID        string        `json:"id"`
	Stage     string        `json:"stage"` // the stage's name; image/NAME for a bake
	Kind      RunKind       `json:"kind"`
	Build     string        `json:"build,omitempty"`
	Digest    string        `json:"digest"`
	Inputs    Inputs        `json:"inputs"`
	Made      Inputs        `json:"made,omitzero"` // what it has made so far
	Status    RunStatus     `json:"status"`        // running, passed, failed, cancelled or displaced
	Phase     Phase         `json:"phase"`
	Changes   *ModuleCounts `json:"module_counts,omitempty"` // of the environment's infrastructure; null where no module was applied
	Step      string        `json:"step,omitempty"`          // that failed, or in which the run was when its process ended
	Error     string        `json:"error,omitempty"`
	Backup    string        `json:"backup,omitempty"` // name of the one that service.backup took
	Actor     string        `json:"actor"`
	Committed time.Time     `json:"committed,omitzero"`
	Order     int64         `json:"order,omitempty"`
	Ready     time.Time     `json:"ready,omitzero"`
	StartedAt time.Time     `json:"started_at"`
	EndedAt   time.Time     `json:"ended_at,omitzero"`
}

// Summary returns the part of r that gates and listings need.
func (r Run) Summary() RunSummary {
	made := Inputs{Image: r.Image}
	if r.Artifact != nil {
		made.Artifact = r.Artifact.Digest
	}
	if r.Module != nil {
		made.Module = r.Module.Digest
	}
	var changes *ModuleCounts
	if r.Changed != nil && !r.Changed.Failed {
		changes = &r.Changed.ModuleCounts
	}
	return RunSummary{
		Changes: changes, ID: r.ID, Stage: r.Stage, Kind: r.Kind, Build: r.Build, Digest: r.Digest, Inputs: r.Inputs, Made: made,
		Status: r.Status, Phase: r.Phase, Step: r.stoppedIn(), Error: r.Error, Backup: r.Backup, Actor: r.Actor, Committed: r.Committed,
		Order: r.Order, Ready: r.Ready, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
	}
}

// stoppedIn returns the name of the step that kept the run from passing; empty for none, and
// while the run is under way.
func (r Run) stoppedIn() string {
	if !r.Status.Final() || r.Status == RunPassed {
		return ""
	}
	for _, step := range slices.Backward(r.Steps) {
		if step.Status != RunPassed {
			return step.Name
		}
	}
	if r.UnderWay != nil {
		return r.UnderWay.Name
	}
	return ""
}
