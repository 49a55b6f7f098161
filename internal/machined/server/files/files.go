package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	filev1 "github.com/cyvive/cyvive/api/proto/file/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// Bounds of one call.
const (
	maxEntries   = 10000
	maxPathBytes = 4096
	pieceBytes   = 32 << 10
	// keyBytes is how far before the offset a key is looked for that the data
	// could be the rest of.
	keyBytes = 64 << 10
)

// Reader reads the files below a root. It is immutable and safe for concurrent
// use; it implements [server.Files].
type Reader struct {
	// Root is "/", or a folder that stands for it.
	Root string
	// Secret are folders, by their path in this process, whose whole file systems
	// are refused if they are not the root's.
	Secret []string
}

var _ server.Files = Reader{}

// check refuses paths that are not plain, and those with secrets.
func check(p string, folder bool) error {
	if len(p) > maxPathBytes || !strings.HasPrefix(p, "/") || strings.ContainsRune(p, 0) || slices.Contains(strings.Split(p, "/"), "..") {
		return fmt.Errorf("%w: path %.100q: expected an absolute path without \"..\"", server.ErrInvalid, p)
	}
	if why := denied(path.Clean(p), folder); why != "" {
		return fmt.Errorf("%w: %s: %s", server.ErrDenied, path.Clean(p), why)
	}
	return nil
}

// open resolves a path below the root without following a link, and returns
// what it is. The caller closes the file.
func (r Reader) open(p string, flags int) (*os.File, *unix.Stat_t, error) {
	root, err := os.Open(r.Root)
	if err != nil {
		return nil, nil, fmt.Errorf("open the root: %w", err)
	}
	defer root.Close()
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_NONBLOCK | unix.O_NOCTTY // openat2(2) refuses them together with O_PATH
	}
	how := &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW),
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_IN_ROOT,
	}
	fd, err := unix.Openat2(int(root.Fd()), path.Clean(p), how)
	if err != nil {
		return nil, nil, r.explain(p, err)
	}
	f := os.NewFile(uintptr(fd), path.Clean(p))
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("look at %s: %w", p, err)
	}
	if err := r.checkDevice(p, st.Dev); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, &st, nil
}

// explain gives the error of an open its class.
func (r Reader) explain(p string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("open %s: %w", p, server.ErrNotFound)
	case errors.Is(err, syscall.ELOOP):
		link, target := r.firstLink(p)
		return fmt.Errorf("%w: %s is a symbolic link to %s: name the file itself", server.ErrPrecondition, link, target)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: open %s: %w", server.ErrDenied, p, err)
	}
	return fmt.Errorf("open %s: %w", p, err)
}

// firstLink finds the link in a path, for a person.
func (r Reader) firstLink(p string) (link, target string) {
	at := "/"
	for _, name := range strings.Split(strings.Trim(path.Clean(p), "/"), "/") {
		at = path.Join(at, name)
		if target, err := os.Readlink(path.Join(r.Root, at)); err == nil {
			return at, target
		}
	}
	return path.Clean(p), "somewhere else"
}

// checkDevice refuses files on the file systems of secret folders.
func (r Reader) checkDevice(p string, dev uint64) error {
	var root unix.Stat_t
	if err := unix.Stat(r.Root, &root); err != nil {
		return fmt.Errorf("look at the root: %w", err)
	}
	for _, secret := range r.Secret {
		var st unix.Stat_t
		if unix.Stat(secret, &st) == nil && st.Dev != root.Dev && st.Dev == dev {
			return fmt.Errorf("%w: %s lies on the file system of %s, which holds secrets", server.ErrDenied, p, secret)
		}
	}
	return nil
}

