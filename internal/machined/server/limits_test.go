package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/vsock"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
	"github.com/cyvive/cyvive/internal/audit"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

// raw is a message that is sent as it is.
type raw struct{ data []byte }

// rawCodec sends and takes raw messages, and says that they are protobuf.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return v.(*raw).data, nil }
func (rawCodec) Unmarshal(data []byte, v any) error { v.(*raw).data = slices.Clone(data); return nil }
func (rawCodec) Name() string                       { return "proto" }

// callRaw calls a method with the bytes of a request, and drops the responses.
func callRaw(ctx context.Context, conn *grpc.ClientConn, method string, request []byte) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method, grpc.ForceCodec(rawCodec{}))
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&raw{request}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(&raw{}); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// eventually waits until check returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestOversizedAndMalformed sends every method what is no request. None reaches
// the node, and each is in the log.
func TestOversizedAndMalformed(t *testing.T) {
	log, authority, node := openAudit(t), servertest.Authority(t, "ours"), &servertest.Node{}
	api := servertest.Start(t, node, authority, log)
	conn := dial(t, api, authority.Pool(), withRoles(t, authority, "node:admin"))
	calls := 0
	for method := range registered() {
		for name, c := range map[string]struct {
			request []byte
			want    []codes.Code
		}{
			"oversized": {make([]byte, 65<<10), []codes.Code{codes.ResourceExhausted}},
			// Field 1 announces more bytes than there are.
			"malformed": {[]byte{0x0a, 0x7f}, []codes.Code{codes.Internal, codes.InvalidArgument}},
		} {
			calls++
			if server.ForPeers()[method] {
				c.want = append(c.want, codes.PermissionDenied) // of a stream, before anything of it is read
			}
			if err := callRaw(t.Context(), conn, method, c.request); !slices.Contains(c.want, status.Code(err)) {
				t.Errorf("%s, %s: got %v, want one of %v", method, name, err, c.want)
			}
		}
	}
	if calls := node.Calls(); len(calls) > 0 {
		t.Errorf("calls reached the node: %v", calls)
	}
	api.Stop(t)
	recorded := ended(recorded(t, log))
	if recorded != calls {
		t.Errorf("%d calls have an end in the log, want %d", recorded, calls)
	}
}

// ended counts the calls whose end is in the log, one by one or summed up.
func ended(entries []audit.Entry) int {
	n := 0
	for _, e := range entries {
		switch e.Kind {
		case audit.KindCall:
			n++
		case audit.KindSuppressed:
			n += int(e.Count)
		}
	}
	return n
}

// TestEndlessRequest begins requests that never end.
func TestEndlessRequest(t *testing.T) {
	log, authority := openAudit(t), servertest.Authority(t, "ours")
	api := servertest.StartWithin(t, server.Limits{RequestTimeout: 200 * time.Millisecond}, servertest.Listen(t), &servertest.Node{}, authority, log)
	conn := dial(t, api, authority.Pool(), withRoles(t, authority, "node:admin"))
	for _, method := range []string{machinev1.MachineService_Reboot_FullMethodName, servicev1.ServiceService_StreamLogs_FullMethodName} {
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := stream.RecvMsg(&servicev1.StreamLogsResponse{}); err == nil || time.Since(start) > 5*time.Second {
			t.Errorf("%s: got %v after %v, want an error after 200ms", method, err, time.Since(start))
		}
	}
	api.Stop(t)
	var texts []string
	for _, e := range recorded(t, log) {
		texts = append(texts, e.Error)
	}
	if !strings.Contains(strings.Join(texts, "\n"), "the request did not arrive within 200ms") {
		t.Errorf("the log has %q", texts)
	}
}

// TestSlowReader follows a log and does not read it.
func TestSlowReader(t *testing.T) {
	log, authority := openAudit(t), servertest.Authority(t, "ours")
	line := strings.Repeat("x", 8<<10)
	node := &servertest.Node{Lines: map[string][]string{"etcd": slices.Repeat([]string{line}, 1000)}}
	api := servertest.StartWithin(t, server.Limits{StallTimeout: 300 * time.Millisecond}, servertest.Listen(t), node, authority, log)
	conn := dial(t, api, authority.Pool(), withRoles(t, authority, "node:admin"))
	client := servicev1.NewServiceServiceClient(conn)
	stream, err := client.StreamLogs(t.Context(), &servicev1.StreamLogsRequest{Service: "etcd"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		for _, e := range recorded(t, log) {
			if e.Kind == audit.KindCall && e.Code == "DeadlineExceeded" && strings.Contains(e.Error, "did not take a message within 300ms") {
				return nil
			}
		}
		return errors.New("the stream to a client that does not read goes on")
	})
	// Other calls of the same connection are not held up.
	if _, err := client.ListServices(t.Context(), &servicev1.ListServicesRequest{}); err != nil {
		t.Error(err)
	}
}

