package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
	"github.com/cyvive/cyvive/hack/qemu/probe"
)

// Latency is how long calls took, one after the other.
type Latency struct {
	Calls     int     `json:"calls"`
	P50Millis float64 `json:"p50Millis"`
	P99Millis float64 `json:"p99Millis"`
}

// NodeAPI are the figures of the node's own API, which the baseline has not.
type NodeAPI struct {
	Unary Latency `json:"unary"`
	// CallsPerSecond is with some callers at once, on one connection each.
	CallsPerSecond float64 `json:"callsPerSecond"`
	// LogBytesPerSecond is the rate at which a stored log arrives.
	LogBytesPerSecond float64 `json:"logBytesPerSecond"`
	// Clients connected at once and made a call each; Refused of them had no answer.
	Clients         int     `json:"clients"`
	Refused         int     `json:"refused"`
	ClientsSeconds  float64 `json:"clientsSeconds"`
	MemoryBefore    int64   `json:"machinedBytesBefore"`
	MemoryConnected int64   `json:"machinedBytesConnected"`
	MemoryAfter     int64   `json:"machinedBytesAfter"`
}

// Sizes of the load.
const (
	latencyTime  = 20 * time.Second
	callers      = 16
	rateTime     = 10 * time.Second
	clients      = 500
	clientsLimit = 5 * time.Minute
	// logService writes more than any other.
	logService = "kube-apiserver"
)

// timed calls one after the other for a time, and at least once.
func timed(ctx context.Context, length time.Duration, call func(context.Context) error) (Latency, error) {
	var took []time.Duration
	for began := time.Now(); len(took) == 0 || time.Since(began) < length; {
		start := time.Now()
		if err := call(ctx); err != nil {
			return Latency{}, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	millis := func(share float64) float64 {
		return float64(took[int(share*float64(len(took)-1))].Microseconds()) / 1e3
	}
	return Latency{Calls: len(took), P50Millis: millis(0.50), P99Millis: millis(0.99)}, nil
}

// nodeAPI dials one node with a context's certificate.
type nodeAPI struct {
	address string
	tls     *tls.Config
}

func newNodeAPI(contextFile string) (*nodeAPI, error) {
	file, err := contexts.Load(contextFile)
	if err != nil {
		return nil, err
	}
	_, c, err := file.Select("")
	if err != nil {
		return nil, err
	}
	config, err := c.ClientTLS()
	if err != nil {
		return nil, err
	}
	address, err := contexts.Address(c.Nodes[0])
	if err != nil {
		return nil, err
	}
	return &nodeAPI{address, config}, nil
}

func (n *nodeAPI) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+n.address, grpc.WithTransportCredentials(credentials.NewTLS(n.tls)))
}

func version(ctx context.Context, conn *grpc.ClientConn, options ...grpc.CallOption) error {
	_, err := machinev1.NewMachineServiceClient(conn).GetVersion(ctx, &machinev1.GetVersionRequest{}, options...)
	return err
}

func (n *nodeAPI) measure(ctx context.Context, p *probe.Client) (NodeAPI, error) {
	var r NodeAPI
	conn, err := n.dial()
	if err != nil {
		return r, err
	}
	defer conn.Close()
	if r.Unary, err = timed(ctx, latencyTime, func(ctx context.Context) error { return version(ctx, conn) }); err != nil {
		return r, fmt.Errorf("measure calls: %w", err)
	}
	if r.CallsPerSecond, err = n.rate(ctx); err != nil {
		return r, fmt.Errorf("measure calls at once: %w", err)
	}
	if r.LogBytesPerSecond, err = logRate(ctx, conn); err != nil {
		return r, fmt.Errorf("measure log streaming: %w", err)
	}
	return r, n.crowd(ctx, p, &r)
}

// rate calls from some connections at once for a time.
func (n *nodeAPI) rate(ctx context.Context) (float64, error) {
	var group sync.WaitGroup
	counts, errs := make([]int, callers), make([]error, callers)
	began := time.Now()
	for i := range callers {
		group.Go(func() {
			conn, err := n.dial()
			if err != nil {
				errs[i] = err
				return
			}
			defer conn.Close()
			for time.Since(began) < rateTime && errs[i] == nil {
				if errs[i] = version(ctx, conn); errs[i] == nil {
					counts[i]++
				}
			}
		})
	}
	group.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return float64(sum) / time.Since(began).Seconds(), errors.Join(errs...)
}

// logRate reads a log once, and again until there is enough to measure.
func logRate(ctx context.Context, conn *grpc.ClientConn) (float64, error) {
	var bytes int
	began := time.Now()
	for time.Since(began) < rateTime {
		stream, err := servicev1.NewServiceServiceClient(conn).StreamLogs(ctx, &servicev1.StreamLogsRequest{Service: logService})
		if err != nil {
			return 0, err
		}
		for {
			line, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return 0, err
			}
			bytes += len(line.GetLine())
		}
		if bytes == 0 {
			return 0, fmt.Errorf("the log of %s is empty", logService)
		}
	}
	return float64(bytes) / time.Since(began).Seconds(), nil
}

// crowd connects many clients at once, each of which makes a call and stays.
func (n *nodeAPI) crowd(ctx context.Context, p *probe.Client, r *NodeAPI) error {
	ctx, cancel := context.WithTimeout(ctx, clientsLimit)
	defer cancel()
	before, err := residentBytes(ctx, p, machined)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	conns, refused := make([]*grpc.ClientConn, clients), make([]bool, clients)
	began := time.Now()
	for i := range clients {
		group.Go(func() {
			conn, err := n.dial()
			if err == nil {
				conns[i] = conn
				// A handshake that the node had no time for is tried again, as clients do.
				err = version(ctx, conn, grpc.WaitForReady(true))
			}
			refused[i] = err != nil
		})
	}
	group.Wait()
	r.ClientsSeconds = time.Since(began).Seconds()
	connected, err := residentBytes(context.WithoutCancel(ctx), p, machined)
	for i, conn := range conns {
		if conn != nil {
			conn.Close()
		}
		if refused[i] {
			r.Refused++
		}
	}
	if err != nil {
		return err
	}
	after, err := residentBytes(context.WithoutCancel(ctx), p, machined)
	r.Clients, r.MemoryBefore, r.MemoryConnected, r.MemoryAfter = clients, before, connected, after
	return err
}

// machined is the agent's program.
const machined = "machined"

// residentBytes is the memory of the processes of a program, by the base name of
// their first argument.
func residentBytes(ctx context.Context, p *probe.Client, program string) (int64, error) {
	sizes, err := resident(ctx, p)
	if err == nil && sizes[program] == 0 {
		err = fmt.Errorf("find process %s: none runs", program)
	}
	return sizes[program], err
}
