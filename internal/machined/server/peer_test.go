package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/audit"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

// peerCalls notes what comes through.
type peerCalls struct {
	server.PeerCalls
	calls atomic.Int64
}

func (p *peerCalls) Learn(context.Context, *replicationv1.LearnRequest) error {
	p.calls.Add(1)
	return nil
}

func (p *peerCalls) Send(_ context.Context, _ *replicationv1.SendRequest, send func([]byte) error) error {
	p.calls.Add(1)
	return send([]byte("stream"))
}

func (p *peerCalls) Receive(_ context.Context, _ *replicationv1.ReceiveHeader, r io.Reader) error {
	p.calls.Add(1)
	_, err := io.Copy(io.Discard, r)
	return err
}

// peering is a node of the authority "ours", of which one job names the node2 of the same authority, and another the node3 of its own.
type peering struct {
	ours, theirs *pki.Authority
	calls        *peerCalls
	log          *memoryAudit
	api          *servertest.API
}

// memoryAudit keeps entries.
type memoryAudit struct{ entries chan audit.Entry }

func (m *memoryAudit) Append(e audit.Entry, _ bool) error                  { m.entries <- e; return nil }
func (m *memoryAudit) Read(context.Context, func(line []byte) error) error { return nil }

const jobTwo, jobThree = "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"

func startPeering(t *testing.T) *peering {
	t.Helper()
	p := &peering{
		ours: servertest.Authority(t, "ours"), theirs: servertest.Authority(t, "theirs"), calls: &peerCalls{}, log: &memoryAudit{make(chan audit.Entry, 1000)},
	}
	peers := []server.Peer{{Job: jobTwo, Identity: "node2.example"}, {Job: jobThree, Identity: "10.0.0.3", Authority: p.theirs.Pool()}}
	p.api = servertest.StartPeer(t, p.ours, p.log, func() []server.Peer { return peers }, p.calls)
	return p
}

// node is the certificate of a node's API.
func node(name, address string) pki.Request {
	return pki.Request{
		CommonName: name, DNSNames: []string{name}, Addresses: []netip.Addr{netip.MustParseAddr(address)}, Organizations: []string{"node:peer"},
		Client: true, Server: true, Lifetime: time.Hour,
	}
}

func (p *peering) learn(t *testing.T, a *pki.Authority, now time.Time, r pki.Request, job string) error {
	t.Helper()
	conn := dial(t, p.api, p.ours.Pool(), certificate(t, a, now, r))
	_, err := replicationv1.NewPeerServiceClient(conn).Learn(t.Context(), &replicationv1.LearnRequest{Job: job})
	return err
}

// TestPeers: a node is let in by the authority and the name that a job has for it, and for that job alone.
func TestPeers(t *testing.T) {
	p := startPeering(t)
	now := time.Now()
	two, three := node("node2.example", "10.0.0.2"), node("node3.example", "10.0.0.3")
	noRole, asAdmin := three, three
	noRole.Organizations, asAdmin.Organizations = nil, []string{"node:admin"}
	serverOnly := three
	serverOnly.Client = false
	for name, c := range map[string]struct {
		authority *pki.Authority
		now       time.Time
		request   pki.Request
		job       string
		code      codes.Code
		reason    server.Reason
	}{
		"own authority":                        {p.ours, now, two, jobTwo, codes.OK, ""},
		"other authority":                      {p.theirs, now, three, jobThree, codes.OK, ""},
		"job of another":                       {p.ours, now, two, jobThree, codes.PermissionDenied, ""},
		"job of another, from afar":            {p.theirs, now, three, jobTwo, codes.PermissionDenied, ""},
		"no such job":                          {p.ours, now, two, "44444444-4444-4444-8444-444444444444", codes.PermissionDenied, ""},
		"another name":                         {p.ours, now, node("node9.example", "10.0.0.9"), jobTwo, codes.PermissionDenied, server.ReasonNotPeer},
		"the name of another authority's node": {p.theirs, now, two, jobTwo, codes.PermissionDenied, server.ReasonNotPeer},
		"own authority, the other's name":      {p.ours, now, three, jobThree, codes.PermissionDenied, server.ReasonNotPeer},
		"unknown authority":                    {servertest.Authority(t, "theirs"), now, three, jobThree, codes.Unauthenticated, server.ReasonUnknownAuthority},
		"expired":                              {p.theirs, now.Add(-48 * time.Hour), three, jobThree, codes.Unauthenticated, server.ReasonExpired},
		"not for clients":                      {p.theirs, now, serverOnly, jobThree, codes.Unauthenticated, server.ReasonWrongUsage},
		"no role":                              {p.theirs, now, noRole, jobThree, codes.PermissionDenied, server.ReasonNoRole},
		"an administrator's":                   {p.theirs, now, asAdmin, jobThree, codes.PermissionDenied, server.ReasonWrongRole},
	} {
		before := p.calls.calls.Load()
		err := p.learn(t, c.authority, c.now, c.request, c.job)
		if status.Code(err) != c.code || reason(err) != string(c.reason) {
			t.Errorf("%s: got %v with reason %q, want %v, %q", name, err, reason(err), c.code, c.reason)
		}
		if came := p.calls.calls.Load() > before; came != (c.code == codes.OK) {
			t.Errorf("%s: it came through: %t", name, came)
		}
	}
}