func TestWriteToAPeerThatDoesNotRead(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	conn := server.NewConn(ours, server.Limits{WriteTimeout: 50 * time.Millisecond})
	if _, err := conn.Write([]byte("hello")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want %v", err, os.ErrDeadlineExceeded)
	}
}

// idle opens connections and does nothing with them: half of them say nothing
// at all, half have a TLS session without a certificate.
func idle(t *testing.T, address string, n int) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if i%2 == 0 {
			continue
		}
		all.Go(func() {
			secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			_ = secure.Handshake() // it may be pushed out before it is through
		})
	}
	all.Wait()
}

// memory is what the program holds: heap and stacks.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// TestIdleConnections holds a thousand connections, and calls meanwhile.
func TestIdleConnections(t *testing.T) {
	const many = 1000
	authority := servertest.Authority(t, "ours")
	api := servertest.Start(t, &servertest.Node{}, authority, nil)
	admin := withRoles(t, authority, "node:admin")
	early := dial(t, api, authority.Pool(), admin)
	method := machinev1.MachineService_GetNode_FullMethodName
	if err := call(t, early, method); err != nil {
		t.Fatal(err)
	}
	before := memory()
	idle(t, api.Address, many)
	for name, conn := range map[string]*grpc.ClientConn{"from before": early, "new": dial(t, api, authority.Pool(), admin)} {
		start := time.Now()
		if err := call(t, conn, method); err != nil {
			t.Errorf("connection %s: %v", name, err)
		}
		t.Logf("connection %s: answered in %v", name, time.Since(start))
	}
	open, verified := api.Server.Size()
	if limit := server.DefaultLimits().ConnectionsPerAddress; open-verified > limit || verified != 2 {
		t.Errorf("%d connections are open and %d of them verified, want at most %d that are not, and 2", open, verified, limit)
	}
	// The other ends of the connections are in this figure too.
	grown := int64(memory()) - int64(before)
	t.Logf("%d connections take %d KiB", many, grown>>10)
	if grown > 64<<20 {
		t.Errorf("%d idle connections take %d MiB, want 64 at most", many, grown>>20)
	}
}

