// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"time"
)

// Secrets are values by variable name that must reach only a command: no state, plan, ledger
// or log.
type Secrets map[string]Secret

// Values returns the secrets without their names.
func (s Secrets) Values() []Secret { return slices.Collect(maps.Values(s)) }

// Secret is a value that renders as "(secret)" wherever it is printed or encoded.
type Secret string

const redacted = "(secret)"

// String hides the value.
func (Secret) String() string { return redacted }

// GoString hides the value from %#v.
func (Secret) GoString() string { return redacted }

// MarshalText hides the value from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Reveal returns the value, for the environment of a command.
func (s Secret) Reveal() string { return string(s) }

// Batch is a set of events that are appended together or not at all.
type Batch struct {
	Pipeline string
	Events   []Event       // Kind, Actor and Facts are set; the ledger seals them
	Fence    *Lease        // refused with CodeLeaseLost unless this lease is the current one
	Expect   map[Key]int64 // refused with CodeConflict unless each record has this version; 0: does not exist
	// Sealed says that the events come from another ledger and are stored unchanged. They are
	// refused with CodeConflict unless they follow the newest event, and with CodeCorrupt
	// unless each is as it was sealed.
	Sealed bool
}

// RunQuery selects runs, newest first. Zero fields select all.
type RunQuery struct {
	Stage  string
	Build  string
	Status RunStatus
	Limit  int    // at most; 0 means 100
	After  string // the Next of the page before
}

// RunPage is a page of runs.
type RunPage struct {
	Runs []RunSummary
	Next string // the ID of the last one; empty on the last page
}

// Process names a process of some machine, or of some container on it.
type Process struct {
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	Started string `json:"started"`         // so that a reused PID is recognized
	Scope   string `json:"scope,omitempty"` // boot and PID namespace in which PID means the process; empty: unknown
}

// Holder says who holds a lease.
type Holder struct {
	Process
	Actor   string    `json:"actor"`
	Purpose string    `json:"purpose"` // "run of stage acceptance for b-…"
	Since   time.Time `json:"since"`
	// Activity is what the holder does at the moment, if it says so.
	Activity Activity `json:"activity,omitzero"`
}

// Lease is the right to change something, held by one process at a time.
type Lease struct {
	Key string `json:"key"`
	// Token grows with every acquisition of the key. It is at least the time in milliseconds,
	// so that the tokens of a new or restored ledger are higher than all earlier ones.
	Token   int64     `json:"token"`
	Holder  Holder    `json:"holder"`
	Expires time.Time `json:"expires"`
}

// Fence is the part of a lease that a platform is shown with each change made under it.
type Fence struct {
	Key   string `json:"key"`
	Token int64  `json:"token"`
}

// Fence returns the part of the lease that platforms are shown.
func (l Lease) Fence() Fence { return Fence{Key: l.Key, Token: l.Token} }

// LeaseLost returns the error for a change under a lease that another has taken over.
func LeaseLost(op string, by Fence, newest int64) error {
	return Errorf(CodeLeaseLost, op, "%s was lost: token %d is older than %d, with which another process took over", by.Key, by.Token, newest).
		WithHint("Another process took over because this one did not renew its lease in time. Apply again when it has ended.")
}

// LockedError says that another process holds a lease. It has CodeLocked.
type LockedError struct{ Lease Lease }

// Error names the holder.
func (e *LockedError) Error() string {
	h := e.Lease.Holder
	return h.Actor + " on " + h.Host + " holds " + e.Lease.Key + " since " + Moment(h.Since.UTC()) + " (" + h.Purpose + ")"
}

// Ledger is the durable record, for whoever opens it. Consumers name the parts that they
// need. All methods may be called concurrently, from several processes. A cancelled method
// had either its whole effect or none. Errors carry a Code.
type Ledger interface {
	Reader
	Appender
	Leaser
	Maintainer
}

