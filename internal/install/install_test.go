// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package install

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-version"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	const sum = "0123456789abcdef"
	for built, want := range map[string]string{
		"1.2.3":                   "1.2.3",
		"v1.2.3":                  "1.2.3",
		"1.2.3-rc.1":              "1.2.3-rc.1",
		"1.2.3-dirty":             "1.2.4+dev.0123456789ab",
		"1.2.3-5-gabc1234":        "1.2.4+dev.0123456789ab",
		"1.2.3-5-gabc1234-dirty":  "1.2.4+dev.0123456789ab",
		"1.2.3-rc.1-5-gabc1234":   "1.2.3+dev.0123456789ab",
		"2.0.0-rc.1-dirty":        "2.0.0+dev.0123456789ab",
		"24e2c66":                 "0.0.0+dev.0123456789ab",
		"24e2c66-dirty":           "0.0.0+dev.0123456789ab",
		"dev":                     "0.0.0+dev.0123456789ab",
		"":                        "0.0.0+dev.0123456789ab",
		"1.2":                     "0.0.0+dev.0123456789ab",
		"1.2.3/../../x":           "0.0.0+dev.0123456789ab",
		"nightly-1.2.3-5-gabc123": "0.0.0+dev.0123456789ab",
	} {
		got := Version(built, sum)
		if got != want {
			t.Errorf("%q is version %q, want %q", built, got, want)
		}
		if _, err := version.NewSemver(got); err != nil {
			t.Errorf("%q: %v", built, err)
		}
	}
}

