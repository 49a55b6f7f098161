package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// answer is what "/" says.
type answer struct {
	Hostname string    `json:"hostname"`
	Version  string    `json:"version"`
	Time     time.Time `json:"time"`
}

// process is one entry of "/processes".
type process struct {
	PID     int      `json:"pid"`
	Comm    string   `json:"comm"`
	Cmdline []string `json:"cmdline"`
}

// handler serves the pod's pages; proc is where the process file system is.
func handler(hostname, proc string, diagnose bool, now func() time.Time) *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, answer{Hostname: hostname, Version: version, Time: now().UTC()})
	})
	m.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	if !diagnose {
		return m
	}
	m.HandleFunc("GET /processes", func(w http.ResponseWriter, _ *http.Request) {
		list, err := processes(proc)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, list)
	})
	m.HandleFunc("GET /mounts", func(w http.ResponseWriter, _ *http.Request) {
		b, err := os.ReadFile(filepath.Join(proc, "self/mountinfo"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(b)
	})
	m.HandleFunc("GET /blocks", func(w http.ResponseWriter, _ *http.Request) {
		list, err := blocks("/sys", "/dev")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, list)
	})
	m.HandleFunc("GET /write", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, tryWrite(r.URL.Query().Get("path")))
	})
	m.HandleFunc("GET /resolve", func(w http.ResponseWriter, r *http.Request) {
		addresses, err := net.DefaultResolver.LookupHost(r.Context(), r.URL.Query().Get("name"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		writeJSON(w, addresses)
	})
	m.HandleFunc("GET /fetch", func(w http.ResponseWriter, r *http.Request) {
		body, err := fetch(r.Context(), r.URL.Query().Get("url"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = w.Write(body)
	})
	filePages(m)
	countPages(m)
	return m
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// tryWrite creates a file and returns "ok", or the name of the error number
// that the kernel answered, for example "EROFS". The file is removed again;
// one that exists is not touched ("EEXIST").
func tryWrite(path string) string {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	case err != nil:
		return err.Error()
	}
	f.Close()
	os.Remove(path)
	return "ok"
}

// processes lists what can be seen in proc; processes that end meanwhile are
// left out.
func processes(proc string) ([]process, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	list := []process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(proc, e.Name(), "comm"))
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join(proc, e.Name(), "cmdline"))
		if err != nil && !errors.Is(err, io.EOF) {
			continue
		}
		list = append(list, process{PID: pid, Comm: strings.TrimSpace(string(comm)), Cmdline: splitNUL(line)})
	}
	return list, nil
}

func splitNUL(b []byte) []string {
	out := []string{}
	for part := range bytes.SplitSeq(bytes.TrimRight(b, "\x00"), []byte{0}) {
		if len(part) > 0 {
			out = append(out, string(part))
		}
	}
	return out
}