// Reader reads what is recorded.
type Reader interface {
	// State reads the pipeline's state, consistently with every Append that has returned. A
	// pipeline without events has an empty state, which is no error. Several callers may get
	// the same state, so nobody must change it.
	State(ctx context.Context, pipeline string) (*State, error)
	// Pipelines lists the names of the pipelines that are defined, sorted.
	Pipelines(ctx context.Context) ([]string, error)
	// Removed lists the names of the pipelines that are no longer defined but still have a
	// history, sorted.
	Removed(ctx context.Context) ([]string, error)
	// Run returns one run; CodeNotFound if it does not exist. With an empty pipeline it looks
	// in all.
	Run(ctx context.Context, pipeline, id string) (Run, error)
	// Runs lists runs.
	Runs(ctx context.Context, pipeline string, q RunQuery) (RunPage, error)
	// Events returns at most limit events with a sequence number above after, oldest first.
	Events(ctx context.Context, pipeline string, after int64, limit int) ([]Event, error)
	// Head returns the sequence number of the pipeline's newest event; 0 for none.
	Head(ctx context.Context, pipeline string) (int64, error)
	// Newest names the newest event of the pipeline's history; the zero anchor if there is
	// none. A decision that AWS has taken but that is not in the history yet does not count.
	Newest(ctx context.Context, pipeline string) (Anchor, error)
}

// Appender records what happens.
type Appender interface {
	// Append seals and stores the batch's events and updates the view in one
	// transaction, and returns the sealed events. A repeated Append appends again:
	// a caller that must not repeat itself sets Expect.
	Append(ctx context.Context, b Batch) ([]Event, error)
}

// Leaser lets one process at a time change a thing.
type Leaser interface {
	// Acquire takes the lease for ttl. If another process holds it and it has not expired,
	// the error is a *LockedError wrapped with CodeLocked.
	Acquire(ctx context.Context, key string, h Holder, ttl time.Duration) (Lease, error)
	// Renew extends a lease to ttl from now, and lets others see the Activity of its Holder;
	// CodeLeaseLost where it is no longer current.
	Renew(ctx context.Context, l Lease, ttl time.Duration) (Lease, error)
	// Release gives the lease up. Releasing a lease that is already lost is no error.
	Release(ctx context.Context, l Lease) error
	// Leases lists the leases that are held, expired ones included.
	Leases(ctx context.Context) ([]Lease, error)
}

// Maintainer looks after the record as a whole.
type Maintainer interface {
	// Verify reads the whole chain of a pipeline (of all with "") and reports the
	// number of events; CodeCorrupt names the first that is wrong.
	Verify(ctx context.Context, pipeline string) (int64, error)
	// Purge removes a pipeline that is no longer defined, with its history.
	Purge(ctx context.Context, pipeline string) error
	Close() error
}

// Command is one command line with its variables.
type Command struct {
	Name    string // of the step that it belongs to, for messages; may be empty
	Line    string // run by a shell
	Script  string // instead of Line: a file of the bake's Source, relative to it
	Dir     string // empty means the natural one: the checkout, or the instance's root
	Env     map[string]string
	Secrets Secrets
	Mask    []Secret      // of the rest of the bake, which no output may show either
	Timeout time.Duration // 0 means DefaultStepTimeout
	// Everywhere runs the command in each instance, one after another, until one fails.
	// Otherwise it runs in one.
	Everywhere bool
	// System has the command run as the owner of the machine, where that is another than the
	// service's user: it is Penstock's own.
	System bool
}

// BakeRequest asks for an image. Exactly one of Tree, Image and Environment says
// what it is made from.
type BakeRequest struct {
	Token       string // the run's ID: a repeated bake with it is harmless
	Inputs      string // digest of what it is made from: an image of it that another run left unfinished is finished; empty: of this run alone
	Name        string
	Labels      Labels
	Tree        string    // a directory on this machine
	Image       string    // an image of the platform
	Environment string    // an environment that Prepare installed on: its installed state
	Source      string    // a directory on this machine whose files the commands find at PENSTOCK_SOURCE; may be empty
	Commands    []Command // run in the root of the tree, in order
	Cleanup     []string  // shell lines that run there at last
	KMSKey      string    // that encrypts the image; empty: the platform's own
	Builder     string    // type of the instance that bakes it; empty: the platform's own
	Volume      *Volume   // of that instance; nil: as the image has it
	Started     time.Time // of the run: a repeated bake asks for the same; zero: it is never repeated
	Profile     string    // of the machine that bakes; empty: the platform's for builders
	Groups      []string  // security groups of that machine; none: the platform's
	Log         io.Writer
}

