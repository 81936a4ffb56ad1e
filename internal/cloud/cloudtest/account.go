// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// account is what the proxy knows of an account beside what moto does.
type account struct {
	removal sync.RWMutex // of images: what asks for one in two requests holds it

	cloud  *Cloud
	server *server
	dir    string
	ctx    context.Context // of the account's processes
	cancel context.CancelFunc

	tables sync.RWMutex // held for writing while a DynamoDB transaction runs

	mu           sync.Mutex
	launches     map[string]launch          // by client token
	instances    map[string]*instance       // by ID
	images       map[string]image           // by ID
	recipes      []recipe                   // of Image Builder
	reports      map[string]*report         // on images in other accounts, by ID
	reported     int                        // reports so far
	unreported   string                     // why reports end as failed
	copyPace     map[string]time.Duration   // of copies that take other than the pace says, by region
	copyFailing  map[string]string          // why copies end as failed, by region
	commands     map[string]*command        // by ID, then instance
	templates    map[string]template        // launch templates by ID and by name
	unversioned  map[string]bool            // versions of launch templates that were deleted, as "ID number"
	groups       map[string]template        // of Auto Scaling groups by name
	members      map[string][]string        // instances of Auto Scaling groups by name
	ending       map[string]time.Time       // until when groups that are deleted are shown, by name
	activities   []Activity                 // of every group, newest first
	targets      map[string]target          // target groups by ARN
	balancers    map[string]*balancer       // by ARN
	alarms       map[string]cbor.Map        // by name
	alarmTags    map[string]cbor.List       // by name
	attached     map[string]*attached       // by name of the Auto Scaling group
	groupTargets map[string][]string        // ARNs of target groups, by name of the Auto Scaling group
	failing      string                     // why images that are made end as failed
	stacks       map[string]string          // templates, by stack ID
	spoiled      map[string]string          // resources of stacks that fail, and why
	rolledBack   map[string]rollback        // stacks, by their IDs
	keys         map[string]string          // of KMS, by snapshot
	snapshots    map[string]map[string]bool // accounts that may use them, by snapshot
	copying      sync.Mutex
	schedules    map[string]schedule  // by name
	scheduling   sync.Mutex           // held while the group of launchers' schedules is made
	scheduled    map[string]bool      // whether it is, by region
	listeners    map[string]*listener // by ARN
	projects     map[string]Project   // of CodeBuild, by name
	builds       map[string]*build    // by ID
	started      map[string]started   // builds by their idempotency token
	made         map[string]time.Time // when what was made is seen, by ID
	repeats      map[string]answer    // to requests of load balancers that made something, by their parameters

	quotas       map[string]float64         // by their codes
	sessions     map[string]*session        // by their tokens
	template     string                     // whose roles the account has; empty is the bootstrap's
	given        map[string]string          // what that was given
	stack        *roles                     // evaluated from them; nil until it is needed
	keyPolicies  map[string]iamtest.Policy  // of keys, by ARN
	grantKnown   map[string]time.Time       // when KMS knows a grant, by ID
	policies     map[string]iamtest.Policy  // managed ones, by ARN
	organization iamtest.Policy             // that bounds its roles; nil for none
	defaultKey   string                     // of EBS; empty is that of AWS
	lacking      map[string]string          // why subnets take no instances: error codes, by subnet
	closed       map[string]bool            // regions that are not enabled
	lender       string                     // account that shares its subnets with this one; empty for none
	certificates map[string]tls.Certificate // of load balancers, by ARN
}

type launch struct {
	digest string // of the request
	answer answer
}

// add makes the proxy's side of an account.
func (s *server) add(c *Cloud) {
	ctx, cancel := context.WithCancel(context.Background())
	a := &account{
		cloud: c, server: s, dir: filepath.Join(s.dir, c.ID), ctx: ctx, cancel: cancel,
		launches: map[string]launch{}, instances: map[string]*instance{}, images: map[string]image{}, commands: map[string]*command{}, reports: map[string]*report{}, copyPace: map[string]time.Duration{}, copyFailing: map[string]string{},
		templates: map[string]template{}, groups: map[string]template{}, members: map[string][]string{}, ending: map[string]time.Time{},
		targets: map[string]target{}, balancers: map[string]*balancer{}, alarms: map[string]cbor.Map{}, alarmTags: map[string]cbor.List{}, attached: map[string]*attached{}, groupTargets: map[string][]string{}, stacks: map[string]string{}, spoiled: map[string]string{}, rolledBack: map[string]rollback{}, keys: map[string]string{}, schedules: map[string]schedule{}, scheduled: map[string]bool{}, snapshots: map[string]map[string]bool{}, listeners: map[string]*listener{},
		projects: map[string]Project{}, builds: map[string]*build{}, started: map[string]started{}, made: map[string]time.Time{}, repeats: map[string]answer{}, sessions: map[string]*session{}, quotas: map[string]float64{}, given: map[string]string{}, keyPolicies: map[string]iamtest.Policy{}, policies: map[string]iamtest.Policy{}, certificates: map[string]tls.Certificate{}, closed: map[string]bool{}, grantKnown: map[string]time.Time{}, unversioned: map[string]bool{},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[c.ID] = a
}

// remove ends an account with everything that runs in it.
func (s *server) remove(c *Cloud) {
	s.mu.Lock()
	a := s.accounts[c.ID]
	delete(s.accounts, c.ID)
	s.mu.Unlock()
	if a != nil {
		a.end()
	}
}

func (a *account) end() {
	a.cancel()
	a.mu.Lock()
	var waits []func()
	for _, i := range a.instances {
		waits = append(waits, i.wait)
	}
	for _, b := range a.builds {
		waits = append(waits, b.wait)
	}
	for _, l := range a.listeners {
		l.close()
	}
	a.mu.Unlock()
	for _, wait := range waits {
		wait()
	}
	_ = os.RemoveAll(a.dir)
}

// Running returns the IDs of the instances that exist in the account, and have not
// been terminated.
func (c *Cloud) Running() []string {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	var ids []string
	for id, i := range a.instances {
		if !i.terminated {
			ids = append(ids, id)
		}
	}
	return ids
}

// Since returns the time from when on an instance is running or an image available.
func (c *Cloud) Since(id string) time.Time {
	a := c.account()
	a.mu.Lock()
	i, made := a.instances[id], a.images[id]
	a.mu.Unlock()
	if i == nil {
		return made.available
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.running
}

// Root returns the directory that stands for the root of an instance's file system.
func (c *Cloud) Root(instance string) string {
	return filepath.Join(c.account().dir, "instances", instance)
}

func (c *Cloud) account() *account {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.server.accounts[c.ID]
}
