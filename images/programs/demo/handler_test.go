package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func visit(t *testing.T, h http.Handler, target string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w.Code, w.Body.String()
}

// fakeProc makes a process file system with one process.
func fakeProc(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"7/comm": "demo\n", "7/cmdline": "/usr/bin/demo\x00--diagnose\x00", "self/mountinfo": "1 0 /\n", "uptime": "1",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPages(t *testing.T) {
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	h := handler("pod", fakeProc(t), true, func() time.Time { return now })
	_, body := visit(t, h, "/")
	var a answer
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(answer{Hostname: "pod", Version: version, Time: now}, a); d != "" {
		t.Errorf("/ (-want +got):\n%s", d)
	}
	if code, body := visit(t, h, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	_, body = visit(t, h, "/processes")
	if want := `[{"pid":7,"comm":"demo","cmdline":["/usr/bin/demo","--diagnose"]}]` + "\n"; body != want {
		t.Errorf("/processes: %q, want %q", body, want)
	}
	if _, body := visit(t, h, "/mounts"); body != "1 0 /\n" {
		t.Errorf("/mounts: %q", body)
	}
	if code, _ := visit(t, h, "/other"); code != http.StatusNotFound {
		t.Errorf("/other: %d", code)
	}
}

func TestWritePage(t *testing.T) {
	h := handler("pod", "/proc", true, time.Now)
	dir := t.TempDir()
	old := filepath.Join(dir, "old")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "new"): "ok", old: "EEXIST", filepath.Join(dir, "none/x"): "ENOENT",
	} {
		if _, body := visit(t, h, "/write?path="+path); strings.TrimSpace(body) != want {
			t.Errorf("writing %s: %q, want %s", path, body, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("the file that was tried is left behind")
	}
}

func TestDiagnosisIsOff(t *testing.T) {
	h := handler("pod", "/proc", false, time.Now)
	for _, page := range []string{"/processes", "/mounts", "/blocks", "/write?path=/x", "/resolve?name=x", "/fetch?url=x", "/put?path=/x", "/fill?path=/x&bytes=1", "/get?path=/x", "/room?path=/", "/size?path=/x", "/count?path=/x", "/counted"} {
		if code, _ := visit(t, h, page); code != http.StatusNotFound {
			t.Errorf("%s answers %d without --diagnose", page, code)
		}
	}
}

func FuzzSplitNUL(f *testing.F) {
	f.Add([]byte("/usr/bin/demo\x00--listen\x00:8080\x00"))
	f.Add([]byte("\x00\x00a\x00\x00"))
	f.Fuzz(func(t *testing.T, line []byte) {
		parts := splitNUL(line)
		if parts == nil {
			t.Errorf("%q: nil, which JSON writes as null", line)
		}
		if again := splitNUL([]byte(strings.Join(parts, "\x00"))); !slices.Equal(parts, again) {
			t.Errorf("%q: %q reads as %q", line, parts, again)
		}
	})
}
