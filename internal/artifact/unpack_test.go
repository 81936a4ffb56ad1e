// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// describe gives every entry below dir with its mode and content.
func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		what := info.Mode().String()
		switch info.Mode().Type() {
		case 0:
			text, err := os.ReadFile(path)
			must(t, err)
			what += " " + string(text)
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			must(t, err)
			what = "-> " + target
		}
		name, err := filepath.Rel(dir, path)
		must(t, err)
		if name != "." {
			got[name] = what
		}
		return nil
	}))
	return got
}

func TestPackAndUnpackKeepATree(t *testing.T) {
	t.Parallel()
	odd := "\xff" // no text in any encoding
	if runtime.GOOS == "darwin" {
		odd = "ä" // the file system takes text only
	}
	plant := func(at time.Time) string {
		dir := t.TempDir()
		long := strings.Repeat("long/", 60)
		must(t, os.MkdirAll(filepath.Join(dir, long), 0o755))
		for name, mode := range map[string]fs.FileMode{"b": 0o600, "a b": 0o755, odd + "\\x": 0o444, long + "deep": 0o640, "none": 0} {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte("of "+name), 0o600))
			must(t, os.Chmod(filepath.Join(dir, name), mode|0o400))
			must(t, os.Chtimes(filepath.Join(dir, name), at, at))
		}
		must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
		must(t, os.Mkdir(filepath.Join(dir, "closed"), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "closed", "f"), nil, 0o600))
		must(t, os.Chmod(filepath.Join(dir, "closed"), 0o500))
		t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "closed"), 0o700) })
		must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "absolute")))
		must(t, os.Symlink("../../up", filepath.Join(dir, "empty", "up")))
		must(t, os.Link(filepath.Join(dir, "b"), filepath.Join(dir, "c")))
		return dir
	}
	one, other := plant(time.Unix(1, 0)), plant(time.Unix(1_700_000_000, 5))
	var first, second bytes.Buffer
	must(t, Pack(t.Context(), one, &first))
	must(t, Pack(t.Context(), other, &second))
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same tree is packed into two archives")
	}
	out := filepath.Join(t.TempDir(), "a", "out")
	must(t, Unpack(t.Context(), &first, out))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(out, "closed"), 0o700) })
	got := describe(t, out)
	for name, want := range describe(t, one) {
		if got[name] != want {
			t.Errorf("%q is %q, want %q", name, got[name], want)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("there is also %q", got)
	}
	refused(t, Unpack(t.Context(), &second, out), pipeline.CodeInvalid, out, "not empty")
}

// archive packs the headers as they are, with content for the files.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content = "evil"
			h.Size = int64(len(content))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func reg(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
func sub(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name} }
func sym(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}
func hard(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		headers []tar.Header
		word    string
	}{
		"absolute":                {[]tar.Header{reg("/tmp/penstock-evil")}, "absolute"},
		"up":                      {[]tar.Header{reg("../evil")}, "leads out"},
		"up within":               {[]tar.Header{reg("a/../../evil")}, "leads out"},
		"up and down":             {[]tar.Header{reg("a/../b")}, "leads out"},
		"directory up":            {[]tar.Header{sub("../evil")}, "leads out"},
		"through a link":          {[]tar.Header{sym("a", "../outside"), reg("a/evil")}, "leads through"},
		"through a link inside":   {[]tar.Header{sub("d"), sym("a", "d"), reg("a/evil")}, "leads through"},
		"deep through a link":     {[]tar.Header{sym("a", "../outside"), reg("a/b/c/evil")}, "leads through"},
		"directory through link":  {[]tar.Header{sym("a", "../outside"), sub("a/evil")}, "leads through"},
		"directory over a link":   {[]tar.Header{sym("a", "../outside"), sub("a"), reg("a/evil")}, "leads through"},
		"link through a link":     {[]tar.Header{sym("a", "../outside"), sym("a/evil", "x")}, "leads through"},
		"file over a link":        {[]tar.Header{sym("a", "../outside/evil"), reg("a")}, "twice"},
		"file twice":              {[]tar.Header{reg("a"), reg("./a")}, "twice"},
		"link over a directory":   {[]tar.Header{sub("a"), sym("a", "../outside"), reg("a/evil")}, "twice"},
		"below a file":            {[]tar.Header{reg("a"), reg("a/b")}, "leads through"},
		"hard link up":            {[]tar.Header{hard("a", "../outside/there")}, "leads out"},
		"hard link to nothing":    {[]tar.Header{hard("a", "b")}, "hard link"},
		"hard link to a link":     {[]tar.Header{sym("b", "../outside/there"), hard("a", "b")}, "hard link"},
		"hard link through link":  {[]tar.Header{sym("b", "../outside"), hard("a", "b/there")}, "leads through"},
		"hard link to directory":  {[]tar.Header{sub("b"), hard("a", "b")}, "hard link"},
		"character device":        {[]tar.Header{{Typeflag: tar.TypeChar, Name: "a"}}, "device"},
		"block device":            {[]tar.Header{{Typeflag: tar.TypeBlock, Name: "a"}}, "device"},
		"pipe":                    {[]tar.Header{{Typeflag: tar.TypeFifo, Name: "a"}}, "device"},
		"the directory as a file": {[]tar.Header{reg(".")}, "twice"},
		"too large":               {[]tar.Header{reg("a"), reg("b"), reg("c")}, "10 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			outside := filepath.Join(base, "outside")
			must(t, os.Mkdir(outside, 0o700))
			must(t, os.WriteFile(filepath.Join(outside, "there"), []byte("mine"), 0o600))
			err := Unpack(t.Context(), bytes.NewReader(archive(t, test.headers...)), filepath.Join(base, "out"), MaxBytes(10))
			refused(t, err, pipeline.CodeInvalid, test.word)
			if got := describe(t, outside); len(got) != 1 || got["there"] != "-rw------- mine" {
				t.Errorf("outside there is %q", got)
			}
			if _, err := os.Lstat(filepath.Join(base, "evil")); err == nil {
				t.Error("a file was written beside the directory")
			}
		})
	}
}

