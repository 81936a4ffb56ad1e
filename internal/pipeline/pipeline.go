// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"time"
)

// DefaultRetainHistory is how long the history of a removed pipeline is kept if the pipeline
// does not say: a destroy that was a mistake is found out within a month.
const DefaultRetainHistory = 30 * 24 * time.Hour

// DefaultKeep is the number of builds that a pipeline retains when Keep is zero.
// Fifty is a few weeks of a busy team's commits.
const DefaultKeep = 50

// Pipeline is one application's way from commit to production.
type Pipeline struct {
	ID      string  `json:"id"` // random, chosen when it is first defined
	Name    string  `json:"name"`
	Service Service `json:"service"`
	Module  *Module `json:"module,omitempty"` // that makes the environments' infrastructure; nil for none
	Scale   Scale   `json:"scale"`
	Keep    int     `json:"keep"`  // builds retained besides those in use
	Owner   string  `json:"owner"` // the configuration that defined it, to distinguish two
	Made    Made    `json:"made,omitzero"`

	// RetainHistory is how long the history is kept after the pipeline is removed; 0 removes
	// it with the pipeline.
	RetainHistory time.Duration `json:"retain_history,omitempty"`

	Authorization *Authorization `json:"authorize,omitempty"`
	SelfService   SelfService    `json:"self_service,omitzero"`
	Notify        []NotifyTarget `json:"notify,omitempty"`
}

// SelfService bounds self-service environments. Zero bounds nothing.
type SelfService struct {
	MaxTTL      time.Duration `json:"max_ttl,omitempty"`       // from the launch, or from when it is extended
	MaxPerOwner int           `json:"max_per_owner,omitempty"` // that one person has at a time
}

// Service says how the application is installed, started and checked, on every
// platform alike. Each command runs in a shell in the root of the instance.
type Service struct {
	Install string `json:"install,omitempty"` // PENSTOCK_ARTIFACT names the artifact's file
	Start   string `json:"start,omitempty"`   // PORT is the port to listen on
	Migrate string `json:"migrate,omitempty"` // once per deployment, before traffic
	Seed    string `json:"seed,omitempty"`    // once per new environment that is not persistent
	// Backup runs in a persistent environment before Migrate, but for its first deployment.
	// What it prints last is the backup's name.
	Backup  string `json:"backup,omitempty"`
	Restore string `json:"restore,omitempty"` // restores $PENSTOCK_BACKUP, with a rollback that asks for it
	Copy    string `json:"copy,omitempty"`    // fills a new environment from another, instead of the platform's own way
	Mask    string `json:"mask,omitempty"`    // after the data of another environment was copied, before anything else sees it
	Finish  string `json:"finish,omitempty"`  // once per deployment, when the build before can't be taken again any more
	// FinishAfter is how long after a deployment Finish runs at the earliest.
	FinishAfter time.Duration `json:"finish_after,omitempty"`
	// HookTimeout bounds each of these; 0 means DefaultStepTimeout.
	HookTimeout time.Duration `json:"hook_timeout,omitempty"`
	Port        int           `json:"port,omitempty"` // if the platform doesn't choose one
	// User is the user of the machine that the service runs as, with the hooks for its data and
	// the commands in an environment; empty means the platform's choice.
	User string `json:"user,omitempty"`
	// Protocol is the protocol of requests to the service: empty for HTTP/1.1, or
	// ProtocolH2C.
	Protocol string `json:"protocol,omitempty"`
	// ReadOnlyRoot promises that the service writes to no file of its image. Instances may
	// then share the image.
	ReadOnlyRoot bool         `json:"read_only_root,omitempty"`
	HealthCheck  *HealthCheck `json:"health_check,omitempty"`
}

// OnInstances returns the first argument of the service that runs on instances; empty for none.
func (v Service) OnInstances() string {
	for _, of := range []struct{ argument, command string }{
		{"install", v.Install}, {"start", v.Start}, {"migrate", v.Migrate}, {"seed", v.Seed}, {"backup", v.Backup},
		{"restore", v.Restore}, {"copy", v.Copy}, {"mask", v.Mask}, {"finish", v.Finish},
	} {
		if of.command != "" {
			return of.argument
		}
	}
	return ""
}

// ProtocolH2C is HTTP/2 without TLS and with prior knowledge, as gRPC needs it.
const ProtocolH2C = "h2c"

// HealthCheck says when an instance is healthy: an HTTP GET of Path answers with
// Status. With no HealthCheck an instance is healthy when it accepts a connection.
type HealthCheck struct {
	Path         string        `json:"path"`
	Status       int           `json:"status"`        // 0 means any 2xx
	Interval     time.Duration `json:"interval"`      // 0 means DefaultHealthInterval
	Timeout      time.Duration `json:"timeout"`       // of one check; 0 means DefaultHealthTimeout
	StartTimeout time.Duration `json:"start_timeout"` // until healthy for the first time; 0 means DefaultStartTimeout
}

// Defaults of a health check. A local service answers within milliseconds, so a
// short interval costs nothing and lets environments start quickly; the start
// time-out leaves room for a JVM or a cold cache.
const (
	DefaultHealthInterval = 2 * time.Second
	DefaultHealthTimeout  = 2 * time.Second
	DefaultStartTimeout   = 60 * time.Second
	DefaultDrainTimeout   = 30 * time.Second
)

// Scale is production's size.
type Scale struct {
	Instances    int    `json:"instances"`
	InstanceType string `json:"instance_type,omitempty"` // used by platforms that have types
}

// Retained returns the number of builds to retain.
func (p Pipeline) Retained() int {
	if p.Keep > 0 {
		return p.Keep
	}
	return DefaultKeep
}
