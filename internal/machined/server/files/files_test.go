package files

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	filev1 "github.com/cyvive/cyvive/api/proto/file/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
)

const key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n"

// tree makes a root with a bit of everything.
func tree(t testing.TB) Reader {
	t.Helper()
	root := t.TempDir()
	for name, data := range map[string]string{
		"etc/os-release": "ID=cyvive\n", "etc/kubernetes/admin.kubeconfig": "secret", "etc/tls/cert.pem": key, "etc/tls/server.key": "secret",
		"state/machine.yaml": "secret", "var/etcd/db": "secret", "run/cyvive/secrets/etcd/ca": "secret", "run/cyvive/log/etcd.log": "line\n",
		"run/cyvive/machine-id": "4b2c\n", "proc/meminfo": "MemTotal: 1 kB\n", "proc/1/environ": "SECRET=1", "proc/1/status": "Name: init\n",
		"proc/sys/kernel/osrelease": "6.12\n", "proc/sys/net/ipv6/conf/all/stable_secret": "secret", "proc/kcore": "secret", "dev/sda": "secret",
		"var/plane/lib/kubelet/pods/x/token": "secret", "sys/firmware/acpi": "secret", "usr/lib/x": strings.Repeat("x", 100<<10),
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"etc/link": "../state/machine.yaml", "etc/absolute": "/state/machine.yaml", "etc/folder": "../state", "etc/out": "/../../../../../../../etc/passwd",
	} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "etc/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Reader{Root: root}
}

// get reads a whole file.
func get(t *testing.T, r Reader, path string, offset, limit uint64) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := r.Read(t.Context(), path, offset, limit, func(data []byte) error {
		out.Write(data)
		return nil
	})
	return out.String(), err
}

func TestRead(t *testing.T) {
	r := tree(t)
	for path, want := range map[string]string{
		"/etc/os-release": "ID=cyvive\n", "/run/cyvive/log/etcd.log": "line\n", "/run/cyvive/machine-id": "4b2c\n", "/proc/meminfo": "MemTotal: 1 kB\n",
		"/proc/1/status": "Name: init\n", "/proc/sys/kernel/osrelease": "6.12\n", "//etc/./os-release": "ID=cyvive\n", "/usr/lib/x": strings.Repeat("x", 100<<10),
	} {
		if got, err := get(t, r, path, 0, 1<<20); got != want || err != nil {
			t.Errorf("%s: got %.50q (%d bytes), %v", path, got, len(got), err)
		}
	}
	if got, err := get(t, r, "/etc/os-release", 3, 4); got != "cyvi" || err != nil {
		t.Errorf("4 bytes from 3: got %q, %v", got, err)
	}
	if got, err := get(t, r, "/usr/lib/x", 90<<10, 1<<20); len(got) != 10<<10 || err != nil {
		t.Errorf("from 90 KiB: got %d bytes, %v", len(got), err)
	}
	if got, err := get(t, r, "/etc/os-release", 1<<40, 10); got != "" || err != nil {
		t.Errorf("beyond the end: got %q, %v", got, err)
	}
}

func TestSecretsAreRefused(t *testing.T) {
	r := tree(t)
	for path, want := range map[string]error{
		"/state/machine.yaml": server.ErrDenied, "/state": server.ErrDenied, "/var/etcd/db": server.ErrDenied, "/run/cyvive/secrets/etcd/ca": server.ErrDenied,
		"/etc/kubernetes/admin.kubeconfig": server.ErrDenied, "/etc/tls/server.key": server.ErrDenied, "/etc/tls/cert.pem": server.ErrDenied,
		"/proc/1/environ": server.ErrDenied, "/proc/self/mem": server.ErrDenied, "/proc/kcore": server.ErrDenied, "/proc/1/root/state/machine.yaml": server.ErrDenied,
		"/proc/sys/net/ipv6/conf/all/stable_secret": server.ErrDenied, "/dev/sda": server.ErrDenied, "/sys/firmware/acpi": server.ErrDenied,
		"/var/plane/lib/kubelet/pods/x/token": server.ErrDenied, "/var/extensions/data/agent/key": server.ErrDenied, "//state//machine.yaml": server.ErrDenied, "/./state/machine.yaml": server.ErrDenied,
		"/etc/../state/machine.yaml": server.ErrInvalid, "state/machine.yaml": server.ErrInvalid, "": server.ErrInvalid, "/etc/\x00": server.ErrInvalid,
		"/etc/link": server.ErrPrecondition, "/etc/absolute": server.ErrPrecondition, "/etc/folder/machine.yaml": server.ErrPrecondition, "/etc/out": server.ErrPrecondition,
		"/etc/pipe": server.ErrPrecondition, "/etc": server.ErrPrecondition, "/etc/nosuch": server.ErrNotFound, "/etc/os-release/x": server.ErrNotFound,
	} {
		if got, err := get(t, r, path, 0, 1<<20); got != "" || !errors.Is(err, want) {
			t.Errorf("%q: got %q, %v; want %v", path, got, err, want)
		}
	}
	_, err := get(t, r, "/etc/folder/machine.yaml", 0, 1)
	if err == nil || !strings.Contains(err.Error(), "/etc/folder is a symbolic link to ../state") {
		t.Errorf("link: got %v, want the link and where it leads", err)
	}
	for _, path := range []string{"/state", "/var/etcd", "/proc/1/fd", "/proc/1/task", "/dev", "/run/cyvive/secrets", "/etc/folder/x"} {
		if _, _, err := r.List(t.Context(), path); err == nil {
			t.Errorf("list %s: got no error", path)
		}
	}
}

