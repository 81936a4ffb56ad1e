// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// EnvironmentStatus is the status of an environment.
type EnvironmentStatus string

// The statuses of an environment.
const (
	EnvLaunching EnvironmentStatus = "launching" // recorded, being created
	EnvRunning   EnvironmentStatus = "running"
	EnvDegraded  EnvironmentStatus = "degraded" // some instances are not healthy
	EnvKept      EnvironmentStatus = "kept"     // of a failed run, kept for a look
	EnvExpired   EnvironmentStatus = "expired"  // ended at its TTL
	EnvGone      EnvironmentStatus = "gone"     // the platform no longer has it
	EnvEnding    EnvironmentStatus = "ending"   // recorded, being destroyed
)

// EnvironmentPurpose says what an environment is for.
type EnvironmentPurpose string

// The purposes.
const (
	ForRun     EnvironmentPurpose = "run"          // ends with its run
	ForStage   EnvironmentPurpose = "stage"        // persistent: serves the stage's build
	ForPerson  EnvironmentPurpose = "self-service" // a person's own, with a TTL
	ForInquiry EnvironmentPurpose = "exploratory"  // until the stage's build is decided
)

// Environment is running instances of an image behind one stable endpoint.
type Environment struct {
	ID         string             `json:"id"`
	Pipeline   string             `json:"pipeline"`
	Name       string             `json:"name"` // the stage's name, or the person's choice
	Purpose    EnvironmentPurpose `json:"purpose"`
	Stage      string             `json:"stage,omitempty"`
	Target     Target             `json:"target,omitzero"` // where it is
	Owner      string             `json:"owner,omitempty"`
	Configured string             `json:"configured,omitempty"` // the configuration that made it
	Build      string             `json:"build,omitempty"`
	Image      string             `json:"image,omitempty"`
	Run        string             `json:"run,omitempty"`
	Fleet      string             `json:"fleet,omitempty"`  // the one that serves
	Digest     string             `json:"digest,omitempty"` // definition digest that it was deployed with
	Spec       EnvironmentSpec    `json:"spec"`
	Instances  int                `json:"instances"` // wanted; 0 while that is being changed
	Healthy    int                `json:"-"`         // of the instances, as the platform says when it is asked; never recorded
	Status     EnvironmentStatus  `json:"status"`
	Endpoint   string             `json:"endpoint,omitempty"`
	Module     *EnvironmentModule `json:"module,omitempty" shape:"environment_module"` // that makes its infrastructure; nil for none
	Reason     string             `json:"reason,omitempty"`                            // of a status that needs one
	CreatedAt  time.Time          `json:"created_at"`
	TTL        time.Duration      `json:"ttl,omitempty"`
	ExpiresAt  time.Time          `json:"expires_at,omitzero"`
	Made       Made               `json:"made,omitzero"`
}

// Alive reports whether the environment exists or may come to exist.
func (e Environment) Alive() bool { return e.Status != EnvExpired && e.Status != EnvGone }

// Serves reports whether the environment answers at its endpoint.
func (e Environment) Serves() bool {
	return e.Status == EnvRunning || e.Status == EnvDegraded || e.Status == EnvKept
}

// IsModule reports whether a module is the environment, so that no platform has anything of
// it.
func (e Environment) IsModule() bool { return e.Module != nil && e.Module.Instead }

// Image is what a bake yields.
type Image struct {
	ID        string            `json:"id"`
	Pipeline  string            `json:"pipeline"`
	Name      string            `json:"name"`             // of the baked image or of the stage that baked it
	Key       string            `json:"key"`              // digest of the inputs: the same key yields the same image
	Parent    string            `json:"parent,omitempty"` // the image that it was baked from
	Build     string            `json:"build,omitempty"`  // of an application image
	Run       string            `json:"run,omitempty"`
	Commit    string            `json:"commit,omitempty"`
	Size      int64             `json:"size"` // bytes
	Order     int64             `json:"order"`
	Published string            `json:"published,omitempty"`                     // digest of its publication
	Copies    map[string]string `json:"copies,omitempty"`                        // IDs by region, its own included
	Packages  *Artifact         `json:"packages,omitempty" shape:"package_list"` // the artifact that lists its packages; absent if they are not known
	CreatedAt time.Time         `json:"created_at"`
}

