// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// migrationsDir holds the migrations, one file each, named after their version.
const migrationsDir = "db/migrations"

// migration brings the data from one version to the next. It only adds, and adding
// twice is harmless: so the release before works on with the data while the new
// one takes over, and again after a rollback.
type migration struct {
	version int
	file    string
	About   string   `json:"about"`
	Changes []change `json:"changes"`
}

// change adds to one collection.
type change struct {
	Collection string   `json:"collection"`
	Put        []record `json:"put"`     // records to add, or to replace by ID
	Default    record   `json:"default"` // fields for the records that lack them
}

type record map[string]any

// migrate applies the migrations that the data has not had yet.
func migrate(s *Store, out io.Writer) error {
	migrations, err := loadMigrations(os.DirFS(migrationsDir))
	if err != nil {
		return err
	}
	return apply(s, migrations, out)
}

func apply(s *Store, migrations []migration, out io.Writer) error {
	unlock, err := lock(s.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	at, err := s.dataVersion()
	if err != nil {
		return err
	}
	for _, m := range migrations {
		if m.version <= at {
			continue
		}
		for _, c := range m.Changes {
			if err := s.change(c); err != nil {
				return fmt.Errorf("migration %s: %w", m.file, err)
			}
		}
		if err := writeLines(s.path("version"), []int{m.version}); err != nil {
			return err
		}
		at = m.version
		fmt.Fprintf(out, "data is at version %d: %s\n", at, m.About)
	}
	if known := len(migrations); at > known {
		fmt.Fprintf(out, "data is at version %d, newer than the %d of this build; it stays\n", at, known)
	}
	return nil
}

// loadMigrations reads the files 001-….json, 002-….json and so on.
func loadMigrations(dir fs.FS) ([]migration, error) {
	files, err := fs.Glob(dir, "*.json") // in the order of their names
	if err != nil {
		return nil, err
	}
	var migrations []migration
	for i, file := range files {
		m := migration{file: file}
		number, _, _ := strings.Cut(file, "-")
		if m.version, err = strconv.Atoi(number); err != nil || m.version != i+1 {
			return nil, fmt.Errorf("migration %s: its name does not begin with %03d-", file, i+1)
		}
		data, err := fs.ReadFile(dir, file)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, &m); err != nil {
			return nil, fmt.Errorf("migration %s: %w", file, err)
		}
		migrations = append(migrations, m)
	}
	if len(migrations) == 0 {
		return nil, errors.New("there are no migrations in " + migrationsDir)
	}
	return migrations, nil
}

// dataVersion returns the version of the last migration; 0 for none.
func (s *Store) dataVersion() (int, error) {
	versions, err := readLines[int](s.path("version"))
	if err != nil || len(versions) == 0 {
		return 0, err
	}
	return versions[len(versions)-1], nil
}

func (s *Store) change(c change) error {
	if c.Collection == "" || c.Collection != filepath.Base(c.Collection) {
		return fmt.Errorf("collection %q is not a name", c.Collection)
	}
	records, err := readLines[record](s.path(c.Collection))
	if err != nil {
		return err
	}
	for _, r := range c.Put {
		records = put(records, r)
	}
	for _, r := range records {
		for field, value := range c.Default {
			if _, ok := r[field]; !ok {
				r[field] = value
			}
		}
	}
	return writeLines(s.path(c.Collection), records)
}

func put(records []record, r record) []record {
	for i := range records {
		if records[i]["id"] == r["id"] {
			records[i] = r
			return records
		}
	}
	return append(records, r)
}

// seed migrates, and adds the sample orders that are not there yet.
func seed(s *Store, path string, out io.Writer) error {
	if err := migrate(s, out); err != nil {
		return err
	}
	samples, err := readLines[record](path)
	if err != nil {
		return err
	}
	unlock, err := lock(s.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.change(change{Collection: "orders", Put: samples}); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d sample orders are there\n", len(samples))
	return nil
}
