package cluster

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseHealth(t *testing.T) {
	for text, want := range map[string][]string{
		`{"healthy": true, "checks": [{"name": "etcd", "healthy": true}]}`: nil,
		`{"healthy": false, "checks": [{"name": "network", "healthy": true},
			{"name": "etcd", "healthy": false, "reason": "waits for storage"},
			{"name": "kube", "healthy": false, "reason": "waits for etcd"}]}`: {"etcd: waits for storage", "kube: waits for etcd"},
		`{}`: {"the node gives no reason"},
	} {
		got, err := parseHealth([]byte(text))
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: got %q, %v; want %q", text, got, err, want)
		}
	}
}

func FuzzParseHealth(f *testing.F) {
	f.Add([]byte(`{"healthy": false, "checks": [{"name": "etcd", "reason": "x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		reasons, err := parseHealth(data)
		if err != nil && reasons != nil {
			t.Errorf("%q: got %q together with %v", data, reasons, err)
		}
	})
}

func TestParsePod(t *testing.T) {
	for text, want := range map[string]string{
		`{"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}`:                                "",
		`{"status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "no nodes"}]}}`: "no nodes",
		`{"status": {"phase": "Pending", "containerStatuses": [{"name": "demo", "state": {"waiting":
			{"reason": "ErrImageNeverPull", "message": "not there"}}}]}}`: "container demo: ErrImageNeverPull not there",
		`{"status": {"phase": "Failed", "containerStatuses": [{"name": "demo", "state": {"terminated":
			{"reason": "Error", "exitCode": 2}}}]}}`: "container demo: Error, exit status 2",
		`{"status": {"phase": "Pending"}}`: "phase Pending",
		`nonsense`:                         "read pod: ",
	} {
		err := parsePod([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func FuzzParsePod(f *testing.F) {
	f.Add([]byte(`{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if parsePod(data) == nil && !bytes.Contains(bytes.ToLower(data), []byte("status")) {
			t.Errorf("%q passes for a ready pod", data)
		}
	})
}

func FuzzParseServices(f *testing.F) {
	f.Add([]byte(`{"services": [{"name": "etcd"}, {"name": "../x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, _ := parseServices(data)
		for _, name := range names {
			if strings.ContainsRune(name, filepath.Separator) && name != "/" {
				t.Errorf("%q: name %q leads to another folder", data, name)
			}
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"name": "demo", "arch": "amd64", "nodes": [{"name": "node1"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if found, err := parseRecord(data); err == nil && found.Name == "" {
			t.Errorf("%q: a record without a name", data)
		}
	})
}

func TestReporter(t *testing.T) {
	var out bytes.Buffer
	r := newReporter(&out)
	r.printf("wait for %s", "etcd")
	r.printf("wait for %s", "etcd")
	r.printf("wait for %s", "kube")
	if got := strings.Count(out.String(), "\n"); got != 2 {
		t.Errorf("got %q, want two lines", out.String())
	}
	newReporter(nil).printf("discarded")
}

func TestOpenWithoutCluster(t *testing.T) {
	if _, err := Open(Options{Dir: t.TempDir()}); !errors.Is(err, ErrNoCluster) {
		t.Errorf("got %v, want %v", err, ErrNoCluster)
	}
}

// TestCreateLacks wants a refusal before anything is written.
func TestCreateLacks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	_, err := Create(t.Context(), Options{
		Name: "demo", Dir: dir, ImageDir: "/none", BinDir: "/none", Arch: "amd64", MemoryBytes: 1 << 50, DiskBytes: 1 << 30,
	})
	var lack *LackError
	if !errors.As(err, &lack) {
		t.Fatalf("got %v, want a LackError", err)
	}
	for _, want := range []string{"memory", "disk.qcow2", "nodectl", "kubectl"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not name %s", err, want)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder was made: %v", err)
	}
}
