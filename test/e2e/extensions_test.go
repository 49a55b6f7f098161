package e2e

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	extensionv1 "github.com/cyvive/cyvive/api/proto/extension/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/release/extension"
)

// Extensions of the test: modules that the image has not, one of them with what it needs, and a service.
const (
	modulesExtension = `{"name": "links", "version": "1.0.0", "modules": ["nlmon", "team_mode_roundrobin"]}`
	serviceExtension = `{"name": "probe", "version": "1.0.0", "os": {"from": "0.0.1"}, "service": {"program": "/usr/bin/extprobe", "user": 2001,
		"capabilities": ["CAP_NET_RAW"], "paths": ["/etc/machine-id"], "data": true}}`
	// extensionsPatch names them, and one that there is not.
	extensionsPatch = "kind: Machine\nextensions: [{name: links, version: 1.0.0}, {name: probe, version: 1.0.0}%s]\n"
)

// TestExtensions takes a node without a cluster to extensions: it comes up without those that it lacks and says so, takes what its key has signed and
// nothing else, runs a service as soon as that is pushed, loads modules with the next boot, and leaves nothing behind. It runs with LONG=1 only.
func TestExtensions(t *testing.T) {
	longOnly(t, "builds extensions, and starts a node three times")
	e := requireImage(t)
	ctx := testContext(t, 40*time.Minute)
	r := e.releases(t)
	links, probe := r.extension(t, ctx, "links", modulesExtension), r.extension(t, ctx, "probe", serviceExtension)
	s := startAlone(t, ctx, e, nil)

	s.nodectl(t, ctx, "config", "apply", "--patch", s.patch(t, fmt.Sprintf(extensionsPatch, ", {name: nosuch, version: 2.0.0}")))
	before := currentBoot(t, ctx, s)
	s.nodectl(t, ctx, "reboot")
	awaitBoot(t, ctx, s, before)
	for _, name := range []string{"links 1.0.0", "probe 1.0.0", "nosuch 2.0.0"} {
		s.awaitExtensionHealth(t, ctx, name+" is not on the node; push it")
	}
	testExtensionsRefused(t, ctx, s, r, links)

	s.nodectl(t, ctx, "extension", "push", probe)
	s.awaitExtension(t, ctx, "probe", extensionv1.State_STATE_ACTIVE, "")
	s.checkProbe(t, ctx, 1)
	s.nodectl(t, ctx, "extension", "push", links)
	s.awaitExtension(t, ctx, "links", extensionv1.State_STATE_FAILED, "loaded with the next boot")
	if out, err := s.Tools().Nodectl(ctx, "extension", "remove", "links", "1.0.0"); err == nil {
		t.Errorf("what the configuration names was removed:\n%s", out)
	}
	if out := s.nodectl(t, ctx, "extension", "sbom", "links"); !strings.Contains(out, "linux-image-") {
		t.Errorf("the bill of materials of modules names no kernel package:\n%.2000s", out)
	}

	t.Run("reboot", func(t *testing.T) { testExtensionsAfterBoot(t, ctx, s) })
}

// testExtensionsAfterBoot starts the node again with all extensions, and then without them.
func testExtensionsAfterBoot(t *testing.T, ctx context.Context, s *suite) {
	s.nodectl(t, ctx, "config", "apply", "--patch", s.patch(t, fmt.Sprintf(extensionsPatch, ", {name: nosuch, $patch: delete}")))
	before := currentBoot(t, ctx, s)
	s.nodectl(t, ctx, "reboot")
	awaitBoot(t, ctx, s, before)
	if err := s.AwaitHealthy(ctx); err != nil {
		t.Errorf("with all extensions: %v\n%s", err, s.extensionList(ctx))
	}
	for _, name := range []string{"links", "probe"} {
		s.awaitExtension(t, ctx, name, extensionv1.State_STATE_ACTIVE, "")
	}
	s.checkProbe(t, ctx, 2)
	loaded := s.nodectl(t, ctx, "files", "read", "/proc/modules")
	for _, module := range []string{"nlmon", "team_mode_roundrobin", "team"} {
		if !strings.Contains("\n"+loaded, "\n"+module+" ") {
			t.Errorf("module %s is not loaded", module)
		}
	}

	// Without them in the configuration, nothing of them is left running, and they can be removed.
	s.nodectl(t, ctx, "config", "apply", "--patch", s.patch(t, "kind: Machine\nextensions: null\n"))
	before = currentBoot(t, ctx, s)
	s.nodectl(t, ctx, "reboot")
	awaitBoot(t, ctx, s, before)
	s.awaitExtension(t, ctx, "probe", extensionv1.State_STATE_STORED, "")
	for _, name := range []string{"links", "probe"} {
		s.nodectl(t, ctx, "extension", "remove", name, "1.0.0")
	}
	if out := s.nodectl(t, ctx, "service", "list"); strings.Contains(out, "ext-") {
		t.Errorf("services are\n%s", out)
	}
}