// List implements server.Files.
func (r Reader) List(ctx context.Context, p string) ([]*filev1.File, bool, error) {
	if err := check(p, true); err != nil {
		return nil, false, err
	}
	found, st, err := r.open(p, unix.O_PATH)
	if err != nil {
		return nil, false, err
	}
	defer found.Close()
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return []*filev1.File{describe(path.Base(path.Clean(p)), st, target(found, "", st))}, false, nil
	}
	dir, _, err := r.open(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("list %s: %w", p, err)
	}
	slices.Sort(names)
	truncated := len(names) > maxEntries
	var out []*filev1.File
	for _, name := range names[:min(len(names), maxEntries)] {
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		var st unix.Stat_t
		if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			continue // it has gone meanwhile
		}
		out = append(out, describe(name, &st, target(dir, name, &st)))
	}
	return out, truncated, nil
}

// target is where a link in a folder leads, or, without a name, an open link.
func target(dir *os.File, name string, st *unix.Stat_t) string {
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return ""
	}
	buffer := make([]byte, maxPathBytes)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buffer)
	if err != nil {
		return ""
	}
	return string(buffer[:n])
}

func describe(name string, st *unix.Stat_t, link string) *filev1.File {
	kinds := map[uint32]filev1.FileKind{
		unix.S_IFREG: filev1.FileKind_FILE_KIND_REGULAR, unix.S_IFDIR: filev1.FileKind_FILE_KIND_DIRECTORY, unix.S_IFLNK: filev1.FileKind_FILE_KIND_LINK,
	}
	kind, ok := kinds[st.Mode&unix.S_IFMT]
	if !ok {
		kind = filev1.FileKind_FILE_KIND_OTHER
	}
	return &filev1.File{
		Name: strings.ToValidUTF8(name, "\uFFFD"), Kind: kind, Mode: st.Mode & 0o7777, Uid: st.Uid, Gid: st.Gid, SizeBytes: uint64(st.Size),
		ModifiedAt: timestamppb.New(time.Unix(st.Mtim.Unix())), LinkTarget: strings.ToValidUTF8(link, "\uFFFD"),
	}
}

// Read implements server.Files.
func (r Reader) Read(ctx context.Context, p string, offset, limit uint64, send func([]byte) error) error {
	if err := check(p, false); err != nil {
		return err
	}
	found, st, err := r.open(p, unix.O_PATH)
	if err != nil {
		return err
	}
	defer found.Close()
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFLNK:
		return r.explain(p, syscall.ELOOP)
	default:
		return fmt.Errorf("%w: %s is no regular file", server.ErrPrecondition, p)
	}
	file, again, err := r.open(p, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer file.Close()
	if again.Ino != st.Ino || again.Dev != st.Dev {
		return fmt.Errorf("%w: %s was replaced while it was opened: try again", server.ErrUnavailable, p)
	}
	return copyTo(ctx, file, p, offset, limit, send)
}

// copyTo sends a part of a file, as long as it holds no secret.
func copyTo(ctx context.Context, file io.ReadSeeker, p string, offset, limit uint64, send func([]byte) error) error {
	if offset > 1<<62 {
		return fmt.Errorf("%w: offset %d is beyond any file", server.ErrInvalid, offset)
	}
	from := offset - min(offset, keyBytes)
	if from > 0 {
		if _, err := file.Seek(int64(from), io.SeekStart); err != nil {
			return fmt.Errorf("read %s from byte %d: %w", p, offset, err)
		}
	}
	at, end := from, offset+limit
	// The window keeps the end of the piece before, in which a mark may begin.
	window := make([]byte, 0, markBytes+pieceBytes)
	for at < end && ctx.Err() == nil {
		window = append(window[:0], window[len(window)-min(len(window), markBytes):]...)
		kept := len(window)
		n, err := io.ReadFull(file, window[kept:kept+int(min(pieceBytes, end-at))])
		window = window[:kept+n]
		if marked(window) {
			return fmt.Errorf("%w: %s holds a private key or a kubeconfig", server.ErrDenied, p)
		}
		piece := window[kept:]
		if at < offset {
			piece = piece[min(uint64(len(piece)), offset-at):]
		}
		at += uint64(n)
		if len(piece) > 0 {
			if err := send(piece); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", p, err)
		}
	}
	return ctx.Err()
}
