// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Command apidata writes the tables by which the tests check requests to AWS: what AWS's
// own models say of the requests of each service that Penstock calls. The models come from
// the botocore that moto_server brings, so that there is nothing else to install.
//
//	apidata -moto "$(make moto)" -out internal/cloud/apitest/testdata
//	apidata -moto "$(make moto)" -out internal/cloud/apitest/testdata -check
package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
)

// services are those that Penstock calls, by their names in botocore.
var services = []string{
	"autoscaling", "cloudformation", "cloudwatch", "codebuild", "dynamodb", "ec2", "elbv2", "events", "iam", "kms", "logs", "route53", "s3", "scheduler",
	"service-quotas", "sns", "ssm", "sts",
}

func main() {
	out := flag.String("out", "testdata", "directory to write to")
	moto := flag.String("moto", "moto_server", "the moto_server whose botocore is read")
	check := flag.Bool("check", false, "say whether the files are what would be written, and write nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *out, *moto, *check); err != nil {
		fmt.Fprintln(os.Stderr, "make the tables of AWS's requests:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, moto string, check bool) error {
	from, err := find(ctx, moto)
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	for _, name := range []string{"LICENSE.txt", "NOTICE"} { // which the licence asks to pass on
		if files[name], err = os.ReadFile(filepath.Join(from.About, name)); err != nil {
			return err
		}
	}
	for _, service := range services {
		text, err := read(filepath.Join(from.Data, service))
		if err != nil {
			return err
		}
		name, made, err := table(from.Version, text)
		if err != nil {
			return fmt.Errorf("the model of %s: %w", service, err)
		}
		files[name+".json"] = made
	}
	var errs []error
	for name, text := range files {
		path := filepath.Join(out, name)
		if !check {
			errs = append(errs, os.WriteFile(path, text, 0o644))
		} else if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, text) {
			errs = append(errs, cmp.Or(err, fmt.Errorf("%s is not what botocore %s says: run make api-data", path, from.Version)))
		}
	}
	return errors.Join(errs...)
}

// botocore is where a botocore is, and which.
type botocore struct {
	Version string
	Data    string // directory of the models
	About   string // directory of the licence
}

const ask = `
import botocore, importlib.metadata, json, os
about = importlib.metadata.distribution("botocore").locate_file("botocore-" + botocore.__version__ + ".dist-info")
print(json.dumps({"Version": botocore.__version__, "Data": os.path.join(os.path.dirname(botocore.__file__), "data"), "About": str(about)}))
`

// find finds the botocore of a moto_server: that of the Python beside it.
func find(ctx context.Context, moto string) (from botocore, err error) {
	if moto, err = exec.LookPath(moto); err != nil {
		return from, err
	}
	dirs := []string{filepath.Dir(moto)}
	if real, err := filepath.EvalSymlinks(moto); err == nil {
		dirs = append([]string{filepath.Dir(real)}, dirs...)
	}
	for _, dir := range slices.Compact(dirs) {
		out, asked := exec.CommandContext(ctx, filepath.Join(dir, "python3"), "-c", ask).Output()
		if err = asked; err == nil {
			return from, json.Unmarshal(out, &from)
		}
	}
	return from, fmt.Errorf("there is no Python with botocore beside %s: %w; use the one that `make moto` installs", moto, err)
}

// read returns the newest model in a service's directory.
func read(dir string) ([]byte, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*", "service-2.json.gz"))
	if err != nil || len(found) == 0 {
		return nil, cmp.Or(err, fmt.Errorf("there is no model in %s", dir))
	}
	f, err := os.Open(slices.Max(found)) // the directories are dates
	if err != nil {
		return nil, err
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(zipped)
}
