// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

// Machine says what the machines of instances are like beside their type, on a platform that
// has machines of its own.
type Machine struct {
	Volume *Volume `json:"volume,omitempty"`             // their root volume; nil: as the image has it
	Hops   int     `json:"metadata_hop_limit,omitempty"` // of answers of the metadata service; 0 means the platform's choice
	Spot   bool    `json:"spot,omitempty"`               // of spare capacity, which ends when the platform needs it
}

// Plain reports whether a machine is as the platform has it.
func (m Machine) Plain() bool { return m == Machine{} }

// Volume is a root volume. What is zero is as the image has it.
type Volume struct {
	Size       int    `json:"size,omitempty"`       // GiB
	Type       string `json:"type,omitempty"`       // as the platform calls it
	IOPS       int    `json:"iops,omitempty"`       // operations a second that are provisioned
	Throughput int    `json:"throughput,omitempty"` // MiB a second that are provisioned
}
