// Package gate looks at the conditions that a node's configuration asks of a new release (upgrade.gates), besides the node's own health.
//
// A look is short and changes nothing: one request or one connection for each gate, all at once, within [Timeout]. When to look, and for how long a gate has
// held, is for the caller, and so is what becomes of the answer.
package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/cyvive/cyvive/internal/machined/config"
)

// Timeout is for one look at one gate.
const Timeout = 5 * time.Second

// maxHeaderBytes bounds the header of an answer. Of its body nothing is read.
const maxHeaderBytes = 64 << 10

// Cluster answers for the gates that are about Kubernetes; each method is nil while its target fulfils it, and otherwise says why not.
type Cluster interface {
	// ServiceAnswers is about namespace/name:port/path.
	ServiceAnswers(ctx context.Context, target string) error
	// DeploymentAvailable is about namespace/name.
	DeploymentAvailable(ctx context.Context, target string) error
	// NodeCondition is about the type of a condition of this node.
	NodeCondition(ctx context.Context, kind string) error
}

// Result is one look at one gate.
type Result struct {
	Gate config.Gate
	// Reason is why it does not hold, and empty when it does.
	Reason string
}

// Look looks at all gates at once, and returns the results in their order. Without a cluster the gates that are about one do not hold; waiting says for what.
func Look(ctx context.Context, gates []config.Gate, cluster Cluster, waiting string) []Result {
	results := make([]Result, len(gates))
	client := newClient()
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for i, g := range gates {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, Timeout)
			defer cancel()
			results[i].Gate = g
			if err := look(ctx, client, g, cluster, waiting); err != nil {
				results[i].Reason = plain(err.Error())
			}
		})
	}
	all.Wait()
	return results
}

// maxReasonBytes bounds a reason.
const maxReasonBytes = 300

// plain is a reason for the record on the disk and for a terminal: part of it may come from whoever answered, such as a pod behind a service.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxReasonBytes {
		text = strings.ToValidUTF8(text[:maxReasonBytes], "") + "…"
	}
	return text
}

func look(ctx context.Context, client *http.Client, g config.Gate, cluster Cluster, waiting string) error {
	switch g.Kind {
	case config.GateHTTP:
		return get(ctx, client, g.Target)
	case config.GateTCP:
		return connect(ctx, g.Target)
	}
	if cluster == nil {
		return errors.New(waiting)
	}
	var err error
	switch g.Kind {
	case config.GateService:
		err = cluster.ServiceAnswers(ctx, g.Target)
	case config.GateDeployment:
		err = cluster.DeploymentAvailable(ctx, g.Target)
	case config.GateCondition:
		err = cluster.NodeCondition(ctx, g.Target)
	default:
		return fmt.Errorf("this release does not know the kind %q", g.Kind)
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%s: no answer in %s", g.Target, Timeout)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", g.Target, err)
	}
	return nil
}

// newClient uses no proxy and follows no redirect: what is asked for is whether this very place answers.
func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeaderBytes},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func get(ctx context.Context, client *http.Client, url string) error {
	shown, _, _ := strings.Cut(url, "?")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("%s is no URL", shown)
	}
	request.Header.Set("User-Agent", "cyvive")
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("GET %s: %s", shown, connection(ctx, err))
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		// Not response.Status, whose words are the server's own.
		return fmt.Errorf("GET %s: it answers %s", shown, strings.TrimSpace(fmt.Sprint(response.StatusCode, " ", http.StatusText(response.StatusCode))))
	}
	return nil
}

func connect(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connect to %s: %s", address, connection(ctx, err))
	}
	return conn.Close()
}

// connection says what became of a connection, in words without ports of this machine, which differ each time: a reason that stays is written once.
func connection(ctx context.Context, err error) string {
	var dns *net.DNSError
	var call *os.SyscallError
	switch {
	case ctx.Err() != nil:
		return "no answer in " + Timeout.String()
	case errors.As(err, &dns):
		return "the name cannot be looked up"
	case errors.As(err, &call):
		return call.Err.Error()
	}
	return "it does not speak HTTP"
}
