// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tfstate is the part of Terraform's state, in its own format 4, that has to be known.
type tfstate struct {
	Version   int               `json:"version"`
	Serial    int64             `json:"serial"`
	Lineage   string            `json:"lineage"`
	Outputs   map[string]output `json:"outputs"`
	Resources []stateResource   `json:"resources"`
}

type stateResource struct {
	Module    string `json:"module"`
	Mode      string `json:"mode"`
	Type      string `json:"type"`
	Name      string `json:"name"`
	Provider  string `json:"provider"`
	Instances []struct {
		Key        any    `json:"index_key"`
		Deposed    string `json:"deposed"`
		Attributes struct {
			ID any `json:"id"`
		} `json:"attributes"`
	} `json:"instances"`
}

// output is one output of a module in Terraform's state.
type output struct {
	Value     json.RawMessage `json:"value"`
	Sensitive bool            `json:"sensitive,omitempty"`
}

// stateVersion is the version of Terraform's format of states: 4 since Terraform 0.12.
const stateVersion = 4

// readState reads a state. It is not ok for a part of one, which a killed process left.
func readState(data []byte) (s tfstate, ok bool) {
	if len(data) == 0 || json.Unmarshal(data, &s) != nil || s.Version != stateVersion || s.Lineage == "" {
		return tfstate{}, false
	}
	return s, true
}

// resources returns the IDs of the managed resources by their addresses.
func (s tfstate) resources() map[string]string {
	all := map[string]string{}
	for _, r := range s.Resources {
		if r.Mode != "managed" {
			continue
		}
		for _, i := range r.Instances {
			address := r.Type + "." + r.Name
			if r.Module != "" {
				address = r.Module + "." + address
			}
			switch key := i.Key.(type) {
			case string:
				address += fmt.Sprintf("[%q]", key)
			case float64:
				address += fmt.Sprintf("[%d]", int64(key))
			}
			if i.Deposed != "" {
				address += " (deposed " + i.Deposed + ")"
			}
			all[address] = fmt.Sprint(i.Attributes.ID)
		}
	}
	return all
}

// provider returns the address of the resource's provider; "" for one that is part of
// Terraform.
func (r stateResource) provider() string {
	_, quoted, _ := strings.Cut(r.Provider, `provider["`) // of a module: module.a.provider["…"]
	address, _, _ := strings.Cut(quoted, `"`)
	if strings.HasPrefix(address, "terraform.io/builtin/") {
		return ""
	}
	return address
}

// newer reports whether a state is a later one than another of the same history.
func (s tfstate) newer(than []byte) bool {
	other, ok := readState(than)
	return !ok || s.Lineage == other.Lineage && s.Serial > other.Serial
}

// lacking returns the addresses of resources that are in one state and not in another.
func lacking(in, other tfstate) []string {
	others := other.resources()
	all := in.resources()
	maps.DeleteFunc(all, func(address, id string) bool { has, ok := others[address]; return ok && has == id })
	return slices.Sorted(maps.Keys(all))
}