// ImageDefinition is the definition of a baked image.
type ImageDefinition struct {
	ID       string       `json:"id"`
	Pipeline string       `json:"pipeline"`
	Name     string       `json:"name"`
	From     ImageFrom    `json:"from"`
	Source   SourceRef    `json:"source"`
	Steps    []Step       `json:"steps,omitempty"`
	Base     string       `json:"base,omitempty"`    // the image that From resolved to; empty for a directory
	Follow   bool         `json:"follow,omitempty"`  // bake again when From resolves to another image
	Cleanup  []string     `json:"cleanup,omitempty"` // shell lines before the image is taken
	KMSKey   string       `json:"kms_key,omitempty"` // that encrypts it; empty: the platform's own
	Profile  string       `json:"instance_profile,omitempty"`
	Groups   []string     `json:"security_groups,omitempty"` // of the machine that bakes it
	Publish  *Publication `json:"publish,omitempty"`
	Builder  string       `json:"instance_type,omitempty"` // type of the instance that bakes it; empty: the platform's own
	Volume   *Volume      `json:"volume,omitempty"`        // of that instance, and so of the image
	Keep     int          `json:"keep"`                    // older images retained besides those in use
	Image    string       `json:"image,omitempty"`
	Baked    string       `json:"baked,omitempty"` // key of the inputs that yielded Image
	Run      string       `json:"run,omitempty"`   // that baked it
	Applied  bool         `json:"applied"`
	Owner    string       `json:"owner"`
	Made     Made         `json:"made,omitzero"`
}

// ImageFrom says what a bake starts from. Exactly one of the fields is set.
type ImageFrom struct {
	Directory    string       `json:"directory,omitempty"` // of the source
	Image        string       `json:"image,omitempty"`     // another image of the pipeline
	AMI          string       `json:"ami,omitempty"`
	SSMParameter string       `json:"ssm_parameter,omitempty"`
	Filter       *ImageFilter `json:"filter,omitempty"`
}

// ImageFilter selects the newest image of the given owners whose name matches.
type ImageFilter struct {
	Name         string   `json:"name"` // with * and ?
	Owners       []string `json:"owners"`
	Architecture string   `json:"architecture,omitempty"`
}

// Key returns the digest of a bake's inputs. A bake with the same key yields the existing
// image.
func (r ImageDefinition) Key() string {
	return "k-" + hashJSON(struct {
		From    ImageFrom
		Base    string `json:",omitempty"`
		Digest  string
		Steps   []Step
		Cleanup []string `json:",omitempty"`
		KMSKey  string   `json:",omitempty"`
		Volume  *Volume  `json:",omitempty"`
	}{r.From, r.Base, r.Source.Digest, r.Steps, r.Cleanup, r.KMSKey, r.Volume})[:16]
}

// Publication says where and to whom an image is given. A change of it causes no new bake.
type Publication struct {
	Regions        []string          `json:"regions,omitempty"`  // that get a copy
	KMSKeys        map[string]string `json:"kms_keys,omitempty"` // of the copies, by region
	Accounts       []string          `json:"accounts,omitempty"` // that may launch it
	Organizations  []string          `json:"organizations,omitempty"`
	Units          []string          `json:"organizational_units,omitempty"`
	Parameter      string            `json:"ssm_parameter,omitempty"` // that holds its ID, in each region
	DeprecateAfter time.Duration     `json:"deprecate_after,omitempty"`
	Protected      bool              `json:"deregistration_protection,omitempty"`
	KeepShared     bool              `json:"keep_shared,omitempty"` // not removed while others may launch it
}

// Digest tells publications apart; empty for none.
func (p *Publication) Digest() string {
	if p == nil {
		return ""
	}
	return hashJSON(p)[:16]
}

// Shared reports whether others may launch the image.
func (p *Publication) Shared() bool {
	return p != nil && len(p.Accounts)+len(p.Organizations)+len(p.Units) > 0
}

// Describe says in words what the environment is: for messages.
func (e Environment) Describe() string {
	if e.Purpose == ForPerson {
		return fmt.Sprintf("self-service environment %q", e.Name)
	}
	return fmt.Sprintf("environment %s of stage %q", e.ID, e.Stage)
}

// ImagesInOrder returns the definitions of baked images, by name.
func ImagesInOrder(s *State) []ImageDefinition {
	return slices.SortedFunc(maps.Values(s.ImageDefinitions), func(a, b ImageDefinition) int { return strings.Compare(a.Name, b.Name) })
}

// EnvironmentsInOrder returns the environments, the oldest first.
func (s *State) EnvironmentsInOrder() []Environment {
	return slices.SortedFunc(maps.Values(s.Environments), func(a, b Environment) int { return strings.Compare(a.ID, b.ID) })
}