func TestUnpackTakes(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	packed := archive(t, sub("./"), reg("./a"), reg("d/e/f"), sub("d"), hard("h", "./a"), tar.Header{Typeflag: tar.TypeReg, Name: "s", Mode: 0o4755})
	must(t, Unpack(t.Context(), bytes.NewReader(packed), out, MaxBytes(12)))
	want := map[string]string{
		"a": "-rwxr-xr-x evil", "h": "-rwxr-xr-x evil", "s": "-rwxr-xr-x evil",
		"d": "drwxr-xr-x", "d/e": "drwxr-xr-x", "d/e/f": "-rwxr-xr-x evil",
	}
	got := describe(t, out)
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%q is %q, want %q", name, got[name], want[name])
		}
	}
	for cut := range len(packed) {
		err := Unpack(t.Context(), bytes.NewReader(packed[:cut]), filepath.Join(t.TempDir(), "out"))
		refused(t, err, pipeline.CodeCorrupt, "gzipped tar")
	}
	flipped := bytes.Clone(packed)
	flipped[len(flipped)-6] ^= 1 // in the checksum
	refused(t, Unpack(t.Context(), bytes.NewReader(flipped), filepath.Join(t.TempDir(), "out")), pipeline.CodeCorrupt)
}

func FuzzUnpack(f *testing.F) {
	raw := func(packed []byte) []byte {
		zip, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			f.Fatal(err)
		}
		plain, err := io.ReadAll(zip)
		if err != nil {
			f.Fatal(err)
		}
		return plain
	}
	f.Add(raw(archive(f, sub("d/"), reg("d/a"), sym("l", "../x"), hard("h", "d/a"))))
	f.Add(raw(archive(f, sym("l", ".."), reg("l/evil"))))
	f.Add(raw(archive(f, reg("../evil"), hard("a", "../guard"))))
	f.Fuzz(func(t *testing.T, plain []byte) {
		base := t.TempDir()
		guard := filepath.Join(base, "guard")
		must(t, os.WriteFile(guard, []byte("mine"), 0o600))
		var packed bytes.Buffer
		zip := gzip.NewWriter(&packed)
		if _, err := zip.Write(plain); err != nil {
			t.Fatal(err)
		}
		must(t, zip.Close())
		out := filepath.Join(base, "out")
		err := Unpack(t.Context(), &packed, out, MaxBytes(1<<20))
		must(t, filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
			if d.Type() == 0 || d.IsDir() { // the archive may have closed it to us
				must(t, os.Chmod(path, 0o700))
			}
			return nil
		}))
		entries, listErr := os.ReadDir(base)
		must(t, listErr)
		if len(entries) != 2 || describe(t, base)["guard"] != "-rw------- mine" {
			t.Errorf("written outside: %v (%v)", entries, err)
		}
		if err == nil {
			var again bytes.Buffer
			must(t, Pack(t.Context(), out, &again))
			must(t, Unpack(t.Context(), &again, filepath.Join(base, "again")))
		}
	})
}
