// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import "fmt"

// Stray is how something else has changed a name: it does not lead where a channel has let it
// lead. The zero Stray is none.
type Stray struct {
	Region  string `json:"region"`            // in which it is so; others may be like it
	Image   string `json:"image,omitempty"`   // that it leads to there; empty: it is gone, or damaged
	Foreign bool   `json:"foreign,omitempty"` // something else has made it again, so that it is not the channel's any more
}

// String says in words what has become of the name.
func (s Stray) String() string {
	switch {
	case s.Foreign:
		return fmt.Sprintf("something else has replaced it in %s", s.Region)
	case s.Image == "":
		return fmt.Sprintf("something else has removed or damaged it in %s", s.Region)
	}
	return fmt.Sprintf("something else has let it lead to %s in %s", s.Image, s.Region)
}

// taken is the error for a name that is something else's by now.
func (s Stray) taken(op, name string) error {
	return Errorf(CodeConflict, op, "channel %q is not the publisher's any more: %s", name, s).
		WithHint("Choose another name for the channel, remove what has the name, or set adopt = true to take it over.")
}

// Published lists the names that channels have let lead to images, each as Point was asked for
// it, by publisher. Those that are on their way, or were left, are not among them.
func Published(s *State) map[string]PointRequest {
	all := map[string]PointRequest{}
	for publisher, c := range s.Channels {
		if c.Name != "" && c.Image != "" && c.Moving == nil && !c.Left {
			all[publisher] = PointRequest{Name: c.Name, Images: c.Images, Labels: Labels{Pipeline: c.Pipeline, Stage: c.Stage, Build: c.Build}}
		}
	}
	return all
}