// PublishRequest asks for an image to be in the places that a publication names, and in no
// others.
type PublishRequest struct {
	Image       string
	Publication Publication // without its Channel, which Point sets
	Targets     []Target    // whose environments are launched from it: each needs it in its region, for its account
	Labels      Labels
	Log         io.Writer
}

// PointRequest asks for a name to lead to images that Publish has placed.
type PointRequest struct {
	Name   string            // of the channel, as Publication has it
	Images map[string]string // IDs by region, as Publish returned them
	Labels Labels            // Pipeline and Stage say whose the name is, Build what it leads to
	Adopt  bool              // a name that something else made is taken over
	Log    io.Writer
}

// UnpointRequest asks for a name to be removed.
type UnpointRequest struct {
	Name    string
	Regions []string // where Point made it; "" is the platform's own
	Labels  Labels   // Pipeline and Stage, as Point had them
	Log     io.Writer
}

// BakedImage is what the platform knows of an image.
type BakedImage struct {
	ID       string
	Size     int64     // bytes
	Packages []Package // that a Bake found in it, in order; nil if it can't list them
}

// Labels say what a thing on a platform is for, if the platform can show it.
type Labels struct{ Pipeline, Stage, Build, Run string }

// FleetRequest asks for instances of an image in an environment. The environment
// is created when it does not exist. The fleet serves nothing until Shift.
type FleetRequest struct {
	Environment  string // ID
	Fleet        string // ID; a repeated Prepare with it is harmless
	Labels       Labels
	Persistent   bool   // it serves until the next fleet replaces it, which no request may notice
	Image        string // empty means an empty root
	Instances    int
	InstanceType string
	Machine      Machine
	Lasting      bool          // its instances may have what production's have, such as its secrets; else they are a test
	Profile      string        // of the instances; empty: the platform's for what lasts, or for tests
	Groups       []string      // security groups of the instances; none: the platform's, likewise
	ExtraGroups  []string      // security groups of the instances besides
	Subnets      []string      // of the instances; none: the platform's
	TargetGroups []string      // ARNs: whose targets the instances are, too
	Address      string        // of the endpoint
	Port         int           // of the endpoint; 0 means any free one, the same for the environment's life
	Certificate  string        // with which a new endpoint speaks HTTPS; empty: HTTP
	Balancer     *Balancer     // of the endpoint; nil: the platform's own choice
	Rule         *ListenerRule // by which a listener that exists is the endpoint; nil: the environment gets its own
	DNS          *AliasRecord  // that leads to the endpoint; nil: none
	Service      Service
	Env          map[string]string
	Secrets      Secrets
	Artifact     string // path on this machine of the file to install; with it Install runs
	Hooks        []Hook // that run once the data is there, in order
	DataFrom     string // environment whose data is copied before the hooks; only into a new environment
	ExpiresAt    time.Time
	DrainTimeout time.Duration
	Alarms       []string // that Shift will look at
	Scaling      *Scaling // nil: none is declared

	TargetAttributes map[string]string // of the target group, by AWS's names
	Log              io.Writer

	TrustedProxies []string // whose forwarding headers the endpoint keeps; nil: DefaultTrustedProxies
}

// Foresight says of which deployment something is to be foreseen.
type Foresight struct {
	Fleet string // that serves; empty where the environment is to be made
	Env   EnvironmentSpec
}

// Traffic says how the traffic of a persistent environment moves to another fleet.
type Traffic struct {
	Port         int           // of the endpoint from then on; 0 leaves it as it is
	Certificate  string        // with which the endpoint speaks HTTPS from then on; empty: HTTP
	Balancer     *Balancer     // of the endpoint from then on; nil: the platform's own choice
	Rule         *ListenerRule // of the endpoint from then on; of the same listener
	DNS          *AliasRecord  // that leads to the endpoint from then on; nil: none
	Steps        []ShiftStep   // before all of it goes; empty: all at once
	Alarms       []string      // names; one that goes off sends the traffic back
	KeepPrevious time.Duration // how long the fleet before is kept, so that it can be taken again
	Scaling      *Scaling      // from then on; nil: what was attached to the fleet before goes on
	Log          io.Writer
}

