package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// replicas is a service of three, and client a pod that asks it ten times a second on
// a new connection each, and as often on one that it keeps. All have a share of the
// processors: those that must do with what others leave do not answer in time while
// parts of a slow node start.
const replicas = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: replicas, namespace: default}
spec:
  replicas: 3
  selector: {matchLabels: {app: replicas}}
  template:
    metadata: {labels: {app: replicas}}
    spec:
      automountServiceAccountToken: false
      containers:
        - name: demo
          image: cyvive.dev/demo:1
          imagePullPolicy: Never
          resources: {requests: {cpu: 100m}}
          ports: [{name: web, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /, port: web}, periodSeconds: 1, timeoutSeconds: 10}
---
apiVersion: v1
kind: Service
metadata: {name: replicas, namespace: default}
spec:
  selector: {app: replicas}
  ports: [{name: http, port: 80, targetPort: web}]
`

// client comes when the replicas are ready: until then it would ask and be refused as
// fast as it can, and take the processors that they start with. What is only slow has
// more time for a name than the five seconds that are usual.
const client = `
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default}
spec:
  dnsConfig: {options: [{name: timeout, value: "20"}]}
  containers:
    - name: demo
      image: cyvive.dev/demo:1
      imagePullPolicy: Never
      resources: {requests: {cpu: 100m}}
      args: [--diagnose, --ask=http://replicas/]
      readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, timeoutSeconds: 10}
