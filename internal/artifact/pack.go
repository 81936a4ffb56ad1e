// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
)

// Pack writes the tree below dir to w as a gzipped tar. The same names, contents,
// permissions and symbolic links give the same bytes (of one version of Penstock):
// entries are sorted, owners and times are left out, and a hard link is packed as
// a file of its own. The directory itself is no entry. Symbolic links are packed
// as links and never followed. CodeInvalid names a file that no archive can hold:
// a socket, a device, a pipe.
func Pack(ctx context.Context, dir string, w io.Writer) error { return pack(ctx, dir, w, "") }

// gitDir is what git has in a work tree.
const gitDir = ".git"

// packDistribution packs a directory as Pack does. Where it is a work tree of git, that
// goes without git's own files and those of its submodules: they are other ones each time.
func packDistribution(ctx context.Context, dir string, w io.Writer) error {
	without := ""
	if _, err := os.Lstat(filepath.Join(dir, gitDir)); err == nil {
		without = gitDir
	}
	return pack(ctx, dir, w, without)
}

// pack packs what is below dir but for entries of a name; with "" all.
func pack(ctx context.Context, dir string, w io.Writer, without string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	zip := gzip.NewWriter(w)
	archive := tar.NewWriter(zip)
	if err := packDir(ctx, archive, root, ".", without); err != nil {
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	return errors.Join(archive.Close(), zip.Close())
}

// packDir packs what is in a directory.
func packDir(ctx context.Context, archive *tar.Writer, root *os.Root, dir, without string) error {
	file, err := root.Open(dir)
	if err != nil {
		return err
	}
	names, err := file.Readdirnames(-1)
	if err := errors.Join(err, file.Close(), ctx.Err()); err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if name == without {
			continue
		}
		if err := packEntry(ctx, archive, root, path.Join(dir, name), without); err != nil {
			return err
		}
	}
	return nil
}

func packEntry(ctx context.Context, archive *tar.Writer, root *os.Root, name, without string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	header := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: time.Unix(0, 0)}
	switch info.Mode().Type() {
	case 0:
		return packFile(ctx, archive, root, header)
	case fs.ModeDir:
		header.Typeflag, header.Name = tar.TypeDir, name+"/"
		return errors.Join(archive.WriteHeader(header), packDir(ctx, archive, root, name, without))
	case fs.ModeSymlink:
		header.Typeflag = tar.TypeSymlink
		if header.Linkname, err = root.Readlink(name); err != nil {
			return err
		}
	default:
		return pipeline.Errorf(pipeline.CodeInvalid, "pack directory", "%q is a %s, which an archive can't hold", name, regular.Kind(info.Mode())).
			WithHint("Remove it in the step that makes the directory, or name a directory without it.")
	}
	return archive.WriteHeader(header)
}

func packFile(ctx context.Context, archive *tar.Writer, root *os.Root, header *tar.Header) error {
	file, err := regular.OpenIn(root, header.Name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	header.Typeflag, header.Size = tar.TypeReg, info.Size()
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	// A file that grows meanwhile is refused by the archive, one that shrinks by its next header.
	return copyContent(ctx, archive, file)
}