// testExtensionsRefused: what is altered, cut, or signed by another is refused, and not there afterwards.
func testExtensionsRefused(t *testing.T, ctx context.Context, s *suite, r *releases, good string) {
	t.Helper()
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(data)
	altered[len(altered)/2] ^= 1
	foreign := filepath.Join(r.Dir(), "foreign.cyvive-extension")
	if _, err := extension.Write(foreign, filepath.Join(r.Dir(), "links-parts"), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"altered": altered, "cut": data[:len(data)/2]} {
		if err := os.WriteFile(filepath.Join(r.Dir(), name+".cyvive-extension"), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"altered": "altered after it was signed", "cut": "not a whole extension", "foreign": "not signed by a key"} {
		_, err := s.Tools().Nodectl(ctx, "extension", "push", filepath.Join(r.Dir(), name+".cyvive-extension"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("push of what is %s: %v, want an error with %q", name, err, want)
		}
	}
	var list extensionv1.ListResponse
	ask(t, ctx, s, &list, "extension", "list")
	for _, e := range list.GetExtensions() {
		if e.GetRootHash() != "" {
			t.Errorf("after all was refused the node has %s %s", e.GetName(), e.GetVersion())
		}
	}
}

// extension builds and signs one. A service's root is made of the program of the test.
func (r *releases) extension(t *testing.T, ctx context.Context, name, description string) string {
	t.Helper()
	dir, parts := filepath.Join(r.Dir(), name), filepath.Join(r.Dir(), name+"-parts")
	bin := filepath.Join(dir, "rootfs", "usr", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "extension.json"), []byte(description), 0o644); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(description, "extprobe") {
		program, err := r.Program(ctx, "test/e2e/extprobe")
		if err == nil {
			err = os.Rename(program, filepath.Join(bin, "extprobe"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(ctx, "go", "run", "./cmd/mkimage", "extension", "--arch", r.env.arch, "--dir", dir, "--out", parts)
	cmd.Dir = filepath.Join(r.env.root, "images")
	if words, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build extension %s: %v\n%s", name, err, words)
	}
	path := filepath.Join(r.Dir(), name+".cyvive-extension")
	m, err := extension.Write(path, parts, r.Key().Release)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("extension %s: root %s, %d kB", m, m.RootHash, m.PartsBytes()>>10)
	return path
}

// tell is ask for what may not answer yet.
func (s *suite) tell(ctx context.Context, into proto.Message, args ...string) error {
	out, err := s.Tools().Nodectl(ctx, append(args, "--output", "json")...)
	if err != nil {
		return err
	}
	return protojson.Unmarshal([]byte(out), into)
}

// extensionList is for a failure: what the node has, or why that cannot be told.
func (s *suite) extensionList(ctx context.Context) string {
	out, err := s.Tools().Nodectl(ctx, "extension", "list")
	if err != nil {
		return err.Error()
	}
	return out
}

// awaitExtensionHealth waits until the health check says something.
func (s *suite) awaitExtensionHealth(t *testing.T, ctx context.Context, want string) {
	t.Helper()
	eventually(t, ctx, "health says: "+want, func(ctx context.Context) error {
		var health machinev1.GetHealthResponse
		if err := s.tell(ctx, &health, "get", "health"); err != nil {
			return err
		}
		for _, c := range health.GetChecks() {
			if c.GetName() == "extensions" && strings.Contains(c.GetReason(), want) {
				return nil
			}
		}
		return fmt.Errorf("health is %v", health.GetChecks())
	})
}

// awaitExtension waits until an extension is in a state, for a reason.
func (s *suite) awaitExtension(t *testing.T, ctx context.Context, name string, state extensionv1.State, reason string) {
	t.Helper()
	eventually(t, ctx, fmt.Sprintf("extension %s is in %s", name, state), func(ctx context.Context) error {
		var list extensionv1.ListResponse
		if err := s.tell(ctx, &list, "extension", "list"); err != nil {
			return err
		}
		for _, e := range list.GetExtensions() {
			if e.GetName() == name && e.GetState() == state && strings.Contains(e.GetReason(), reason) {
				return nil
			}
		}
		return fmt.Errorf("extensions are %v", list.GetExtensions())
	})
}

// checkProbe reads what the service says of itself, which has come to its data so many times.
func (s *suite) checkProbe(t *testing.T, ctx context.Context, times int) {
	t.Helper()
	got := map[string]string{}
	eventually(t, ctx, "the service has looked around", func(ctx context.Context) error {
		out, err := s.Tools().Nodectl(ctx, "logs", "ext-probe")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			// The service's own words may stand behind a time.
			for _, name := range []string{
				"user", "processes", "raw socket", "data", "machine ID", "state volume", "root written", "sysfs written", "setting written", "disk made",
				"module loaded", "containerd", "looked",
			} {
				if _, result, ok := strings.Cut(line, name+": "); ok {
					got[name] = strings.TrimSpace(result)
				}
			}
		}
		if got["looked"] == "" || got["data"] != fmt.Sprint(times) {
			return fmt.Errorf("its log is\n%s", out)
		}
		return nil
	})
	const gone, readOnly = "no such file or directory", "read-only file system"
	want := map[string][]string{
		"user": {"2001"}, "processes": {"1"}, "raw socket": {"done"}, "data": {fmt.Sprint(times)}, "machine ID": {"33 bytes", "32 bytes"}, "looked": {"done"},
		"state volume": {gone}, "containerd": {gone}, "root written": {readOnly, "permission denied"},
		"sysfs written":   {readOnly, "permission denied", "operation not permitted"},
		"setting written": {readOnly, "permission denied", "operation not permitted"},
		"disk made":       {"operation not permitted"}, "module loaded": {"operation not permitted"},
	}
	for name, results := range want {
		ok := false
		for _, r := range results {
			ok = ok || got[name] == r
		}
		if !ok {
			t.Errorf("the service, %s: %q, want one of %q", name, got[name], results)
		}
	}
}
