package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// DemoPath is where the API server passes requests on to the demonstration
// pod's port.
const DemoPath = "/api/v1/namespaces/default/pods/demo:8080/proxy/"

// RunPod applies a manifest with one pod of the namespace default and waits
// until that is ready.
func (c *Cluster) RunPod(ctx context.Context, name string, manifest []byte) error {
	err := c.retry(ctx, "the API server to take pod "+name, func(ctx context.Context) error {
		return c.tools.Apply(ctx, manifest)
	})
	if err != nil {
		return err
	}
	return c.AwaitPod(ctx, name)
}

// AwaitPod waits until a pod of the namespace default is ready.
func (c *Cluster) AwaitPod(ctx context.Context, name string) error {
	err := c.retry(ctx, "pod "+name, func(ctx context.Context) error {
		out, err := c.tools.Kubectl(ctx, "get", "pod", name, "--output", "json")
		if err != nil {
			return err
		}
		return parsePod([]byte(out))
	})
	if err == nil {
		c.report.printf("pod %s is ready", name)
	}
	return err
}

// Fetch has the API server pass a GET request on to a pod.
func (c *Cluster) Fetch(ctx context.Context, path string) (string, error) {
	var body string
	err := c.retry(ctx, "an answer from "+path, func(ctx context.Context) (err error) {
		body, err = c.tools.Kubectl(ctx, "get", "--raw", path)
		return err
	})
	return body, err
}

// parsePod reads a Pod (k8s.io/api/core/v1) and returns nil when it is ready,
// otherwise what it waits for.
func parsePod(data []byte) error {
	var pod struct {
		Status struct {
			Phase      string `json:"phase"`
			Conditions []struct {
				Type, Status, Reason, Message string
			} `json:"conditions"`
			ContainerStatuses []struct {
				Name  string `json:"name"`
				State struct {
					Waiting    *struct{ Reason, Message string } `json:"waiting"`
					Terminated *struct {
						Reason   string `json:"reason"`
						ExitCode int    `json:"exitCode"`
					} `json:"terminated"`
				} `json:"state"`
			} `json:"containerStatuses"`
		} `json:"status"`
	}
	if err := json.Unmarshal(data, &pod); err != nil {
		return fmt.Errorf("read pod: %w", err)
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == "Ready" && condition.Status == "True" {
			return nil
		}
	}
	for _, container := range pod.Status.ContainerStatuses {
		switch state := container.State; {
		case state.Waiting != nil:
			return fmt.Errorf("container %s: %s %s", container.Name, state.Waiting.Reason, state.Waiting.Message)
		case state.Terminated != nil:
			return fmt.Errorf("container %s: %s, exit status %d", container.Name,
				state.Terminated.Reason, state.Terminated.ExitCode)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Status != "True" && condition.Message != "" {
			return errors.New(condition.Message)
		}
	}
	return fmt.Errorf("phase %s", pod.Status.Phase)
}