// place is a home directory and a program to install.
func place(t *testing.T) (home, binary string) {
	t.Helper()
	home = t.TempDir()
	for _, name := range []string{"XDG_CONFIG_HOME", "XDG_DATA_HOME", "TF_CLI_CONFIG_FILE", "TERRAFORM_CONFIG"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("PATH", filepath.Join(home, "bin"))
	binary = filepath.Join(t.TempDir(), "program")
	write(t, binary, "#!/bin/sh\n")
	return home, binary
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func install(t *testing.T, o Options) Installed {
	t.Helper()
	done, err := Install(o)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestInstall(t *testing.T) {
	home, binary := place(t)
	system := runtime.GOOS + "_" + runtime.GOARCH
	at := func(registry, version string) string {
		return ".terraform.d/plugins/" + registry + "/penstock-io/penstock/" + version + "/" + system + "/terraform-provider-penstock_v" + version
	}
	release := install(t, Options{Binary: binary, Version: "0.3.0"})
	want := []string{at("registry.opentofu.org", "0.3.0"), at("registry.terraform.io", "0.3.0"), "bin/penstock"}
	if got := files(t, home); !slices.Equal(got, want) {
		t.Errorf("installed are %q, want %q", got, want)
	}
	if !release.OnPath || release.Shadowed != "" || release.Newer != "" || len(release.Replaced) > 0 || release.Command != filepath.Join(home, "bin/penstock") {
		t.Errorf("installed as %+v", release)
	}

	// Two builds are never one version, and only the newest stays; releases do.
	first := install(t, Options{Binary: binary, Version: "0.3.0-1-gabc1234"})
	write(t, binary, "#!/bin/sh\n# changed\n")
	second := install(t, Options{Binary: binary, Version: "0.3.0-1-gabc1234"})
	if first.Version == second.Version || !slices.Equal(second.Replaced, []string{first.Version}) {
		t.Errorf("%s is followed by %+v", first.Version, second)
	}
	again := install(t, Options{Binary: binary, Version: "0.3.0-1-gabc1234"})
	if again.Version != second.Version || len(again.Replaced) > 0 {
		t.Errorf("the same is installed again as %+v", again)
	}
	want = []string{at("registry.opentofu.org", "0.3.0"), at("registry.opentofu.org", second.Version), at("registry.terraform.io", "0.3.0"), at("registry.terraform.io", second.Version), "bin/penstock"}
	if got := files(t, home); !slices.Equal(got, want) {
		t.Errorf("installed are %q, want %q", got, want)
	}
	text, err := os.ReadFile(filepath.Join(home, "bin/penstock"))
	if err != nil || !strings.Contains(string(text), "changed") {
		t.Errorf("the command is %q, %v", text, err)
	}
	older := install(t, Options{Binary: binary, Version: "0.2.0"})
	if older.Newer != "0.3.0" || !slices.Equal(older.Replaced, []string{second.Version}) {
		t.Errorf("an older release is installed as %+v", older)
	}
}

func TestInstallElsewhere(t *testing.T) {
	home, binary := place(t)
	dir := filepath.Join(t.TempDir(), "a b")
	done := install(t, Options{Binary: binary, Version: "1.0.0", Bin: dir})
	if done.OnPath || done.Command != filepath.Join(dir, "penstock") {
		t.Errorf("installed as %+v", done)
	}
	write(t, filepath.Join(home, "bin/penstock"), "#!/bin/sh\n")
	t.Setenv("PATH", filepath.Join(home, "bin")+":"+dir)
	if done = install(t, Options{Binary: binary, Version: "1.0.0", Bin: dir}); done.Shadowed != filepath.Join(home, "bin/penstock") {
		t.Errorf("installed as %+v", done)
	}
	write(t, filepath.Join(home, "file"), "")
	if _, err := Install(Options{Binary: binary, Version: "1.0.0", Bin: filepath.Join(home, "file")}); err == nil || !strings.Contains(err.Error(), "the command is not") {
		t.Errorf("the error is %v", err)
	}
}

func TestMirror(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the directories are those of Linux")
	}
	home, _ := place(t)
	check := func(want string) {
		t.Helper()
		if got := mirror(home); got != filepath.Join(home, want) {
			t.Errorf("the mirror is %s, want %s", got, want)
		}
	}
	check(".terraform.d/plugins")
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config")) // in which OpenTofu has its tokens then
	check(".local/share/terraform/plugins")
	t.Setenv("XDG_DATA_HOME", filepath.Join(home, "data"))
	check("data/terraform/plugins")
	write(t, filepath.Join(home, ".terraform.d/credentials.tfrc.json"), "{}")
	check(".terraform.d/plugins")
}

func TestSettings(t *testing.T) {
	home, _ := place(t)
	if got := Settings(); len(got) > 0 {
		t.Errorf("settings without a file are %+v", got)
	}
	own := filepath.Join(home, ".terraform.d/plugins")
	for name, tt := range map[string]struct {
		text string
		want []Setting
	}{
		"another thing": {`plugin_cache_dir = "$HOME/.cache"` + "\ncredentials \"example.com\" {\n  token = \"x\"\n}\n", nil},
		"overrides":     {"provider_installation {\n  # ours\n  dev_overrides {\n    \"penstock-io/penstock\" = \"/src/bin\"\n  }\n  direct {}\n}\n", []Setting{{Override: "/src/bin", Hides: true}}},
		"OpenTofu's":    {"provider_installation {\n  dev_overrides {\n    \"registry.opentofu.org/penstock-io/penstock\" = \"/src/bin\"\n  }\n  direct {}\n}\n", []Setting{{Override: "/src/bin", Hides: true}}},
		"of others":     {"provider_installation {\n  dev_overrides {\n    \"hashicorp/aws\" = \"/src/aws\"\n  }\n  direct {}\n}\n", []Setting{{Hides: true}}},
		"in a comment":  {"# provider_installation {\n#  dev_overrides {\n#    \"penstock-io/penstock\" = \"/src/bin\"\n#  }\n#}\n", nil},
		"a mirror":      {"provider_installation {\n  filesystem_mirror {\n    path = \"/mirror\"\n  }\n}\n", []Setting{{Hides: true}}},
		"ours":          {"provider_installation {\n  filesystem_mirror {\n    path = \"" + own + "/\"\n    include = [\"penstock-io/*\"]\n  }\n  direct {\n    exclude = [\"penstock-io/*\"]\n  }\n}\n", []Setting{{}}},
		"ours for some": {"provider_installation {\n  filesystem_mirror {\n    path = \"" + own + "\"\n    include = [\"example.com/*/*\"]\n  }\n}\n", []Setting{{Hides: true}}},
		"ours not":      {"provider_installation {\n  filesystem_mirror {\n    path = \"" + own + "\"\n    exclude = [\"penstock-io/penstock\"]\n  }\n}\n", []Setting{{Hides: true}}},
		"malformed":     {"provider_installation {", nil},
	} {
		file := filepath.Join(home, ".terraformrc")
		write(t, file, tt.text)
		for i := range tt.want {
			tt.want[i].File = file
		}
		if got := Settings(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: settings are %+v, want %+v", name, got, tt.want)
		}
	}
	write(t, filepath.Join(home, ".terraformrc"), "")
	write(t, filepath.Join(home, ".terraform.d/own.tfrc"), "provider_installation {\n  dev_overrides {\n    \"penstock-io/penstock\" = \"/src\"\n  }\n}\n")
	write(t, filepath.Join(home, ".terraform.d/credentials.tfrc.json"), "{}")
	if got := Settings(); len(got) != 1 || got[0].Override != "/src" {
		t.Errorf("settings of the directory are %+v", got)
	}
	t.Setenv("TF_CLI_CONFIG_FILE", filepath.Join(home, "nowhere"))
	if got := Settings(); len(got) > 0 {
		t.Errorf("settings beside the named file are %+v", got)
	}
}
