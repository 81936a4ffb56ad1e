// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package scaffold_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/penstock-io/terraform-provider-penstock/internal/scaffold"
)

var update = flag.Bool("update", false, "write what is written as what is wanted")

// Repositories of the shapes that people have get the configuration that is right for them.
// Each is an archive of files, of which the last are the configurations that are wanted, by
// platform. A comment says which service of it is meant.
func TestProjects(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) < 7 {
		t.Fatalf("archives are %q, %v", archives, err)
	}
	for _, file := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, service, _ := strings.Cut(string(archive.Comment), "service: ")
			service, _, _ = strings.Cut(service, "\n")
			files, want := map[string]string{}, map[string]string{}
			var kept []txtar.File
			for _, f := range archive.Files {
				if name, ok := strings.CutPrefix(f.Name, "want "); ok {
					want[name] = string(f.Data)
					continue
				}
				files[f.Name] = string(f.Data)
				kept = append(kept, f)
			}
			root := filepath.Join(repository(t, files), "..", strings.TrimSuffix(filepath.Base(file), ".txtar"))
			if err := os.Rename(repository(t, files), root); err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, s := range scaffold.Services(root, "") {
				names = append(names, s.Directory+" ("+s.Language+")")
			}
			p := scaffold.Look(root, service)
			got := map[string]string{"services": strings.Join(names, "\n") + "\n"}
			for _, on := range []scaffold.Platform{scaffold.Local, scaffold.AWS} {
				text, notes := scaffold.Write(p, on)
				got[string(on)] = text + "\n" + strings.Join(notes, "\n") + "\n"
			}
			if *update {
				for _, name := range []string{"services", "local"} {
					kept = append(kept, txtar.File{Name: "want " + name, Data: []byte(got[name])})
				}
				archive.Files = kept
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for name, text := range want {
				if got[name] != text {
					t.Errorf("%s is\n%s\nand not\n%s", name, got[name], text)
				}
			}
			if len(want) < 2 {
				t.Errorf("wanted are %d texts only", len(want))
			}
		})
	}
}
