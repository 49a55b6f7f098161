package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
)

// hogPod has no limit of its own: what holds it is the node's. It has a share of the
// processors: one that must do with what others leave takes files more slowly than
// kubelet counts them.
const hogPod = `
apiVersion: v1
kind: Pod
metadata: {name: hog, namespace: default}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  tolerations: [{key: node.kubernetes.io/memory-pressure, operator: Exists}]
  containers:
    - name: hog
      image: cyvive.dev/demo:1
      imagePullPolicy: Never
      command: [/attacker, --hog=KIND]
      securityContext: {runAsUser: 0}
      resources: {requests: {cpu: 1}}
      volumeMounts:
        - {name: program, mountPath: /attacker, readOnly: true}
        - {name: scratch, mountPath: /scratch}
  volumes:
    - {name: program, hostPath: {path: /var/lib/attacker, type: File}}
    - {name: scratch, emptyDir: {}}
`

const (
	// hogTime is how long each of them keeps all that it got.
	hogTime = 10 * time.Second
	// hogLimit is in what time each must have got it. With an emulated processor a file
	// takes some milliseconds, and there are fifty thousand in the room that there is.
	hogLimit = 20 * time.Minute
)

// testHogs lets a pod of each kind take all that it can get. All the while the
// node's API answers, and no part of the system plane is started again. Those that
// fill the disk come last: for some minutes after them Kubernetes puts no pod on
// the node.
func testHogs(t *testing.T, s *survivors, kinds []string) {
	ctx := testContext(t, time.Minute+time.Duration(len(kinds))*2*hogLimit)
	s.putAttacker(t, ctx)
	client := machinev1.NewMachineServiceClient(s.dial(t))
	measuring, stop := context.WithTimeout(ctx, hogTime)
	defer stop()
	idle := answers(t, measuring, client)
	t.Logf("idle: %s", idle)
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			if kind == "memory" {
				s.fillCache(t, ctx)
			}
			before := s.identities(t, ctx)
			if err := s.Tools().Apply(ctx, []byte(strings.ReplaceAll(hogPod, "KIND", kind))); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { // also where the test ends before: the next has its own
				if _, err := s.Tools().Kubectl(ctx, "delete", "pod", "hog", "--ignore-not-found", "--wait=true", "--timeout=3m"); err != nil {
					t.Error(err)
				}
			})
			started := time.Now()
			busy := measure(t, ctx, client, func() {
				if how := s.awaitHog(t); kind == "memory" && !endedForMemory(how) {
					t.Errorf("the hog was neither killed for its memory nor evicted: %s", how)
				}
				t.Logf("it had all after %s", time.Since(started).Round(time.Second))
				wait(ctx, hogTime)
			})
			t.Logf("busy: %s; its 99th hundredth is %.1f times the idle one", busy, busy.at(0.99).Seconds()/idle.at(0.99).Seconds())
			if _, err := s.Tools().Kubectl(ctx, "delete", "pod", "hog", "--wait=true", "--timeout=3m"); err != nil {
				t.Error(err)
			}
			t.Logf("it was gone after %s", time.Since(started).Round(time.Second))
			after := s.identities(t, ctx)
			for _, name := range systemParts {
				if before[name] == "" || before[name] != after[name] {
					t.Errorf("%s was %s, and is %s", name, before[name], after[name])
				}
			}
		})
	}
	s.settle(t, ctx)
}

// endedForMemory says of a pod's status, as awaitHog has it, that the kernel killed it in its cgroup, or kubelet evicted it.
func endedForMemory(status string) bool {
	return strings.Contains(status, "OOMKilled") || strings.Contains(status, "Evicted")
}

// awaitHog waits until the pod has all that it gets, and returns its status, or what it says.
func (s *survivors) awaitHog(t *testing.T) (how string) {
	t.Helper()
	eventually(t, testContext(t, hogLimit), "wait for the hog to have all", func(ctx context.Context) error {
		// Both may fail while the node is hard put.
		status, err := s.Tools().Kubectl(ctx, "get", "pod", "hog", "--output",
			"jsonpath={.status.phase} {.status.reason} {.status.containerStatuses[*].state} {.status.containerStatuses[*].lastState.terminated.reason}")
		if err == nil && endedForMemory(status) {
			t.Logf("the hog: %s", status)
			how = status
			return nil
		}
		if err == nil && (strings.HasSuffix(status, " Error") || strings.HasSuffix(status, " Completed")) {
			said, _ := s.Tools().Kubectl(ctx, "logs", "hog", "--previous", "--tail=20")
			t.Fatalf("the hog ended by itself, and has not had all: %s; it said\n%s", status, said)
		}
		said, err := s.Tools().Kubectl(ctx, "logs", "hog")
		if err == nil && strings.Contains(said, "no more") {
			t.Logf("the hog: %s", said)
			how = said
			return nil
		}
		return fmt.Errorf("it is %s, and says %q", status, said)
	})
	return how
}

// measure calls the node's API while something goes on, and returns how long the
// calls took.
func measure(t *testing.T, ctx context.Context, client machinev1.MachineServiceClient, meanwhile func()) latencies {
	t.Helper()
	measuring, stop := context.WithCancel(ctx)
	var list latencies
	var calls sync.WaitGroup
	calls.Go(func() { list = answers(t, measuring, client) })
	defer calls.Wait() // also where meanwhile ends the test
	defer stop()
	meanwhile()
	stop()
	calls.Wait()
	return list
}

// systemParts are those that no pod may take down.
var systemParts = []string{"machined", "system containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// dial connects to the node's API with the cluster's own certificate.
func (s *survivors) dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	config, node := clientOf(t, s.ContextPath())
	conn, err := grpc.NewClient(node, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// clientOf is what connects as the current context of a file says, and the address
// of its first node.
func clientOf(t *testing.T, file string) (*tls.Config, string) {
	t.Helper()
	f, err := contexts.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	_, c, err := f.Select("")
	if err != nil {
		t.Fatal(err)
	}
	config, err := c.ClientTLS()
	if err != nil {
		t.Fatal(err)
	}
	return config, c.Nodes[0]
}

// latencies are how long calls took, shortest first.
type latencies []time.Duration

func (l latencies) at(share float64) time.Duration { return l[int(share*float64(len(l)-1))] }

func (l latencies) String() string {
	round := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	return fmt.Sprintf("%d calls, half within %s, 99 of 100 within %s, all within %s", len(l), round(l.at(0.5)), round(l.at(0.99)), round(l.at(1)))
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// answers calls the node's API until ctx ends, four times a second or so. Every call
// must succeed.
func answers(t *testing.T, ctx context.Context, client machinev1.MachineServiceClient) latencies {
	const timeout, pause = 30 * time.Second, 200 * time.Millisecond
	list := latencies{}
	for ; ctx.Err() == nil; wait(ctx, pause) {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		started := time.Now()
		_, err := client.GetHealth(limited, &machinev1.GetHealthRequest{})
		cancel()
		if err != nil {
			t.Errorf("the node's API did not answer: %v", err)
		}
		list = append(list, time.Since(started))
	}
	slices.Sort(list)
	return list
}