// Fleet is a group of instances that is ready.
type Fleet struct {
	ID       string // that was asked for, or that of a kept fleet of the same things
	Endpoint string // where this fleet answers before it gets the traffic
	Host     string // for which its certificate is, where Endpoint has another; empty: that of Endpoint
	Header   Header // that requests to Endpoint need to reach this fleet; zero: none
}

// Header is a header of a request, whose value nobody else knows.
type Header struct {
	Name  string // in the canonical form of HTTP
	Value Secret
}

// EnvironmentReport is what the platform knows of an environment.
type EnvironmentReport struct {
	ID        string
	Status    EnvironmentStatus // running, degraded, expired or gone
	Endpoint  string
	Serving   string // fleet ID; empty before the first Shift
	Pending   string // fleet ID that is prepared and not shifted to
	Instances int    // of the serving fleet
	Healthy   int
	ExpiresAt time.Time
	Reason    string // of a status that needs one, with the last lines of the log
}

// Platform is where images and environments live, for whoever opens it. Consumers name the
// parts that they need. Every method may be called again after a crash or a lost answer with
// the same IDs and tokens, and then completes what was begun. Removing a thing that does not
// exist is no error. Errors carry a Code: CodeInvalid, CodeNotFound, CodeFailed, CodeCorrupt.
type Platform interface {
	// Under returns the platform for changes under leases. Each change made through it, by
	// any method but Exec, carries their fences: once the platform has been shown a higher
	// token of one of the keys, it refuses the change with CodeLeaseLost, and nothing
	// changes. It remembers the tokens durably. Each platform documents how close to the
	// change it checks them last. Changes without fences are those that nobody competes for:
	// of things that no record names.
	Under(by ...Fence) Platform
	Images
	Fleets
	Environments
}

// Images bakes, publishes and removes images.
type Images interface {
	// Resolve returns the image that a bake starts from; empty for a directory. It returns
	// CodeInvalid for a kind that the platform does not have.
	Resolve(ctx context.Context, from ImageFrom) (image string, err error)
	// Bake makes an image.
	Bake(ctx context.Context, r BakeRequest) (BakedImage, error)
	// Abandon removes what a Bake left whose process died, except for an image that may still
	// become complete: the next Bake of its Inputs finishes that.
	Abandon(ctx context.Context, token string) error
	// Orphans lists what was begun and not finished: bakes with something left that Abandon
	// removes, by token, and half removed images that RemoveImage removes. Bakes that are
	// under way are among them.
	Orphans(ctx context.Context) (bakes, images []string, err error)
	// Images lists the images that exist.
	Images(ctx context.Context) ([]BakedImage, error)
	// CheckImage refuses a baked image that the platform can't make or publish:
	// CodeInvalid, with the argument and its value.
	CheckImage(r ImageDefinition) error
	// CheckPublication refuses what the platform can't publish: CodeInvalid, with the argument
	// and its value.
	CheckPublication(p Publication) error
	// CheckTargets refuses an image that Publish could not bring to the targets of a request,
	// or share as its publication says: CodeInvalid, with the target, its account and the key.
	// Without an image it is about one that is still to be baked with a key, and asks for
	// nothing. What the caller may not look at is no error.
	CheckTargets(ctx context.Context, r PublishRequest, key string) error
	// Publish copies and shares an image, and takes back what an earlier publication
	// did and this one does not. It returns the IDs by region, the image's own included,
	// once all of them can be launched. It changes no name.
	Publish(ctx context.Context, r PublishRequest) (copies map[string]string, err error)
	// Point lets a name lead to placed images, region by region. It returns CodeConflict for a
	// name that something else made, unless Adopt is set, and then it has changed nothing.
	Point(ctx context.Context, r PointRequest) error
	// Strays says of names that Point has let lead to images how they lead elsewhere by now: one
	// for each request, the zero Stray where nothing is wrong. What the caller may not read, and
	// a region that can't be asked beside the platform's own, counts as if nothing were wrong.
	Strays(ctx context.Context, pointed ...PointRequest) ([]Stray, error)
	// Unpoint removes a name. A name that is not there, or that something else made, is no
	// error.
	Unpoint(ctx context.Context, r UnpointRequest) error
	// RemoveImage removes an image with its copies. It returns CodeConflict for an image that
	// an instance, or something that launches instances or leads to it, uses; the error names
	// it. What can't be asked counts as in use, too.
	RemoveImage(ctx context.Context, id string) error
}

