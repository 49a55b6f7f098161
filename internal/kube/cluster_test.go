package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/pki"
)

// api is a small API server: nodes and pods by their path, and what else it is told.
type api struct {
	mu      sync.Mutex
	nodes   map[string]map[string]any
	pods    map[string]map[string]any
	version int
	// refuse is what the eviction of a pod is answered with; 0 lets it end. Lasts is after how many further looks it is gone.
	refuse map[string]int
	lasts  map[string]int
	// other answers what is neither.
	other map[string]http.HandlerFunc
	calls []string
	// meanwhile is done before the next change of a node.
	meanwhile func()
}

func newAPI() *api {
	return &api{nodes: map[string]map[string]any{}, pods: map[string]map[string]any{}, refuse: map[string]int{}, lasts: map[string]int{}, other: map[string]http.HandlerFunc{}}
}

// cluster connects to it as the agent of node1.
func (a *api) cluster(t *testing.T) (*Cluster, Spec) {
	t.Helper()
	ca, err := pki.NewAuthority("kubernetes", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &Cluster{rest: server(t, ca, a.serve), pause: 5 * time.Millisecond}, Spec{NodeName: "node1", CA: ca}
}

func (a *api) node(name string, unschedulable, ready bool) {
	a.nodes[name] = map[string]any{
		"metadata": map[string]any{"name": name, "resourceVersion": "0"}, "spec": map[string]any{"unschedulable": unschedulable},
		"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": map[bool]string{true: "True", false: "Unknown"}[ready]}}},
	}
}

// pod adds one of node1; change may be nil.
func (a *api) pod(name, controller string, change func(metadata, status map[string]any)) {
	metadata, status := map[string]any{"namespace": "default", "name": name, "uid": "uid-" + name}, map[string]any{"phase": "Running"}
	if controller != "" {
		metadata["ownerReferences"] = []any{map[string]any{"kind": controller, "name": "x", "controller": true}}
	}
	if change != nil {
		change(metadata, status)
	}
	a.pods[name] = map[string]any{"metadata": metadata, "status": status}
}

func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, r.Method+" "+r.URL.Path)
	if h := a.other[r.URL.Path]; h != nil {
		h(w, r)
		return
	}
	name, isNode := strings.CutPrefix(r.URL.Path, "/api/v1/nodes/")
	switch {
	case isNode && r.Method == http.MethodPatch:
		a.patch(w, r, a.nodes[name])
	case isNode && a.nodes[name] != nil:
		_ = json.NewEncoder(w).Encode(a.nodes[name])
	case r.URL.Path == "/api/v1/nodes":
		a.list(w, a.nodes)
	case r.URL.Path == "/api/v1/pods" && r.URL.Query().Get("fieldSelector") == "spec.nodeName=node1":
		a.list(w, a.pods)
		a.pass()
	case strings.HasSuffix(r.URL.Path, "/eviction"):
		a.evict(w, r)
	default:
		refuse(w, http.StatusNotFound, "")
	}
}

func (a *api) list(w io.Writer, of map[string]map[string]any) {
	items := []any{}
	for _, name := range slices.Sorted(maps.Keys(of)) {
		items = append(items, of[name])
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
}

// pass lets pods that end do so.
func (a *api) pass() {
	for name, looks := range a.lasts {
		if a.lasts[name] = looks - 1; looks <= 0 {
			delete(a.lasts, name)
			delete(a.pods, name)
		}
	}
}

func refuse(w http.ResponseWriter, code int, message string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "message": message})
}

// patch merges as RFC 7386 has it, if the version is the present one.
func (a *api) patch(w http.ResponseWriter, r *http.Request, node map[string]any) {
	if a.meanwhile != nil {
		a.meanwhile()
		a.meanwhile = nil
	}
	var patch map[string]any
	if r.Header.Get("Content-Type") != "application/merge-patch+json" || json.NewDecoder(r.Body).Decode(&patch) != nil {
		refuse(w, http.StatusBadRequest, "")
		return
	}
	metadata, before := node["metadata"].(map[string]any), isCordoned(node)
	if patch["metadata"].(map[string]any)["resourceVersion"] != metadata["resourceVersion"] {
		refuse(w, http.StatusConflict, "the object has been modified")
		return
	}
	merge7386(node, patch)
	if isCordoned(node) != before {
		manage(node, r.URL.Query().Get("fieldManager"))
	}
	a.version++
	metadata["resourceVersion"] = fmt.Sprint(a.version)
}

