package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxFillBytes bounds what one request writes.
const maxFillBytes = 1 << 30

// room is what "/room" says of the file system at a path.
type room struct {
	TotalBytes     uint64 `json:"totalBytes"`
	AvailableBytes uint64 `json:"availableBytes"`
	// BlockBytes is the block size, which of a file system of ZFS is its record size
	// (zfs_statvfs in module/os/linux/zfs/zfs_vfsops.c of OpenZFS 2.3.9).
	BlockBytes uint64 `json:"blockBytes"`
}

// filePages serve files of the pod's volumes. What "/put" and "/fill" have answered with "ok" is on the disk; else they answer with the name of the error's number,
// such as EDQUOT.
func filePages(m *http.ServeMux) {
	m.HandleFunc("GET /put", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		fmt.Fprintln(w, errorName(put(q.Get("path"), func(f *os.File) error {
			_, err := f.WriteString(q.Get("text"))
			return err
		})))
	})
	m.HandleFunc("GET /fill", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		n, err := strconv.ParseInt(q.Get("bytes"), 10, 64)
		if err != nil || n < 0 || n > maxFillBytes {
			http.Error(w, fmt.Sprintf("bytes %q: expected a number up to %d", q.Get("bytes"), maxFillBytes), http.StatusBadRequest)
			return
		}
		// What can be compressed would take no room.
		fmt.Fprintln(w, errorName(put(q.Get("path"), func(f *os.File) error {
			_, err := io.CopyN(f, rand.NewChaCha8([32]byte{}), n)
			return err
		})))
	})
	m.HandleFunc("GET /get", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		most := int64(math.MaxInt64)
		if text := q.Get("bytes"); text != "" {
			var err error
			if most, err = strconv.ParseInt(text, 10, 64); err != nil || most < 0 {
				http.Error(w, fmt.Sprintf("bytes %q: expected a number", text), http.StatusBadRequest)
				return
			}
		}
		data, err := readSome(q.Get("path"), most)
		if err != nil {
			http.Error(w, errorName(err), http.StatusNotFound)
			return
		}
		_, _ = w.Write(data)
	})
	m.HandleFunc("GET /room", func(w http.ResponseWriter, r *http.Request) {
		var s unix.Statfs_t
		if err := unix.Statfs(r.URL.Query().Get("path"), &s); err != nil {
			http.Error(w, errorName(err), http.StatusNotFound)
			return
		}
		writeJSON(w, room{s.Blocks * uint64(s.Bsize), s.Bavail * uint64(s.Bsize), uint64(s.Bsize)})
	})
	m.HandleFunc("GET /size", func(w http.ResponseWriter, r *http.Request) {
		n, err := size(r.URL.Query().Get("path"))
		if err != nil {
			http.Error(w, errorName(err), http.StatusNotFound)
			return
		}
		fmt.Fprintln(w, n)
	})
}

// size is that of a file or of a device, in bytes.
func size(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Seek(0, io.SeekEnd)
}

// readSome reads a file, or as much of it as is asked for.
func readSome(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// put makes a file, or replaces what is in it, and has it and its name on the disk when it returns. After an error the file is gone.
func put(path string, write func(*os.File) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// errorName is "ok", or the name of an error's number, or what else it says.
func errorName(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}
