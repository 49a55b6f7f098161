package planes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/kube"
)

const (
	defaultPods = "/api/v1/namespaces/default/pods"
	webBudget   = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web"
)

// drainedPod is what the test looks at of a pod.
type drainedPod struct {
	Metadata struct{ Name, DeletionTimestamp string }
	Spec     struct{ NodeName string }
}

// drainNode cordons and drains the node with the agent's own rights: a real disruption budget refuses, until it is gone; the test plays the kubelet.
func drainNode(ctx context.Context, t *testing.T, api *http.Client, spec kube.Spec) {
	kubelet := client(t, spec, "system:node:"+spec.NodeName, "system:nodes")
	web := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},
		"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"web"}]}}}}`
	budget := `{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"web"},"spec":{"minAvailable":2,"selector":{"matchLabels":{"app":"web"}}}}`
	bare := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bare"},"spec":{"nodeName":"` + spec.NodeName + `","containers":[{"name":"bare","image":"bare"}]}}`
	for path, body := range map[string]string{
		"/apis/apps/v1/namespaces/default/deployments":            web,
		"/apis/policy/v1/namespaces/default/poddisruptionbudgets": budget,
		defaultPods: bare,
	} {
		if err := post(ctx, api, path, body); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(ctx, t, "two pods that run on the node", func() error { return runWebPods(ctx, api, kubelet, spec.NodeName) })
	c := kube.NewCluster(time.Now)
	waitFor(ctx, t, "the deployment to be available", func() error { return c.DeploymentAvailable(ctx, spec, "default/web") })
	waitFor(ctx, t, "the budget to be counted", func() error {
		return holds(ctx, api, webBudget, func(o struct{ Status struct{ CurrentHealthy int } }) bool { return o.Status.CurrentHealthy == 2 })
	})
	if yes, err := c.Elsewhere(ctx, spec); yes || err != nil {
		t.Errorf("another node takes pods: %t, %v", yes, err)
	}
	if err := c.NodeCondition(ctx, spec, "GPUReady"); err == nil {
		t.Error("a condition that the node has not is true")
	}
	if err := c.Cordon(ctx, spec, "boot-1"); err != nil {
		t.Fatal(err)
	}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	got, err := c.Drain(limited, spec, func(kube.Drained) error { return nil })
	if err != nil || got.Remaining != 2 || got.Gone != 0 || !strings.Contains(got.Waiting, "disruption budget") || !slices.Equal(got.Stays, []string{"default/bare"}) {
		t.Errorf("with a budget for both: %+v, %v", got, err)
	}
	if err := send(ctx, api, http.MethodDelete, webBudget, "", ""); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	limited, cancel = context.WithTimeout(ctx, time.Minute)
	defer cancel()
	go func() {
		got, err := c.Drain(limited, spec, func(kube.Drained) error { return nil })
		if err == nil && (got.Remaining != 0 || got.Gone != 2) {
			err = fmt.Errorf("%+v", got)
		}
		ended <- err
	}()
	for drained := false; !drained; {
		select {
		case err := <-ended:
			if drained = true; err != nil {
				t.Errorf("without a budget: %v", err)
			}
		case <-time.After(300 * time.Millisecond):
			endPods(ctx, t, api, kubelet)
		}
	}
	if done, err := c.Uncordon(ctx, spec, "boot-1"); done || err != nil {
		t.Errorf("uncordon in the same boot: %t, %v", done, err)
	}
	if done, err := c.Uncordon(ctx, spec, "boot-2"); !done || err != nil {
		t.Errorf("uncordon in the next boot: %t, %v", done, err)
	}
	if err := holds(ctx, api, "/api/v1/nodes/"+spec.NodeName, func(o struct{ Spec struct{ Unschedulable bool } }) bool { return !o.Spec.Unschedulable }); err != nil {
		t.Error(err)
	}
}

func listPods(ctx context.Context, api *http.Client, query string) ([]drainedPod, error) {
	data, err := get(ctx, api, defaultPods+query)
	if err != nil {
		return nil, err
	}
	var list struct{ Items []drainedPod }
	return list.Items, json.Unmarshal(data, &list)
}

// runWebPods binds the deployment's pods to the node, as the scheduler would to one that is Ready, and reports that they run.
func runWebPods(ctx context.Context, api, kubelet *http.Client, node string) error {
	pods, err := listPods(ctx, api, "?labelSelector=app%3Dweb")
	if err != nil {
		return err
	}
	for _, p := range pods {
		at := defaultPods + "/" + p.Metadata.Name
		if p.Spec.NodeName == "" {
			binding := fmt.Sprintf(`{"apiVersion":"v1","kind":"Binding","metadata":{"name":%q},"target":{"apiVersion":"v1","kind":"Node","name":%q}}`, p.Metadata.Name, node)
			if err := post(ctx, api, at+"/binding", binding); err != nil {
				return err
			}
		}
		running := `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`
		if err := send(ctx, kubelet, http.MethodPatch, at+"/status", "application/strategic-merge-patch+json", running); err != nil {
			return err
		}
	}
	if len(pods) != 2 {
		return fmt.Errorf("there are %d", len(pods))
	}
	return nil
}

// endPods confirms that pods which were asked to end have.
func endPods(ctx context.Context, t *testing.T, api, kubelet *http.Client) {
	t.Helper()
	pods, err := listPods(ctx, api, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if p.Metadata.DeletionTimestamp == "" || p.Spec.NodeName == "" {
			continue
		}
		options := `{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0}`
		if err := send(ctx, kubelet, http.MethodDelete, defaultPods+"/"+p.Metadata.Name, "application/json", options); err != nil {
			t.Fatal(err)
		}
	}
}

// holds tells whether an object fulfils a condition.
func holds[T any](ctx context.Context, api *http.Client, path string, condition func(T) bool) error {
	data, err := get(ctx, api, path)
	if err != nil {
		return err
	}
	var object T
	if err := json.Unmarshal(data, &object); err != nil {
		return err
	}
	if !condition(object) {
		return errors.New(string(data))
	}
	return nil
}

func send(ctx context.Context, from *http.Client, method, path, contentType, body string) error {
	request, err := http.NewRequestWithContext(ctx, method, "https://127.0.0.1:6443"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	_, err = do(from, request)
	return err
}
