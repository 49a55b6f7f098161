package kube

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/container"
)

const (
	// answerTimeout is for one answer of a part.
	answerTimeout = 10 * time.Second
	// silentMost is how long a part that answered before may not answer until it
	// is ended: so long that several attempts of answerTimeout each have failed.
	silentMost = 2 * time.Minute
	// endTimeout is what one that hangs has to end by itself.
	endTimeout = 5 * time.Second
	// silentSaid is how long it may be silent until the node's status says so.
	silentSaid = time.Minute
)

// csiHealth is where csi-controllers says that it is alive, and nothing else: a port that Kubernetes has not given to another program.
const csiHealth = "127.0.0.1:10271"

// healthURL are where the parts of the control plane say how they are, to
// everyone, on loopback.
var healthURL = map[string]string{
	apiServer:         "https://127.0.0.1:6443/livez",
	controllerManager: "https://127.0.0.1:10257/healthz",
	scheduler:         "https://127.0.0.1:10259/healthz",
	csiControllers:    "http://" + csiHealth + "/healthz",
}

// healthClient does not verify who answers: all that counts is that somebody does,
// and two of the parts have certificates that they made themselves.
var healthClient = &http.Client{Timeout: answerTimeout, Transport: &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	MaxIdleConns:    len(healthURL),
}}

// Answers asks a part of the control plane, by the name of its container, how it
// is. The error says that there was no answer at all within 10 s; what the answer
// is does not matter. It may be called concurrently.
func Answers(ctx context.Context, name string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, healthURL[name], nil)
	if err != nil {
		return fmt.Errorf("ask %s how it is: %w", name, err)
	}
	response, err := healthClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s how it is: %w", name, err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxReasonBytes)) // so that the connection can be used again
	return nil
}

// liveness watches whether the parts of the control plane still answer. A process
// that hangs ends by nobody's doing but the node's. One that never answered since
// it started, or since the agent did, is left alone: a slow start is no hang. It may be
// used concurrently.
type liveness struct {
	answers func(ctx context.Context, name string) error

	mu   sync.Mutex
	last map[string]lastAnswer
}

// lastAnswer is when a container last answered, and which start of it that was.
type lastAnswer struct{ started, at time.Time }

// observe asks every part that runs, all at once, and returns for how long those
// that do not answer have been silent.
func (l *liveness) observe(ctx context.Context, containers map[string]container.Info, now func() time.Time) map[string]time.Duration {
	var group sync.WaitGroup
	silent := map[string]time.Duration{}
	for name := range healthURL {
		info := containers[name]
		if info.State != container.Running {
			continue
		}
		group.Go(func() {
			err := l.answers(ctx, name)
			l.mu.Lock()
			defer l.mu.Unlock()
			last, known := l.last[name]
			switch {
			case err == nil:
				l.last[name] = lastAnswer{info.StartedAt, now()}
			case known && last.started.Equal(info.StartedAt):
				silent[name] = now().Sub(last.at)
			}
		})
	}
	group.Wait()
	return silent
}