// TestPeersDoNothingElse: neither a node of this authority nor one of a job's may call anything but what is for nodes, whatever else its certificate says.
func TestPeersDoNothingElse(t *testing.T) {
	p := startPeering(t)
	two, three := node("node2.example", "10.0.0.2"), node("node3.example", "10.0.0.3")
	three.Organizations = append(three.Organizations, "node:admin")
	for name, c := range map[string]struct {
		authority *pki.Authority
		request   pki.Request
		code      codes.Code
	}{"own": {p.ours, two, codes.PermissionDenied}, "other, as admin": {p.theirs, three, codes.Unauthenticated}} {
		conn := dial(t, p.api, p.ours.Pool(), certificate(t, c.authority, time.Now(), c.request))
		for method := range registered() {
			if server.ForPeers()[method] {
				continue
			}
			if err := call(t, conn, method); status.Code(err) != c.code {
				t.Errorf("%s: %s: got %v, want %v", name, method, err, c.code)
			}
		}
	}
	if n := p.calls.calls.Load(); n > 0 {
		t.Errorf("%d calls came through", n)
	}
}

// TestPeerStreams: the job is looked at in streams too, and all of it is in the audit log, a stream before it begins.
func TestPeerStreams(t *testing.T) {
	p := startPeering(t)
	client := replicationv1.NewPeerServiceClient(dial(t, p.api, p.ours.Pool(), certificate(t, p.ours, time.Now(), node("node2.example", "10.0.0.2"))))
	for job, want := range map[string]codes.Code{jobTwo: codes.OK, jobThree: codes.PermissionDenied} {
		in, err := client.Send(t.Context(), &replicationv1.SendRequest{Part: &replicationv1.Part{Job: job}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = in.Recv(); err == nil {
			_, err = in.Recv()
		}
		if got := status.Code(err); got != want && (want != codes.OK || err != io.EOF) {
			t.Errorf("send for %s: got %v, want %v", job, err, want)
		}
		out, err := client.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = out.Send(&replicationv1.ReceiveRequest{Part: &replicationv1.ReceiveRequest_Header{Header: &replicationv1.ReceiveHeader{Job: job}}})
		_ = out.Send(&replicationv1.ReceiveRequest{Part: &replicationv1.ReceiveRequest_Data{Data: make([]byte, 60<<10)}})
		if _, err := out.CloseAndRecv(); status.Code(err) != want {
			t.Errorf("receive for %s: got %v, want %v", job, err, want)
		}
	}
	out, err := client.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = out.Send(&replicationv1.ReceiveRequest{Part: &replicationv1.ReceiveRequest_Data{Data: []byte("x")}})
	if _, err := out.CloseAndRecv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a stream without a header: %v", err)
	}
	p.api.Stop(t)
	close(p.log.entries)
	begun, ended := 0, 0
	for e := range p.log.entries {
		if !strings.HasPrefix(e.Method, "/node.replication.v1.PeerService/") {
			continue
		}
		if e.Subject != "node2.example" || e.Roles != "node:peer" {
			t.Errorf("entry %+v", e)
		}
		if e.Kind == audit.KindBegin {
			begun++
		} else {
			ended++
		}
	}
	// Of each method the first alone has an entry for its beginning.
	if begun != 2 || ended != 5 {
		t.Errorf("%d calls have begun and %d ended in the audit log, want 2 and 5", begun, ended)
	}
}

// TestPeersRepeat: what a job asks for again and again is an entry an hour, and one with the number of the rest; what is refused or fails is always one.
func TestPeersRepeat(t *testing.T) {
	p := startPeering(t)
	two := node("node2.example", "10.0.0.2")
	two.Lifetime = 24 * time.Hour
	client := replicationv1.NewPeerServiceClient(dial(t, p.api, p.ours.Pool(), certificate(t, p.ours, time.Now(), two)))
	send := func(job string) {
		t.Helper()
		in, err := client.Send(t.Context(), &replicationv1.SendRequest{Part: &replicationv1.Part{Job: job}})
		for err == nil {
			_, err = in.Recv()
		}
		if want := job == jobTwo; (err == io.EOF) != want {
			t.Errorf("send for %s: %v", job, err)
		}
	}
	for range 20 {
		send(jobTwo)
		send(jobThree) // it is denied
		if _, err := client.Learn(t.Context(), &replicationv1.LearnRequest{Job: jobTwo}); err != nil {
			t.Error(err)
		}
	}
	p.api.Advance(2 * time.Hour)
	for range 3 {
		send(jobTwo)
	}
	p.api.Stop(t)
	close(p.log.entries)
	got := map[string]int{}
	for e := range p.log.entries {
		method, ok := strings.CutPrefix(e.Method, "/node.replication.v1.PeerService/")
		if ok && (e.Subject != "node2.example" || e.Roles != "node:peer" || e.Peer == "") {
			t.Errorf("entry %+v", e)
		}
		if ok {
			got[fmt.Sprintf("%s %s %s %d", e.Kind, method, e.Code, e.Count)]++
		}
	}
	want := map[string]int{
		"begin Send  0": 2, "call Send OK 0": 2, "call Send OK 19": 1, "call Send OK 2": 1, "call Send PermissionDenied 0": 20,
		"begin Learn  0": 20, "call Learn OK 0": 20,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
}

// TestPeerConnections: a node has few connections, as each may make this one hold much; the oldest makes way.
func TestPeerConnections(t *testing.T) {
	p := startPeering(t)
	cert := certificate(t, p.ours, time.Now(), node("node2.example", "10.0.0.2"))
	var all []*tls.Conn
	for range server.DefaultLimits().ConnectionsPerNode + 1 {
		all = append(all, handshake(t, p.api, p.ours, cert))
	}
	// One that says nothing for ten seconds is closed in any case.
	if !hungUp(all[0], 5*time.Second) {
		t.Error("the oldest connection is still open")
	}
	if hungUp(all[len(all)-1], 100*time.Millisecond) {
		t.Error("the newest connection was closed")
	}
}

// TestPeerNames: what a refusal shows of a certificate is short.
func TestPeerNames(t *testing.T) {
	p := startPeering(t)
	r := node("node9.example", "10.0.0.9")
	for i := range 20 {
		r.DNSNames = append(r.DNSNames, fmt.Sprintf("name%d.example", i))
	}
	err := p.learn(t, p.ours, time.Now(), r, jobTwo)
	if text := status.Convert(err).Message(); !strings.Contains(text, "node9.example, name0.example") || !strings.Contains(text, "and 14 more") {
		t.Errorf("got %v", err)
	}
}

// TestPeersOversizedAndMalformed: what a node that a job names sends is no more trusted than what clients do.
func TestPeersOversizedAndMalformed(t *testing.T) {
	p := startPeering(t)
	conn := dial(t, p.api, p.ours.Pool(), certificate(t, p.ours, time.Now(), node("node2.example", "10.0.0.2")))
	tried := 0
	for method, peers := range server.ForPeers() {
		if !peers {
			continue
		}
		tried++
		if err := callRaw(t.Context(), conn, method, make([]byte, 65<<10)); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%s, oversized: got %v", method, err)
		}
		// Field 1 announces more bytes than there are.
		if err := callRaw(t.Context(), conn, method, []byte{0x0a, 0x7f}); status.Code(err) != codes.Internal {
			t.Errorf("%s, malformed: got %v", method, err)
		}
	}
	if n := p.calls.calls.Load(); n > 0 || tried < 10 {
		t.Errorf("%d calls of %d methods came through", n, tried)
	}
}
