package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/internal/pki"
)

// kube asks a machine's API server, as an administrator.
type kube struct {
	url, node string
	client    *http.Client
	pod       []byte
}

// newKube returns a client with a certificate of its own. Pod is the manifest of
// the demonstration pod.
func newKube(port uint16, node string, authority *pki.Authority, pod []byte) (*kube, error) {
	pair, err := authority.Issue(pki.Request{
		CommonName: "bench", Organizations: []string{"system:masters"}, Client: true, Lifetime: 24 * time.Hour,
	}, time.Now())
	if err != nil {
		return nil, err
	}
	certificate, err := pair.TLS()
	if err != nil {
		return nil, err
	}
	return &kube{
		url: fmt.Sprintf("https://127.0.0.1:%d", port), node: node, pod: pod,
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: authority.Pool(), Certificates: []tls.Certificate{certificate},
		}}},
	}, nil
}

func (k *kube) close() { k.client.CloseIdleConnections() }

// errStatus is an answer of another status than 200 and 201.
var errStatus = errors.New("not the answer that was expected")

// maxAnswerBytes bounds an answer; a Node has some ten kilobytes.
const maxAnswerBytes = 4 << 20

func (k *kube) do(ctx context.Context, method, path string, body []byte) ([]byte, int, error) {
	request, err := http.NewRequestWithContext(ctx, method, k.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/yaml")
	}
	response, err := k.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %w: %s: %.300s", method, path, errStatus, response.Status, data)
	}
	return data, response.StatusCode, err
}

// apiReady asks the health check that load balancers use.
func (k *kube) apiReady(ctx context.Context) error {
	_, _, err := k.do(ctx, http.MethodGet, "/readyz", nil)
	return err
}

// nodeReady wants the node Ready by a heartbeat since a time: the state of the
// boot before is in etcd until the kubelet writes its own.
func (k *kube) nodeReady(ctx context.Context, since time.Time) error {
	data, _, err := k.do(ctx, http.MethodGet, "/api/v1/nodes/"+k.node, nil)
	if err != nil {
		return err
	}
	return parseNode(data, since)
}

// parseNode reads a Node (k8s.io/api/core/v1).
func parseNode(data []byte, since time.Time) error {
	var node struct {
		Status struct {
			Conditions []struct {
				Type, Status, Message string
				LastHeartbeatTime     time.Time
			}
		}
	}
	if err := json.Unmarshal(data, &node); err != nil {
		return fmt.Errorf("read node: %w", err)
	}
	for _, c := range node.Status.Conditions {
		if c.Type != "Ready" {
			continue
		}
		switch {
		case c.Status != "True":
			return fmt.Errorf("the node is not Ready: %s", c.Message)
		case c.LastHeartbeatTime.Before(since.Truncate(time.Second)):
			return errors.New("the kubelet has not said so since the boot")
		}
		return nil
	}
	return errors.New("the node has no condition Ready")
}

// podAnswers has the API server pass a request on to the pod, which is made where
// there is none.
func (k *kube) podAnswers(ctx context.Context) error {
	_, status, err := k.do(ctx, http.MethodGet, cluster.DemoPath, nil)
	if status != http.StatusNotFound {
		return err
	}
	if _, status, err = k.do(ctx, http.MethodPost, "/api/v1/namespaces/default/pods", k.pod); status == http.StatusConflict {
		return errors.New("the pod is there, and does not answer yet")
	}
	if err != nil {
		return err
	}
	return errors.New("the pod has been made just now")
}