`

const clientPath = "/api/v1/namespaces/default/pods/client:8080/proxy"

// takenOutWithin bounds how long a backend may still get connections after
// Kubernetes took it out of the slice. Measured without KVM.
const takenOutWithin = 2 * time.Second

// asked is what the client counted; see images/programs/demo.
type asked struct {
	Now         time.Time
	Fresh, Kept tally
	Connections int
}

type tally struct {
	Answers     map[string]int
	Failures    int
	Errors      map[string]int
	LastError   string
	LastFailure time.Time
}

func (t tally) total() (sum int) {
	for n := range maps.Values(t.Answers) {
		sum += n
	}
	return sum
}

// testServices starts a service once, and shows on it all that services do. A replica is killed last: it may run on for a while, with connections that are
// kept to it.
func (s *survivors) testServices(t *testing.T) {
	ctx := testContext(t, 24*time.Minute)
	s.startReplicas(t, ctx)
	s.testServiceAddresses(t, ctx)
	t.Run("without the agent", func(t *testing.T) { s.withoutAgent(t, ctx) })
	t.Run("a replica killed under load", func(t *testing.T) { s.killReplica(t, ctx) })
}

// testServiceAddresses reaches services from a pod, by name.
func (s *suite) testServiceAddresses(t *testing.T, ctx context.Context) {
	t.Helper()
	t.Run("kubernetes.default", func(t *testing.T) {
		if got := s.fromClient(t, ctx, "/resolve?name=kubernetes.default"); strings.TrimSpace(got) != `["10.96.0.1"]` {
			t.Errorf("kubernetes.default is %s, want 10.96.0.1", got)
		}
		if got := s.fromClient(t, ctx, "/fetch?url=https://kubernetes.default/readyz"); got != "ok" {
			t.Errorf("the API server over its service address: got %q, want ok", got)
		}
	})
	t.Run("all replicas answer", func(t *testing.T) {
		s.awaitAnswers(t, ctx, s.replicaNames(t, ctx))
	})
	t.Run("a port that is none", func(t *testing.T) {
		started := time.Now()
		_, err := s.Tools().Kubectl(ctx, "get", "--raw", clientPath+"/fetch?url=http://replicas:81/")
		if err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("got %v after %s, want the connection to be refused at once", err, time.Since(started))
		}
	})
	t.Run("an address that is none", func(t *testing.T) {
		_, err := s.Tools().Kubectl(ctx, "get", "--raw", clientPath+"/fetch?url=http://10.96.200.200/")
		if err == nil || !strings.Contains(err.Error(), "no route to host") {
			t.Errorf("got %v, want the node to say that there is no route", err)
		}
	})
}

// startReplicas applies the manifest and waits until all of it is ready. The end of
// the test removes it; after a failure what Kubernetes says of it is logged before.
func (s *suite) startReplicas(t *testing.T, ctx context.Context) {
	t.Helper()
	started := time.Now()
	t.Cleanup(func() { s.removeReplicas(t, context.WithoutCancel(ctx)) })
	eventually(t, ctx, "make the service", func(ctx context.Context) error { return s.Tools().Apply(ctx, []byte(replicas)) })
	s.awaitDNS(t, ctx)
	t.Logf("cluster DNS is ready after %s", time.Since(started).Round(time.Second))
	eventually(t, ctx, "wait for the replicas", func(ctx context.Context) error {
		_, err := s.Tools().Kubectl(ctx, "rollout", "status", "deployment/replicas", "--timeout=15s")
		return err
	})
	t.Logf("the replicas are ready after %s", time.Since(started).Round(time.Second))
	eventually(t, ctx, "make the client", func(ctx context.Context) error { return s.Tools().Apply(ctx, []byte(client)) })
	if err := s.AwaitPod(ctx, "client"); err != nil {
		t.Fatal(err)
	}
	// The slice is made from the pods by another controller than the rollout's end.
	eventually(t, ctx, "wait for the service's slice", func(context.Context) error {
		if names := s.replicaNames(t, ctx); len(names) != 3 {
			return fmt.Errorf("it has %v", names)
		}
		return nil
	})
	t.Logf("all is ready after %s", time.Since(started).Round(time.Second))
}

func (s *suite) removeReplicas(t *testing.T, ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	if t.Failed() {
		for _, args := range [][]string{
			{"get", "pods,endpointslices", "--all-namespaces", "--output=wide"}, {"get", "--raw", clientPath + "/asked"},
			{"get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"},
		} {
			out, err := s.Tools().Kubectl(ctx, append(args, "--request-timeout=20s")...)
			t.Logf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	started := time.Now()
	if _, err := s.Tools().Kubectl(ctx, "delete", "deployment/replicas", "service/replicas", "pod/client", "--ignore-not-found", "--grace-period=1", "--timeout=3m"); err != nil {
		t.Error(err)
	}
	t.Logf("it was gone after %s", time.Since(started).Round(time.Second))
}

// awaitDNS waits until cluster DNS is ready, which a node in order need not be.
func (s *suite) awaitDNS(t *testing.T, ctx context.Context) {
	t.Helper()
	eventually(t, ctx, "wait for cluster DNS", func(ctx context.Context) error {
		_, err := s.Tools().Kubectl(ctx, "rollout", "status", "--namespace=kube-system", "deployment/coredns", "--timeout=15s")
		return err
	})
}

// fromClient fetches a page of the client.
func (s *suite) fromClient(t *testing.T, ctx context.Context, page string) string {
	t.Helper()
	body, err := s.Fetch(ctx, clientPath+page)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (s *suite) asked(t *testing.T, ctx context.Context) asked {
	t.Helper()
	var counts asked
	if err := json.Unmarshal([]byte(s.fromClient(t, ctx, "/asked")), &counts); err != nil {
		t.Fatal(err)
	}
	return counts
}

// replicaNames are the pods that stand in the slices of the service, ready.
func (s *suite) replicaNames(t *testing.T, ctx context.Context) []string {
	t.Helper()
	const ready = `{range .items[*].endpoints[?(@.conditions.ready==true)]}{.targetRef.name}{"\n"}{end}`
	out, err := s.Tools().Kubectl(ctx, "get", "endpointslices", "--selector=kubernetes.io/service-name=replicas", "--output=jsonpath="+ready)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)
}

// awaitAnswers waits until each of the pods has answered since now.
func (s *suite) awaitAnswers(t *testing.T, ctx context.Context, names []string) {
	t.Helper()
	if len(names) != 3 {
		t.Fatalf("the service has %v, want three", names)
	}
	before := s.asked(t, ctx)
	eventually(t, ctx, "wait for an answer of each replica", func(context.Context) error {
		now := s.asked(t, ctx)
		for _, name := range names {
			if now.Fresh.Answers[name] == before.Fresh.Answers[name] {
				return fmt.Errorf("%s gave none of %d: %+v", name, now.Fresh.total()-before.Fresh.total(), now.Fresh)
			}
		}
		return nil
	})
}

// awaitLoad waits until the client got at least load answers since before, on new
// connections and on the kept one, however slow the machine is.
func (s *suite) awaitLoad(t *testing.T, ctx context.Context, before asked) asked {
	t.Helper()
	const load = 20
	var now asked
	eventually(t, ctx, fmt.Sprintf("wait for %d answers of the service", load), func(context.Context) error {
		now = s.asked(t, ctx)
		fresh, kept := now.Fresh.total()-before.Fresh.total(), now.Kept.total()-before.Kept.total()
		if fresh < load || kept < load {
			return fmt.Errorf("%d on new connections, %d on the kept one", fresh, kept)
		}
		return nil
	})
	return now
}

// killReplica kills one of three. Once it is out of the slice, no request goes to
// it, and so none that begins then fails.
func (s *suite) killReplica(t *testing.T, ctx context.Context) {
	names := s.replicaNames(t, ctx)
	s.awaitAnswers(t, ctx, names)
	victim := names[0]
	if _, err := s.Tools().Kubectl(ctx, "delete", "pod", victim, "--grace-period=0", "--force", "--wait=false"); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "wait for the slice to change", func(context.Context) error {
		if slices.Contains(s.replicaNames(t, ctx), victim) {
			return errors.New("the replica is still in it")
		}
		return nil
	})
	time.Sleep(takenOutWithin)
	before := s.asked(t, ctx)
	after := s.awaitLoad(t, ctx, before)
	t.Logf("failures in all: %d, the last %q at %s", after.Fresh.Failures, after.Fresh.LastError, after.Fresh.LastFailure)
	if after.Fresh.LastFailure.After(before.Now) || after.Fresh.Answers[victim] != before.Fresh.Answers[victim] {
		t.Errorf("the replica still got requests: %+v, then %+v", before.Fresh, after.Fresh)
	}
	eventually(t, ctx, "wait for another replica", func(context.Context) error {
		if names = s.replicaNames(t, ctx); len(names) != 3 {
			return fmt.Errorf("there are %v", names)
		}
		return nil
	})
	s.awaitAnswers(t, ctx, names)
}

// withoutAgent stops the agent, then kills it again and again. New connections to
// a service work all the time, and one that was there before is the same after.
func (s *survivors) withoutAgent(t *testing.T, ctx context.Context) {
	s.awaitAnswers(t, ctx, s.replicaNames(t, ctx))
	machined := parts[0]
	for _, way := range []struct {
		name string
		do   func(before asked)
	}{
		{"stopped", func(before asked) {
			pid := s.send(t, ctx, machined, syscall.SIGSTOP)
			time.Sleep(15 * time.Second)
			s.awaitLoad(t, ctx, before)
			if err := s.probe.Kill(ctx, pid, syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		}},
		{"killed", func(asked) {
			for range 5 {
				eventually(t, ctx, "kill machined", func(ctx context.Context) error {
					all, err := s.probe.Processes(ctx)
					if err != nil {
						return err
					}
					i := slices.IndexFunc(all, machined.is)
					if i < 0 {
						return errors.New("it does not run")
					}
					return s.probe.Kill(ctx, all[i].PID, syscall.SIGKILL)
				})
				time.Sleep(2 * time.Second)
			}
		}},
	} {
		before, started := s.asked(t, ctx), time.Now()
		way.do(before)
		after := s.awaitLoad(t, ctx, before)
		if after.Fresh.Failures != before.Fresh.Failures {
			t.Errorf("machined %s: of new connections, %d answered and %d failed, the last at %s with %q; in all there were %v", way.name,
				after.Fresh.total()-before.Fresh.total(), after.Fresh.Failures-before.Fresh.Failures,
				after.Fresh.LastFailure, after.Fresh.LastError, after.Fresh.Errors)
		}
		if after.Connections != before.Connections || after.Kept.Failures != before.Kept.Failures {
			t.Errorf("machined %s: on the connection that was kept, %d answered, %d failed, the last at %s with %q, and it was made %d times anew", way.name,
				after.Kept.total()-before.Kept.total(), after.Kept.Failures-before.Kept.Failures,
				after.Kept.LastFailure, after.Kept.LastError, after.Connections-before.Connections)
		}
		t.Logf("machined %s: %d answers on new connections, %d on the kept one in %s", way.name,
			after.Fresh.total()-before.Fresh.total(), after.Kept.total()-before.Kept.total(), time.Since(started).Round(time.Second))
	}
	s.settle(t, ctx)
}

// send sends a signal to a part and returns its process.
func (s *survivors) send(t *testing.T, ctx context.Context, p part, signal syscall.Signal) int {
	t.Helper()
	all, err := s.probe.Processes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, p.is)
	if i < 0 {
		t.Fatalf("%s does not run", p.name)
	}
	if err := s.probe.Kill(ctx, all[i].PID, signal); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	return all[i].PID
}
