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
)

var errNotFound = errors.New("not found")

// restClient asks the API server on this node as JSON over HTTPS, with a client
// certificate of its own that never leaves memory.
type restClient struct {
	endpoint string
	now      func() time.Time
	client   *http.Client
	ca       *pki.Authority
	until    time.Time
}

func newRESTClient(now func() time.Time) *restClient {
	return &restClient{endpoint: localEndpoint, now: now}
}

// Observe implements APIServer.
func (c *restClient) Observe(ctx context.Context, spec Spec) (API, error) {
	if err := c.prepare(spec.CA); err != nil {
		return API{}, err
	}
	if _, err := c.do(ctx, http.MethodGet, "/readyz", "", nil); err != nil {
		return API{}, err
	}
	api := API{Ready: true}
	data, err := c.do(ctx, http.MethodGet, "/api/v1/nodes/"+url.PathEscape(spec.NodeName), "", nil)
	if errors.Is(err, errNotFound) {
		return api, nil
	}
	if err != nil {
		return api, err
	}
	if api.Node, err = parseNode(data); err != nil {
		return api, err
	}
	query := url.Values{"fieldSelector": {"spec.nodeName=" + spec.NodeName + ",status.phase=Running"}}
	if data, err = c.do(ctx, http.MethodGet, "/api/v1/pods?"+query.Encode(), "", nil); err != nil {
		return api, err
	}
	api.PodStarts, err = parsePods(data)
	return api, err
}

// MarkControlPlane implements APIServer.
func (c *restClient) MarkControlPlane(ctx context.Context, spec Spec) error {
	if err := c.prepare(spec.CA); err != nil {
		return err
	}
	patch := []byte(`{"metadata":{"labels":{"` + roleLabel + `":""}}}`)
	_, err := c.do(ctx, http.MethodPatch, "/api/v1/nodes/"+url.PathEscape(spec.NodeName), "application/merge-patch+json", patch)
	return err
}

// do makes one request and returns the body of a good answer.
func (c *restClient) do(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.endpoint+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask kube-apiserver: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask kube-apiserver: %w", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read answer of kube-apiserver: %w", err)
	case response.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("ask kube-apiserver for %s: %w", request.URL.Path, errNotFound)
	case response.StatusCode/100 != 2:
		return nil, fmt.Errorf("ask kube-apiserver for %s: %s", request.URL.Path, response.Status)
	}
	return data, nil
}

// prepare makes the client for ca, with a certificate that is still good.
func (c *restClient) prepare(ca *pki.Authority) error {
	now := c.now()
	if c.client != nil && c.ca.Equal(ca) && now.Before(c.until) {
		return nil
	}
	pair, err := ca.Issue(pki.Request{
		CommonName: "machined", Organizations: []string{adminGroup}, Client: true, Lifetime: agentLifetime,
	}, now)
	if err != nil {
		return err
	}
	certificate, err := pair.TLS()
	if err != nil {
		return err
	}
	if c.client != nil {
		c.client.CloseIdleConnections()
	}
	c.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: ca.Pool(),
			Certificates: []tls.Certificate{certificate}, Time: c.now,
		},
		ForceAttemptHTTP2: true,
	}}
	c.ca, c.until = ca, now.Add(agentLifetime/2)
	return nil
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
