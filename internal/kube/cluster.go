package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Cluster asks the API server on this node for what the agent itself wants to know of its cluster, and does with this node what is none of the loop's
// business. It may be used concurrently. Its calls need the rights of an administrator, whose certificate it makes itself: see restClient.
type Cluster struct {
	rest *restClient
	// pause is the time between two looks of a drain.
	pause time.Duration
}

// NewCluster returns one that is not connected yet. Nil for now is time.Now.
func NewCluster(now func() time.Time) *Cluster {
	if now == nil {
		now = time.Now
	}
	return &Cluster{rest: newRESTClient(now), pause: drainPause}
}

// statusError is a refusal of the API server.
type statusError struct {
	code int
	text string
	// message is what a metav1.Status says; it may be empty.
	message string
}

func (e *statusError) Error() string {
	if e.message == "" {
		return e.text
	}
	return e.text + ": " + e.message
}

// Unwrap is the class of the status, where there is one.
func (e *statusError) Unwrap() error {
	switch e.code {
	case http.StatusNotFound:
		return errNotFound
	case http.StatusGone:
		return errGone
	}
	return nil
}

// ServiceAnswers is nil while a GET of namespace/name:port/path is answered with success. The API server asks one of the service's endpoints
// (kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services).
func (c *Cluster) ServiceAnswers(ctx context.Context, spec Spec, target string) error {
	namespace, rest, _ := strings.Cut(target, "/")
	service, path, _ := strings.Cut(rest, "/")
	at := "/api/v1/namespaces/" + url.PathEscape(namespace) + "/services/" + url.PathEscape(service) + "/proxy/" + path
	body, err := c.rest.open(ctx, spec, http.MethodGet, at, "", nil)
	if err != nil {
		return err
	}
	return body.Close()
}

// DeploymentAvailable is nil while the condition Available of namespace/name is true for what it should be now.
func (c *Cluster) DeploymentAvailable(ctx context.Context, spec Spec, target string) error {
	namespace, name, _ := strings.Cut(target, "/")
	path := "/apis/apps/v1/namespaces/" + url.PathEscape(namespace) + "/deployments/" + url.PathEscape(name)
	data, err := c.rest.do(ctx, spec, http.MethodGet, path, "", nil)
	if errors.Is(err, errNotFound) {
		return errors.New("there is no such Deployment")
	}
	if err != nil {
		return err
	}
	return isTrue(data, "Available")
}

// NodeCondition is nil while a condition of this node is true.
func (c *Cluster) NodeCondition(ctx context.Context, spec Spec, kind string) error {
	data, err := c.rest.do(ctx, spec, http.MethodGet, nodePath(spec), "", nil)
	if err != nil {
		return err
	}
	return isTrue(data, kind)
}

func nodePath(spec Spec) string { return "/api/v1/nodes/" + url.PathEscape(spec.NodeName) }

// isTrue reads an object of any kind, and is nil if its status is of its present generation and has a condition that is true.
func isTrue(data []byte, kind string) error {
	var object struct {
		Metadata struct{ Generation int64 }
		Status   struct {
			// ObservedGeneration is nil for kinds that have none, such as a node.
			ObservedGeneration *int64
			Conditions         []struct{ Type, Status, Message string }
		}
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return fmt.Errorf("read object: %w", err)
	}
	if g := object.Status.ObservedGeneration; g != nil && *g < object.Metadata.Generation {
		return errors.New("its change has not been looked at yet")
	}
	for _, c := range object.Status.Conditions {
		switch {
		case c.Type != kind:
		case c.Status == "True":
			return nil
		case c.Message != "":
			return fmt.Errorf("its condition %s is %s: %s", kind, c.Status, c.Message)
		default:
			return fmt.Errorf("its condition %s is %s", kind, c.Status)
		}
	}
	return fmt.Errorf("it has no condition %s", kind)
}
