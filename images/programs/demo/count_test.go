package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestCount: at any time the first file is at most one number ahead of the second;
// at the end both have the last.
func TestCount(t *testing.T) {
	h := handler("pod", "/proc", true, time.Now)
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	if code, body := visit(t, h, "/counted"); code != http.StatusConflict || strings.TrimSpace(body) != "nothing was counted" {
		t.Errorf("/counted before: %d %q", code, body)
	}
	page := "/count?" + url.Values{"path": {first, second}}.Encode()
	for range 2 { // whoever asks again, as the answer was lost, begins nothing anew
		if code, body := visit(t, h, page); code != http.StatusOK || body != "ok\n" {
			t.Errorf("%s: %d %q", page, code, body)
		}
	}
	number := func(path string) uint64 {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(string(text), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if text, err := os.ReadFile(second); err == nil && len(text) > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nothing is counted")
		}
	}
	for range 20 {
		// Read in this order, the second may have gone on since.
		if a, b := number(first), number(second); b+1 < a {
			t.Errorf("the first has %d, and the second %d", a, b)
		}
		time.Sleep(time.Millisecond)
	}
	for range 2 {
		_, body := visit(t, h, "/counted")
		last, err := strconv.ParseUint(strings.TrimSpace(body), 10, 64)
		if err != nil || last == 0 || number(first) != last || number(second) != last {
			t.Errorf("/counted: %q, %v; the files have %d and %d", body, err, number(first), number(second))
		}
	}
}

// TestCountFails: what keeps from counting is told at the end.
func TestCountFails(t *testing.T) {
	h := handler("pod", "/proc", true, time.Now)
	if _, body := visit(t, h, "/count?path="+filepath.Join(t.TempDir(), "none/file")); body != "ok\n" {
		t.Errorf("/count: %q", body)
	}
	if code, body := visit(t, h, "/counted"); code != http.StatusConflict || strings.TrimSpace(body) != "ENOENT" {
		t.Errorf("/counted: %d %q", code, body)
	}
}
