package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFilePages(t *testing.T) {
	h := handler("pod", "/proc", true, time.Now)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.Symlink("/dev/full", filepath.Join(dir, "full")); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		page, want string
		code       int
	}{
		{"/get?path=" + file, "ENOENT", http.StatusNotFound},
		{"/put?path=" + file + "&text=first", "ok", http.StatusOK},
		{"/get?path=" + file, "first", http.StatusOK},
		{"/put?path=" + file + "&text=2", "ok", http.StatusOK},
		{"/get?path=" + file, "2", http.StatusOK},
		{"/put?path=" + file + "&text=third", "ok", http.StatusOK},
		{"/get?path=" + file + "&bytes=2", "th", http.StatusOK},
		{"/get?path=" + file + "&bytes=x", `bytes "x": expected a number`, http.StatusBadRequest},
		{"/put?path=" + dir + "/none/x&text=2", "ENOENT", http.StatusOK},
		{"/fill?path=" + file + "&bytes=100000", "ok", http.StatusOK},
		{"/fill?path=" + filepath.Join(dir, "full") + "&bytes=100000", "ENOSPC", http.StatusOK},
		{"/fill?path=" + file + "&bytes=-1", `bytes "-1": expected a number up to 1073741824`, http.StatusBadRequest},
		{"/room?path=" + dir + "/none", "ENOENT", http.StatusNotFound},
		{"/size?path=" + file, "100000", http.StatusOK},
		{"/size?path=" + dir + "/none", "ENOENT", http.StatusNotFound},
	} {
		if code, body := visit(t, h, step.page); code != step.code || strings.TrimSpace(body) != step.want {
			t.Errorf("%s: %d %q, want %d %q", step.page, code, body, step.code, step.want)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "full")); err == nil {
		t.Error("what could not be written is still there")
	}
	if info, err := os.Stat(file); err != nil || info.Size() != 100000 {
		t.Errorf("what was filled: %v, %v", info, err)
	}
	_, body := visit(t, h, "/room?path="+dir)
	var r room
	if err := json.Unmarshal([]byte(body), &r); err != nil || r.TotalBytes == 0 || r.AvailableBytes > r.TotalBytes || r.BlockBytes == 0 {
		t.Errorf("/room: %s, %v", body, err)
	}
}