func isCordoned(node map[string]any) bool {
	yes, _ := node["spec"].(map[string]any)["unschedulable"].(bool)
	return yes
}

// manage notes who has changed last whether a node takes pods, as the API server does: it drops a field that is gone.
func manage(node map[string]any, manager string) {
	fields := map[string]any{"f:metadata": map[string]any{"f:annotations": map[string]any{}}}
	if isCordoned(node) {
		fields["f:spec"] = map[string]any{"f:unschedulable": map[string]any{}}
	}
	node["metadata"].(map[string]any)["managedFields"] = []any{
		map[string]any{"manager": "kubelet", "operation": "Update", "subresource": "status", "fieldsV1": map[string]any{"f:status": map[string]any{}}},
		map[string]any{"manager": manager, "operation": "Update", "fieldsV1": fields},
	}
}

// byHand is what kubectl cordon and kubectl uncordon do.
func (a *api) byHand(name string, cordon bool) {
	node := a.nodes[name]
	if isCordoned(node) == cordon {
		return
	}
	spec := node["spec"].(map[string]any)
	delete(spec, "unschedulable")
	if cordon {
		spec["unschedulable"] = true
	}
	manage(node, "kubectl-cordon")
}

// cordoned is a node that its own agent has cordoned.
func (a *api) cordoned(name, boot string) {
	a.node(name, true, true)
	a.nodes[name]["metadata"].(map[string]any)["annotations"] = map[string]any{cordonAnnotation: boot}
	manage(a.nodes[name], cordonManager)
}

func merge7386(into, patch map[string]any) {
	for k, v := range patch {
		inner, isObject := v.(map[string]any)
		switch {
		case v == nil:
			delete(into, k)
		case isObject:
			old, ok := into[k].(map[string]any)
			if !ok {
				old = map[string]any{}
				into[k] = old
			}
			merge7386(old, inner)
		default:
			into[k] = v
		}
	}
}

func (a *api) evict(w http.ResponseWriter, r *http.Request) {
	name := strings.Split(r.URL.Path, "/")[6]
	var body struct {
		APIVersion, Kind string
		DeleteOptions    struct{ Preconditions struct{ UID string } }
	}
	err := json.NewDecoder(r.Body).Decode(&body)
	switch {
	case err != nil || body.APIVersion != "policy/v1" || body.Kind != "Eviction" || body.DeleteOptions.Preconditions.UID != "uid-"+name:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("%+v", body))
	case a.pods[name] == nil:
		refuse(w, http.StatusNotFound, "pods not found")
	case a.refuse[name] != 0:
		refuse(w, a.refuse[name], "Cannot evict pod as it would violate the pod's disruption budget.")
	default:
		a.pods[name]["metadata"].(map[string]any)["deletionTimestamp"] = "2026-03-01T12:00:00Z"
		if _, ok := a.lasts[name]; !ok {
			a.lasts[name] = 0
		}
		w.WriteHeader(http.StatusCreated)
	}
}

func TestCordon(t *testing.T) {
	a := newAPI()
	c, spec := a.cluster(t)
	a.node("node1", false, true)
	state := func() string {
		n := a.nodes["node1"]
		annotations, _ := n["metadata"].(map[string]any)["annotations"].(map[string]any)
		return fmt.Sprint(n["spec"].(map[string]any)["unschedulable"], " ", annotations[cordonAnnotation])
	}
	a.meanwhile = func() { a.nodes["node1"]["metadata"].(map[string]any)["resourceVersion"] = "by another" }
	if err := c.Cordon(t.Context(), spec, "boot-1"); err != nil || state() != "true boot-1" {
		t.Fatalf("cordon: %v, %s", err, state())
	}
	if done, err := c.Uncordon(t.Context(), spec, "boot-1"); done || err != nil || state() != "true boot-1" {
		t.Errorf("uncordon in the same boot: %t, %v, %s", done, err, state())
	}
	if err := c.Cordon(t.Context(), spec, "boot-2"); err != nil || state() != "true boot-2" {
		t.Errorf("cordon what the boot before has: %v, %s", err, state())
	}
	if done, err := c.Uncordon(t.Context(), spec, "boot-2"); done || err != nil || state() != "true boot-2" {
		t.Errorf("uncordon what this boot has taken over: %t, %v, %s", done, err, state())
	}
	if done, err := c.Uncordon(t.Context(), spec, "boot-3"); !done || err != nil || state() != "<nil> <nil>" {
		t.Errorf("uncordon in the next boot: %t, %v, %s", done, err, state())
	}
	if done, err := c.Uncordon(t.Context(), spec, "boot-2"); done || err != nil {
		t.Errorf("uncordon twice: %t, %v", done, err)
	}
	a.node("node1", true, true)
	if err := c.Cordon(t.Context(), spec, "boot-2"); err != nil || state() != "true <nil>" {
		t.Errorf("cordon what another has: %v, %s", err, state())
	}
	if done, err := c.Uncordon(t.Context(), spec, "boot-3"); done || err != nil || state() != "true <nil>" {
		t.Errorf("uncordon what another has: %t, %v, %s", done, err, state())
	}
	if err := c.Cordon(t.Context(), Spec{NodeName: "nobody", CA: spec.CA}, "boot-1"); !errors.Is(err, errNotFound) {
		t.Errorf("a node that is not there: %v", err)
	}
}

