package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// attackerPod has all that Kubernetes can give to a pod. The program is not of an
// image: it lies in the plane's /var, which is the host's for the pod.
const attackerPod = `
apiVersion: v1
kind: Pod
metadata: {name: attacker, namespace: default}
spec:
  hostPID: true
  hostIPC: true
  hostNetwork: true
  restartPolicy: Never
  automountServiceAccountToken: false
  containers:
    - name: attacker
      image: cyvive.dev/demo:1
      imagePullPolicy: Never
      command: [/host/var/lib/attacker]
      securityContext: {privileged: true, runAsUser: 0, seccompProfile: {type: Unconfined}}
      volumeMounts: [{name: host, mountPath: /host, mountPropagation: Bidirectional}]
  volumes: [{name: host, hostPath: {path: /}}]
`

// attackerFile is where the program lies in the plane.
const attackerFile = "/var/lib/attacker"

// leastAttacks keeps the list from shrinking unseen.
const leastAttacks = 85

// controlReaches are attempts that must get through when nothing holds them. The
// others cannot be tried without walls (they would end the machine), or look for
// what is in sight there by a path that only a pod has, or are refused for a
// second reason as well.
var controlReaches = []string{
	"see a process of the system plane", "open the root of a process of the system plane", "step to another mount namespace",
	"see the state partition's mount", "see etcd's mount", "see a folder of the node's /run",
	"watch all files of the data partition", "answer for every open of the data partition",
	"mount tracefs", "mount securityfs", "mount pstore", "mount configfs", "mount devtmpfs",
	"set the program for core dumps", "set the program that loads modules", "use the system request key",
	"set what a panic does", "drop the node's caches", "limit processes of the node", "look for devices again", "move the interrupts",
	"open a disk or partition", "write kernel messages",
	"slew the clock", "mount a disk or partition", "count a processor's events", "add a key to the user's keyring",
	"make a session keyring of the user's",
	"trace the kernel with a program of type Kprobe", "trace the kernel with a program of type TracePoint",
	"open an eBPF program of the node", "take an eBPF program of the node off its hook",
	"read the kernel's memory by an eBPF program for traffic",
	"see the groups of the system plane", "connect to a socket file of the system plane",
	"ask the CSI driver for a volume", "mount a dataset by its name",
}

type attackResult struct{ Name, Refused, Reached string }

// testAttacks runs the attacker in a pod, where every attempt must be refused,
// and then outside of all walls, where the same attempts get through.
func testAttacks(t *testing.T, s *survivors) {
	ctx := testContext(t, 6*time.Minute)
	root := s.putAttacker(t, ctx)
	confined := s.attack(t, ctx)
	for _, r := range confined {
		if r.Refused == "" {
			t.Errorf("%s: got through: %s", r.Name, r.Reached)
		} else {
			t.Logf("%s: %s", r.Name, r.Refused)
		}
	}
	if len(confined) < leastAttacks {
		t.Errorf("%d attempts, want %d or more", len(confined), leastAttacks)
	}

	out, err := s.probe.Run(ctx, root+attackerFile, "--control", "--host=/proc/1/root")
	if err != nil {
		t.Fatal(err)
	}
	free := map[string]attackResult{}
	for _, r := range parseAttacks(t, out) {
		free[r.Name] = r
	}
	for _, name := range controlReaches {
		if r, ok := free[name]; !ok || r.Refused != "" {
			t.Errorf("without walls: %s: got %q, want it to get through; else the attempt proves nothing", name, r.Refused)
		}
	}
	for name, r := range free {
		if r.Refused != "" && !slices.Contains(controlReaches, name) {
			t.Logf("without walls, too: %s: %s", name, r.Refused)
		}
	}
}

// putAttacker builds the attacker and puts it into the plane. It returns the
// plane's root as the node sees it.
func (s *survivors) putAttacker(t *testing.T, ctx context.Context) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "attacker")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", file, "./attacker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+s.env.arch)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build attacker: %v\n%s", err, out)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.probe.Processes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, planeInit.is)
	if i < 0 {
		t.Fatal("the plane does not run")
	}
	root := fmt.Sprintf("/proc/%d/root", all[i].PID)
	if err := s.probe.Write(ctx, root+attackerFile, program); err != nil {
		t.Fatal(err)
	}
	return root
}

// attack runs the pod to its end and returns what it printed.
func (s *survivors) attack(t *testing.T, ctx context.Context) []attackResult {
	t.Helper()
	if err := s.Tools().Apply(ctx, []byte(attackerPod)); err != nil {
		t.Fatal(err)
	}
	_, waited := s.Tools().Kubectl(ctx, "wait", "pod", "attacker", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=4m")
	out, err := s.Tools().Kubectl(ctx, "logs", "attacker")
	if err != nil {
		t.Fatalf("read what the attacker printed: %v (waited: %v)", err, waited)
	}
	if waited != nil {
		t.Fatalf("the attacker did not come to its end: %v; it printed\n%s", waited, out)
	}
	if _, err := s.Tools().Kubectl(ctx, "delete", "pod", "attacker", "--wait=true", "--timeout=90s"); err != nil {
		t.Error(err)
	}
	return parseAttacks(t, out)
}

func parseAttacks(t *testing.T, out string) []attackResult {
	t.Helper()
	var list []attackResult
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var r attackResult
		if err := d.Decode(&r); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatalf("read what the attacker printed: %v\n%s", err, out)
		}
		list = append(list, r)
	}
}
