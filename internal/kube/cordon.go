package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	// cordonAnnotation is on a node that its own agent has cordoned; the value is the boot in which it did.
	cordonAnnotation = "cyvive.dev/cordoned-by-boot"
	// cordonManager is what the API server notes as who has changed the node. The annotation alone does not tell whose a cordon is: it stays when somebody
	// takes the cordon back by other means, and would make the next one look like the agent's.
	cordonManager = "cyvive-cordon"
)

// cordonTries bounds how often a node is read again because somebody else has changed it.
const cordonTries = 5

// Cordon has no more pods placed on the node, and notes which boot of it has asked for that. A node that somebody else has cordoned stays theirs. One that
// an earlier boot has cordoned, and that was not taken back yet, is this boot's from now on: Uncordon must not take it back amid a drain.
func (c *Cluster) Cordon(ctx context.Context, spec Spec, boot string) error {
	return c.mark(ctx, spec, func(n cordoned) object {
		if n.Unschedulable && (n.by() == "" || n.by() == boot) {
			return nil
		}
		return object{"metadata": object{"annotations": object{cordonAnnotation: boot}}, "spec": object{"unschedulable": true}}
	})
}

// Uncordon takes back what Cordon did, in any boot but the one that is named. It tells whether there was something to take back. An annotation that means
// nothing any more, since somebody else has had the node take pods again, goes too.
func (c *Cluster) Uncordon(ctx context.Context, spec Spec, but string) (done bool, err error) {
	err = c.mark(ctx, spec, func(n cordoned) object {
		patch := object{"metadata": object{"annotations": object{cordonAnnotation: nil}}}
		done = n.by() != "" && n.by() != but
		switch {
		case done:
			patch["spec"] = object{"unschedulable": nil}
		case n.by() != "" || n.Boot == "":
			return nil
		}
		return patch
	})
	return done && err == nil, err
}

// cordoned is what a node's object says of it.
type cordoned struct {
	Unschedulable bool
	// Boot is the one of which the annotation says that it has cordoned the node, empty if there is none.
	Boot string
	// Own says that the agent was the last to change whether the node takes pods.
	Own bool
	// version is that of the object.
	version string
}

// by is the boot whose agent keeps the node cordoned, empty if none does.
func (n cordoned) by() string {
	if !n.Unschedulable || !n.Own {
		return ""
	}
	return n.Boot
}

func parseCordoned(data []byte) (cordoned, error) {
	var object struct {
		Metadata struct {
			ResourceVersion string
			Annotations     map[string]string
			ManagedFields   []managed
		}
		Spec struct{ Unschedulable bool }
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return cordoned{}, fmt.Errorf("read node: %w", err)
	}
	m := object.Metadata
	return cordoned{object.Spec.Unschedulable, m.Annotations[cordonAnnotation], ownCordon(m.ManagedFields), m.ResourceVersion}, nil
}

// managed is what somebody has changed last in an object. The API server keeps that for every change: who changes a value takes the field over from whoever
// had it (kubernetes.io/docs/reference/using-api/server-side-apply, "Field management").
type managed struct {
	Manager  string
	FieldsV1 struct {
		Spec map[string]json.RawMessage `json:"f:spec"`
	}
}

// ownCordon tells whether the agent, and nobody besides, has set whether the node takes pods. The API server keeps nothing of an object that was made
// without any field, or whose list somebody has cleared (k8s.io/apimachinery, pkg/util/managedfields/internal/skipnonapplied.go): of that node the
// annotation alone is believed, since else it would stay cordoned for good.
func ownCordon(list []managed) (own bool) {
	if len(list) == 0 {
		return true
	}
	for _, m := range list {
		if _, ok := m.FieldsV1.Spec["f:unschedulable"]; !ok {
			continue
		}
		if m.Manager != cordonManager {
			return false
		}
		own = true
	}
	return own
}

// mark changes the node's object, as long as it is the one that was looked at. A nil change changes nothing.
func (c *Cluster) mark(ctx context.Context, spec Spec, change func(cordoned) object) error {
	for try := 1; ; try++ {
		data, err := c.rest.do(ctx, spec, http.MethodGet, nodePath(spec), "", nil)
		if err != nil {
			return err
		}
		n, err := parseCordoned(data)
		if err != nil {
			return err
		}
		patch := change(n)
		if patch == nil {
			return nil
		}
		patch["metadata"].(object)["resourceVersion"] = n.version
		_, err = c.rest.do(ctx, spec, http.MethodPatch, nodePath(spec)+"?fieldManager="+cordonManager, "application/merge-patch+json", encode(patch))
		var refused *statusError
		if errors.As(err, &refused) && refused.code == http.StatusConflict && try < cordonTries {
			continue
		}
		return err
	}
}

// elsewhereLooks bounds how often Elsewhere looks: at drainPause, for half a minute.
const elsewhereLooks = 10

// Elsewhere tells whether another node takes pods: it is Ready, and not cordoned. It waits a little for one that is Ready and was cordoned by its own agent:
// nodes that are restarted one after the other are Ready some moments before they take pods again.
func (c *Cluster) Elsewhere(ctx context.Context, spec Spec) (bool, error) {
	for look := 1; ; look++ {
		now, soon, err := c.elsewhere(ctx, spec)
		if err != nil || now || !soon || look >= elsewhereLooks {
			return now, err
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-time.After(c.pause):
		}
	}
}

// elsewhere tells whether another node takes pods now, or may soon.
func (c *Cluster) elsewhere(ctx context.Context, spec Spec) (now, soon bool, err error) {
	data, err := c.rest.do(ctx, spec, http.MethodGet, "/api/v1/nodes", "", nil)
	if err != nil {
		return false, false, err
	}
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal(data, &list); err != nil {
		return false, false, fmt.Errorf("read nodes: %w", err)
	}
	for _, item := range list.Items {
		var of struct{ Metadata struct{ Name string } }
		if err := json.Unmarshal(item, &of); err != nil {
			return false, false, fmt.Errorf("read nodes: %w", err)
		}
		n, err := parseNode(item)
		if err != nil {
			return false, false, err
		}
		mark, err := parseCordoned(item)
		if err != nil {
			return false, false, err
		}
		switch {
		case of.Metadata.Name == spec.NodeName || !n.Ready:
		case !mark.Unschedulable:
			return true, false, nil
		case mark.by() != "":
			soon = true
		}
	}
	return false, soon, nil
}