// TestCordonOfAnother: a cordon of the agent's that was taken back by hand leaves its annotation. One that comes by hand after it stays.
func TestCordonOfAnother(t *testing.T) {
	a := newAPI()
	c, spec := a.cluster(t)
	state := func() string {
		n := a.nodes["node1"]
		annotations, _ := n["metadata"].(map[string]any)["annotations"].(map[string]any)
		return fmt.Sprint(isCordoned(n), " ", annotations[cordonAnnotation])
	}
	for name, test := range map[string]struct {
		after func() error // the agent's own cordon was taken back by hand
		done  bool         // what the next boot does
		want  string
	}{
		"nothing":                 {func() error { return nil }, false, "false <nil>"},
		"by hand":                 {func() error { a.byHand("node1", true); return nil }, false, "true <nil>"},
		"by hand before a drain":  {func() error { a.byHand("node1", true); return c.Cordon(t.Context(), spec, "boot-1") }, false, "true <nil>"},
		"another drain":           {func() error { return c.Cordon(t.Context(), spec, "boot-1") }, true, "false <nil>"},
		"a drain of a later boot": {func() error { return c.Cordon(t.Context(), spec, "boot-2") }, false, "true boot-2"},
		"by hand amid a drain": {func() error {
			err := c.Cordon(t.Context(), spec, "boot-1")
			a.byHand("node1", true) // "already cordoned"
			return err
		}, true, "false <nil>"},
	} {
		a.node("node1", false, true)
		if err := c.Cordon(t.Context(), spec, "boot-1"); err != nil || state() != "true boot-1" {
			t.Fatalf("%s: cordon: %v, %s", name, err, state())
		}
		a.byHand("node1", false)
		if got := state(); got != "false boot-1" {
			t.Fatalf("%s: uncordoned by hand: %s", name, got)
		}
		if err := test.after(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if done, err := c.Uncordon(t.Context(), spec, "boot-2"); done != test.done || err != nil || state() != test.want {
			t.Errorf("%s: in the next boot: %t, %v, %s; want %t, %s", name, done, err, state(), test.done, test.want)
		}
	}
	// Somebody else wants it cordoned too, and has said so in a configuration of theirs.
	a.cordoned("node1", "boot-1")
	m := a.nodes["node1"]["metadata"].(map[string]any)
	m["managedFields"] = append(m["managedFields"].([]any), map[string]any{
		"manager": "flux", "operation": "Apply", "fieldsV1": map[string]any{"f:spec": map[string]any{"f:unschedulable": map[string]any{}}},
	})
	if done, err := c.Uncordon(t.Context(), spec, "boot-2"); done || err != nil || state() != "true <nil>" {
		t.Errorf("wanted by another too: %t, %v, %s", done, err, state())
	}
	// The API server keeps no list of who has changed what.
	a.cordoned("node1", "boot-1")
	delete(a.nodes["node1"]["metadata"].(map[string]any), "managedFields")
	if done, err := c.Uncordon(t.Context(), spec, "boot-2"); !done || err != nil || state() == "true <nil>" {
		t.Errorf("nobody knows who: %t, %v, %s", done, err, state())
	}
}

func TestElsewhere(t *testing.T) {
	a := newAPI()
	c, spec := a.cluster(t)
	a.node("node1", false, true)
	a.node("node2", true, true)
	a.node("node3", false, false)
	if yes, err := c.Elsewhere(t.Context(), spec); yes || err != nil {
		t.Errorf("itself, one that is cordoned and one that is not ready: %t, %v", yes, err)
	}
	a.node("node4", false, true)
	if yes, err := c.Elsewhere(t.Context(), spec); !yes || err != nil {
		t.Errorf("with another: %t, %v", yes, err)
	}
}

// TestElsewhereSoon: a node that was restarted after it was drained is waited for, but not for ever.
func TestElsewhereSoon(t *testing.T) {
	a := newAPI()
	c, spec := a.cluster(t)
	a.node("node1", false, true)
	a.cordoned("node2", "boot-1")
	looks := func() (n int) {
		for _, call := range a.calls {
			if call == "GET /api/v1/nodes" {
				n++
			}
		}
		return n
	}
	if yes, err := c.Elsewhere(t.Context(), spec); yes || err != nil || looks() != elsewhereLooks {
		t.Errorf("one that does not come back: %t, %v after %d looks", yes, err, looks())
	}
	a.calls = nil
	a.other["/api/v1/nodes"] = func(w http.ResponseWriter, _ *http.Request) {
		if looks() == 3 {
			a.node("node2", false, true)
		}
		a.list(w, a.nodes)
	}
	if yes, err := c.Elsewhere(t.Context(), spec); !yes || err != nil || looks() != 3 {
		t.Errorf("one that comes back: %t, %v after %d looks", yes, err, looks())
	}
	ctx, cancel := context.WithCancel(t.Context())
	a.cordoned("node2", "boot-1")
	c.pause = time.Hour
	time.AfterFunc(50*time.Millisecond, cancel)
	if yes, _ := c.Elsewhere(ctx, spec); yes {
		t.Error("of a caller that hung up: yes")
	}
}

// crowd is a node with pods of each kind.
func crowd(a *api) {
	a.pod("web", "ReplicaSet", nil)
	a.pod("db", "StatefulSet", nil)
	a.pod("agent", "DaemonSet", nil)
	a.pod("static", "Node", func(m, _ map[string]any) {
		m["annotations"] = map[string]any{"kubernetes.io/config.mirror": "x"}
	})
	a.pod("done", "Job", func(_, s map[string]any) { s["phase"] = "Succeeded" })
	a.pod("bare", "", nil)
	a.pod("leaving", "", func(m, _ map[string]any) { m["deletionTimestamp"] = "2026-03-01T12:00:00Z" })
	a.lasts["leaving"] = 2
}

func TestDrain(t *testing.T) {
	a := newAPI()
	c, spec := a.cluster(t)
	crowd(a)
	a.lasts["db"] = 1
	var told []Drained
	got, err := c.Drain(t.Context(), spec, func(d Drained) error {
		told = append(told, d)
		return nil
	})
	want := Drained{Gone: 3, Stays: []string{"default/bare"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if d := cmp.Diff(Drained{Remaining: 3, Waiting: "waiting for default/db, default/leaving, default/web to end", Stays: want.Stays}, told[0]); d != "" {
		t.Errorf("the first word (-want +got):\n%s", d)
	}
	evictions := slices.DeleteFunc(slices.Clone(a.calls), func(c string) bool { return !strings.HasPrefix(c, "POST") })
	slices.Sort(evictions)
	evict := func(name string) string { return "POST /api/v1/namespaces/default/pods/" + name + "/eviction" }
	if d := cmp.Diff([]string{evict("db"), evict("web")}, evictions); d != "" {
		t.Errorf("evictions (-want +got):\n%s", d)
	}
}

// TestDrainThatIsRefused: a disruption budget is asked again until it allows it, or the time is over; that is no error, and says what is left.
func TestDrainThatIsRefused(t *testing.T) {
	a := newAPI()
	c, spec := a.cluster(t)
	crowd(a)
	a.refuse["db"] = http.StatusTooManyRequests
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	got, err := c.Drain(ctx, spec, func(Drained) error { return nil })
	want := "not allowed to evict default/db: Cannot evict pod as it would violate the pod's disruption budget."
	if err != nil || got.Remaining != 1 || got.Gone != 2 || got.Waiting != want {
		t.Errorf("at the end of its time: %+v, %v", got, err)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.refuse, "db")
	}()
	if got, err := c.Drain(t.Context(), spec, func(Drained) error { return nil }); err != nil || got.Remaining != 0 || got.Gone != 1 {
		t.Errorf("once it is allowed: %+v, %v", got, err)
	}
	crowd(a)
	lost := errors.New("nobody listens")
	if _, err := c.Drain(t.Context(), spec, func(Drained) error { return lost }); !errors.Is(err, lost) {
		t.Errorf("a caller that cannot be told: %v", err)
	}
	// An API server that is away for a while does not end it.
	a.other["/api/v1/pods"] = func(w http.ResponseWriter, _ *http.Request) {
		delete(a.other, "/api/v1/pods")
		refuse(w, http.StatusServiceUnavailable, "etcd is away")
	}
	var words string
	got, err = c.Drain(t.Context(), spec, func(d Drained) error {
		words += d.Waiting + "\n"
		return nil
	})
	if err != nil || got.Remaining != 0 || !strings.Contains(words, "503 Service Unavailable: etcd is away") {
		t.Errorf("after a pause of the API server: %+v, %v, %q", got, err, words)
	}
}

func TestGatesOfTheCluster(t *testing.T) {
	a := newAPI()
	c, spec := a.cluster(t)
	a.node("node1", false, true)
	a.other["/api/v1/namespaces/default/services/web:80/proxy/healthz"] = func(http.ResponseWriter, *http.Request) {}
	a.other["/api/v1/namespaces/default/services/web:80/proxy/moved"] = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/api/v1/namespaces/default/services/web:80/proxy/healthz", http.StatusFound)
	}
	a.other["/api/v1/namespaces/default/services/web:80/proxy/"] = func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusServiceUnavailable, "no endpoints available")
	}
	deployment := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	for name, text := range map[string]string{
		"good":  `{"metadata":{"generation":2},"status":{"observedGeneration":2,"conditions":[{"type":"Progressing","status":"False"},{"type":"Available","status":"True"}]}}`,
		"short": `{"metadata":{"generation":2},"status":{"observedGeneration":2,"conditions":[{"type":"Available","status":"False","message":"Deployment does not have minimum availability."}]}}`,
		"new":   `{"metadata":{"generation":3},"status":{"observedGeneration":2,"conditions":[{"type":"Available","status":"True"}]}}`,
		"empty": `{}`, "broken": `[`,
	} {
		a.other["/apis/apps/v1/namespaces/default/deployments/"+name] = deployment(text)
	}
	for what, test := range map[string]struct {
		ask  func(context.Context, Spec, string) error
		of   string
		want string // empty: it holds
	}{
		"a service":                 {c.ServiceAnswers, "default/web:80/healthz", ""},
		"one that redirects":        {c.ServiceAnswers, "default/web:80/moved", "302 Found"},
		"one without endpoints":     {c.ServiceAnswers, "default/web:80", "503 Service Unavailable: no endpoints available"},
		"a service that is not":     {c.ServiceAnswers, "default/none:80", "404 Not Found"},
		"a deployment":              {c.DeploymentAvailable, "default/good", ""},
		"one that is not available": {c.DeploymentAvailable, "default/short", "its condition Available is False: Deployment does not have minimum availability."},
		"one that has just changed": {c.DeploymentAvailable, "default/new", "has not been looked at"},
		"one without conditions":    {c.DeploymentAvailable, "default/empty", "it has no condition Available"},
		"one that cannot be read":   {c.DeploymentAvailable, "default/broken", "read object"},
		"a deployment that is not":  {c.DeploymentAvailable, "default/none", "there is no such Deployment"},
		"a condition":               {c.NodeCondition, "Ready", ""},
		"a condition that is not":   {c.NodeCondition, "GPUReady", "it has no condition GPUReady"},
	} {
		err := test.ask(t.Context(), spec, test.of)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", what, err, test.want)
		}
	}
}

func FuzzParseDrainPods(f *testing.F) {
	f.Add([]byte(`{"items":[{"metadata":{"namespace":"a","name":"b","uid":"c","ownerReferences":[{"kind":"ReplicaSet","controller":true}]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		pods, err := parseDrainPods(data)
		if err != nil && pods != nil {
			t.Errorf("%q: got %v together with %v", data, pods, err)
		}
		for _, p := range pods {
			if p.uid == "" || p.name == "" {
				t.Errorf("%q: a pod without a name: %+v", data, p)
			}
		}
	})
}

func FuzzIsTrue(f *testing.F) {
	f.Add([]byte(`{"metadata":{"generation":2},"status":{"observedGeneration":2,"conditions":[{"type":"Available","status":"True"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if isTrue(data, "Available") == nil && !strings.Contains(string(data), "True") && !strings.Contains(string(data), `\u`) {
			t.Errorf("%q holds", data)
		}
		if n, err := parseCordoned(data); err != nil && n != (cordoned{}) {
			t.Errorf("%q: got %+v together with %v", data, n, err)
		}
	})
}
