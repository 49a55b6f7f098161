package e2e

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

// spyPod sees as much as Kubernetes can let a pod see.
const spyPod = `
apiVersion: v1
kind: Pod
metadata: {name: spy, namespace: default}
spec:
  hostPID: true
  hostIPC: true
  hostNetwork: false
  automountServiceAccountToken: false
  containers:
    - name: spy
      image: cyvive.dev/demo:1
      imagePullPolicy: Never
      args: [--diagnose]
      securityContext: {privileged: true, runAsUser: 0}
      readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, timeoutSeconds: 10}
      volumeMounts: [{name: host, mountPath: /host}]
  volumes: [{name: host, hostPath: {path: /}}]
`

// testIsolation looks at the node out of a privileged pod.
func testIsolation(t *testing.T, s *suite) {
	ctx := testContext(t, 4*time.Minute)
	if err := s.RunPod(ctx, "spy", []byte(spyPod)); err != nil {
		t.Fatal(err)
	}
	const proxy = "/api/v1/namespaces/default/pods/spy:8080/proxy"
	body, err := s.Fetch(ctx, proxy+"/processes")
	if err != nil {
		t.Fatal(err)
	}
	checkProcesses(t, body)
	for _, dir := range []string{"/host", "/host/usr/bin", "/host/etc", "/proc/1/root", "/proc/1/root/usr"} {
		got, err := s.Fetch(ctx, proxy+"/write?path="+dir+"/written")
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(got) != "EROFS" {
			t.Errorf("write below %s: got %q, want EROFS", dir, got)
		}
	}
	if _, err := s.Tools().Kubectl(ctx, "delete", "pod", "spy", "--wait=true", "--timeout=90s"); err != nil {
		t.Error(err)
	}
}

// checkProcesses wants the workload plane to be all there is: kubelet is seen,
// so the list is not empty for another reason; nothing of the system is.
func checkProcesses(t *testing.T, body string) {
	t.Helper()
	var processes []struct {
		PID     int      `json:"pid"`
		Comm    string   `json:"comm"`
		Cmdline []string `json:"cmdline"`
	}
	if err := json.Unmarshal([]byte(body), &processes); err != nil {
		t.Fatalf("read processes: %v", err)
	}
	seen := map[string]int{}
	for _, p := range processes {
		name := p.Comm
		if len(p.Cmdline) > 0 {
			name = path.Base(p.Cmdline[0])
		}
		seen[name]++
		if slices.ContainsFunc(p.Cmdline, func(arg string) bool { return strings.Contains(arg, "system.toml") }) {
			t.Errorf("the system containerd is visible: %v", p.Cmdline)
		}
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "machined"} {
		if seen[name] > 0 {
			t.Errorf("%s is visible from a pod", name)
		}
	}
	if seen["kubelet"] != 1 || seen["containerd"] != 1 {
		t.Errorf("want one kubelet and one containerd among the plane's processes, got %v", seen)
	}
}
