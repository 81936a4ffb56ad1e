// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// site is all that is kept of one environment. It may have secrets.
type site struct {
	Fences  map[string]int64  `json:"fences,omitempty"`  // the highest token that each key has shown
	Writer  string            `json:"writer,omitempty"`  // the change that wrote it last: a random name
	State   []byte            `json:"state,omitempty"`   // Terraform's own; empty before the first resource
	Applied *inputs           `json:"applied,omitempty"` // what was applied last, or is being applied
	Serving *inputs           `json:"serving,omitempty"`
	Kept    map[string]string `json:"kept,omitempty"`    // the resources when it began to serve: IDs by address
	Outputs map[string]output `json:"outputs,omitempty"` // of the last apply that ended well; nil before it
}

// inputs are what a module is applied with.
type inputs struct {
	Package   string                     `json:"package"` // digest
	Fleet     string                     `json:"fleet,omitempty"`
	Program   string                     `json:"program,omitempty"`
	Variables map[string]json.RawMessage `json:"variables,omitempty"`
	Secrets   map[string]json.RawMessage `json:"secrets,omitempty"`
	Facts     pipeline.ModuleFacts       `json:"facts"`
	Target    *pipeline.Target           `json:"target,omitempty"` // where the environment is; nil: where the ledger is
	Stateful  []string                   `json:"stateful,omitempty"`
	Timeout   time.Duration              `json:"timeout,omitempty"`

	lent []string // secrets that are not from the request: the module may lack them
}

// secrets returns what no log may show. A text is masked with and without its quotes.
func (in *inputs) secrets() []pipeline.Secret {
	var all []pipeline.Secret
	for _, value := range in.Secrets {
		for _, text := range texts(value) {
			all = append(all, pipeline.Secret(text))
		}
	}
	return all
}

// secrets returns what no log of the environment's module may show: what it was applied with,
// and the sensitive outputs that it had.
func (s site) secrets() []pipeline.Secret {
	var all []pipeline.Secret
	for _, in := range []*inputs{s.Applied, s.Serving} {
		if in != nil {
			all = append(all, in.secrets()...)
		}
	}
	for _, out := range s.Outputs {
		if out.Sensitive {
			for _, text := range texts(out.Value) {
				all = append(all, pipeline.Secret(text))
			}
		}
	}
	return all
}

// texts returns the strings in a JSON value.
func texts(value json.RawMessage) []string {
	var v any
	if json.Unmarshal(value, &v) != nil {
		return []string{string(value)}
	}
	var all []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			all = append(all, v)
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(v)
	return all
}

// spot is where the objects of an environment are in the store. Those of stages are apart from
// those of people's environments, so that a platform can keep production's passwords from who
// may only launch environments.
type spot string

const (
	ofStages      = "stages/"
	ofPeople      = "environments/"
	siteObject    = "/site.json"
	packageObject = "/packages/"
)

// spotOf returns where an environment is that a request says all of.
func spotOf(environment string, facts pipeline.ModuleFacts) spot {
	if facts.Stage != "" {
		return spot(ofStages + escape(environment))
	}
	return spot(ofPeople + escape(environment))
}

func (s spot) site() string { return string(s) + siteObject }

func (s spot) packages() string { return string(s) + packageObject }

func (s spot) pack(digest string) string { return s.packages() + strings.ReplaceAll(digest, ":", "-") }

// keptSite is the site of an environment as it was read, to be changed under leases.
type keptSite struct {
	site
	environment string
	spot        spot
	store       Store
	fences      []pipeline.Fence
	writer      string // of the changes that are made now
	version     string // "" before it exists
}

// load reads the site at a spot. One that there is none of is empty, with version "".
func load(ctx context.Context, store Store, at spot) (site, string, error) {
	var s site
	data, version, err := store.Get(ctx, at.site())
	if pipeline.IsNotFound(err) {
		return s, "", nil
	}
	if err != nil {
		return s, "", err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, "", pipeline.Errorf(pipeline.CodeCorrupt, "read state of module", "%s is damaged: %w", at.site(), err)
	}
	return s, version, nil
}

// find reads the site of an environment of which only the ID is known.
func find(ctx context.Context, store Store, environment string) (site, string, spot, error) {
	for _, at := range []spot{spot(ofPeople + escape(environment)), spot(ofStages + escape(environment))} {
		s, version, err := load(ctx, store, at)
		if err != nil || version != "" {
			return s, version, at, err
		}
	}
	return site{}, "", spotOf(environment, pipeline.ModuleFacts{}), nil
}

// admit refuses the change of one who was displaced, and notes the tokens of who was not.
func (k *keptSite) admit(op string) error {
	for _, f := range k.fences {
		if newest := k.Fences[f.Key]; f.Token < newest {
			return pipeline.LeaseLost(op, f, newest)
		}
	}
	if k.Fences == nil {
		k.Fences = map[string]int64{}
	}
	for _, f := range k.fences {
		k.Fences[f.Key] = f.Token
	}
	return nil
}

// reload reads the site, and checks that whoever changes it may.
func (k *keptSite) reload(ctx context.Context, op string) error {
	var err error
	if k.spot == "" {
		k.site, k.version, k.spot, err = find(ctx, k.store, k.environment)
	} else {
		k.site, k.version, err = load(ctx, k.store, k.spot)
	}
	if err != nil {
		return err
	}
	return k.admit(op)
}

// put stores the site in place of a version, and returns the new one.
func (k *keptSite) put(ctx context.Context, version string) (string, error) {
	data, err := json.Marshal(k.site)
	if err != nil {
		return "", err
	}
	return k.store.Put(ctx, k.spot.site(), data, version)
}

// showTries is how often the tokens are shown while another process stores its changes.
const showTries = 10

// show stores the tokens of the leases in a site that there is, before its change. Its writer
// stays who it was: what that one left on this machine is still the newest there is.
func (k *keptSite) show(ctx context.Context, op string) error {
	for tries := 1; k.version != "" && len(k.fences) > 0; tries++ {
		version, err := k.put(ctx, k.version)
		if err == nil {
			k.version = version
			return nil
		}
		if pipeline.CodeOf(err) != pipeline.CodeConflict || tries == showTries {
			return pipeline.During(op, err)
		}
		if err := k.reload(ctx, op); err != nil {
			return err
		}
	}
	return nil
}

// save stores the site. If somebody else has changed it meanwhile, that is CodeLeaseLost when
// they had a higher token, and CodeConflict otherwise.
func (k *keptSite) save(ctx context.Context, op string) error {
	if err := k.admit(op); err != nil {
		return err
	}
	k.Writer = k.writer
	version, err := k.put(ctx, k.version)
	if pipeline.CodeOf(err) == pipeline.CodeConflict {
		present, at, loadErr := load(ctx, k.store, k.spot)
		if loadErr != nil {
			return loadErr
		}
		for _, f := range k.fences {
			if newest := present.Fences[f.Key]; f.Token < newest {
				return pipeline.LeaseLost(op, f, newest)
			}
		}
		if present.Writer == k.writer { // an answer was lost, or a lease of another key was shown
			for key, token := range present.Fences {
				k.Fences[key] = max(token, k.Fences[key])
			}
			version, err = k.put(ctx, at)
		}
	}
	if err != nil {
		return pipeline.During(op, err)
	}
	k.version = version
	return nil
}
