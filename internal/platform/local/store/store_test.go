// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

var ctx = context.Background()

// plant makes a tree: "name" or "name!" (executable) → content, "name/" → directory,
// "name@" → link target.
func plant(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, strings.TrimRight(name, "!/@"))
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case strings.HasSuffix(name, "@"):
			err = os.Symlink(content, path)
		case strings.HasSuffix(name, "!"):
			err = os.WriteFile(path, []byte(content), 0o755)
		default:
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// picture lists a tree with modes, contents and targets.
func picture(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		fmt.Fprintf(&b, "%q %s", rel, info.Mode())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			fmt.Fprintf(&b, " %q %v", data, err)
		} else if target, err := os.Readlink(path); err == nil {
			fmt.Fprintf(&b, " -> %s", target)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var sample = map[string]string{
	"etc/motd": "hello", "bin/run!": "#!/bin/sh", "empty/": "", "var/spool/deep/": "", "same": "hello",
	"link@": "etc/motd", "outside@": "/etc/passwd", "dangling@": "../../nowhere", "odd\nname\xff": "bytes", "zero": "",
}

func ingest(t testing.TB, s *Store, tree string) Image {
	t.Helper()
	image, err := s.Ingest(ctx, tree, nil)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestRoundTrip(t *testing.T) {
	tree := plant(t, sample)
	if err := os.Chmod(filepath.Join(tree, "var/spool"), 0o500); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	s := Open(filepath.Join(t.TempDir(), "images"))
	before := picture(t, tree)
	image := ingest(t, s, tree)
	if image.Files != 5 || image.Size != int64(len("hello")*2+len("#!/bin/sh")+len("bytes")) {
		t.Errorf("image %+v", image)
	}
	dest := filepath.Join(t.TempDir(), "root")
	if err := s.Materialize(ctx, image.ID, dest, Options{}); err != nil {
		t.Fatal(err)
	}
	if got := picture(t, dest); got != before {
		t.Errorf("the copy differs:\n%s\nwant\n%s", got, before)
	}
	if got := picture(t, tree); got != before {
		t.Errorf("the tree was changed:\n%s", got)
	}
	if err := s.Verify(ctx, image.ID); err != nil {
		t.Error(err)
	}
	if err := s.Materialize(ctx, image.ID, dest, Options{}); pipeline.CodeOf(err) != pipeline.CodeConflict {
		t.Errorf("onto an existing tree: %v", err)
	}
}

func TestIDIsOfTheContentAlone(t *testing.T) {
	s := Open(t.TempDir())
	id := func(change func(root string)) string {
		root := plant(t, sample)
		change(root)
		return ingest(t, s, root).ID
	}
	base := id(func(string) {})
	if base != "img-1f3316ae19606aec" {
		t.Errorf("the ID of the sample is %s on this machine", base)
	}
	same := id(func(root string) {
		if err := os.Chtimes(filepath.Join(root, "same"), stored, stored); err != nil {
			t.Fatal(err)
		}
	})
	if same != base {
		t.Error("a time changed the ID")
	}
	for name, change := range map[string]func(root string) error{
		"content": func(r string) error { return os.WriteFile(filepath.Join(r, "same"), []byte("hellO"), 0o644) },
		"mode":    func(r string) error { return os.Chmod(filepath.Join(r, "same"), 0o600) },
		"name":    func(r string) error { return os.Rename(filepath.Join(r, "same"), filepath.Join(r, "sama")) },
		"empty":   func(r string) error { return os.Remove(filepath.Join(r, "empty")) },
		"target":  func(r string) error { return os.Remove(filepath.Join(r, "link")) },
	} {
		if id(func(root string) {
			if err := change(root); err != nil {
				t.Fatal(err)
			}
		}) == base {
			t.Errorf("a change of %s did not change the ID", name)
		}
	}
}

func TestReadOnlyTreesShareFiles(t *testing.T) {
	s := Open(t.TempDir())
	image := ingest(t, s, plant(t, sample))
	dir := t.TempDir()
	var infos [2]fs.FileInfo
	for i := range infos {
		dest := filepath.Join(dir, fmt.Sprint(i))
		if err := s.Materialize(ctx, image.ID, dest, Options{ReadOnly: true}); err != nil {
			t.Fatal(err)
		}
		var err error
		if infos[i], err = os.Stat(filepath.Join(dest, "bin/run")); err != nil {
			t.Fatal(err)
		}
	}
	if !os.SameFile(infos[0], infos[1]) || infos[0].Mode().Perm() != 0o555 {
		t.Errorf("the trees do not share a file of mode 0555: %v", infos[0].Mode())
	}
}

func TestChangedFilesAreFound(t *testing.T) {
	for _, o := range []Options{{}, {ReadOnly: true}} {
		s := Open(t.TempDir())
		image := ingest(t, s, plant(t, sample))
		m, _, err := s.readManifest(image.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range m.Entries {
			if string(e.Path) == "etc/motd" {
				if err := os.Chmod(s.objectPath(e), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(s.objectPath(e), []byte("hellO"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		dest := filepath.Join(t.TempDir(), "root")
		err = s.Materialize(ctx, image.ID, dest, o)
		if pipeline.CodeOf(err) != pipeline.CodeCorrupt || !strings.Contains(err.Error(), "etc/motd") && !strings.Contains(err.Error(), `"same"`) {
			t.Errorf("%+v: %v", o, err)
		}
		if entries, _ := os.ReadDir(filepath.Dir(dest)); len(entries) > 0 {
			t.Errorf("%+v: %v is left", o, entries)
		}
		if err := s.Verify(ctx, image.ID); pipeline.CodeOf(err) != pipeline.CodeCorrupt {
			t.Errorf("%+v: verify: %v", o, err)
		}
		// The same content stored again mends the image.
		ingest(t, s, plant(t, sample))
		if err := s.Verify(ctx, image.ID); err != nil {
			t.Errorf("%+v: after storing it again: %v", o, err)
		}
	}
}

func TestRemoveKeepsWhatOthersShare(t *testing.T) {
	s := Open(filepath.Join(t.TempDir(), "images"))
	one := ingest(t, s, plant(t, map[string]string{"a": "shared", "b": "one"}))
	two := ingest(t, s, plant(t, map[string]string{"a": "shared", "b": "two"}))
	if err := s.Remove(ctx, one.ID, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(ctx, two.ID); err != nil {
		t.Error(err)
	}
	if _, err := s.Image(ctx, one.ID); !pipeline.IsNotFound(err) {
		t.Errorf("removed image: %v", err)
	}
	if err := s.Remove(ctx, one.ID, nil); err != nil {
		t.Errorf("a second removal: %v", err)
	}
	if err := s.Remove(ctx, two.ID, nil); err != nil {
		t.Fatal(err)
	}
	_ = filepath.WalkDir(filepath.Join(s.dir, objectsDir), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("%s is left", path)
		}
		return nil
	})
	if empty, err := s.Empty(ctx); !empty || err != nil {
		t.Errorf("empty: %v, %v", empty, err)
	}
}

func TestUnknownAndCancelled(t *testing.T) {
	s := Open(t.TempDir())
	for _, id := range []string{"img-0123456789abcdef", "img-../../x", ""} {
		if err := s.Materialize(ctx, id, filepath.Join(t.TempDir(), "x"), Options{}); !pipeline.IsNotFound(err) {
			t.Errorf("image %q: %v", id, err)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Ingest(ended, plant(t, sample), nil); pipeline.CodeOf(err) != pipeline.CodeCancelled {
		t.Errorf("cancelled: %v", err)
	}
}

func TestSideBySide(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := Open(dir)
			image, err := s.Ingest(ctx, plant(t, map[string]string{"shared": "x", "own": fmt.Sprint(i % 3)}), nil)
			if err == nil {
				err = s.Materialize(ctx, image.ID, filepath.Join(t.TempDir(), "root"), Options{})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if images, err := Open(dir).List(ctx); err != nil || len(images) != 3 {
		t.Errorf("%d images, %v", len(images), err)
	}
}

// FuzzManifest makes trees from foreign manifests: nothing outside of the root
// may be touched.
func FuzzManifest(f *testing.F) {
	seed := func(entries ...entry) {
		data, err := json.Marshal(manifest{Version: manifestVersion, Entries: entries})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	seed(entry{Path: []byte("a"), Kind: kindDir, Mode: 0o755}, entry{Path: []byte("a/b"), Kind: kindLink, Target: []byte("/etc")})
	seed(entry{Path: []byte("../up"), Kind: kindDir, Mode: 0o755})
	seed(entry{Path: []byte("l"), Kind: kindLink, Target: []byte("..")}, entry{Path: []byte("l/x"), Kind: kindDir, Mode: 0o700})
	seed(entry{Path: []byte("/abs"), Kind: kindDir}, entry{Path: []byte("a\x00b"), Kind: kindDir})
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeManifest(data)
		if err != nil {
			return
		}
		outside := t.TempDir()
		root := filepath.Join(outside, "root")
		if err := os.Mkdir(root, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = Open(t.TempDir()).build(ctx, m, root, Options{})
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) != 1 {
			t.Fatalf("the manifest made %v beside the root (%v)", entries, err)
		}
		if bytes.Contains(data, []byte(`"mode":0`)) {
			_ = removeTree(root) // directories that the test's own clean-up can't enter
		}
	})
}

// A damaged manifest is named, takes nothing else along, and is made whole by the next
// bake of the same tree.
func TestDamagedManifest(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]string{"cut": `{"version":1,"entr`, "empty": "", "of another": `{"version":1}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Open(t.TempDir())
			damagedTree, other := plant(t, map[string]string{"a": "alone", "b": "shared"}), plant(t, map[string]string{"b": "shared"})
			image, err := s.Ingest(ctx, damagedTree, nil)
			if err != nil {
				t.Fatal(err)
			}
			whole, err := s.Ingest(ctx, other, nil)
			if err != nil {
				t.Fatal(err)
			}
			path := s.manifestPath(image.ID)
			if err := os.WriteFile(path, []byte(damage), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = s.Image(ctx, image.ID)
			if pipeline.CodeOf(err) != pipeline.CodeCorrupt || !strings.Contains(err.Error(), path) || !strings.Contains(reason.Hint(err), "penstock retry") {
				t.Errorf("the damaged image: %v (%s)", err, reason.Hint(err))
			}
			list, err := s.List(ctx)
			if err != nil || len(list) != 2 {
				t.Errorf("listed are %v, %v", list, err)
			}
			for _, i := range list {
				if i.ID == image.ID && i.Size != 0 || i.ID == whole.ID && i.Size != whole.Size {
					t.Errorf("listed is %+v", i)
				}
			}
			if err := s.Remove(ctx, whole.ID, nil); err != nil { // sweeps nothing that the damaged one may have
				t.Fatal(err)
			}
			again, err := s.Ingest(ctx, damagedTree, nil)
			if err != nil || again.ID != image.ID || again.Size != image.Size {
				t.Errorf("baked again it is %+v, %v", again, err)
			}
			if err := s.Materialize(ctx, image.ID, filepath.Join(t.TempDir(), "tree"), Options{}); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(path, []byte(damage), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := s.Remove(ctx, image.ID, nil); err != nil {
				t.Errorf("remove the damaged image: %v", err)
			}
			if list, err := s.List(ctx); err != nil || len(list) > 0 {
				t.Errorf("left are %v, %v", list, err)
			}
			if files, err := filepath.Glob(filepath.Join(s.dir, objectsDir, "*", "*")); err != nil || len(files) > 0 {
				t.Errorf("files are left: %v, %v", files, err)
			}
		})
	}
}