// TestFiveHundredClients has all call at once, each over its own connection. With -short they are a hundred.
func TestFiveHundredClients(t *testing.T) {
	clients := 500
	if testing.Short() {
		clients = 100
	}
	authority := servertest.Authority(t, "ours")
	api := servertest.Start(t, &servertest.Node{}, authority, nil)
	admin := withRoles(t, authority, "node:admin")
	before := memory()
	conns := make([]*grpc.ClientConn, clients)
	for i := range conns {
		conns[i] = dial(t, api, authority.Pool(), admin)
	}
	errs := make([]error, clients)
	var all sync.WaitGroup
	for i, conn := range conns {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for range 5 {
				if _, err := machinev1.NewMachineServiceClient(conn).GetNode(ctx, &machinev1.GetNodeRequest{}); err != nil {
					errs[i] = err
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	grown := int64(memory()) - int64(before)
	t.Logf("%d clients and their server take %d KiB", clients, grown>>10)
	if grown > 128<<20 {
		t.Errorf("%d clients take %d MiB, want 128 at most", clients, grown>>20)
	}
}

// TestConnectionsMakeWay: who is verified keeps its connection, whatever others
// open; the oldest goes first.
func TestConnectionsMakeWay(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	limits := server.Limits{Connections: 8, ReservedConnections: 4, ConnectionsPerSubject: 3, ConnectionsPerAddress: 4}
	api := servertest.StartWithin(t, limits, servertest.Listen(t), &servertest.Node{}, authority, nil)
	method := machinev1.MachineService_GetNode_FullMethodName
	named := func(name string) *tls.Certificate {
		return certificate(t, authority, time.Now(), pki.Request{CommonName: name, Organizations: []string{"node:reader"}, Client: true})
	}
	var alice []*tls.Conn
	for range 4 {
		alice = append(alice, handshake(t, api, authority, named("alice")))
	}
	if !hungUp(alice[0], 20*time.Second) || hungUp(alice[3], 100*time.Millisecond) {
		t.Error("a fourth connection of a client that may have 3 did not push out its oldest")
	}
	bob := dial(t, api, authority.Pool(), named("bob"))
	if err := call(t, bob, method); err != nil {
		t.Fatal(err)
	}
	first, err := net.Dial("tcp", api.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	idle(t, api.Address, 30)
	if !hungUp(first, 20*time.Second) {
		t.Error("the oldest of 31 connections without a certificate is still open")
	}
	if err := call(t, bob, method); err != nil {
		t.Errorf("a verified client: %v", err)
	}
	if hungUp(alice[3], 100*time.Millisecond) {
		t.Error("connections without a certificate pushed out one of a verified client")
	}
	// Carol comes in although the places of verified clients are taken.
	if err := call(t, dial(t, api, authority.Pool(), named("carol")), method); err != nil {
		t.Errorf("a new client: %v", err)
	}
	if open, verified := api.Server.Size(); open > 8 || verified > 4 {
		t.Errorf("%d connections are open, and %d verified; want 8 and 4 at most", open, verified)
	}
}

// handshake makes a connection with a TLS session and nothing more.
func handshake(t *testing.T, api *servertest.API, authority *pki.Authority, client *tls.Certificate) *tls.Conn {
	t.Helper()
	_, before := api.Server.Size()
	conn, err := tls.Dial("tcp", api.Address, &tls.Config{
		RootCAs: authority.Pool(), Certificates: []tls.Certificate{*client}, NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	// TLS 1.3 clients do not hear that their certificate was taken.
	eventually(t, func() error {
		if _, verified := api.Server.Size(); verified == before && before < 3 {
			return errors.New("the connection is not verified")
		}
		return nil
	})
	return conn
}

// hungUp tells whether the peer has closed the connection, or does so in time.
func hungUp(conn net.Conn, within time.Duration) bool {
	_ = conn.SetReadDeadline(time.Now().Add(within))
	for {
		if _, err := conn.Read(make([]byte, 1024)); err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}

// TestCallsAreLimited: a client that calls too often, or too much at once, is
// refused, and others are not.
func TestCallsAreLimited(t *testing.T) {
	log, authority := openAudit(t), servertest.Authority(t, "ours")
	limits := server.Limits{CallsPerSecond: 1, CallsBurst: 20, RunningPerSubject: 3}
	api := servertest.StartWithin(t, limits, servertest.Listen(t), &servertest.Node{Lines: map[string][]string{"etcd": {"one"}}}, authority, log)
	method := machinev1.MachineService_GetNode_FullMethodName
	alice := dial(t, api, authority.Pool(), withRoles(t, authority, "node:admin"))
	refused := 0
	for range 50 {
		if err := call(t, alice, method); status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "slow down") {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused < 20 || refused > 30 {
		t.Errorf("%d of 50 calls were refused, want some 30", refused)
	}
	bob := dial(t, api, authority.Pool(), certificate(t, authority, time.Now(), pki.Request{CommonName: "bob", Organizations: []string{"node:reader"}, Client: true}))
	for range 3 {
		stream, err := servicev1.NewServiceServiceClient(bob).StreamLogs(t.Context(), &servicev1.StreamLogsRequest{Service: "etcd", Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if err := call(t, bob, method); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "3 calls are under way") {
		t.Errorf("a fourth call at once: got %v", err)
	}
	bob.Close()
	api.Stop(t)
	// What was refused is counted in the log, by its code.
	entries := recorded(t, log)
	for _, e := range entries {
		if e.Kind == audit.KindSuppressed && e.Code != "ResourceExhausted" {
			t.Errorf("counted as %s: %+v", e.Code, e)
		}
	}
	if n := ended(entries); n != 50+3+1 {
		t.Errorf("%d calls have an end in the log, want 54", n)
	}
}

func TestRates(t *testing.T) {
	now := time.Now()
	if diff := cmp.Diff([]int{3, 3}, server.Allowed(1, 3, 10, now, "a", "b")); diff != "" {
		t.Errorf("two clients (-want +got):\n%s", diff)
	}
	// Clients beyond those that can be known have one allowance together.
	holders := make([]string, 5000)
	for i := range holders {
		holders[i] = fmt.Sprint(i)
	}
	total := 0
	for _, n := range server.Allowed(1, 3, 4, now, holders...) {
		total += n
	}
	if want := 4096*3 + 3; total != want {
		t.Errorf("5000 clients: %d calls passed, want %d", total, want)
	}
}

func TestAddressOf(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1:1234": "192.0.2.1", "[::ffff:192.0.2.1]:5": "192.0.2.1", "[2001:db8:1:2:3:4:5:6]:7": "2001:db8:1:2::/64", "[fe80::1%lo]:7": "fe80::/64",
	} {
		a, err := net.ResolveTCPAddr("tcp", text)
		if err != nil {
			t.Fatal(err)
		}
		if got := server.AddressOf(a); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	if got := server.AddressOf(&vsock.Addr{ContextID: 3, Port: 50}); got != "vm(3)" {
		t.Errorf("vsock: got %q", got)
	}
}
