// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The files of an environment's and of a fleet's directory.
const (
	recordFile     = "environment.json"
	lockFile       = "lock"
	superviseLock  = "supervisor.lock"
	superviseLog   = "supervisor.log"
	controlSocket  = "control.sock"
	dataDir        = "data"
	fleetFile      = "fleet.json"
	installedDir   = "installed"
	instanceLog    = "log"
	instanceRoot   = "root"
	instanceRecord = "process.json"
)

// record is what is kept of an environment. While a supervisor lives it is the
// only one to write it; otherwise whoever holds the environment's lock is.
type record struct {
	ID        string    `json:"id"`
	Address   string    `json:"address,omitempty"` // of the endpoint; set with Port
	Port      int       `json:"port,omitempty"`    // of the endpoint; 0 until the first shift
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Serving   string    `json:"serving,omitempty"`   // fleet ID
	Populated bool      `json:"populated,omitempty"` // the data is complete: copied, migrated and seeded
	Expired   bool      `json:"expired,omitempty"`   // only this file is needed any more
}

// served reports whether the endpoint was ever open. An environment that never
// served goes with its last fleet; one that did is restored.
func (r record) served() bool { return r.Port != 0 }

// fleetRecord is what is kept of a fleet.
type fleetRecord struct {
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

// http2 reports whether requests go to the instances over HTTP/2.
func (r fleetRecord) http2() bool { return r.Service.Protocol == pipeline.ProtocolH2C }

func readRecord(dir string) (record, error) {
	var r record
	return r, readJSON(filepath.Join(dir, recordFile), &r)
}

func writeRecord(dir string, r record) error { return writeJSON(filepath.Join(dir, recordFile), r) }

// readFleet reads what is kept of a fleet in the directory of an environment's fleets.
func readFleet(fleets, fleet string) (fleetRecord, error) {
	var r fleetRecord
	return r, readJSON(filepath.Join(fleets, fleet, fleetFile), &r)
}

func writeFleet(fleets string, r fleetRecord) error {
	dir := filepath.Join(fleets, r.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, fleetFile), r)
}

func readJSON(path string, v any) error {
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

// writeJSON replaces a file so that after a crash it is either the old or the new.
func writeJSON(path string, v any) error {
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

// names lists the entries of a directory that may not exist.
func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && name.MatchString(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}