// Fleets brings up the fleets of environments and sends them traffic.
type Fleets interface {
	// Prepare brings up a fleet and waits until every instance is healthy. If it fails or is
	// cancelled, the fleet is removed, and what served before keeps serving.
	Prepare(ctx context.Context, r FleetRequest) (Fleet, error)
	// Check refuses an environment that the platform can't provide, before anything is
	// created: CodeInvalid, with the argument and its value.
	Check(e EnvironmentSpec) error
	// CheckLaunch refuses what can't be launched from an image, as an image of another
	// architecture than the type of the instances, which an empty name leaves to the platform:
	// CodeInvalid. An image that does not exist is no error.
	CheckLaunch(ctx context.Context, image, instanceType string, volume *Volume) error
	// Foresee looks at what the next deployment to a persistent environment meets, where it is
	// due. It returns in words what others have attached to the fleet that serves and goes on
	// with the next one, and refuses what a new environment can't be made in: CodeInvalid. Who
	// may not look sees nothing.
	Foresee(ctx context.Context, f Foresight) (carried string, err error)
	// CheckService refuses a service that the platform can't run: CodeInvalid, with the
	// argument and its value.
	CheckService(s Service) error
	// Shift sends the endpoint's traffic to the prepared fleet without failing a request,
	// drains the one before and removes it. If it fails or is cancelled, either what served
	// before keeps serving, or the fleet serves permanently: Describe says which.
	Shift(ctx context.Context, environment, fleet string, t Traffic) (EnvironmentReport, error)
	// Discard removes a prepared fleet that got no traffic. A new environment without another
	// fleet is removed with it.
	Discard(ctx context.Context, environment, fleet string) error
	// Resize changes the number of instances that serve, or how it follows the load, and waits
	// for health. If it is cancelled, the number may have changed.
	Resize(ctx context.Context, environment string, to Size) error
	// Ringing returns those of some alarms that go off now.
	Ringing(ctx context.Context, alarms []string) ([]string, error)
	// Trust sets the proxies whose forwarding headers the endpoint of a serving fleet keeps,
	// as addresses and networks; nil means DefaultTrustedProxies. It disturbs no request.
	Trust(ctx context.Context, environment string, proxies []string) error
}

// Environments looks at what serves, works in it, and ends it.
type Environments interface {
	// Extend sets when the environment expires; zero means never.
	Extend(ctx context.Context, environment string, at time.Time) error
	// Exec runs a command in one instance, or in each, and streams its output to log.
	Exec(ctx context.Context, environment, fleet string, c Command, log io.Writer) (exit int, err error)
	// LogCommand returns the shell line that, run by Exec, prints the last lines of what the
	// service in an instance has printed, and with follow also what it goes on to print.
	LogCommand(lines int, follow bool) string
	// Describe reports on the named environments in one call. It reports one that the
	// platform doesn't have as gone. With no IDs it reports all that exist, and as gone those of
	// which Destroy would still find something.
	Describe(ctx context.Context, ids ...string) (map[string]EnvironmentReport, error)
	// Destroy ends an environment with its data, and removes every trace of it.
	Destroy(ctx context.Context, environment string) error
}

// StepRequest asks a Runner for one step.
type StepRequest struct {
	Step     Step
	Run      string            // ID; with the step's name and the number of the try it names what a Worker is asked for
	Runner   RunnerKind        // where commands and loads run
	Checkout string            // directory of the work tree; empty for a run without a source
	Env      map[string]string // the PENSTOCK_ variables
	Secrets  Secrets
	Mask     []Secret // of the rest of the run, which no output may show either
	Endpoint string   // of the environment; empty without one
	Host     string   // for which requests to Endpoint are, where that has another; empty: that of Endpoint
	// Exec runs a command inside the run's environment; nil without one.
	Exec func(ctx context.Context, c Command, log io.Writer) (exit int, err error)
	// Before are the report files that existed before the run's first step; nil stands for
	// those that existed before this one.
	Before ReportFiles
	Log    io.Writer // gets whole lines
	Styles bool      // of which the output's may set colours; otherwise those are left out
}

