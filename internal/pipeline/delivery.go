// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

// Delivers reports whether a stage brings builds to people: its environment stays, or it
// takes the right to deploy.
func (s Stage) Delivers() bool { return s.Persistent() || s.RequiresDeployRight() }

// DeliveryStages returns the stages that deliver, in order. The last one is the default where
// no stage is named: production, in most pipelines.
func (s *State) DeliveryStages() (all []Stage) {
	for _, stage := range s.StagesInOrder() {
		if stage.Delivers() {
			all = append(all, stage)
		}
	}
	return all
}

// Delivered returns the last stage that delivers and has a build, and the build's ID.
func (s *State) Delivered() (stage Stage, build string, ok bool) {
	for _, d := range s.DeliveryStages() {
		if b := s.Current[d.Name].Build; b != "" {
			stage, build, ok = d, b, true
		}
	}
	return stage, build, ok
}
