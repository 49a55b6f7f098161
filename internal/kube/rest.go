package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/pki"
)

// roleLabel is what kubectl shows as the node's role; its value is empty.
const roleLabel = "node-role.kubernetes.io/control-plane"

const (
	requestTimeout = 10 * time.Second
	// agentLifetime of the agent's own certificate, made anew at half of it.
	agentLifetime = 24 * time.Hour
	// maxAnswerBytes bounds what is read of an answer: the pods of one node.
	maxAnswerBytes = 16 << 20
	// maxReasonBytes bounds what is read of a refusal.
	maxReasonBytes = 16 << 10
)

var errNotFound = errors.New("not found")

// restClient asks the API server on this node as JSON over HTTPS, with a client
// certificate of its own that never leaves memory. It may be used concurrently.
type restClient struct {
	endpoint string
	now      func() time.Time

	mu     sync.Mutex
	client *http.Client
	ca     *pki.Authority
	until  time.Time
}

func newRESTClient(now func() time.Time) *restClient {
	return &restClient{endpoint: localEndpoint, now: now}
}

// Observe implements APIServer. The node is asked for as soon as the server answers at all: the network of pods needs its range, and is made while the
// server still runs what it does after it began to serve, of which /readyz tells.
func (c *restClient) Observe(ctx context.Context, spec Spec) (API, error) {
	ask := func(path string) ([]byte, error) { return c.do(ctx, spec, http.MethodGet, path, "", nil) }
	_, unready := ask("/readyz")
	if status := (*statusError)(nil); unready != nil && !errors.As(unready, &status) {
		return API{}, unready
	}
	api := API{Ready: unready == nil, Serves: true}
	data, err := ask("/api/v1/nodes/" + url.PathEscape(spec.NodeName))
	if err == nil {
		api.Node, err = parseNode(data)
	}
	if unready != nil {
		return api, unready
	}
	if errors.Is(err, errNotFound) {
		return api, nil
	}
	if err != nil {
		return api, err
	}
	query := url.Values{"fieldSelector": {"spec.nodeName=" + spec.NodeName + ",status.phase=Running"}}
	if data, err = ask("/api/v1/pods?" + query.Encode()); err != nil {
		return api, err
	}
	if api.PodStarts, err = parsePods(data); err != nil {
		return api, err
	}
	if api.DNSRevision, err = c.revision(ctx, spec, dnsDeploymentPath); err != nil || !spec.Volumes {
		return api, err
	}
	api.VolumesRevision, err = c.revision(ctx, spec, groupClassPath)
	return api, err
}

// revision returns what the object at path, and those that were applied before it, were made from; empty if it is not there.
func (c *restClient) revision(ctx context.Context, spec Spec, path string) (string, error) {
	data, err := c.do(ctx, spec, http.MethodGet, path, "", nil)
	if errors.Is(err, errNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return parseRevision(data)
}

// Apply implements APIServer, by server-side apply
// (kubernetes.io/docs/reference/using-api/server-side-apply).
func (c *restClient) Apply(ctx context.Context, spec Spec, manifests []Manifest) error {
	for _, m := range manifests {
		path := m.Path + "?fieldManager=cyvive&force=true"
		if _, err := c.do(ctx, spec, http.MethodPatch, path, "application/apply-patch+yaml", encode(m.Object)); err != nil {
			return err
		}
	}
	return nil
}

// parseRevision reads the revision that an object of this domain was made from.
func parseRevision(data []byte) (string, error) {
	var object struct {
		Metadata struct{ Annotations map[string]string }
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return "", fmt.Errorf("read object: %w", err)
	}
	return object.Metadata.Annotations[revisionAnnotation], nil
}

// MarkControlPlane implements APIServer.
func (c *restClient) MarkControlPlane(ctx context.Context, spec Spec) error {
	patch := []byte(`{"metadata":{"labels":{"` + roleLabel + `":""}}}`)
	_, err := c.do(ctx, spec, http.MethodPatch, "/api/v1/nodes/"+url.PathEscape(spec.NodeName), "application/merge-patch+json", patch)
	return err
}

// do makes one request and returns the body of a good answer.
func (c *restClient) do(ctx context.Context, spec Spec, method, path, contentType string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	response, err := c.open(ctx, spec, method, path, contentType, body)
	if err != nil {
		return nil, err
	}
	defer response.Close()
	data, err := io.ReadAll(io.LimitReader(response, maxAnswerBytes))
	if err != nil {
		return nil, fmt.Errorf("read answer of kube-apiserver: %w", err)
	}
	return data, nil
}

// open makes one request and returns the body of a good answer, which the caller
// closes. It ends with ctx.
func (c *restClient) open(ctx context.Context, spec Spec, method, path, contentType string, body []byte) (io.ReadCloser, error) {
	client, err := c.prepare(spec.CA)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, c.endpoint+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask kube-apiserver: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask kube-apiserver: %w", err)
	}
	if response.StatusCode/100 == 2 {
		return response.Body, nil
	}
	defer response.Body.Close()
	reason, _ := io.ReadAll(io.LimitReader(response.Body, maxReasonBytes)) // an explanation; the status says enough without
	return nil, fmt.Errorf("ask kube-apiserver for %s: %w", request.URL.Path, &statusError{response.StatusCode, response.Status, explanation(reason)})
}