// ReportFiles are the files of a work tree that a step's report names, by their path relative
// to its root. A file that is unchanged afterwards is no report of the run.
type ReportFiles map[string]FileStamp

// FileStamp shows whether a file was written: whether its time or its content has changed.
type FileStamp struct {
	Size     int64
	Modified time.Time
	Digest   string // of the content, as hex SHA-256; empty for a file that can't be read
}

// Runner executes steps. A step that fails is reported in the result, with an
// error of CodeFailed; cancellation ends everything that the step started.
type Runner interface {
	Run(ctx context.Context, r StepRequest) (StepResult, error)
	// Survey looks for the report files that are in a work tree before the first of the
	// steps. It is never nil.
	Survey(ctx context.Context, checkout string, steps []Step) (ReportFiles, error)
	// Check refuses an unknown kind of runner with CodeInvalid.
	Check(kind RunnerKind) error
}

// Work is a command for another machine.
type Work struct {
	Command                   // Dir is relative to Tree; a variable that is Tree is the copy's path there
	Token   string            // names the work: asked for again within minutes, what runs already is followed
	Tree    string            // a directory here: the command runs in a copy of it, and what it leaves there replaces the directory
	Files   map[string]string // by variable: files here, of which the command finds a copy at the variable
	Mask    []string          // what must not be in any log there
	Log     io.Writer         // gets whole lines of output, while the command runs
}

// ErrTimedOut is the error of work that was ended at its time-out. Its tree was brought back.
var ErrTimedOut = errors.New("timed out")

// StartVariable is the variable with the time at which works begin together, as RFC 3339 with
// nanoseconds.
const StartVariable = "PENSTOCK_START"

// Worker runs commands on machines of their own. It may be used concurrently.
type Worker interface {
	// Check returns why no command can run there: CodeInvalid, with the remedy.
	Check() error
	// System returns the system whose programs the machines run, such as "linux" and "amd64".
	System(ctx context.Context) (system, arch string, err error)
	// Work runs commands, each on a machine of its own, and returns their exit statuses. A
	// command that fails is no error. Several commands begin only once all can; StartVariable
	// says when, and an error ends them all. Cancellation ends everything that was started.
	Work(ctx context.Context, works ...Work) (exits []int, err error)
}

// CheckoutRequest asks for a work tree.
type CheckoutRequest struct {
	Repository, Commit string
	Dir                string // does not exist yet
	Travels            bool   // it is sent to other machines, so that its size is bounded: of a long history it has the commits only
}

// Sources returns work trees of revisions.
type Sources interface {
	// Checkout makes a work tree of a commit, a repository of its own.
	Checkout(ctx context.Context, r CheckoutRequest) error
	// Describe returns author, time and message of a commit.
	Describe(ctx context.Context, repository, commit string) (Revision, error)
	// Compare returns what lies between two commits, with the components of files if paths
	// are given. It returns CodeNotFound if a commit no longer exists anywhere.
	Compare(ctx context.Context, repository, from, to string, paths *Paths) (Comparison, error)
}

// Artifacts stores distributions by the digest of their content.
type Artifacts interface {
	// Put stores the file, or a directory as a gzipped tar, and returns its record.
	Put(ctx context.Context, path string) (Artifact, error)
	// Get returns the path of a verified copy on this machine. It returns CodeCorrupt if the
	// content is not what was recorded, CodeNotFound if it is gone.
	Get(ctx context.Context, a Artifact) (path string, err error)
	// URL says where the content is, for programs on machines that may read it.
	URL(a Artifact) string
	Remove(ctx context.Context, digest string) error
	List(ctx context.Context) ([]string, error)
}

// Logs keeps the logs of runs.
type Logs interface {
	// Create opens the log of a run for appending.
	Create(ctx context.Context, pipeline, run string) (io.WriteCloser, error)
	// Open reads the log, from any offset on, to where it ends now at the latest; CodeNotFound
	// where it was collected. What is not read costs next to nothing, wherever the log is.
	Open(ctx context.Context, pipeline, run string) (io.ReadSeekCloser, error)
	// Location says where the log is: a path or a URL.
	Location(pipeline, run string) string
	Remove(ctx context.Context, pipeline, run string) error
}
