package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	containerv1 "github.com/cyvive/cyvive/api/proto/container/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

// takerPod answers at the socket of the plane's containerd. In the host's PID namespace
// it can tell who asks.
const takerPod = `
apiVersion: v1
kind: Pod
metadata: {name: taker, namespace: default}
spec:
  hostPID: true
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  containers:
    - name: taker
      image: cyvive.dev/demo:1
      imagePullPolicy: Never
      command: [/host/var/lib/attacker, --takeover=KIND]
      securityContext: {privileged: true, runAsUser: 0}
      volumeMounts: [{name: host, mountPath: /host, mountPropagation: Bidirectional}]
  volumes: [{name: host, hostPath: {path: /}}]
`

// takenTime is how long the node is watched while somebody else answers.
const takenTime = 30 * time.Second

// testTakeover lets a pod answer in the place of the plane's containerd, of which the
// socket stays lost until there is another plane. All the while the node's API answers,
// shows the system's containers, and no part of the system plane is started again. The
// last one keeps the node from writing the plane's resolv.conf as well: who calls this
// has to end the plane.
func testTakeover(t *testing.T, s *survivors) {
	longOnly(t, "each way of answering is watched for a minute")
	ctx := testContext(t, 15*time.Minute)
	s.putAttacker(t, ctx)
	conn := s.dial(t)
	for _, kind := range []string{"nonsense", "silent", "huge"} {
		t.Run(kind, func(t *testing.T) { s.takeOver(t, ctx, conn, kind) })
	}
}

func (s *survivors) takeOver(t *testing.T, ctx context.Context, conn *grpc.ClientConn, kind string) {
	if err := s.Tools().Apply(ctx, []byte(strings.ReplaceAll(takerPod, "KIND", kind))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // also where the test ends before: the next has its own
		if _, err := s.Tools().Kubectl(ctx, "delete", "pod", "taker", "--ignore-not-found", "--wait=true", "--timeout=2m"); err != nil {
			t.Error(err)
		}
	})
	says := func(ctx context.Context, word string) error {
		said, err := s.Tools().Kubectl(ctx, "logs", "taker")
		if err == nil && !strings.Contains(said, word) {
			err = fmt.Errorf("it says %q, and not %q", said, word)
		}
		return err
	}
	eventually(t, ctx, "wait for the socket to be taken over", func(ctx context.Context) error { return says(ctx, "taken over") })

	// The connections that there were still lead to containerd: another agent makes others.
	machine, agent := machinev1.NewMachineServiceClient(conn), parts[0]
	old := s.identities(t, ctx)
	s.signal(t, ctx, syscall.SIGKILL, agent)
	eventually(t, ctx, "wait for another agent", func(ctx context.Context) error {
		if now := s.identities(t, ctx)[agent.name]; now == "" || now == old[agent.name] {
			return fmt.Errorf("%s has not come back", agent.name)
		}
		_, err := machine.GetHealth(ctx, &machinev1.GetHealthRequest{})
		return err
	})
	before := s.identities(t, ctx)
	busy := measure(t, ctx, machine, func() {
		eventually(t, ctx, "wait for the node to ask", func(ctx context.Context) error { return says(ctx, "asked") })
		wait(ctx, takenTime)
		limited, cancel := context.WithTimeout(ctx, takenTime)
		defer cancel()
		list, err := containerv1.NewContainerServiceClient(conn).ListContainers(limited, &containerv1.ListContainersRequest{})
		if err != nil || !slices.ContainsFunc(list.GetContainers(), func(c *containerv1.Container) bool { return c.GetName() == "etcd" }) {
			t.Errorf("containers: got %v, %v; want etcd among them", list, err)
		}
	})
	t.Logf("the node's API: %s", busy)
	after := s.identities(t, ctx)
	for _, name := range systemParts {
		if before[name] == "" || before[name] != after[name] {
			t.Errorf("%s was %s, and is %s", name, before[name], after[name])
		}
	}
}