// explanation returns the message of a metav1.Status; it may be empty.
func explanation(data []byte) string {
	var status struct{ Message string }
	if json.Unmarshal(data, &status) != nil {
		return ""
	}
	return status.Message
}

// prepare makes the client for ca, with a certificate that is still good.
func (c *restClient) prepare(ca *pki.Authority) (*http.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	// A certificate that was issued before the clock was set back does not hold yet.
	if c.client != nil && c.ca.Equal(ca) && now.Before(c.until) && !c.until.After(now.Add(agentLifetime/2)) {
		return c.client, nil
	}
	pair, err := ca.Issue(pki.Request{
		CommonName: "machined", Organizations: []string{adminGroup}, Client: true, Lifetime: agentLifetime,
	}, now)
	if err != nil {
		return nil, err
	}
	certificate, err := pair.TLS()
	if err != nil {
		return nil, err
	}
	if c.client != nil {
		c.client.CloseIdleConnections()
	}
	c.client = &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS13, RootCAs: ca.Pool(),
				Certificates: []tls.Certificate{certificate}, Time: c.now,
			},
			ForceAttemptHTTP2: true,
		},
		// The API server sends nobody elsewhere by itself; a service that it asks for us may.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.ca, c.until = ca, now.Add(agentLifetime/2)
	return c.client, nil
}

// Node is what a node's object says.
type Node struct {
	Ready bool
	// Message is kubelet's own reason for not being Ready.
	Message string
	// Heartbeat is when kubelet last reported Ready.
	Heartbeat time.Time
	// PodCIDR is the zero Prefix until the node got one.
	PodCIDR netip.Prefix
	// ControlPlane says that the node has the role's label.
	ControlPlane bool
}

// parseNode reads a v1.Node.
func parseNode(data []byte) (*Node, error) {
	var object struct {
		Metadata struct{ Labels map[string]string }
		Spec     struct{ PodCIDR string }
		Status   struct {
			Conditions []struct {
				Type, Status, Message string
				LastHeartbeatTime     time.Time
			}
		}
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, fmt.Errorf("read node: %w", err)
	}
	n := &Node{}
	_, n.ControlPlane = object.Metadata.Labels[roleLabel]
	for _, c := range object.Status.Conditions {
		if c.Type == "Ready" {
			n.Ready = c.Status == "True"
			n.Message = c.Message
			n.Heartbeat = c.LastHeartbeatTime
		}
	}
	if object.Spec.PodCIDR != "" {
		var err error
		if n.PodCIDR, err = netip.ParsePrefix(object.Spec.PodCIDR); err != nil {
			return nil, fmt.Errorf("read pod range of node: %w", err)
		}
	}
	return n, nil
}

// parsePods reads a v1.PodList; see API.PodStarts.
func parsePods(data []byte) ([]time.Time, error) {
	var list struct {
		Items []struct {
			Status struct {
				ContainerStatuses []struct {
					State struct {
						Running *struct{ StartedAt time.Time }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("read pods: %w", err)
	}
	var starts []time.Time
	for _, pod := range list.Items {
		var first time.Time
		for _, c := range pod.Status.ContainerStatuses {
			if r := c.State.Running; r != nil && (first.IsZero() || r.StartedAt.Before(first)) {
				first = r.StartedAt
			}
		}
		starts = append(starts, first)
	}
	return starts, nil
}