// withoutShm ends a test that needs a second file system.
func withoutShm(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("REQUIRE_ROOT") == "1" {
		t.Fatal("a file system at /dev/shm was promised (REQUIRE_ROOT=1): ", err)
	}
	t.Skip("needs a file system at /dev/shm: ", err)
}

// TestOtherFileSystem: a whole file system is refused, by whatever path.
func TestOtherFileSystem(t *testing.T) {
	secret, err := os.MkdirTemp("/dev/shm", "files-test-")
	if err != nil {
		withoutShm(t, err)
	}
	defer os.RemoveAll(secret)
	var there, here syscall.Stat_t
	if err := errors.Join(syscall.Stat(secret, &there), syscall.Stat("/", &here)); err != nil {
		t.Fatal(err)
	}
	if there.Dev == here.Dev {
		withoutShm(t, errors.New("it is no file system of its own"))
	}
	r := Reader{Root: "/", Secret: []string{secret}}
	if err := r.checkDevice("/mnt/x", there.Dev); !errors.Is(err, server.ErrDenied) {
		t.Errorf("a file on it: got %v, want %v", err, server.ErrDenied)
	}
	if err := r.checkDevice("/mnt/x", here.Dev); err != nil {
		t.Errorf("a file beside it: got %v", err)
	}
}

// TestKeyAnywhere puts a key at every place around the border of two pieces, and
// reads from before, from in it, and from behind it.
func TestKeyAnywhere(t *testing.T) {
	for at := pieceBytes - 60; at < pieceBytes+20; at++ {
		data := append(bytes.Repeat([]byte("x"), at), key...)
		data = append(data, bytes.Repeat([]byte("x"), 2*pieceBytes)...)
		for _, offset := range []int{0, at - 5, at + 10, at + 40} {
			var got bytes.Buffer
			err := copyTo(context.Background(), bytes.NewReader(data), "f", uint64(offset), 1<<20, func(b []byte) error {
				got.Write(b)
				return nil
			})
			if !errors.Is(err, server.ErrDenied) || bytes.Contains(got.Bytes(), []byte("MIGH")) {
				t.Fatalf("key at %d, read from %d: got %v and %d bytes", at, offset, err, got.Len())
			}
		}
	}
	for _, mark := range marks {
		if len(mark) > markBytes {
			t.Errorf("mark %q is longer than %d bytes", mark, markBytes)
		}
	}
}

func TestList(t *testing.T) {
	r := tree(t)
	files, truncated, err := r.List(t.Context(), "/etc")
	if err != nil || truncated {
		t.Fatal(err)
	}
	got := map[string]filev1.FileKind{}
	for _, f := range files {
		got[f.GetName()] = f.GetKind()
		if f.GetName() == "link" && f.GetLinkTarget() != "../state/machine.yaml" {
			t.Errorf("link: got %v", f)
		}
		if f.GetName() == "os-release" && (f.GetSizeBytes() != 10 || f.GetMode() != 0o640 || f.GetModifiedAt().AsTime().Year() < 2026) {
			t.Errorf("os-release: got %v", f)
		}
	}
	want := map[string]filev1.FileKind{
		"absolute": filev1.FileKind_FILE_KIND_LINK, "folder": filev1.FileKind_FILE_KIND_LINK, "kubernetes": filev1.FileKind_FILE_KIND_DIRECTORY,
		"link": filev1.FileKind_FILE_KIND_LINK, "os-release": filev1.FileKind_FILE_KIND_REGULAR, "out": filev1.FileKind_FILE_KIND_LINK,
		"pipe": filev1.FileKind_FILE_KIND_OTHER, "tls": filev1.FileKind_FILE_KIND_DIRECTORY,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("/etc (-want +got):\n%s", diff)
	}
	if files, _, err := r.List(t.Context(), "/etc/os-release"); err != nil || len(files) != 1 || files[0].GetName() != "os-release" {
		t.Errorf("a file: got %v, %v", files, err)
	}
	if files, _, err := r.List(t.Context(), "/etc/folder"); err != nil || len(files) != 1 || files[0].GetLinkTarget() != "../state" {
		t.Errorf("a link: got %v, %v", files, err)
	}
	if _, _, err := r.List(t.Context(), "/nosuch"); !errors.Is(err, server.ErrNotFound) {
		t.Errorf("nothing: got %v", err)
	}
}

// FuzzPath reads any path of a tree in which all secrets are the word secret.
func FuzzPath(f *testing.F) {
	for _, path := range []string{"/etc/os-release", "/state/machine.yaml", "/etc/link", "/proc/self/mem", "/etc/../state", "//state", "/etc/folder/machine.yaml", "/.", "/proc/1/../1/environ"} {
		f.Add(path)
	}
	r := tree(f)
	f.Fuzz(func(t *testing.T, path string) {
		err := r.Read(t.Context(), path, 0, 1<<20, func(data []byte) error {
			if bytes.Contains(data, []byte("secret")) || bytes.Contains(data, []byte("SECRET")) || bytes.Contains(data, []byte("MIGH")) {
				t.Errorf("%q: gave a secret", path)
			}
			return nil
		})
		if err == nil && strings.Contains(path, "..") {
			t.Errorf("%q was read", path)
		}
		_, _, _ = r.List(t.Context(), path) // it must not panic
	})
}
