// Package erofs reads a finished EROFS image back, so that tests judge what is in
// the image and not what the builder meant to put there. The reader is fsck.erofs of
// the throw-away tree: it checks the image's structure and unpacks every file, with
// its owner and mode.
package erofs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/images/internal/sandbox"
)

// Entry is one path of an image.
type Entry struct {
	// Path is absolute in the image.
	Path string
	// Kind is the letter of find(1)'s %y: f, d, l, or another for what an
	// image should not hold.
	Kind     string
	Mode     uint32 // with set-user-ID and the like
	UID, GID int
	// Size is a file's length in bytes.
	Size int64
	// Target is where a symbolic link points to; for a further hard link of a
	// file it is the first path of that file.
	Target string
	// Content is what a file begins like: "elf", "script" or "data".
	Content string
}

// script unpacks the image $1 and lists what came out. An owner that cannot be
// kept, since the namespace maps root only, is an error of fsck.erofs.
const script = `set -e
fsck.erofs --extract=/mnt/work/root --preserve "$1" >&2
exec find /mnt/work/root -printf '%y\t%m\t%U\t%G\t%s\t%i\t/%P\t%l\n'`

// Read unpacks image into the directory root below dir, which must not exist, and
// returns its entries, sorted by path.
func Read(ctx context.Context, tree sandbox.Tree, image, dir string) ([]Entry, error) {
	cmd, err := tree.Command(ctx, nil, []sandbox.Bind{
		{Source: dir, Target: "/mnt/work"},
		{Source: filepath.Dir(image), Target: "/mnt/image"},
	}, "sh", "-c", script, "read", "/mnt/image/"+filepath.Base(image))
	if err != nil {
		return nil, err
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("read %s: %w: %s", image, err, bytes.TrimSpace(errs.Bytes()))
	}
	return parse(out.String(), func(name string) (string, error) { return beginning(filepath.Join(dir, "root", name)) })
}

// parse reads the list; begin says what the file of a path begins like.
func parse(list string, begin func(name string) (string, error)) ([]Entry, error) {
	lines := strings.Split(strings.TrimSuffix(list, "\n"), "\n")
	path := func(line string) string {
		if f := strings.Split(line, "\t"); len(f) == 8 {
			return f[6]
		}
		return ""
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(path(a), path(b)) })
	first := map[string]string{} // inode → path
	var out []Entry
	for _, line := range lines {
		e, inode, err := parseLine(line)
		if err != nil {
			return nil, err
		}
		if e.Kind == "f" {
			if e.Content, err = begin(e.Path); err != nil {
				return nil, fmt.Errorf("read %s: %w", e.Path, err)
			}
			if e.Target = first[inode]; e.Target == "" {
				first[inode] = e.Path
			}
		}
		out = append(out, e)
	}
	return out, nil
}

func parseLine(line string) (e Entry, inode string, err error) {
	f := strings.Split(line, "\t")
	if len(f) != 8 {
		return e, "", fmt.Errorf("parse list of image: %q has %d fields, want 8", line, len(f))
	}
	mode, errMode := strconv.ParseUint(f[1], 8, 32)
	uid, errUID := strconv.Atoi(f[2])
	gid, errGID := strconv.Atoi(f[3])
	size, errSize := strconv.ParseInt(f[4], 10, 64)
	for _, err := range []error{errMode, errUID, errGID, errSize} {
		if err != nil {
			return e, "", fmt.Errorf("parse list of image: %q: %w", line, err)
		}
	}
	if f[0] != "f" {
		size = 0 // of the directory that it was unpacked to
	}
	return Entry{Path: f[6], Kind: f[0], Mode: uint32(mode), UID: uid, GID: gid, Size: size, Target: f[7]}, f[5], nil
}

func beginning(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", err
	}
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return "elf", nil
	case bytes.HasPrefix(head, []byte("#!")):
		return "script", nil
	}
	return "data", nil
}
