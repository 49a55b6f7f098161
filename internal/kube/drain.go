package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// drainPause is the time between two looks at the pods of a node that is drained: kubectl drain asks a refused eviction again after 5 s.
	drainPause = 3 * time.Second
	// maxNamed bounds how many pods a text names.
	maxNamed = 5
)

// Drained is how far the pods have left a node.
type Drained struct {
	// Gone pods have left it, Remaining are to leave it still.
	Gone, Remaining int
	// Waiting says for what, in words for a person; empty when nothing remains.
	Waiting string
	// Stays are pods that were left on purpose because nobody would make them anew: those without a controller.
	Stays []string
}

// Drain asks the pods of the node to leave it, by the eviction API (kubernetes.io/docs/concepts/scheduling-eviction/api-eviction), and waits until they
// have, or until ctx ends, which is no error. Left alone are the pods of DaemonSets, mirrors of static pods, pods that have ended, and those without a
// controller. What a disruption budget refuses is asked for again. Tell is called whenever that has changed, and its error ends the drain.
func (c *Cluster) Drain(ctx context.Context, spec Spec, tell func(Drained) error) (Drained, error) {
	d := drain{cluster: c, spec: spec, seen: map[string]bool{}, asked: map[string]bool{}}
	var last Drained
	for first := true; ; first = false {
		now, err := d.look(ctx)
		if ctx.Err() != nil {
			return last, nil
		}
		if err != nil {
			now = last
			now.Waiting = err.Error()
		}
		if first || now.Gone != last.Gone || now.Remaining != last.Remaining || now.Waiting != last.Waiting {
			if err := tell(now); err != nil {
				return now, err
			}
		}
		last = now
		if err == nil && now.Remaining == 0 {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return last, nil
		case <-time.After(c.pause):
		}
	}
}

// drain is one drain.
type drain struct {
	cluster *Cluster
	spec    Spec
	// seen are the pods that are to leave, and asked those of them that were told to, by their UID.
	seen, asked map[string]bool
}

// look asks what can be asked, and sums up.
func (d *drain) look(ctx context.Context) (Drained, error) {
	query := url.Values{"fieldSelector": {"spec.nodeName=" + d.spec.NodeName}}
	data, err := d.cluster.rest.do(ctx, d.spec, http.MethodGet, "/api/v1/pods?"+query.Encode(), "", nil)
	if err != nil {
		return Drained{}, err
	}
	pods, err := parseDrainPods(data)
	if err != nil {
		return Drained{}, err
	}
	var out Drained
	var refused, ending []string
	here := map[string]bool{}
	for _, p := range pods {
		switch p.role() {
		case podStays:
			continue
		case podBare:
			out.Stays = append(out.Stays, p.String())
			continue
		}
		here[p.uid], d.seen[p.uid] = true, true
		if !p.ending && !d.asked[p.uid] {
			if why := d.evict(ctx, p); why != "" {
				refused = append(refused, p.String()+": "+why)
				continue
			}
			d.asked[p.uid] = true
		}
		ending = append(ending, p.String())
	}
	out.Remaining, out.Gone = len(here), len(d.seen)-len(here)
	out.Waiting = drainWaiting(refused, ending)
	slices.Sort(out.Stays)
	return out, nil
}

// drainWaiting names what keeps a node from being drained, first what refuses.
func drainWaiting(refused, ending []string) string {
	var parts []string
	if len(refused) > 0 {
		parts = append(parts, "not allowed to evict "+named(refused))
	}
	if len(ending) > 0 {
		parts = append(parts, "waiting for "+named(ending)+" to end")
	}
	return strings.Join(parts, "; ")
}

func named(pods []string) string {
	slices.Sort(pods)
	text := strings.Join(pods[:min(len(pods), maxNamed)], ", ")
	if more := len(pods) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// evict asks a pod to leave. It returns why it may not, empty if it does or is gone already.
func (d *drain) evict(ctx context.Context, p drainPod) string {
	body := object{
		"apiVersion": "policy/v1", "kind": "Eviction", "metadata": object{"name": p.name, "namespace": p.namespace},
		"deleteOptions": object{"preconditions": object{"uid": p.uid}},
	}
	path := "/api/v1/namespaces/" + url.PathEscape(p.namespace) + "/pods/" + url.PathEscape(p.name) + "/eviction"
	_, err := d.cluster.rest.do(ctx, d.spec, http.MethodPost, path, "application/json", encode(body))
	var refused *statusError
	switch {
	case err == nil, errors.Is(err, errNotFound):
		return ""
	case errors.As(err, &refused) && refused.code == http.StatusConflict: // another pod has the name by now
		return ""
	case errors.As(err, &refused) && refused.message != "":
		return refused.message
	}
	return err.Error()
}

// drainPod is what a drain needs to know of a pod.
type drainPod struct {
	namespace, name, uid string
	// controller is the kind of what would make it anew; empty is nothing.
	controller string
	// mirror: kubelet made it of a file. Ended: it ran to its end. Ending: it was asked to end.
	mirror, ended, ending bool
}

func (p drainPod) String() string { return p.namespace + "/" + p.name }

// podRole is what a drain does with a pod.
type podRole int

const (
	podLeaves podRole = iota
	podStays
	podBare
)

func (p drainPod) role() podRole {
	switch {
	case p.mirror, p.ended, p.controller == "DaemonSet":
		return podStays
	case p.controller == "" && !p.ending:
		return podBare
	}
	return podLeaves
}

// parseDrainPods reads a v1.PodList.
func parseDrainPods(data []byte) ([]drainPod, error) {
	var list struct {
		Items []struct {
			Metadata struct {
				Namespace, Name, UID string
				DeletionTimestamp    *time.Time
				Annotations          map[string]string
				OwnerReferences      []struct {
					Kind       string
					Controller bool
				}
			}
			Status struct{ Phase string }
		}
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("read pods: %w", err)
	}
	var pods []drainPod
	for _, item := range list.Items {
		m := item.Metadata
		if m.Namespace == "" || m.Name == "" || m.UID == "" {
			return nil, errors.New("read pods: one has no namespace, name or UID")
		}
		// The annotation is on what kubelet shows of a static pod (kubernetes.io/docs/reference/labels-annotations-taints).
		_, mirror := m.Annotations["kubernetes.io/config.mirror"]
		p := drainPod{
			namespace: m.Namespace, name: m.Name, uid: m.UID, mirror: mirror, ending: m.DeletionTimestamp != nil,
			ended: item.Status.Phase == "Succeeded" || item.Status.Phase == "Failed",
		}
		for _, o := range m.OwnerReferences {
			if o.Controller {
				p.controller = o.Kind
			}
		}
		pods = append(pods, p)
	}
	return pods, nil
}
