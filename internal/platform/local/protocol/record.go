// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The files of an environment's and of a fleet's directory.
const (
	RecordFile     = "environment.json"
	LockFile       = "lock"
	SuperviseLock  = "supervisor.lock"
	SuperviseLog   = "supervisor.log"
	ControlSocket  = "control.sock"
	DataDir        = "data"
	fleetFile      = "fleet.json"
	InstalledDir   = "installed"
	InstanceLog    = "log"
	InstanceRoot   = "root"
	InstanceRecord = "process.json"
	InstanceLock   = "process.lock" // held while anything of the instance lives
)

// Record is what is kept of an environment. While a supervisor lives it is the only
// one to write it; otherwise the holder of the environment's lock is.
type Record struct {
	ID        string    `json:"id"`
	Address   string    `json:"address,omitempty"` // of the endpoint; set with Port
	Port      int       `json:"port,omitempty"`    // of the endpoint; 0 until the first shift
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Serving   string    `json:"serving,omitempty"`   // fleet ID
	Populated bool      `json:"populated,omitempty"` // the data is complete: copied, migrated and seeded
	Expired   bool      `json:"expired,omitempty"`   // only this file is needed any more
}

// Served reports whether the endpoint was ever open. An environment that never
// served goes with its last fleet; one that did is restored.
func (r Record) Served() bool { return r.Port != 0 }

// FleetRecord is what is kept of a fleet.
type FleetRecord struct {
	ID           string           `json:"id"`
	Image        string           `json:"image,omitempty"`
	Installed    bool             `json:"installed"` // there is an installed tree, from which instances are copied
	Instances    int              `json:"instances"`
	Address      string           `json:"address"`
	Port         int              `json:"port,omitempty"` // wanted
	Service      pipeline.Service `json:"service"`
	DrainTimeout time.Duration    `json:"drain_timeout"`

	TrustedProxies []string `json:"trusted_proxies,omitzero"` // nil for the default
}

// HTTP2 reports whether requests go to the instances over HTTP/2.
func (r FleetRecord) HTTP2() bool { return r.Service.Protocol == pipeline.ProtocolH2C }

func ReadRecord(dir string) (Record, error) {
	var r Record
	return r, ReadJSON(filepath.Join(dir, RecordFile), &r)
}

func WriteRecord(dir string, r Record) error { return WriteJSON(filepath.Join(dir, RecordFile), r) }

// ReadFleet reads what is kept of a fleet in the directory of an environment's fleets.
func ReadFleet(fleets, fleet string) (FleetRecord, error) {
	var r FleetRecord
	return r, ReadJSON(filepath.Join(fleets, fleet, fleetFile), &r)
}

func WriteFleet(fleets string, r FleetRecord) error {
	dir := filepath.Join(fleets, r.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return WriteJSON(filepath.Join(dir, fleetFile), r)
}

func ReadJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return pipeline.Errorf(pipeline.CodeCorrupt, "read "+filepath.Base(path), "%s: %w", path, err).
			WithHint("Somebody changed the file. Restore it, or destroy the environment.")
	}
	return nil
}

// WriteJSON replaces a file so that after a crash it is either the old or the new.
func WriteJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	next := path + ".tmp"
	if err := writeSynced(next, append(data, '\n')); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

const ReasonExpired = "its time is over"

// The directories below the data directory. Fleets have one of the same name as their
// environment's below the work directory.
const (
	ImagesDir       = "images"
	EnvironmentsDir = "environments"
)
